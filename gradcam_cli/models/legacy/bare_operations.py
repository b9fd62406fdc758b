"""What Keras 3 saves in .h5 files and cannot read from them: operations, and layers along several axes.

Such a file names `ops.subtract(x, 1)` without the module to find it in. Some operations have the names of layers
(`Subtract`, `Softmax`). An operation's config has no `trainable`. And where `axis` is a list of several axes or None,
Keras drops it when it reads an .h5 file: the default is then computed, without a warning.
"""

from copy import deepcopy
from typing import Any

import keras
from keras.src.ops import core, image, linalg, math, nn, numpy

Node = dict[str, Any]

MODULES = (core, image, linalg, math, nn, numpy)
# No class of Keras, and no registered one, has such a name.
OPERATION, LAYER = "operation>", "layer>"
# Keras drops `axis`, and hands on what it does not know.
KEPT_AXIS = "kept_axis"


def with_operations(config: Node) -> tuple[Node, dict[str, Any]]:
    """Mark the operations and the layers along several axes in a config, and give their classes by the marks.

    A config without any is returned as it is.
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
    """The mark and the class of an entry that Keras would not read as it was saved; no class for all others."""
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
    """Give a class that Keras makes the given one by, with its own `axis`."""

    def from_config(_: Any, config: Node) -> Any:
        axis = {"axis": config[KEPT_AXIS]} if KEPT_AXIS in config else {}
        return kind.from_config({**{key: value for key, value in config.items() if key != KEPT_AXIS}, **axis})

    return type(kind.__name__, (kind,), {"from_config": classmethod(from_config)})
