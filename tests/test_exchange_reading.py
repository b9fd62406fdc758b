"""Reading models in exchange formats: files at which OpenVINO crashes, and networks that are not in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, SAMPLES, Runner
from numpy.typing import NDArray
from onnx_bytes import field, model, node

from gradcam_cli.engines.exchange import reading_subprocess
from gradcam_cli.engines.exchange.compiling import compile_exchange
from gradcam_cli.engines.exchange.network import open_network
from gradcam_cli.engines.exchange.widening import widened
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.protocol import Forward
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.errors import ModelError
from gradcam_cli.models.request import locate_model
from gradcam_cli.models.safety.onnx_file import check_onnx
from gradcam_cli.settings import ModelSettings, TargetSettings

op = openvino.opset15
SIDE = 16
OPSET = field(8, field(2, 17))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """These files are harmless: no process of its own reads them first."""
    monkeypatch.setattr(reading_subprocess, "check_reading", lambda *_: None)


def opened(path: Path) -> Any:
    return open_network(locate_model(ModelSettings(model=str(path)), lambda *_: None))


def explained(path: Path, layer: str) -> Forward:
    made = compile_exchange(locate_model(ModelSettings(model=str(path), layer=layer), lambda *_: None))
    x = np.random.default_rng(0).random((1, *made.input_shape), np.float32)
    return OpenVinoEngine(made, TargetSettings(), PassOptions(1)).explain(x, np.array([[1]]))


def value(name: bytes, *sizes: int) -> bytes:
    """A tensor's name, type and shape, as ONNX declares inputs and outputs."""
    dims = b"".join(field(1, field(1, size)) for size in sizes)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


@pytest.fixture
def deadly(tmp_path: Path) -> Path:
    """A well-formed ONNX file at which OpenVINO 2026.4 dies by SIGSEGV: a convolution without inputs."""
    convolution = field(1, field(2, b"y") + field(4, b"Conv"))
    graph = convolution + field(11, value(b"x", 1, 3, 8, 8)) + field(12, value(b"y", 1, 3, 8, 8))
    path = tmp_path / "net.onnx"
    path.write_bytes(model(graph) + OPSET)
    check_onnx(path)
    return path


def test_a_crash_of_openvino_is_an_error_of_the_file(run: Runner, deadly: Path) -> None:
    done = run("explain", SAMPLES / "chelsea.jpg", "--model", deadly, "-o", "out").expect(3)
    assert f"{deadly}: the file is damaged or malicious" in done.err
    assert "export it again" in done.err


def test_what_takes_too_long_is_refused(deadly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_subprocess, "SECONDS", 0)
    with pytest.raises(ModelError, match="after 0 seconds"):
        reading_subprocess.check_reading([deadly], (), 1, None)


def test_a_refusal_of_the_process_names_the_model(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    graph = node(b"Nosuch") + field(11, value(b"x", 1, 3, 8, 8)) + field(12, value(b"y", 1, 5))
    path.write_bytes(model(graph) + OPSET)
    with pytest.raises(ModelError, match=r"net\.onnx: OpenVINO cannot read this network .*Nosuch"):
        opened(path)


@pytest.mark.usefixtures("at_once")
def test_a_picture_that_no_machine_has_memory_for_is_refused(tmp_path: Path) -> None:
    given = op.parameter([1, 3, 10**6, 10**6], np.float32, "picture")
    path = saved(tmp_path, op.reduce_mean(given, np.asarray([2, 3]), keep_dims=False), given)
    with pytest.raises(ModelError, match="more than 1,000,000,000 numbers"):
        opened(path)


def saved(tmp_path: Path, result: Any, *inputs: Any, compressed: bool = False) -> Path:
    path = tmp_path / "net.xml"
    openvino.save_model(openvino.Model([result], list(inputs)), path, compress_to_fp16=compressed)
    return path


def weights(*shape: int) -> NDArray[np.float32]:
    """Numbers that float16 and bfloat16 have, too: eighths."""
    return (np.random.default_rng(sum(shape)).integers(-16, 17, shape) / 8).astype(np.float32)


def network(kind: Any, head: str) -> Any:
    """Two convolutions and a head that compute in a type."""

    def constant(*shape: int) -> Any:
        return op.convert(op.constant(weights(*shape)), kind) if kind == "bf16" else typed(weights(*shape))

    def typed(array: Any) -> Any:
        return op.constant(array.astype(np.float16 if kind == "f16" else np.float64 if kind == "f64" else np.float32))

    given = op.parameter([1, 3, SIDE, SIDE], getattr(openvino.Type, kind), "picture")
    first = op.relu(op.convolution(given, constant(4, 3, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1]))
    first.set_friendly_name("first")
    last = op.relu(op.convolution(first, constant(6, 4, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]))
    last.set_friendly_name("last")
    x = op.reduce_mean(last, np.asarray([2, 3]), keep_dims=False)
    if head == "dense":
        x = op.tanh(op.matmul(x, constant(6, 8), transpose_a=False, transpose_b=False))
    width = 8 if head == "dense" else 6
    return openvino.Model([op.matmul(x, constant(width, 3), transpose_a=False, transpose_b=False)], [given])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("layer", ["last", "first"])
@pytest.mark.parametrize("head", ["linear", "dense"])
@pytest.mark.parametrize("kind", ["f16", "bf16", "f64"])
def test_networks_in_other_types_are_explained_in_float32(tmp_path: Path, kind: str, head: str, layer: str) -> None:
    found = []
    for each in (kind, "f32"):
        path = tmp_path / f"{each}.xml"
        openvino.save_model(network(each, head), path, compress_to_fp16=False)
        found.append(explained(path, layer))
    ours, exact = found
    np.testing.assert_allclose(ours.logits, exact.logits, rtol=1e-5, atol=1e-4)
    assert ours.gradients is not None
    assert exact.gradients is not None
    np.testing.assert_allclose(ours.gradients, exact.gradients, atol=1e-5 * np.abs(exact.gradients).max())


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("layer", ["last", "first"])
def test_weights_that_openvino_has_compressed_to_float16(tmp_path: Path, layer: str) -> None:
    """`save_model` compresses by default: the network computes in float32 all the same, and is not changed."""
    found = []
    for compressed in (True, False):
        path = tmp_path / f"{compressed}.xml"
        openvino.save_model(network("f32", "dense"), path, compress_to_fp16=compressed)
        found.append(explained(path, layer))
    assert (tmp_path / "True.bin").stat().st_size < (tmp_path / "False.bin").stat().st_size
    gradients = [forward.gradients for forward in found]
    np.testing.assert_array_equal(gradients[0], gradients[1])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", ["pooled_half", "vit_half"])
def test_networks_that_pytorch_exported_in_float16(name: str) -> None:
    """Against autograd in float32: what is left is the rounding of the weights to 11 bits."""
    reference = np.load(DATA / "onnx" / f"{name.removesuffix('_half')}.npz")
    layer = "stem" if name == "pooled_half" else "blocks.0"
    path = DATA / "onnx" / f"{name}.onnx"
    made = compile_exchange(locate_model(ModelSettings(model=str(path), layer=layer), lambda *_: None))
    x = np.ascontiguousarray(reference["x"].transpose(0, 2, 3, 1))
    engine = OpenVinoEngine(made, TargetSettings(), PassOptions(1))
    for i, target in enumerate(reference["classes"]):
        slopes = engine.explain(x[i : i + 1], np.array([[target]])).gradients
        assert slopes is not None
        wanted = reference[f"g_{layer}"][i]
        wanted = wanted.transpose(1, 2, 0) if wanted.ndim == 3 else wanted[1:].reshape(4, 5, -1)
        assert np.corrcoef(slopes[0, 0].ravel(), wanted.ravel())[0, 1] > 0.9999


def test_a_network_in_float32_is_left_alone() -> None:
    made = network("f32", "linear")
    before = [node.get_instance_id() for node in made.get_ordered_ops()]
    assert [node.get_instance_id() for node in widened(made).get_ordered_ops()] == before
