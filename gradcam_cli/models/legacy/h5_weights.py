"""Load weights of .h5 files of Keras 2, assigned by layer and name.

Keras 3 assigns them only by the order of the layers. This order depends on which layers were frozen, and two exchanged
tensors of the same shape are not noticed. Here, each tensor must have the name and the shape of its weight.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.config import UNNAMED

# Weights with another name in Keras 3.
RENAMED = {("DepthwiseConv2D", "depthwise_kernel"): "kernel", ("DepthwiseConv1D", "depthwise_kernel"): "kernel"}
# States of random generators, which are used only in training.
RANDOM_STATES = frozenset({"StateVar", "seed_generator_state", "state_var"})
NUMBERED = re.compile(r"_\d+$")
# The convolutions of Theano flip their kernels.
FLIPPED = frozenset({"Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose"})
NOT_FROM_THEANO = frozenset({"SeparableConv1D", "SeparableConv2D", "DepthwiseConv2D", "ConvLSTM2D"})


@dataclass(frozen=True, eq=False)
class Slot:
    """One weight of the network: its layer and its variable."""

    layer: Any
    variable: Any

    @property
    def name(self) -> str:
        """The weight's own name, such as `kernel`."""
        return str(self.variable.name)

    @property
    def key(self) -> tuple[str, str]:
        """The names of the layer and of the weight."""
        return str(self.layer.name), self.name


@dataclass(frozen=True, eq=False)
class Stored:
    """One tensor of the file, and its name in the file: `conv1/kernel:0`."""

    full_name: str
    tensor: Any

    @property
    def parts(self) -> list[str]:
        """The parts of the name, without the `:0` of TensorFlow."""
        return self.full_name.rsplit(":", 1)[0].split("/")


def load_h5_weights(path: Path, file: Any, network: Any, backend: str) -> None:
    """Assign a stored tensor to each weight of the network.

    Raises:
        ModelError: a tensor is missing, unused, or of another shape. The message has the layer.
    """
    group = file.get("model_weights", file)
    layers = {layer.name: layer for layer in network.layers if _slots(layer)}
    groups = {name: stored for name in _names(group, "layer_names") if (stored := _stored(group[name]))}
    # A Sequential model of Keras 2.0 has its name only here.
    unnamed = iter([name for name in layers if name.startswith(UNNAMED)])
    for name, stored in groups.items():
        own = name.replace("/", "_")
        own = own if own in layers else next(unnamed, own)
        if own not in layers:
            raise ModelError(f"{path}: the file has weights for a layer '{name}', which the model does not have.")
        for slot, item in _paired(path, name, _slots(layers.pop(own)), stored):
            slot.variable.assign(_value(path, slot, item, backend))
    if layers:
        raise ModelError(f"{path}: the file has no weights for the layer '{min(layers)}'.")
    finish(network)


def _stored(group: Any) -> list[Stored]:
    """Give the tensors of one layer, without the states of random generators."""
    stored = [Stored(weight, group[weight]) for weight in _names(group, "weight_names")]
    return [item for item in stored if NUMBERED.sub("", item.parts[-1]) not in RANDOM_STATES]


def finish(network: Any) -> None:
    """Let layers compute the values that they derive from their weights."""
    for layer in network._flatten_layers():  # noqa: SLF001 - there is no public walk
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _names(group: Any, attribute: str) -> list[str]:
    """Read a list of names. A long list is in several attributes: `layer_names0`, `layer_names1`."""
    chunks = [group.attrs[attribute]] if attribute in group.attrs else []
    if not chunks:
        for index in count():
            if f"{attribute}{index}" not in group.attrs:
                break
            chunks.append(group.attrs[f"{attribute}{index}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for chunk in chunks for name in chunk]


def _slots(layer: Any) -> list[Slot]:
    """List the weights in the order of Keras 2: first the trainable ones of all layers, then the others."""
    found = list(_own_weights(layer))
    trainable = [slot for slot in found if slot.layer.trainable and slot.variable.trainable]
    return trainable + [slot for slot in found if slot not in trainable]


def _own_weights(layer: Any) -> Iterator[Slot]:
    for part in layer._flatten_layers():  # noqa: SLF001 - there is no public walk
        for variable in (*part._trainable_variables, *part._non_trainable_variables):  # noqa: SLF001 - without its parts'
            yield Slot(part, variable)


def _paired(path: Path, name: str, slots: list[Slot], stored: list[Stored]) -> Iterator[tuple[Slot, Stored]]:
    if len(slots) != len(stored):
        raise ModelError(f"{path}: layer '{name}' has {len(slots)} weights, but {len(stored)} are stored for it.")
    by_name = _paired_by_name(slots, stored)
    for slot, item in by_name or zip(slots, stored, strict=True):
        shape = tuple(item.tensor.shape)
        own, theirs = slot.name, _weight_name(slot, item)
        if shape != tuple(slot.variable.shape) or (own != theirs and theirs in _NAMES):
            raise ModelError(
                f"{path}: the weight '{own}' of layer '{slot.layer.name}' is {tuple(slot.variable.shape)}, but the "
                f"stored '{item.full_name}' is {shape}."
            )
        yield slot, item


def _paired_by_name(slots: list[Slot], stored: list[Stored]) -> list[tuple[Slot, Stored]] | None:
    """Pair weights by layer and name; None unless both sides have the same names, each once."""
    by_key = {slot.key: slot for slot in slots}
    found = {}
    for item in stored:
        owner = item.parts[-2] if len(item.parts) > 1 else ""
        candidates = {(owner, item.parts[-1]), (owner, NUMBERED.sub("", item.parts[-1]))}
        candidates |= {(owner, "kernel")} if item.parts[-1] == "depthwise_kernel" else set()
        slot = next((by_key[key] for key in candidates if key in by_key), None)
        if slot is None or slot.key in found:
            return None
        found[slot.key] = (slot, item)
    return list(found.values()) if len(found) == len(slots) == len(by_key) else None


_NAMES = frozenset(
    {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "depthwise_kernel", "pointwise_kernel"}
    | {"alpha", "embeddings", "recurrent_kernel", "mean", "variance", "count"}
)


def _weight_name(slot: Slot, item: Stored) -> str:
    last = item.parts[-1]
    last = last if last in _NAMES else NUMBERED.sub("", last)
    return RENAMED.get((type(slot.layer).__name__, last), last)


def _value(path: Path, slot: Slot, item: Stored, backend: str) -> Any:
    value = np.asarray(item.tensor)
    if backend != "theano":
        return value
    kind = type(slot.layer).__name__
    if kind in NOT_FROM_THEANO:
        raise ModelError(
            f"{path}: layer '{slot.layer.name}' is a {kind} trained with Theano, whose convolution "
            "differs from that of TensorFlow. Load the model with Keras 2 and the "
            "TensorFlow backend, check its predictions, and save it."
        )
    if kind in FLIPPED and slot.name == "kernel":
        return np.flip(value, tuple(range(value.ndim - 2)))
    return value


def refuse_theano_padding(path: Path, network: Any) -> None:
    """Refuse padding that differs between Theano and TensorFlow.

    Theano pads both sides equally. If the padding is uneven, TensorFlow pads the end more.

    Raises:
        ModelError: the network has a layer with such padding.
    """
    for layer in network._flatten_layers():  # noqa: SLF001 - there is no public walk
        if getattr(layer, "padding", None) != "same":
            continue
        kernel = layer.kernel_size if hasattr(layer, "kernel_size") else getattr(layer, "pool_size", ())
        if any(stride > 1 for stride in layer.strides) or any(side % 2 == 0 for side in kernel):
            raise ModelError(
                f"{path}: the model was trained with Theano, and the layer '{layer.name}' has padding "
                "'same' with a stride or an even kernel. Theano pads other sides than TensorFlow, so its "
                "predictions would differ. In the original program, use padding='valid' with "
                "ZeroPadding2D, and save the model again."
            )


def text(value: Any) -> str:
    """Give an attribute of an HDF5 file as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def attribute(file: Any, name: str) -> str:
    """Give an attribute of the file, or of its group of weights; empty if neither has it."""
    for group in (file, file.get("model_weights")):
        if isinstance(group, h5py.Group) and name in group.attrs:
            return text(group.attrs[name])
    return ""
