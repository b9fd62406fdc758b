"""What a model's config may say: Keras's own classes and functions, no files, and sizes that its weights bear out.

Keras imports what `module` and `class_name` name, calls what it finds, and allocates what the numbers ask for: before
it compares any of it with the weights.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.models.preflight_hdf5 import MAX_RATIO, Stored

Node = dict[str, Any]

# Small networks may declare sizes that their few weights do not show.
FREE_DIMENSION = 4096
FREE_NUMBERS = 5 * 10**7
MAX_INPUT_SIDE = 16_384
MAX_KERNEL_SIDE = 1024

# Classes that run code of their own, or of a file beside the model, when they are loaded or called.
DANGEROUS = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TensorFlowOpLayer"}
)
# What layers read files by: vocabularies, tokenizers, graphs. A list in its place is the thing itself.
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
# Functions may be named from these only: others have some that read and fetch files.
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
# Here functions stand beside the classes; a class is told by its capital.
MIXED_MODULES = frozenset({"keras", "keras.layers", "keras.models", "keras.random"})
PACKAGES = frozenset({"keras", "Keras", "keras_hub"})
# What Keras 2 made of bare TensorFlow calls in a functional model; Keras 3 cannot read them.
KERAS_2_OPERATIONS = frozenset({"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod"})
# What lays a whole picture before a dense layer.
RESHAPING = frozenset({"Flatten", "Reshape", "Permute"})
SIZES = frozenset({"units", "filters", "output_dim", "input_dim", "intermediate_dim", "depth_multiplier"})
SHAPES = ("batch_shape", "batch_input_shape")
# Keras's own marks for values; all other names are those of classes and functions.
NAME = re.compile(r"[A-Za-z_]\w*")


def check_config(path: Path, config: Node, stored: Stored) -> None:
    """Refuse a config that names what is not Keras's, or asks for far more memory than its weights.

    Raises:
        ModelError: with the file and the layer at fault.
    """
    nodes = list(_nodes(config))
    for layer, node in nodes:
        _check_names(path, layer, node)
        _check_files(path, layer, node)
        _check_sides(path, layer, node, max(stored.largest, FREE_DIMENSION))
    _check_numbers(path, [node for _, node in nodes], stored)


def _nodes(config: Node) -> Iterator[tuple[str, Node]]:
    """All objects of a config, each with the name of the layer it belongs to; without recursion, so of any depth."""
    waiting: list[tuple[str, Any]] = [("the model", config)]
    while waiting:
        layer, current = waiting.pop()
        if isinstance(current, dict):
            inner = current.get("config")
            if "class_name" in current and isinstance(inner, dict) and isinstance(inner.get("name"), str):
                layer = f"layer '{inner['name']}'"
            yield layer, current
            waiting.extend((layer, child) for child in current.values())
        elif isinstance(current, list):
            waiting.extend((layer, child) for child in current)


def _check_names(path: Path, layer: str, node: Node) -> None:
    for key, value in node.items():
        if key != "name" and isinstance(value, str) and value.rsplit(">", 1)[-1] in DANGEROUS:
            raise ModelError(_dangerous(path, layer, value))
    if "class_name" not in node:
        return
    class_name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if not isinstance(class_name, str) or not isinstance(module, str | None):
        raise ModelError(f"{path}: {layer} is of no class that could be named. Refused.")
    if class_name in KERAS_2_OPERATIONS:
        raise ModelError(
            f"{path}: {layer} is a bare TensorFlow call, which Keras 2 saved as {class_name} and Keras 3 cannot"
            " read. Load the model with the TensorFlow that wrote it, put a Keras layer in its place, and save again."
        )
    is_function = class_name == "function"
    name = str(node.get("config")) if is_function else class_name
    if isinstance(registered, str) and ">" in registered and registered.split(">", 1)[0] not in PACKAGES:
        raise ModelError(_foreign(path, layer, registered))
    if not _is_keras(module or "", name.rsplit(">", 1)[-1], is_function=is_function):
        raise ModelError(_foreign(path, layer, f"{module}.{name}" if module else name))


def _is_keras(module: str, name: str, *, is_function: bool) -> bool:
    """Whether Keras would find a class or a pure function there, and nothing else."""
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


def _check_sides(path: Path, layer: str, node: Node, limit: int) -> None:
    """Compare single sizes with the largest that is stored."""
    largest = max(_sizes(node), default=0)
    if largest > limit:
        raise ModelError(f"{path}: {layer} declares {largest:,.0f} units, but no weights of that size are stored.")
    if max(_numbers(node.get("kernel_size")), default=0) > MAX_KERNEL_SIDE:
        raise ModelError(f"{path}: {layer} declares a kernel of {node['kernel_size']}. Refused.")
    for key in SHAPES:
        if max(_numbers(node.get(key)), default=0) > MAX_INPUT_SIDE:
            raise ModelError(f"{path}: {layer} declares an input of {node[key]}. Refused.")


def _sizes(node: Node) -> list[float]:
    """Lengths that a layer's weights get from its config."""
    heads, width = node.get("num_heads"), node.get("key_dim", node.get("head_dim"))
    found = [value for key in SIZES & node.keys() for value in _numbers(node[key])]
    return [*found, *(head * length for head in _numbers(heads) for length in _numbers(width))]


def _numbers(value: Any) -> list[float]:
    """The numbers of a setting: one, or a list of them; nothing else counts."""
    values = value if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, (int, float)) and not isinstance(number, bool)]


def _check_numbers(path: Path, nodes: list[Node], stored: Stored) -> None:
    """Estimate how many weights Keras will allocate, and compare that with how many are stored."""
    limit = max(FREE_NUMBERS, MAX_RATIO * stored.total)
    widest = max((size for node in nodes for size in _sizes(node)), default=1)
    volume = max((_volume(node) for node in nodes), default=0)
    if any(node.get("class_name") in RESHAPING for node in nodes) and volume * widest > limit:
        raise ModelError(f"{path}: {volume:,} inputs meet {widest:,.0f} units, without weights for them.")
    asked = sum(_weights(node, max(widest, _channels(node))) for node in nodes)
    if asked > limit:
        raise ModelError(
            f"{path}: its layers ask for some {asked:,.0f} weights, and {stored.total:,} are stored. Refused."
        )


def _volume(node: Node) -> float:
    """Numbers in one input of the declared shape; open sides count as 1."""
    return math.prod(side for key in SHAPES for side in _numbers(node.get(key)))


def _channels(node: Node) -> float:
    """Channels of what the layer is built for, where its entry says so."""
    return max((number for shape in _built_for(node) for number in _numbers(shape)[-1:]), default=0)


def _built_for(node: Node) -> list[Any]:
    built = node.get("build_config")
    if not isinstance(built, dict):
        return []
    shapes = built.get("shapes_dict")
    return [built.get("input_shape"), *(shapes.values() if isinstance(shapes, dict) else ())]


def _weights(node: Node, inputs: float) -> float:
    """Estimate the weights of one layer, given the channels that come in; from above, but for a factor of ten."""
    config = node.get("config")
    if "class_name" not in node or not isinstance(config, dict):
        return 0
    sizes = _sizes(config)
    built = _channels(node)
    if not sizes:
        return built
    groups = max((*_numbers(config.get("groups")), 1))
    kernel = math.prod(_numbers(config.get("kernel_size")) * (1 if isinstance(config.get("kernel_size"), list) else 3))
    each = max(sizes) + kernel if str(node["class_name"]).startswith("Separable") else max(sizes) * kernel / groups
    return each * (built or inputs) + built


def _dangerous(path: Path, layer: str, name: str) -> str:
    return (
        f"{path}: {layer} is a {name.rsplit('>', 1)[-1]}, which runs code of its own. A stranger's model may not. If"
        " it is yours, replace it by Keras layers that do the same (Rescaling, Normalization...), and save again."
    )


def _foreign(path: Path, layer: str, name: str) -> str:
    return (
        f"{path}: {layer} is of the class {name}, which is not part of Keras; its code is not in the file and will "
        "not be imported. Rebuild that part from Keras's own layers, copy its weights, and save again."
    )
