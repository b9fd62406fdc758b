"""What Keras 2 wrote into .h5 files and Keras 3 cannot read as it is, put right in a copy of the file.

Three things, all common: layers that had an argument `groups` and have none now (every MobileNet has one), the axis of
a BatchNormalization as a list, and nested models, which Keras 2 counted as their own first call and Keras 3 does not
(every fine-tuned backbone is one).
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

WITHOUT_GROUPS = frozenset({"DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"})
NESTED = frozenset({"Functional", "Model", "Sequential"})


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Give a model file that Keras 3 can read: the file itself, or a mended copy of an .h5 file of Keras 2."""
    config = _mended(path) if path.suffix.lower() != ".keras" else None
    if config is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        yield copy


def _mended(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        if not _text(file.attrs.get("keras_version", "")).startswith("2."):
            return None
        config = json.loads(file.attrs["model_config"])
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            _mend_arguments(node)
            _renumber_calls(node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return config


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _mend_arguments(node: dict[str, Any]) -> None:
    config = node.get("config")
    if not isinstance(config, dict):
        return
    if node.get("class_name") in WITHOUT_GROUPS and config.get("groups") == 1:
        del config["groups"]
    axis = config.get("axis")
    if node.get("class_name") == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]


def _renumber_calls(node: dict[str, Any]) -> None:
    """In a functional config, count the calls of nested models from 0."""
    layers = node.get("layers")
    if not isinstance(layers, list):
        return
    nested = {layer.get("name") for layer in layers if isinstance(layer, dict) and layer.get("class_name") in NESTED}
    for layer in layers:
        for call in layer.get("inbound_nodes", []) if isinstance(layer, dict) else []:
            for source in call if isinstance(call, list) else []:
                _count_from_zero(source, nested)
    # Keras 3 itself does so for outputs, but for functional models only.
    sequential = {layer.get("name") for layer in layers if layer.get("class_name") == "Sequential"}
    for output in node.get("output_layers", []):
        _count_from_zero(output, sequential)
    # A list of one would make the model give a list of one.
    for key in ("input_layers", "output_layers"):
        if isinstance(node.get(key), list) and len(node[key]) == 1:
            node[key] = node[key][0]


def _count_from_zero(source: Any, nested: set[Any]) -> None:
    if isinstance(source, list) and len(source) >= 3 and source[0] in nested and source[1] > 0:
        source[1] -= 1
