"""Load a user's subclass of a Keras model without its class, because the file has its graph of layers.

A `class MyModel(keras.Model)` that was built as `MyModel(inputs, outputs)` is saved with the layers and calls of a
functional model. A subclass of Sequential is saved with its layers, up to Keras 2.2.2 as a plain list. Only methods
such as `train_step` are not in the file.
"""

from typing import Any

Node = dict[str, Any]

GRAPH_KEYS = frozenset({"layers", "input_layers", "output_layers"})
OWN = frozenset({"Functional", "Model", "Sequential"})
KERAS = ("keras", "keras_hub", "tensorflow", "tf_keras", "tensorflow_core")


def as_graphs(config: Any) -> tuple[Any, dict[str, str]]:
    """Replace such classes in a config by Functional or Sequential; also give the replaced class by the model's name.

    If there is nothing to replace, the config itself is returned.
    """
    found: dict[str, str] = {}
    result = _replaced(config, found)
    return (result if found else config), found


def _replaced(root: Any, found: dict[str, str]) -> Any:
    # Not recursive, because a hostile config may have any depth.
    if not isinstance(root, (dict, list)):
        return root
    top: list[Any] = [root]
    waiting: list[tuple[Any, Any]] = [(top, 0)]
    while waiting:
        holder, key = waiting.pop()
        value = holder[key]
        if isinstance(value, dict):
            copy = dict(value)
            plain = _graph_class(copy)
            if plain is not None:
                found[_model_name(copy)] = str(copy["class_name"]).rsplit(">", 1)[-1]
                copy = _as(copy, plain)
            holder[key] = copy
            waiting.extend((copy, name) for name, child in copy.items() if isinstance(child, (dict, list)))
        elif isinstance(value, list):
            holder[key] = list(value)
            waiting.extend((holder[key], place) for place, child in enumerate(value) if isinstance(child, (dict, list)))
    return top[0]


def _model_name(node: Node) -> str:
    """Give the model's name from its config, or from its entry if the config is only a list of layers."""
    config = node["config"]
    return str(config.get("name") if isinstance(config, dict) else node.get("name"))


def _as(node: Node, plain: str) -> Node:
    if isinstance(node["config"], list):
        return {**node, "class_name": plain}
    config = {name: value for name, value in node["config"].items() if name in KEPT[plain]}
    renamed = {**node, "class_name": plain, "config": config}
    if "module" in node:
        renamed |= {
            "module": "keras.src.models.functional" if plain == "Functional" else "keras",
            "registered_name": None,
        }
        if plain == "Functional":
            renamed["registered_name"] = "Functional"
    # The build_config of a subclass describes its own build().
    renamed.pop("build_config", None)
    return renamed


MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras"}
KEPT = {
    "Functional": frozenset({"name", "trainable", "layers", "input_layers", "output_layers"}),
    "Sequential": frozenset({"name", "trainable", "dtype", "layers", "build_input_shape"}),
}


def _graph_class(node: Node) -> str | None:
    """Give the class of Keras that can replace a foreign class; None if there is none."""
    name, config = node.get("class_name"), node.get("config")
    if not isinstance(name, str) or not isinstance(config, (dict, list)):
        return None
    module, registered = node.get("module"), node.get("registered_name")
    foreign = ">" in name or (isinstance(registered, str) and ">" in registered and not registered.startswith("keras"))
    foreign = foreign or (name not in OWN and not (isinstance(module, str) and module.split(".")[0] in KERAS))
    if not foreign:
        return None
    layers = config if isinstance(config, list) else config.get("layers")
    described = isinstance(layers, list) and bool(layers) and all(_is_layer(layer) for layer in layers)
    if not described:
        return None
    if isinstance(config, list):
        return "Sequential"
    if config.keys() >= GRAPH_KEYS:
        return "Functional"
    return "Sequential" if config.keys() <= KEPT["Sequential"] and "name" in config else None


def _is_layer(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("class_name"), str)
        and isinstance(value.get("config"), (dict, list))
    )
