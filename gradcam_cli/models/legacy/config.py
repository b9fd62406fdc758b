"""Translate the config of a model from Keras 2 to Keras 3, without importing Keras.

Keras 2 stored the input's shape in the first layer of a Sequential model, counted the construction of a nested model as
its first call, and used former modules and functions. The translation never changes what a layer computes.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.batch_sizes import without_batch_sizes
from gradcam_cli.models.legacy.nodes import call_inputs, calls, is_reference, keras_tensor, references, revived
from gradcam_cli.models.legacy.operations import TENSORFLOW_CALLS, translated_call
from gradcam_cli.models.legacy.rules import for_keras_3

Node = dict[str, Any]

SEQUENTIAL = "Sequential"
FUNCTIONAL = frozenset({"Functional", "Model"})
# Former packages of the classes of Keras, from Keras 2.0 to tf_keras.
KERAS_PACKAGES = frozenset({"keras", "tf_keras", "tensorflow", "tensorflow_core", "tensorflow_keras"})
# Minor version numbers of Keras 2.
RANDOM_CROP_SINCE = 9
HALF_PIXELS_SINCE = 4
UNNAMED = "unnamed_sequential_"
WRAPPED = ("layer", "forward_layer", "backward_layer", "activation")


def is_keras_2(config: Node, version: str) -> bool:
    """Whether Keras 2 wrote this config. Without a version, the notation of the input's shape decides."""
    if version:
        return version.startswith("2.")
    inner = config.get("config")
    layers = inner if isinstance(inner, list) else inner.get("layers") if isinstance(inner, dict) else None
    entries = [layer for layer in layers or [] if isinstance(layer, dict)]
    return any("module" not in entry or "batch_input_shape" in (entry.get("config") or {}) for entry in entries)


def for_keras_3_config(path: Path, config: Node, version: str) -> Node:
    """Give the config for Keras 3: a config of Keras 2 is translated, one of Keras 3 is returned unchanged.

    Raises:
        ModelError: Keras 1 wrote the file, or Keras 3 cannot compute a layer. The message says which, and what to do.
    """
    if version.startswith(("0.", "1.")):
        raise ModelError(
            f"{path}: the file was written by Keras {version}. Load it with Keras 2.0 to 2.2 and save it again."
        )
    if not is_keras_2(config, version):
        return config
    _refuse_former_pixels(path, config, version)
    try:
        return translated(config)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: its config does not have the form of Keras {version or '2'} ({type(error).__name__}: {error})."
            " Save the model again with the version that created it."
        ) from error


def _refuse_former_pixels(path: Path, config: Node, version: str) -> None:
    """Refuse layers that resized images in a former way that no layer of Keras 3 supports.

    Before Keras 2.9, RandomCrop first resized and then cropped. Bilinear UpSampling2D of Keras before 2.4 aligned the
    corners of pixels, not their centres, except in the Keras of TensorFlow (version `-tf`).
    """
    numbers = version.split("-", maxsplit=1)[0].split(".")
    minor = int(numbers[1]) if len(numbers) > 1 and numbers[1].isdigit() else RANDOM_CROP_SINCE
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        inner = node.get("config") if isinstance(node, dict) else None
        if isinstance(inner, dict):
            crops = node.get("class_name") == "RandomCrop" and minor < RANDOM_CROP_SINCE
            bilinear = node.get("class_name") == "UpSampling2D" and inner.get("interpolation") == "bilinear"
            if crops or (bilinear and minor < HALF_PIXELS_SINCE and not version.endswith("-tf")):
                raise ModelError(
                    f"{path}: layer '{inner.get('name')}' is a {node['class_name']} of Keras {version}, which "
                    "resizes in a way that Keras 3 does not support, so its predictions would differ. In the "
                    "original program, replace it by a "
                    "Resizing layer or nearest interpolation, train the model, and save it again."
                )
        waiting.extend(node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())


def translated(entry: Node) -> Node:
    """Translate one layer, or a whole model with all its layers."""
    class_name, module = entry["class_name"], entry.get("module")
    inner = entry.get("config")
    if class_name == SEQUENTIAL and _is_keras_module(module):
        return _entry("Sequential", "keras", _sequential(inner, entry.get("name")))
    if isinstance(inner, dict) and isinstance(inner.get("layers"), list) and "output_layers" in inner:
        own = _is_keras_module(module) and class_name in FUNCTIONAL
        config = _functional(inner, entry.get("name"))
        return _entry("Functional", "keras.src.models.functional", config) if own else {**entry, "config": config}
    if not _is_keras_module(module) or not isinstance(inner, dict):
        return entry
    if class_name == "InputLayer" and "batch_input_shape" in inner:
        inner = {**inner, "batch_shape": inner["batch_input_shape"]}
    class_name, config = for_keras_3(class_name, inner)
    for key in WRAPPED:
        if isinstance(config.get(key), dict) and config[key].get("class_name") != "function":
            config[key] = translated(config[key])
    if "name" in config:
        config["name"] = _name(config["name"])
    return _entry(class_name, "keras.layers", config)


def _entry(class_name: str, module: str, config: Node) -> Node:
    return {"class_name": class_name, "module": module, "config": config}


def _is_keras_module(module: Any) -> bool:
    return module is None or (isinstance(module, str) and module.split(".", 1)[0] in KERAS_PACKAGES)


def _name(name: str) -> str:
    """Replace `/`, which Keras 3 allows only in paths."""
    return name.replace("/", "_")


def _sequential(config: Any, name: str | None) -> Node:
    """Insert the InputLayer that old versions omitted."""
    if isinstance(config, list):
        config = {"name": name or "sequential", "layers": config}
    layers = [translated(layer) for layer in config["layers"]]
    _name_the_unnamed(config["layers"], layers)
    if layers and layers[0]["class_name"] != "InputLayer":
        shape, dtype = _first_input(config["layers"][0], layers[0], config.get("build_input_shape"))
        if shape is not None:
            names = {layer["config"].get("name") for layer in layers}
            taken = f"{layers[0]['config'].get('name', 'sequential')}_input"
            while taken in names:
                taken += "_"
            first = {"batch_shape": [None, *shape[1:]], "dtype": dtype, "name": taken}
            layers.insert(0, _entry("InputLayer", "keras.layers", first))
    elif layers:
        shape = layers[0]["config"].get("batch_shape")
        if isinstance(shape, list):
            layers[0]["config"]["batch_shape"] = [None, *shape[1:]]
    return {"name": _name(config.get("name") or name or "sequential"), "layers": layers}


def _name_the_unnamed(old: list[Node], new: list[Node]) -> None:
    """Name the nested Sequential models of Keras 2.0 to 2.2.2 whose config is only a list."""
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        if isinstance(before["config"], list) and "name" not in before:
            after["config"]["name"] = f"{UNNAMED}{index + 1}"


def _first_input(old: Node, new: Node, built: Any) -> tuple[Any, str]:
    """Give the first layer's input shape with the batch, and its dtype; None as shape if the config has none."""
    config = old["config"]
    if isinstance(config, dict) and isinstance(config.get("batch_input_shape"), list):
        dtype = config.get("dtype")
        return config["batch_input_shape"], dtype if isinstance(dtype, str) and "float16" not in dtype else "float32"
    inner = new["config"].get("layers")
    if isinstance(inner, list) and inner:
        sources = new["config"].get("input_layers")
        inputs = [layer for layer in inner if layer["class_name"] == "InputLayer"]
        if is_reference(sources):
            inputs = [layer for layer in inputs if layer["config"].get("name") == sources[0]]
        if len(inputs) == 1:
            return inputs[0]["config"]["batch_shape"], inputs[0]["config"].get("dtype", "float32")
    return (built if isinstance(built, list) else None), "float32"


def _functional(config: Node, name: str | None) -> Node:
    old = without_batch_sizes(config["layers"], config["output_layers"])
    offsets = {layer["name"]: offset for layer in old if (offset := _first_call(layer, config)) is not None}

    def reference(layer: str, call: int, output: int) -> list[Any]:
        return [_name(layer), call - offsets.get(layer, 0), output]

    def tensor(layer: str, call: int, output: int) -> Node:
        return keras_tensor(*reference(layer, call, output))

    def end(value: Any) -> Any:
        """Give an input or output of the model. Keras 3 still counts calls of nested functional models from 1 here."""
        if is_reference(value):
            layer, call, output = reference(*value)
            return [layer, call + (layer in functional), output]
        if isinstance(value, dict):
            return {key: end(item) for key, item in value.items()}
        ends = [end(item) for item in value]
        return ends[0] if len(ends) == 1 and is_reference(ends[0]) else ends

    layers: list[Node] = []
    for layer in old:
        if layer["class_name"] in TENSORFLOW_CALLS:
            layers.append(translated_call(layer, tensor, _name))
        else:
            made = translated(layer)
            made.update(name=_name(layer["name"]), inbound_nodes=[_call(call, tensor) for call in calls(layer)])
            if "name" in made["config"]:
                made["config"]["name"] = made["name"]
            layers.append(made)
    functional = {layer["name"] for layer in layers if layer["class_name"] == "Functional"}
    return {
        "name": _name(config.get("name") or name or "model"),
        "layers": layers,
        "input_layers": end(config["input_layers"]),
        "output_layers": end(config["output_layers"]),
    }


def _call(call: Any, tensor: Any) -> Node:
    first, arguments = call_inputs(call)
    kwargs = {key: revived(value, tensor) for key, value in arguments.items() if value is not None}
    return {"args": [revived(first, tensor)], "kwargs": kwargs}


def _first_call(layer: Node, config: Node) -> int | None:
    """Give the number of a nested model's first call: 1 if Keras 2 counted its construction; None for other layers."""
    inner = layer.get("config")
    if not isinstance(inner, list) and not (isinstance(inner, dict) and isinstance(inner.get("layers"), list)):
        return None
    name, count = layer["name"], len(calls(layer))
    used = Counter(
        reference[1]
        for other in config["layers"]
        for call in calls(other)
        for reference in references(call)
        if reference[0] == name
    )
    used.update(reference[1] for reference in references(config["output_layers"]) if reference[0] == name)
    if used[0] or count == 0:
        return 0
    if max(used, default=0) >= count:
        return 1
    first = inner["layers"][0] if isinstance(inner, dict) and inner["layers"] else {}
    return 0 if layer["class_name"] == SEQUENTIAL and first.get("class_name") != "InputLayer" else 1
