"""Networks that OpenVINO compiled, kept for the next process; no TensorFlow is needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradcam_cli.engines.network_cache import NetworkCache

openvino = pytest.importorskip("openvino")
OPTIONS = {"batch_size": 1, "precision": "float32"}
PIXELS = np.arange(-6, 6, dtype=np.float32).reshape(1, 2, 2, 3)


@pytest.fixture
def kept(tmp_path: Path) -> NetworkCache:
    """Keep a network that doubles what is greater than 0."""
    from gradcam_cli.engines.compiled_network import CompiledNetwork

    ops = openvino.opset15
    x = ops.parameter([1, 2, 2, 3], np.float32)
    doubled = ops.multiply(ops.relu(x), ops.constant(np.float32(2)))
    folder = tmp_path / "plans"
    folder.mkdir(mode=0o700)
    cache = NetworkCache(folder / "abc.plan")
    cache.plan.touch()
    cache.keep(OPTIONS, CompiledNetwork(openvino.Model([doubled], [x])))
    return cache


def test_a_kept_network_computes_the_same(kept: NetworkCache) -> None:
    again = kept.load(OPTIONS, streams=1, precision="float32")
    assert again is not None
    assert again.batch_size == 1
    expected = np.asarray([0, 0, 0, 0, 0, 0, 0, 2, 4, 6, 8, 10], np.float32).reshape(1, 2, 2, 3)
    assert np.array_equal(again([PIXELS])[0], expected)


def test_other_options_are_another_network(kept: NetworkCache) -> None:
    assert kept.load({**OPTIONS, "batch_size": 2}, streams=1, precision="float32") is None
    assert kept.load(OPTIONS, streams=1, precision="float32") is not None


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], lambda data: b""],
    ids=["truncated", "a flipped bit", "empty"],
)
def test_a_damaged_network_is_removed(kept: NetworkCache, damage: Callable[[bytes], bytes]) -> None:
    path = kept.path(OPTIONS)
    path.write_bytes(damage(path.read_bytes()))
    assert kept.load(OPTIONS, streams=1, precision="float32") is None
    assert not path.exists()


def test_a_network_that_others_can_write_is_not_used(kept: NetworkCache) -> None:
    path = kept.path(OPTIONS)
    path.parent.chmod(0o777)
    path.chmod(0o666)
    assert kept.load(OPTIONS, streams=1, precision="float32") is None
    assert path.exists()


def test_nothing_is_kept_without_its_plan(kept: NetworkCache) -> None:
    network = kept.load(OPTIONS, streams=1, precision="float32")
    assert network is not None
    kept.path(OPTIONS).unlink()
    kept.plan.unlink()
    kept.keep(OPTIONS, network)
    assert not kept.path(OPTIONS).exists()
