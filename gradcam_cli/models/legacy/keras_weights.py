"""Load weights of .keras files of Keras 2.12 to 2.15 and tf_keras: HDF5 groups named by class and number.

`layers/conv2d_1` is the second Conv2D in 2.15. In 2.13 each layer counted twice, so the second one is `conv2d_2`.
In both, the groups of one class have the order of the layers in the config.
"""

import io
import re
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.h5_weights import finish

Node = dict[str, Any]

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
# The classes of Keras 3 that replace these classes.
FORMER_CLASSES = {
    "sync_batch_normalization": "batch_normalization",
    "model": "functional",
    "thresholded_re_lu": "re_lu",
    "random_height": "identity",
    "random_width": "identity",
}
GENERATORS = frozenset({"seed_generator", "random_generator", "generator"})


def load_keras_2_archive(path: Path, network: Any, config: Node) -> None:
    """Assign a stored tensor to each weight of the network.

    Args:
        path: the path of the archive.
        network: the network that was made from `config`.
        config: the config of the model, translated for Keras 3.

    Raises:
        ModelError: a tensor is missing, unused, or of another shape. The message has the layer.
    """
    with zipfile.ZipFile(path) as archive:
        data = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(data), "r") as file:
        _load(path, file, network, config)
    finish(network)


def _load(path: Path, group: Any, layer: Any, entry: Node) -> None:
    own = [*layer._trainable_variables, *layer._non_trainable_variables]  # noqa: SLF001 - without those of its parts
    stored = group.get("vars", {})
    if len(own) != len(stored):
        raise ModelError(f"{path}: layer '{layer.name}' has {len(own)} weights, but {len(stored)} are stored for it.")
    for index, variable in enumerate(own):
        value = np.asarray(stored[str(index)])
        if value.shape != tuple(variable.shape):
            raise ModelError(
                f"{path}: the weight '{variable.name}' of layer '{layer.name}' is {tuple(variable.shape)}, but the "
                f"stored one is {value.shape}."
            )
        variable.assign(value)
    inner = entry.get("config", {})
    if isinstance(inner.get("layers"), list):
        _load_layers(path, group, layer, inner["layers"])
    else:
        _load_parts(path, group, layer)


def _load_layers(path: Path, group: Any, model: Any, entries: list[Node]) -> None:
    """Load the layers of a model, class by class in their order."""
    layers = {layer.name: layer for layer in model.layers}
    expected: dict[str, list[tuple[Any, Node]]] = defaultdict(list)
    for entry in entries:
        layer = layers.get(entry["config"].get("name"))
        if layer is not None and layer.weights:
            expected[snake_case(type(layer).__name__)].append((layer, entry))
    found = _groups_by_class(group)
    for kind in expected.keys() | found.keys():
        here, there = expected.get(kind, []), found.get(kind, [])
        if len(here) != len(there):
            raise ModelError(
                f"{path}: '{model.name}' has {len(here)} layers with weights of the class {kind}, but the weights of "
                f"{len(there)} are stored."
            )
        for (layer, entry), part in zip(here, there, strict=True):
            _load(path, part, layer, entry)


def _groups_by_class(group: Any) -> dict[str, list[Any]]:
    """Give the groups with weights, by class, in the order of their numbers."""
    found: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for container in CONTAINERS:
        for name, part in group.get(container, {}).items():
            if not _holds_weights(part):
                continue
            kind, number = _split(name)
            found[FORMER_CLASSES.get(kind, kind)].append((number, part))
    return {kind: [part for _, part in sorted(parts, key=lambda item: item[0])] for kind, parts in found.items()}


def _split(name: str) -> tuple[str, int]:
    """Split a name: `conv2d_1` is the class `conv2d`, number 1; `conv2d` is number 0."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if kind and number.isdigit() else (name, 0)


def _holds_weights(group: Any) -> bool:
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return any(not GENERATORS & {part.lstrip("_") for part in name.split("/")} for name in names)


def _load_parts(path: Path, group: Any, layer: Any) -> None:
    """Load the layers inside a layer, by the attribute that contains them: `_query_dense` in Keras 2 and 3."""
    parts = {id(part): part for part in layer._flatten_layers(include_self=False, recursive=False) if part.weights}  # noqa: SLF001 - no public walk
    for name, inner in group.items():
        if name == "vars" or name.lstrip("_") in GENERATORS or not _holds_weights(inner):
            continue
        part = getattr(layer, name, None) or getattr(layer, name.lstrip("_"), None) or getattr(layer, f"_{name}", None)
        if id(part) not in parts:
            raise ModelError(
                f"{path}: the file has weights for '{name}' in the layer '{layer.name}', which does not have this part."
            )
        _load(path, inner, parts.pop(id(part)), {})
    if parts:
        missing = next(iter(parts.values()))
        raise ModelError(f"{path}: the file has no weights for '{missing.name}' in the layer '{layer.name}'.")


def snake_case(name: str) -> str:
    """Write a class's name as Keras does for groups of weights: `BatchNormalization` is `batch_normalization`."""
    split = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", split).lower()
