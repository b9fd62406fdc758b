"""ONNX files and models of OpenVINO that are damaged or hostile are refused before OpenVINO reads them."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import DATA
from onnx_bytes import field, model, node

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety import onnx_file, protobuf
from gradcam_cli.models.safety.onnx_file import check_onnx
from gradcam_cli.models.safety.openvino_file import check_openvino

ONNX = DATA / "onnx"
FLOAT, INT64 = 1, 7


def tensor(shape: tuple[int, ...], raw: bytes, kind: int = FLOAT, *more: bytes) -> bytes:
    dims = b"".join(field(1, size) for size in shape)
    return dims + field(2, kind) + field(8, b"w") + field(9, raw) + b"".join(more)


def external(shape: tuple[int, ...], **where: str) -> bytes:
    entries = (field(13, field(1, k.encode()) + field(2, v.encode())) for k, v in where.items())
    return tensor(shape, b"", FLOAT, *entries, field(14, 1))


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    return path


def test_a_message_by_hand() -> None:
    data = bytes([0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69, 0x1D, 1, 0, 0, 0, 0x21]) + bytes(8)
    found = [(n, v if isinstance(v, int) else bytes(v)) for n, v in protobuf.fields(memoryview(data))]
    assert found == [(1, 150), (2, b"hi"), (3, b"\1\0\0\0"), (4, bytes(8))]
    assert list(protobuf.integers(memoryview(b"\x03\x96\x01"))) == [3, 150]


@pytest.mark.parametrize("name", ["pooled", "pooled_dynamo", "flat", "flat_dynamo", "vit", "vit_dynamo"])
def test_real_files_pass(name: str) -> None:
    assert check_onnx(ONNX / f"{name}.onnx").external == ()


def test_modules_of_pytorch_are_read() -> None:
    scopes = check_onnx(ONNX / "pooled_dynamo.onnx").scopes
    assert scopes["hardtanh"] == ("last", "last.1")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = (ONNX / "pooled.onnx").read_bytes()
    refused = 0
    for length in range(0, len(whole) - 1, 7):
        try:
            check_onnx(written(tmp_path, whole[:length] or b"\0"))
        except ModelError:
            refused += 1
    # What ends between two fields of the file itself is whole, as far as this format shows.
    assert refused > len(whole) / 7 * 0.95


def test_every_changed_byte_is_harmless_or_refused(tmp_path: Path) -> None:
    whole = (ONNX / "pooled.onnx").read_bytes()
    for position in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[position] ^= 0x85
        path = written(tmp_path, bytes(changed))
        # Anything else that is raised is a fault of the reader.
        with suppress(ModelError):
            check_onnx(path)


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (node(b"Evil", b"my.ops"), "'my.ops::Evil' is not a standard operator"),
        (node() + field(5, tensor((10**6, 10**6), b"1234")), "declares 4,000,000,000,000 bytes"),
        (node() + field(5, tensor((3,), b"", INT64, field(7, b"\1\1"))), "declares 24 bytes"),
        (node() + field(5, tensor((2,), bytes(8), 99)), "unknown type 99"),
        (node() + field(15, b""), "sparse weights"),
        (node() + field(5, external((2,), location="../w.bin")), "outside the model's folder"),
        (node() + field(5, external((2,), location="/etc/passwd")), "outside the model's folder"),
        (node() + field(5, external((2,), location="a/../../w")), "outside the model's folder"),
        (node() + field(5, external((2,), location="C:\\w.bin")), "outside the model's folder"),
        (node() + field(5, external((2,), location="")), "outside the model's folder"),
        (node() + field(5, external((2,), location="none.bin")), "not in the same folder"),
        (node() + field(5, external((9,), location="w.bin", length="4")), "declares 36 bytes but has 4"),
        (node() + field(5, external((9,), location="w.bin")), "has 8 bytes, but the model needs 36"),
        (node() + field(5, external((2,), location="w.bin", offset="4")), "has 8 bytes, but the model needs 12"),
        (node() + field(5, external((2,), location="link.bin")), "is a link"),
        (node(b"If", b"", field(5, field(6, node(b"Evil", b"my.ops")))), "my.ops"),
        (b"", "no graph"),
    ],
)
def test_what_is_refused(tmp_path: Path, graph: bytes, told: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (tmp_path / "link.bin").symlink_to(tmp_path / "w.bin")
    path = written(tmp_path, model(graph))
    with pytest.raises(ModelError) as error:
        check_onnx(path)
    assert told in str(error.value)
    assert str(path) in str(error.value)


def test_what_passes(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    weights = field(5, external((2,), location="w.bin", offset="4", length="8"))
    packed = field(5, tensor((3,), b"", INT64, field(7, b"\1\2\3")))
    found = check_onnx(written(tmp_path, model(node(), node(b"FusedConv", b"com.microsoft"), weights, packed)))
    assert found.external == ("w.bin",)


def test_graphs_inside_of_graphs_come_to_an_end(tmp_path: Path) -> None:
    inner = node()
    for _ in range(onnx_file.MAX_DEPTH + 2):
        inner = node(b"If", b"", field(5, field(6, inner)))
    with pytest.raises(ModelError, match="deep"):
        check_onnx(written(tmp_path, model(inner)))


def test_counts_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, model(node(), node(), node()))
    check_onnx(path)
    monkeypatch.setattr(onnx_file, "MAX_NODES", 2)
    with pytest.raises(ModelError, match="more than 2 operations"):
        check_onnx(path)
    monkeypatch.setattr(onnx_file, "MAX_FILE_BYTES", 5)
    with pytest.raises(ModelError, match="more than 5 bytes"):
        check_onnx(path)


NET = '<?xml version="1.0"?>{}<net name="n" version="11"><layers>{}</layers></net>'
LAYER = (
    '<layer id="0" name="c" type="{}" version="{}"><data element_type="f32" shape="{}" offset="{}" size="{}"/></layer>'
)


def ir(tmp_path: Path, text: str, size: int = 16) -> tuple[Path, Path]:
    xml, weights = tmp_path / "net.xml", tmp_path / "net.bin"
    xml.write_text(text)
    weights.write_bytes(bytes(size))
    return xml, weights


def test_a_network_of_openvino_passes(tmp_path: Path) -> None:
    check_openvino(*ir(tmp_path, NET.format("", LAYER.format("Const", "opset1", "2, 2", 0, 16))))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NET.format('<!DOCTYPE n [<!ENTITY a "aaaa">]>', ""), "document type or entities"),
        (NET.format('<!DOCTYPE n SYSTEM "file:///etc/passwd">', ""), "document type or entities"),
        (
            NET.format("", LAYER.format("Evil", "my_extension", "2", 0, 8)),
            "'my_extension::Evil' is not a standard operator",
        ),
        (NET.format("", LAYER.format("Const", "opset1", "2", 12, 8)), "ends at byte 20"),
        (NET.format("", LAYER.format("Const", "opset1", "2", -8, 8)), "ends at byte"),
        (NET.format("", LAYER.format("Const", "opset1", "9", 0, 8)), "declares more numbers"),
        (NET.format("", "<layer>"), "truncated or damaged"),
        ("<?xml version='1.0'?><net/>", "not a network"),
    ],
)
def test_hostile_networks_of_openvino_are_refused(tmp_path: Path, text: str, told: str) -> None:
    xml, weights = ir(tmp_path, text)
    with pytest.raises(ModelError) as error:
        check_openvino(xml, weights)
    assert told in str(error.value)
    assert str(xml) in str(error.value)


def test_a_network_of_openvino_needs_its_weights(tmp_path: Path) -> None:
    from gradcam_cli.models.parts import parts_of

    xml, weights = ir(tmp_path, NET.format("", LAYER.format("Const", "opset1", "2", 0, 8)))
    assert parts_of(xml, None).weights == weights
    other = shutil.copy(weights, tmp_path / "other.bin")
    weights.unlink()
    with pytest.raises(ModelError, match=r"net\.bin, are not in the same folder"):
        parts_of(xml, None)
    assert parts_of(xml, Path(other)).weights == Path(other)
