"""Operations of Keras 3 in .h5 files: such a file names `ops.subtract(x, 1)` without the module to find it in.

Some operations have the names of layers (`Subtract`, `Softmax`). An operation's config has no `trainable`.
"""

from copy import deepcopy
from typing import Any

import keras
from keras.src.ops import core, image, linalg, math, nn, numpy

from gradcam_cli.models.safety.operations import OPERATIONS

Node = dict[str, Any]

MODULES = (core, image, linalg, math, nn, numpy)
# No class of Keras, and no registered one, has such a name.
MARK = "operation>"


def with_operations(config: Node) -> tuple[Node, dict[str, Any]]:
    """Mark the operations among the layers of a config, and give their classes by the marks.

    Only operations that the preflight knows are marked. A config without any is returned as it is.
    """
    marked = deepcopy(config)
    found: dict[str, Any] = {}
    waiting = [marked]
    while waiting:
        inner = waiting.pop().get("config")
        for layer in inner.get("layers", []) if isinstance(inner, dict) else []:
            name, own = layer.get("class_name"), layer.get("config")
            waiting.append(layer)
            if name in OPERATIONS and "module" not in layer and isinstance(own, dict) and "trainable" not in own:
                layer["class_name"] = MARK + name
                found[MARK + name] = _class_of(name)
    return (marked, found) if found else (config, found)


def _class_of(name: str) -> Any:
    found = (getattr(module, name, None) for module in MODULES)
    return next(value for value in found if isinstance(value, type) and issubclass(value, keras.Operation))
