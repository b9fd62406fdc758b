"""Check an ONNX file before OpenVINO reads it, and refuse content that an image classifier does not need.

Nothing in the file is executed, and no weights are copied: the file is mapped into memory, and the weights are
skipped. Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import ast
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.safety.protobuf import fields, integers, message, number, text

# A protobuf file has at most 2 GB. Larger networks have their weights in other files.
MAX_FILE_BYTES = 2 * 2**30
MAX_NODES = 200_000
MAX_TENSORS = 200_000
MAX_EXTERNAL_FILES = 4096
MAX_DEPTH = 8
# Operators of the standard, and those of ONNX Runtime, some of which OpenVINO supports.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
EXTERNAL = 1
# Fields of a node: its inputs, its outputs and its own name.
NAMES = (1, 2, 3)
SCOPES = "pkg.torch.onnx.name_scopes"
# Bits of an element, by TensorProto.DataType.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4,
}  # fmt: skip
STRINGS = 8
# Fields with the single values of a tensor: float_data, int32_data, int64_data, double_data, uint64_data.
TYPED = (4, 5, 7, 10, 11)


@dataclass(frozen=True)
class OnnxFile:
    """The files of an ONNX model's weights, and the PyTorch modules of its tensors.

    `external` are names relative to the file's folder. `scopes` has, for each tensor, the PyTorch modules around its
    node, the outermost first, if the exporter stored them.
    """

    external: tuple[str, ...]
    scopes: dict[str, tuple[str, ...]]


@dataclass
class _Seen:
    """The counts and files that were found so far."""

    path: Path
    size: int
    nodes: int = 0
    tensors: int = 0
    external: dict[str, int] = field(default_factory=dict)
    scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def check_onnx(path: Path) -> OnnxFile:
    """Refuse an ONNX file that is damaged, uses files outside its folder, or needs custom operators.

    Raises:
        ModelError: the file is refused. The message says what is wrong and what to do.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: an ONNX file of more than {MAX_FILE_BYTES:,} bytes. Refused.")
    seen = _Seen(path, size)
    try:
        with path.open("rb") as file:
            # The map is closed when nothing refers to a part of it. The frames of an error also refer to parts.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _check_model(memoryview(mapped), seen)
    except ModelError:
        raise
    except (ValueError, OverflowError) as error:
        raise ModelError(
            f"{path}: the file is truncated or damaged, or it is not an ONNX model ({first_line(error)}). Copy it "
            "again, or export the model again."
        ) from error
    _check_external(seen)
    return OnnxFile(tuple(seen.external), seen.scopes)


def _check_model(model: memoryview, seen: _Seen) -> None:
    graphs = 0
    for key, value in fields(model):
        if key == 7:
            graphs += 1
            _check_graph(message(value), seen, 0)
        elif key == 25:
            for inner, node in fields(message(value)):
                if inner == 7:
                    _check_node(message(node), seen, 1)
    if graphs != 1 or not seen.nodes:
        raise ValueError("there is no graph in it")


def _check_graph(graph: memoryview, seen: _Seen, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ModelError(f"{seen.path}: graphs are nested more than {MAX_DEPTH} deep. Refused.")
    for key, value in fields(graph):
        if key == 1:
            _check_node(message(value), seen, depth)
        elif key == 5:
            _check_tensor(message(value), seen)
        elif key == 15:
            raise ModelError(f"{seen.path}: sparse weights are not supported. Export the model with dense weights.")


def _check_node(node: memoryview, seen: _Seen, depth: int) -> None:
    seen.nodes += 1
    if seen.nodes > MAX_NODES:
        raise ModelError(f"{seen.path}: more than {MAX_NODES:,} operations. Refused.")
    outputs: list[str] = []
    kind = domain = ""
    scopes: tuple[str, ...] = ()
    for key, value in fields(node):
        if key in NAMES:
            # OpenVINO accepts names that are not valid text, and Python cannot read them.
            names = [text(value)]
            outputs += names if key == 2 else []
        elif key == 4:
            kind = text(value)
        elif key == 5:
            _check_attribute(message(value), seen, depth)
        elif key == 7:
            domain = text(value)
        elif key == 9:
            scopes = _scopes(message(value)) or scopes
    if domain not in DOMAINS:
        raise ModelError(
            f"{seen.path}: the operator '{domain}::{kind}' is not a standard operator. Custom operators "
            "run code, so they "
            "are not loaded. Export the model with standard operators only."
        )
    if scopes:
        seen.scopes |= dict.fromkeys(outputs, scopes)


def _scopes(entry: memoryview) -> tuple[str, ...]:
    """Read the modules around a node in the notation of PyTorch's exporter: `['', 'layer4', 'layer4.1', 'relu_16']`."""
    found = {key: value for key, value in fields(entry) if key in {1, 2}}
    if 1 not in found or 2 not in found or text(found[1]) != SCOPES:
        return ()
    try:
        names = ast.literal_eval(text(found[2]))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    # The last name is that of the operation itself.
    return tuple(str(name) for name in names[:-1] if name) if isinstance(names, list) else ()


def _check_attribute(attribute: memoryview, seen: _Seen, depth: int) -> None:
    for key, value in fields(attribute):
        if key in {5, 10}:
            _check_tensor(message(value), seen)
        elif key in {6, 11}:
            _check_graph(message(value), seen, depth + 1)


def _check_tensor(tensor: memoryview, seen: _Seen) -> None:
    """Refuse a tensor that declares more values than are stored for it."""
    seen.tensors += 1
    if seen.tensors > MAX_TENSORS:
        raise ModelError(f"{seen.path}: more than {MAX_TENSORS:,} tensors. Refused.")
    found: dict[int, list[int | memoryview]] = {}
    for key, value in fields(tensor):
        found.setdefault(key, []).append(value)
    kind = number(found.get(2, [0])[-1])
    name = text(found.get(8, [memoryview(b"")])[-1])
    if kind == STRINGS:
        return
    if kind not in BITS:
        raise ValueError(f"the tensor {name!r} is of the unknown type {kind}")
    elements = math.prod(size for part in found.get(1, []) for size in integers(part))
    claimed = elements * BITS[kind] // 8
    raw = sum(len(message(part)) for part in found.get(9, []))
    packed = sum(1 if isinstance(part, int) else len(part) for key in TYPED for part in found.get(key, []))
    if number(found.get(14, [0])[-1]) == EXTERNAL:
        _note_external(dict(_entry(message(part)) for part in found.get(13, [])), claimed, name, seen)
    # In other fields than `raw_data`, each value takes at least one byte.
    elif raw < claimed and packed * 8 < elements * min(BITS[kind], 8):
        raise ModelError(
            f"{seen.path}: the tensor {name!r} declares {claimed:,} bytes but has {raw + packed:,}. Refused."
        )


def _entry(entry: memoryview) -> tuple[str, str]:
    found = dict(fields(entry))
    return text(found.get(1, memoryview(b""))), text(found.get(2, memoryview(b"")))


def _note_external(where: dict[str, str], claimed: int, name: str, seen: _Seen) -> None:
    """Record a file of weights, and the last byte that is read from it."""
    location = where.get("location", "")
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    outside = posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts)
    if outside or not posix.parts or "\0" in location:
        raise ModelError(f"{seen.path}: its weights are in {location!r}, outside the model's folder. Refused.")
    offset, length = int(where.get("offset") or 0), int(where.get("length") or claimed)
    if offset < 0 or length < claimed:
        raise ModelError(f"{seen.path}: the tensor {name!r} declares {claimed:,} bytes but has {length:,}. Refused.")
    seen.external[location] = max(seen.external.get(location, 0), offset + length)
    if len(seen.external) > MAX_EXTERNAL_FILES:
        raise ModelError(f"{seen.path}: weights in more than {MAX_EXTERNAL_FILES:,} files. Refused.")


def _check_external(seen: _Seen) -> None:
    for location, end in seen.external.items():
        file = seen.path.parent / location
        for part in _below(seen.path.parent, file):
            if part.is_symlink():
                raise ModelError(f"{seen.path}: {part} is a link and may point outside the model's folder. Refused.")
        if not file.is_file():
            raise ModelError(
                f"{seen.path}: its weights are in {location!r}, which is not in the same folder. Copy this "
                "file too: the model needs both files."
            )
        if file.stat().st_size < end:
            raise ModelError(
                f"{seen.path}: {location!r} has {file.stat().st_size:,} bytes, but the model needs {end:,}. "
                "Copy it again."
            )


def _below(folder: Path, file: Path) -> Iterator[Path]:
    while file != folder:
        yield file
        file = file.parent
