"""Look through a model file without Keras, and refuse what a classifier has no use for.

A saved model is a program: a config that names classes to import and functions to call, and weights that say how large
they are. Everything here reads with zipfile, json and h5py only; what passes is still loaded in Keras's safe mode.
"""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py

from gradcam_cli.errors import ModelError

MAX_CONFIG_BYTES = 64 * 2**20
MAX_MEMBERS = 10_000
MAX_OBJECTS = 200_000
# A member or tensor that claims to be this many times larger than what is stored for it is a bomb, not a model.
MAX_RATIO = 100
SLACK_BYTES = 16 * 2**20
MAX_INPUT_SIDE = 16_384
# Small networks may declare sizes that their few weights do not show.
FREE_DIMENSION = 4096
FREE_PRODUCT = 10**8

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK"

# Classes that run code of their own, or of a file beside the model, when they are loaded or called.
DANGEROUS = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TensorFlowOpLayer"}
)
LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup", "Hashing"})
ALLOWED_MODULES = (
    "builtins",
    "keras.activations",
    "keras.applications",
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
# Functions may be named from these only: `keras.models` and `keras.utils` have some that read and fetch files.
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
# What Keras 2 made of bare TensorFlow calls in a functional model; Keras 3 cannot read them.
KERAS_2_OPERATIONS = frozenset({"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod"})
# What lays a whole picture before a dense layer.
RESHAPING = frozenset({"Flatten", "Reshape", "Permute"})
SIZES = frozenset({"units", "filters", "output_dim", "input_dim", "key_dim", "num_heads", "intermediate_dim"})


def check_model_file(path: Path) -> None:
    """Refuse a model file that is not what its name says, that is damaged, or that could run code.

    Raises:
        ModelError: with the file, the layer at fault, and what to do instead.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise ModelError(f"{path}: the file is empty.")
    if path.suffix.lower() == ".keras":
        _refuse_misnamed(path, start, ZIP_MAGIC, HDF5_MAGIC, ".h5")
        _check_keras(path)
    else:
        _refuse_misnamed(path, start, HDF5_MAGIC, ZIP_MAGIC, ".keras")
        _check_h5(path)


def check_weights_file(path: Path) -> None:
    """Refuse a file of weights (.h5, .weights.h5 or .keras) that is damaged, or reaches outside of itself.

    Raises:
        ModelError: with the file and what is wrong.
    """
    if path.suffix.lower() != ".keras":
        _check_weights(path, path)
        return
    with _archive(path) as archive:
        _check_members(path, archive)
        _check_archived_weights(path, archive)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{path}: the file is truncated or damaged ({error}). Copy it again, or save the model again."
        ) from error


def _refuse_misnamed(path: Path, start: bytes, own: bytes, other: bytes, other_suffix: str) -> None:
    if start.startswith(own):
        return
    if start.startswith(other):
        raise ModelError(f"{path}: by its content this is a {other_suffix} file. Rename it: {path.stem}{other_suffix}")
    kind = "zip archive" if own == ZIP_MAGIC else "HDF5 file"
    raise ModelError(f"{path}: this is no Keras model: a {path.suffix} file is a {kind}, and this is none.")


def _check_keras(path: Path) -> None:
    with _archive(path) as archive:
        _check_members(path, archive)
        _refuse_keras_2(path, archive)
        config = _read_config(path, archive)
        largest, total = _check_archived_weights(path, archive)
    config.pop("compile_config", None)  # how it was trained is never loaded
    _check_config(path, config, largest, total)


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ModelError(f"{path}: {len(members):,} members are more than a model has.")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise ModelError(f"{path}: the member {member.filename!r} would be written outside of the model. Refused.")
        if member.file_size > MAX_RATIO * member.compress_size + SLACK_BYTES:
            raise ModelError(
                f"{path}: {member.filename!r} claims {member.file_size:,} bytes from {member.compress_size:,} stored. "
                "Refused."
            )


def _refuse_keras_2(path: Path, archive: zipfile.ZipFile) -> None:
    if "metadata.json" not in archive.namelist():
        return
    with archive.open("metadata.json") as file:
        version = str(_parsed(path, file.read(MAX_CONFIG_BYTES + 1)).get("keras_version", ""))
    if version.startswith("2."):
        raise ModelError(
            f"{path}: written by Keras {version}, whose .keras files Keras 3 cannot read; its .h5 files it can. Load"
            " the model with the TensorFlow (or tf_keras) that wrote it, and save it again: model.save('model.h5')"
        )


def _read_config(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        member = archive.getinfo("config.json")
    except KeyError as error:
        raise ModelError(f"{path}: there is no config.json in it, so it is no Keras model.") from error
    with archive.open(member) as file:
        data = file.read(MAX_CONFIG_BYTES + 1)
    return _parsed(path, data)


def _parsed(path: Path, data: Any) -> dict[str, Any]:
    if not isinstance(data, (str, bytes)):
        raise ModelError(f"{path}: its config is no text.")
    if len(data) > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its config is larger than {MAX_CONFIG_BYTES:,} bytes. Refused.")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its config is not JSON ({error}). Save the model again.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: its config describes no model.")
    return config


def _check_archived_weights(path: Path, archive: zipfile.ZipFile) -> tuple[int, int]:
    names = [name for name in archive.namelist() if name.endswith(".h5")]
    sizes = [(0, 0)]
    for name in names:
        with archive.open(name) as member:
            sizes.append(_check_weights(path, member))
    return max(size[0] for size in sizes), sum(size[1] for size in sizes)


def _check_h5(path: Path) -> None:
    largest, total = _check_weights(path, path)
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ModelError(f"{path}: the file is truncated or damaged ({error}).") from error
    if config is None:
        raise ModelError(
            f"{path}: there are weights in it but no model. Give a named model its weights (--model NAME --weights "
            f"{path.name}), or save the whole model: model.save('model.keras')"
        )
    _check_config(path, _parsed(path, config), largest, total)


def _check_weights(path: Path, file: Path | IO[bytes]) -> tuple[int, int]:
    """Walk an HDF5 file by its links; gives the largest dimension and the number of stored values."""
    try:
        with h5py.File(file, "r") as root:
            found = [tuple(dataset.shape or ()) for dataset in _datasets(path, root)]
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: its weights are truncated or damaged ({error}). Save the model again.") from error
    counts = [_product(shape) for shape in found]
    return max((max(shape, default=1) for shape in found), default=0), sum(counts)


def _datasets(path: Path, root: Any) -> Iterator[Any]:
    """All datasets, each once: a hostile file may link a group into itself."""
    waiting, seen = [root], {_address(root)}
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{path}: {group.name}/{name} is a link to another place or file. Refused.")
            item = group[name]
            if _address(item) in seen:
                continue
            seen.add(_address(item))
            if len(seen) > MAX_OBJECTS:
                raise ModelError(f"{path}: more than {MAX_OBJECTS:,} groups and tensors. Refused.")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                _check_dataset(path, item)
                yield item


def _address(item: Any) -> Any:
    return h5py.h5o.get_info(item.id).addr


def _check_dataset(path: Path, dataset: Any) -> None:
    if dataset.external or dataset.is_virtual:
        raise ModelError(f"{path}: {dataset.name} keeps its values in another file. Refused.")
    declared = _product(dataset.shape or ()) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if declared > MAX_RATIO * stored + SLACK_BYTES:
        raise ModelError(f"{path}: {dataset.name} claims {declared:,} bytes and stores {stored:,}. Refused.")


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= int(size)
    return product


def _check_config(path: Path, config: dict[str, Any], largest: int, total: int) -> None:
    sizes: list[int] = []
    volume, flattened = 0, False
    for layer, node in _nodes(config, "the model"):
        _check_node(path, layer, node)
        flattened |= node.get("class_name") in RESHAPING
        volume = max(volume, _volume(node))
        sizes += _check_sizes(path, layer, node, max(largest, FREE_DIMENSION))
    if flattened and sizes and volume * max(sizes) > max(FREE_PRODUCT, MAX_RATIO * total):
        raise ModelError(f"{path}: {volume:,} inputs meet {max(sizes):,} units, without weights for them.")
    widest = sorted(sizes)[-2:]
    if len(widest) == 2 and widest[0] * widest[1] > max(FREE_PRODUCT, MAX_RATIO * total):
        raise ModelError(
            f"{path}: it declares layers of {widest[0]:,} and {widest[1]:,} units without weights for them."
        )


def _volume(node: dict[str, Any]) -> int:
    """Numbers in one input of the declared shape; open sides count as 1."""
    shape = node.get("batch_shape", node.get("batch_input_shape"))
    if not isinstance(shape, list):
        return 0
    return _product(tuple(side for side in shape if isinstance(side, int)))


def _nodes(value: Any, layer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All objects of a config, each with the name of the layer it belongs to; without recursion, so of any depth."""
    waiting: list[tuple[str, Any]] = [(layer, value)]
    while waiting:
        layer, current = waiting.pop()
        if isinstance(current, dict):
            config = current.get("config")
            if "class_name" in current and isinstance(config, dict) and isinstance(config.get("name"), str):
                layer = f"layer '{config['name']}'"
            yield layer, current
            waiting.extend((layer, child) for child in current.values())
        elif isinstance(current, list):
            waiting.extend((layer, child) for child in current)


def _check_node(path: Path, layer: str, node: dict[str, Any]) -> None:
    for key, value in node.items():
        if key != "name" and isinstance(value, str) and value.rsplit(">", 1)[-1] in DANGEROUS:
            raise ModelError(_dangerous(path, layer, value))
    if node.get("class_name") in KERAS_2_OPERATIONS:
        raise ModelError(
            f"{path}: {layer} is a bare TensorFlow call, which Keras 2 saved as {node['class_name']} and Keras 3 cannot"
            " read. Load the model with the TensorFlow that wrote it, put a Keras layer in its place, and save again."
        )
    module = node.get("module")
    allowed = FUNCTION_MODULES if node.get("class_name") == "function" else ALLOWED_MODULES
    if isinstance(module, str) and "class_name" in node and not _is_allowed(module, allowed):
        raise ModelError(_foreign(path, layer, f"{module}.{_named(node)}"))
    registered = node.get("registered_name")
    if isinstance(registered, str) and ">" in registered and not registered.startswith(("keras", "Keras")):
        raise ModelError(_foreign(path, layer, registered))
    if node.get("class_name") in LOOKUPS:
        _check_lookup(path, layer, node.get("config"))


def _is_allowed(module: str, allowed: tuple[str, ...]) -> bool:
    return module in {"", "keras"} or any(module == name or module.startswith(f"{name}.") for name in allowed)


def _named(node: dict[str, Any]) -> str:
    return str(node["config"] if node["class_name"] == "function" else node["class_name"])


def _check_lookup(path: Path, layer: str, config: Any) -> None:
    vocabulary = config.get("vocabulary") if isinstance(config, dict) else None
    if isinstance(vocabulary, str):
        raise ModelError(f"{path}: {layer} reads its vocabulary from the file {vocabulary!r}. Refused.")


def _check_sizes(path: Path, layer: str, node: dict[str, Any], limit: int) -> list[int]:
    """Sizes that a layer declares; each must be a size that its weights have."""
    sizes = [value for key, value in node.items() if key in SIZES and isinstance(value, int)]
    if any(size > limit for size in sizes):
        raise ModelError(f"{path}: {layer} declares {max(sizes):,} units, but no weights of that size are stored.")
    for key in ("batch_shape", "batch_input_shape"):
        shape = node.get(key)
        if isinstance(shape, list) and any(isinstance(side, int) and side > MAX_INPUT_SIDE for side in shape):
            raise ModelError(f"{path}: {layer} declares an input of {shape}. Refused.")
    return sizes


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
