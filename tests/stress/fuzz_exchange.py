"""Fuzz OpenVINO's readers of ONNX and of its own format, behind the preflight: every file is read or refused.

    python tests/stress/fuzz_exchange.py --minutes 10

Seeds are the ONNX files of the tests, and two of them as OpenVINO keeps them. Of ONNX files most are taken apart, one
field of the graph is changed, and they are put together again: a changed byte would end at the preflight. The target
is the whole way of a file: the preflight, reading, the shapes of its tensors, and for some the plan with its gradient.
With `--guarded` reading is done as the program does it, where a process of its own reads each file first.
"""

import os
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fuzzing import fuzz, mutated

from gradcam_cli.errors import GradcamError
from gradcam_cli.models.safety.protobuf import BYTES, FIXED32, VARINT, fields

ONNX = Path(__file__).parents[1] / "data" / "onnx"
MEMORY = 3 * 2**30
GUARDED = "GRADCAM_FUZZ_GUARDED"
# One file in so many is compiled, too.
COMPILED = 8
# The fields that are messages: model.graph, then node, initializer, input and output of a graph, and so on.
GRAPH, NODE, TENSOR, ATTRIBUTE, VALUE = "graph", "node", "tensor", "attribute", "value"
TYPE, ARRAY, SHAPE, SIZE = "type", "array", "shape", "size"
NESTED = {
    ("model", 7): GRAPH,
    (GRAPH, 1): NODE,
    (GRAPH, 5): TENSOR,
    (GRAPH, 11): VALUE,
    (GRAPH, 12): VALUE,
    (GRAPH, 13): VALUE,
    (NODE, 5): ATTRIBUTE,
    (ATTRIBUTE, 5): TENSOR,
    (VALUE, 2): TYPE,
    (TYPE, 1): ARRAY,
    (ARRAY, 2): SHAPE,
    (SHAPE, 1): SIZE,
}
ODD = (0, 1, 2, 3, 7, 16, 127, 128, 255, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**64 - 2, 10**6, 10**9)
# Operations of ONNX: put in the place of those of the seeds.
OPERATIONS = tuple(
    b"Relu Conv ConvTranspose MaxPool AveragePool GlobalAveragePool Reshape Expand Tile Range Pad Slice Gather GatherND"
    b" Scatter ScatterND Concat Split Transpose Squeeze Unsqueeze Resize Upsample Loop If Scan Einsum MatMul Gemm Where"
    b" NonZero TopK Unique OneHot CumSum DepthToSpace SpaceToDepth LSTM GRU RNN Softmax LogSoftmax Compress RoiAlign"
    b" NonMaxSuppression ConstantOfShape Shape Size EyeLike RandomNormal DFT STFT GridSample QuantizeLinear"
    b" DequantizeLinear QLinearConv MatMulInteger LayerNormalization BatchNormalization InstanceNormalization"
    b" GroupNormalization Attention Cast Identity Dropout Mod BitShift Trilu Col2Im CenterCropPad".split()
)


def target(data: bytes) -> str:
    """Open a model whose first byte tells its format; gives how it ended."""
    from gradcam_cli.engines.exchange import network, reading_subprocess
    from gradcam_cli.engines.exchange.compiling import compile_exchange
    from gradcam_cli.models.request import locate_model
    from gradcam_cli.settings import ModelSettings

    if not os.environ.get(GUARDED):
        reading_subprocess.check_reading = lambda *_: None
    path = _written(data)
    request = None
    try:
        request = locate_model(ModelSettings(model=str(path)), lambda *_: None)
        if zlib.crc32(data) % COMPILED == 0:
            compile_exchange(request)
            return "compiled"
        network.open_network(request)
    except GradcamError as error:
        message = str(error)
        if "Traceback" in message or "bad_alloc" in message:
            raise MemoryError(message) from error
        return "refused by the preflight" if request is None else "refused behind the preflight"
    return "read"


def _written(data: bytes) -> Path:
    folder = Path(tempfile.gettempdir()) / f"fuzzed-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    if data[:1] == b"X":
        path = folder / "fuzzed.xml"
        size = int.from_bytes(data[1:5], "big")
        path.write_bytes(data[5 : 5 + size])
        path.with_suffix(".bin").write_bytes(data[5 + size :])
        return path
    path = folder / "fuzzed.onnx"
    path.write_bytes(data[1:])
    return path


def change(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Mutate the file as bytes, or one field or attribute of it."""
    kind = data[:1]
    if kind == b"X":
        size = int.from_bytes(data[1:5], "big")
        text, weights = data[5 : 5 + size], data[5 + size :]
        text = _attribute_changed(rng, text) if rng.random() < 0.9 else mutated(rng, text, [text])
        return kind + len(text).to_bytes(4, "big") + text + weights
    if rng.random() < 0.9:
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = kind + _field_changed(rng, data[1:])
        return data
    return kind + mutated(rng, data[1:], [seed[1:] for seed in seeds])


def _attribute_changed(rng: random.Random, text: bytes) -> bytes:
    """Put another number, another type or nothing in the place of an attribute's or an element's value."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(re.finditer(rb'="([^"<>]*)"|>([^<>\s]+)<', text))
        place = rng.choice(places)
        group = 1 if place.group(1) is not None else 2
        old = place.group(group)
        numbers = re.findall(rb"-?\d+", old)
        other = rng.choice(places)
        new = rng.choice((str(rng.choice(ODD)).encode(), b"-1", other.group(1) or other.group(2) or b"", b"x"))
        if numbers and rng.random() < 0.7:
            number = str(rng.choice((-1, -(2**31), -(2**63), *ODD))).encode()
            new = old.replace(rng.choice(numbers), number, 1)
        text = text[: place.start(group)] + new + text[place.end(group) :]
    return text


def _field_changed(rng: random.Random, model: bytes) -> bytes:
    """Change one field somewhere in the graph: a number, a name, an operation; or drop, repeat or move a field."""
    try:
        places = list(_places(model, "model", ()))
    except ValueError:
        return model
    wanted = rng.choice((NODE, NODE, ATTRIBUTE, ATTRIBUTE, TENSOR, GRAPH, ARRAY, SIZE))
    found = [place for place in places if place[1] == wanted] or places
    path, kind = rng.choice(found)
    return _replaced(model, path, lambda message: _message_changed(rng, message, kind))


def _places(message: bytes, kind: str, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    """The path to each message, by the places of its fields, and what it is."""
    yield path, kind
    for place, (number, value) in enumerate(fields(memoryview(message))):
        inner = NESTED.get((kind, number))
        if inner is not None and not isinstance(value, int):
            yield from _places(bytes(value), inner, (*path, place))


def _replaced(message: bytes, path: tuple[int, ...], change: Callable[[bytes], bytes]) -> bytes:
    if not path:
        return change(message)
    parts = []
    for place, (number, value) in enumerate(_typed(message)):
        inner = _replaced(bytes(value), path[1:], change) if place == path[0] and not isinstance(value, int) else value
        parts.append((number, inner))
    return _encoded(parts)


def _typed(message: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message. Numbers of a fixed width are kept as (number, bytes) of that width, see `_encoded`."""
    return [
        (number, value if isinstance(value, int) else bytes(value)) for number, value in fields(memoryview(message))
    ]


def _message_changed(rng: random.Random, message: bytes, kind: str) -> bytes:
    parts = _typed(message)
    if not parts:
        return message
    place = rng.randrange(len(parts))
    number, value = parts[place]
    way = rng.random()
    if way < 0.1:
        del parts[place]
    elif way < 0.2:
        parts.insert(rng.randrange(len(parts)), parts[place])
    elif way < 0.3:
        parts.insert(rng.randrange(len(parts)), parts.pop(place))
    elif isinstance(value, int):
        parts[place] = (number, rng.choice(ODD))
    elif kind == NODE and number in {1, 2, 4}:
        others = [each for key, each in parts if key in {1, 2} and isinstance(each, bytes)]
        parts[place] = (number, rng.choice(OPERATIONS if number == 4 else (b"", *others)))
    elif kind in {TENSOR, ATTRIBUTE} and number in {1, 8} and len(value) < 64:
        parts[place] = (number, b"".join(_varint(rng.choice(ODD)) for _ in range(rng.choice((0, 1, 2, 4)))))
    else:
        parts[place] = (number, mutated(rng, value or b"\0", [value or b"\0"]))
    return _encoded(parts)


def _encoded(parts: Sequence[tuple[int, int | bytes]]) -> bytes:
    """Write fields: integers as varints, all else with its length; four bytes of field 2, a float, as they were."""
    found = []
    for number, value in parts:
        if isinstance(value, int):
            found.append(_varint(number << 3 | VARINT) + _varint(value))
        elif number == 2 and len(value) == 4 and not value.isascii():
            found.append(_varint(number << 3 | FIXED32) + value)
        else:
            found.append(_varint(number << 3 | BYTES) + _varint(len(value)) + value)
    return b"".join(found)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def seeds() -> dict[str, bytes]:
    """Give the ONNX files of the tests, and two of them in OpenVINO's format."""
    from gradcam_cli.engines.runtime import openvino

    found = {path.name: b"O" + path.read_bytes() for path in sorted(ONNX.glob("*.onnx"))}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pooled", "flat"):
            xml = Path(folder) / f"{name}.xml"
            openvino.save_model(openvino.Core().read_model(ONNX / f"{name}.onnx"), xml, compress_to_fp16=False)
            text = xml.read_bytes()
            found[xml.name] = b"X" + len(text).to_bytes(4, "big") + text + xml.with_suffix(".bin").read_bytes()
    return found


if __name__ == "__main__":
    if "--guarded" in sys.argv:
        sys.argv.remove("--guarded")
        os.environ[GUARDED] = "1"
    fuzz(target, seeds(), change, memory=MEMORY, description=__doc__)
