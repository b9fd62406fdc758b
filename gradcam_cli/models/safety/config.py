"""Check a model's config: only classes and functions of Keras, no files, and no sizes beyond the stored weights.

Keras imports the values of `module` and `class_name`, calls them, and allocates memory for the given sizes before it
compares anything with the weights.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.config import for_keras_3_config, is_keras_2
from gradcam_cli.models.legacy.operations import TENSORFLOW_CALLS
from gradcam_cli.models.safety.hdf5 import Stored
from gradcam_cli.models.safety.shapes import Node
from gradcam_cli.models.safety.sizes import check_sizes
from gradcam_cli.models.subclasses import as_graphs

# Classes that run their own code, or the code of another file, when they are loaded or called.
DANGEROUS = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"})
# A layer of tensorflow_hub: one opaque graph from images to features or classes.
HUB_LAYER = "KerasLayer"
# Settings by which layers read files: vocabularies, tokenizers, graphs. A list instead of a path is the content itself.
FILE_KEYS = frozenset({"vocabulary", "filepath", "merges", "proto", "idf_weights"})
ALLOWED_MODULES = (
    "builtins",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.ops",
    "keras.optimizers",
    "keras.quantizers",
    "keras.random",
    "keras.regularizers",
    "keras.src.activations",
    "keras.src.applications",
    "keras.src.constraints",
    "keras.src.dtype_policies",
    "keras.src.initializers",
    "keras.src.layers",
    "keras.src.models",
    "keras.src.ops",
    "keras.src.optimizers",
    "keras.src.quantizers",
    "keras.src.random",
    "keras.src.regularizers",
    "keras_hub.layers",
    "keras_hub.models",
    "keras_hub.src.layers",
    "keras_hub.src.models",
)
# Functions may come only from these modules. Other modules have functions that read and download files.
FUNCTION_MODULES = (
    "builtins",
    "keras.activations",
    "keras.constraints",
    "keras.initializers",
    "keras.losses",
    "keras.metrics",
    "keras.ops",
    "keras.regularizers",
    "keras.src.activations",
    "keras.src.ops",
)
# These modules have functions and classes. Names of classes begin with a capital letter.
MIXED_MODULES = frozenset({"keras", "keras.layers", "keras.models", "keras.random"})
PACKAGES = frozenset({"keras", "Keras", "keras_hub"})
# Former modules of classes in Keras 2 and tf_keras. Keras 3 gets the class of the same name from keras.layers instead.
FORMER_MODULES = (
    "keras.engine",
    "keras.mixed_precision",
    "keras.src.engine",
    "keras.src.mixed_precision",
    "tensorflow.keras",
    "tensorflow.python.keras",
    "tf_keras",
)
# Classes for method calls on tensors in a functional model of Keras 2. They are not translated.
UNTRANSLATED_CALLS = TENSORFLOW_CALLS | {"ClassMethod", "InstanceMethod", "InstanceProperty"}
# The names of classes and functions. Keras's own marks for values have other forms.
NAME = re.compile(r"[A-Za-z_]\w*")


def check_config(
    path: Path, config: Node, stored: Stored, version: str = "", own: frozenset[str] = frozenset()
) -> None:
    """Refuse a config that names anything outside Keras, or asks for far more memory than its weights.

    The original config and the config that Keras will get are both checked.

    Args:
        path: the path of the file, for messages.
        config: the config of the model.
        stored: the stored weights.
        version: the version of Keras that wrote the config; empty if the file does not have it.
        own: names of classes and functions in the user's code.

    Raises:
        ModelError: the config is refused. The message has the file and the layer.
    """
    config, _ = as_graphs(config)
    nodes = list(objects_in(config))
    _check_nodes(path, nodes, own, translated=not is_keras_2(config, version))
    translated = for_keras_3_config(path, config, version)
    if translated is not config:
        nodes = list(objects_in(translated))
        _check_nodes(path, nodes, own, translated=True)
    check_sizes(path, translated, nodes, stored)


def check_names(path: Path, config: Node, *, own: frozenset[str] = frozenset()) -> None:
    """Refuse a config that names classes, functions or files that are not part of Keras.

    Args:
        path: the path of the file, for messages.
        config: the config of the model, as Keras 3 gets it.
        own: names of classes and functions in the user's code.

    Raises:
        ModelError: the config is refused. The message has the file and the layer.
    """
    _check_nodes(path, objects_in(config), own, translated=True)


def _check_nodes(path: Path, nodes: Iterable[tuple[str, Node]], own: frozenset[str], *, translated: bool) -> None:
    """Check each object. Before translation, an old config has TensorFlow calls and modules that Keras 3 lacks."""
    for layer, node in nodes:
        _check_names(path, layer, node if translated else _renamed(node), own)
        _check_files(path, layer, node)


def _renamed(node: Node) -> Node:
    """Replace the module and class of an old version by those that Keras 3 gets instead."""
    module, class_name = node.get("module"), node.get("class_name")
    if isinstance(class_name, str) and class_name in TENSORFLOW_CALLS:
        return {**node, "class_name": "Layer", "module": "keras.layers"}
    if isinstance(module, str) and _is_within(module, FORMER_MODULES):
        kind = "keras.activations" if class_name == "function" else "keras.layers"
        return {**node, "module": kind}
    return node


def objects_in(config: Node) -> Iterator[tuple[str, Node]]:
    """Give all objects of a config, each with the name of its layer. Not recursive, so a config may have any depth."""
    waiting: list[tuple[str, Any]] = [("the model", config)]
    while waiting:
        layer, current = waiting.pop()
        if isinstance(current, dict):
            inner = current.get("config")
            if "class_name" in current and isinstance(inner, dict) and isinstance(inner.get("name"), str):
                layer = f"layer '{inner['name']}'"
            yield layer, current
            children: Iterable[Any] = current.values()
        else:
            children = current
        waiting.extend((layer, child) for child in children if isinstance(child, (dict, list)))


def _check_names(path: Path, layer: str, node: Node, own: frozenset[str]) -> None:
    for key, value in node.items():
        if key != "name" and isinstance(value, str) and value.rsplit(">", 1)[-1] in DANGEROUS:
            raise ModelError(_dangerous(path, layer, value))
    if "class_name" not in node:
        return
    class_name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if not isinstance(class_name, str) or not isinstance(module, str | None):
        raise ModelError(f"{path}: {layer} has no class name. Refused.")
    if class_name in UNTRANSLATED_CALLS:
        raise ModelError(
            f"{path}: {layer} is a TensorFlow function, which Keras 2 saved as {class_name} and Keras 3 cannot"
            " read. Load the model with its original TensorFlow, replace this function by a Keras layer, and save it "
            "again."
        )
    is_function = class_name == "function"
    name = str(node.get("config")) if is_function else class_name
    if name.rsplit(">", 1)[-1] in own:
        return
    if name.rsplit(">", 1)[-1] == HUB_LAYER:
        raise ModelError(_of_hub(path, layer))
    if isinstance(registered, str) and ">" in registered and registered.split(">", 1)[0] not in PACKAGES:
        raise ModelError(foreign(path, layer, registered, is_function=is_function))
    if not _is_keras(module or "", name.rsplit(">", 1)[-1], is_function=is_function):
        raise ModelError(foreign(path, layer, f"{module}.{name}" if module else name, is_function=is_function))


def _is_keras(module: str, name: str, *, is_function: bool) -> bool:
    """Whether a name is a class or a pure function of Keras, and nothing else."""
    if not NAME.fullmatch(name):
        return False
    if is_function:
        return module == "" or _is_within(module, FUNCTION_MODULES)
    if module in MIXED_MODULES and not (name[0].isupper() or name.startswith("__")):
        return False
    return module in {"", "keras"} or _is_within(module, ALLOWED_MODULES)


def _is_within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def _check_files(path: Path, layer: str, node: Node) -> None:
    for key in FILE_KEYS & node.keys():
        if isinstance(node[key], str):
            raise ModelError(f"{path}: {layer} reads its {key} from the file {node[key]!r}. Refused.")


def _dangerous(path: Path, layer: str, name: str) -> str:
    return (
        f"{path}: {layer} is a {name.rsplit('>', 1)[-1]}, which contains code. A model file must "
        "not run code. If you made the model, replace this layer by Keras "
        "layers that do the same (Rescaling, Normalization...), and save it again."
    )


def foreign(path: Path, layer: str, name: str, *, is_function: bool = False) -> str:
    """Say that a layer needs code that is not part of Keras, and what to do."""
    what = f"uses the function {name}" if is_function else f"is of the class {name}"
    return (
        f"{path}: {layer} {what}, which is not part of Keras, and its code is not in the file. If "
        "you have this code: `custom_objects=FILE.py` `trust_code=True`. Or replace it by layers "
        "of Keras, copy its weights, and save it again."
    )


def _of_hub(path: Path, layer: str) -> str:
    return (
        f"{path}: {layer} is a {HUB_LAYER} of TensorFlow Hub. Its network is a TensorFlow graph "
        "outside this file, without Keras layers that could be explained. Build the same network with"
        " keras.applications or keras_hub, train your head on it, and save the whole model: model.save('model.keras')"
    )
