"""What the headers of an HDF5 file may claim, and model files that people have, which pass."""

import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety import preflight
from gradcam_cli.models.safety.preflight import check_model_file, check_weights_file

BYTES = np.random.default_rng(0).normal(size=(64, 1000)).astype("f4")


def giant_chunk(file: Any) -> None:
    """Six numbers, for which HDF5 takes 2 GiB. They are not written, which would take that memory and disk here."""
    file.create_dataset("x", (6,), "f4", chunks=(2**29,), maxshape=(None,))


def inflating_chunk(file: Any) -> None:
    """A chunk of 4 kB whose stream becomes 200 MB."""
    import zlib

    data = file.create_dataset("x", (1024,), "f4", chunks=(1024,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(200_000_000)))


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "a giant chunk": (giant_chunk, "each of its chunks declares 2,147,483,648"),
    "a chunk that inflates": (inflating_chunk, "a chunk that is larger when decompressed than 4,096 bytes"),
    "another compression": (lambda f: f.create_dataset("x", data=BYTES, compression="lzf"), "HDF5 filter 32000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_chunks(tmp_path: Path, name: str) -> None:
    make, message = HOSTILE[name]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        make(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=message):
        check_weights_file(tmp_path / "m.h5")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000


HONEST: dict[str, Callable[[Any], Any]] = {
    "chunks": lambda f: f.create_dataset("x", data=BYTES, chunks=True),
    "growing": lambda f: f.create_dataset("x", data=BYTES[:1, :6], maxshape=(None, None)),
    "gzip": lambda f: f.create_dataset("x", data=BYTES, compression="gzip", shuffle=True, fletcher32=True),
    "gzip of zeros": lambda f: f.create_dataset("x", data=np.zeros((100, 1000), "f4"), compression="gzip"),
    "empty": lambda f: f.create_dataset("x", (0, 4), "f4", maxshape=(None, 4)),
    "a number": lambda f: f.create_dataset("x", data=np.float32(1)),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_tensors(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        HONEST[name](file)
    check_weights_file(tmp_path / "m.h5")


def tutorial() -> Any:
    """A model that was built with the batch in its shape, with a nested model and without an input layer."""
    scale = keras.Sequential([layers.Resizing(64, 64), layers.Rescaling(1 / 255)])
    convolutions = [layer for _ in range(2) for layer in (layers.Conv2D(8, 3), layers.MaxPooling2D())]
    model = keras.Sequential([scale, *convolutions, layers.Flatten(), layers.Dense(16), layers.Dense(3)])
    model.build((32, 64, 64, 3))
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_tutorial_with_the_batch_in_its_shape(tmp_path: Path, suffix: str) -> None:
    tutorial().save(tmp_path / f"m{suffix}")
    check_model_file(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("most", [0, 2**20])
def test_a_compressed_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """In memory, and in a temporary file where the weights are large."""
    monkeypatch.setattr(preflight, "MAX_UNPACKED", most)
    tutorial().save(tmp_path / "m.keras")
    with (
        zipfile.ZipFile(tmp_path / "m.keras") as source,
        zipfile.ZipFile(tmp_path / "c.keras", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    check_model_file(tmp_path / "c.keras")


def test_the_walk_finds_every_tensor(tmp_path: Path) -> None:
    model = tutorial()
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        shapes = preflight._check_archived_weights(tmp_path / "m.keras", archive).shapes
    assert sorted(shapes) == sorted(tuple(v.shape) for v in model.weights)
