"""Load operations and layers along several axes, which Keras 3 saves in .h5 files but cannot read.

Such a file has `ops.subtract(x, 1)` without its module. Some operations have the names of layers (`Subtract`,
`Softmax`). The config of an operation has no `trainable`. If `axis` is None or a list of several axes, Keras drops it
when it reads an .h5 file, and computes along the default axis without a warning.
"""

from copy import deepcopy
from typing import Any

import keras
from keras.src.ops import core, image, linalg, math, nn, numpy

Node = dict[str, Any]

MODULES = (core, image, linalg, math, nn, numpy)
# No class of Keras, and no registered class, has such a name.
OPERATION, LAYER = "operation>", "layer>"
# Keras drops `axis`, but keeps settings that it does not know.
KEPT_AXIS = "kept_axis"


def with_operations(config: Node) -> tuple[Node, dict[str, Any]]:
    """Mark the operations and the layers along several axes in a config; also give their classes by the marks.

    A config without any is returned unchanged.
    """
    marked = deepcopy(config)
    found: dict[str, Any] = {}
    waiting = [marked]
    while waiting:
        inner = waiting.pop().get("config")
        for layer in inner.get("layers", []) if isinstance(inner, dict) else []:
            waiting.append(layer)
            mark, kind = _marked(layer)
            if kind is None:
                continue
            layer["class_name"] = mark
            if "axis" in layer["config"]:
                layer["config"][KEPT_AXIS] = layer["config"].pop("axis")
            found[mark] = _with_axis(kind)
    return (marked, found) if found else (config, found)


def _marked(layer: Node) -> tuple[str, Any]:
    """Give the mark and the class of an entry that Keras would read wrongly; the class is None for all others."""
    name, config = layer.get("class_name"), layer.get("config")
    if not isinstance(name, str) or not isinstance(config, dict) or "module" in layer:
        return "", None
    if "trainable" not in config:
        return OPERATION + name, _operation(name)
    axis = config.get("axis", 0)
    several = axis is None or (isinstance(axis, list) and len(axis) != 1)
    return LAYER + name, _subclass(keras.layers, name, keras.Layer) if several else None


def _operation(name: str) -> Any:
    found = (_subclass(module, name, keras.Operation) for module in MODULES)
    return next((value for value in found if value is not None and not issubclass(value, keras.Layer)), None)


def _subclass(module: Any, name: str, parent: Any) -> Any:
    found = getattr(module, name, None)
    return found if isinstance(found, type) and issubclass(found, parent) else None


def _with_axis(kind: Any) -> Any:
    """Give a subclass from which Keras makes the layer with its own `axis`."""

    def from_config(_: Any, config: Node) -> Any:
        axis = {"axis": config[KEPT_AXIS]} if KEPT_AXIS in config else {}
        return kind.from_config({**{key: value for key, value in config.items() if key != KEPT_AXIS}, **axis})

    return type(kind.__name__, (kind,), {"from_config": classmethod(from_config)})
