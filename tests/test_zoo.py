"""Files that real old versions of Keras wrote load, and predict what those versions predicted.

`tests/zoo/make_zoo.py` wrote the archives, each with the Python environment of its version.
"""

import io
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.loading import load_network
from gradcam_cli.models.preflight import check_model_file

ZOO = DATA / "zoo"
MIXED_PRECISION = 3e-3
# No layer of Keras 3 computes what these did.
REFUSED = {
    "tf115/resized.h5": "alignment of pixels",
    "tf23/random_crop.h5": "RandomCrop of Keras 2.4.0",
}


@cache
def members(archive: str) -> dict[str, bytes]:
    with tarfile.open(ZOO / f"{archive}.tar.xz") as opened:
        files = ((name, opened.extractfile(name)) for name in opened.getnames())
        return {name: file.read() for name, file in files if file is not None}


def models() -> list[str]:
    archives = sorted(path.name.split(".")[0] for path in ZOO.glob("*.tar.xz"))
    return [
        f"{archive}/{name}" for archive in archives for name in members(archive) if name.endswith((".h5", ".keras"))
    ]


def written(which: str, folder: Path) -> Path:
    archive, name = which.split("/")
    path = folder / name
    path.write_bytes(members(archive)[name])
    return path


def predicted(which: str) -> tuple[Any, Any]:
    """The input, and what the version that wrote the file made of it."""
    archive, name = which.split("/")
    known = np.load(io.BytesIO(members(archive)["predictions.npz"]))
    stem = name.split(".")[0]
    x = known["x"].astype("float32") / 64
    return (x.transpose(0, 3, 1, 2) if stem == "channels_first" else x), known[stem]


@pytest.mark.parametrize("which", models())
def test_an_old_file_predicts_what_its_version_predicted(which: str, tmp_path: Path) -> None:
    path = written(which, tmp_path)
    if which in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[which]):
            check_model_file(path)
        return
    check_model_file(path)
    network = load_network(path)
    x, wanted = predicted(which)
    tolerance = MIXED_PRECISION if "mixed_precision" in which else 2e-6
    np.testing.assert_allclose(network(x, training=False), wanted, rtol=1e-5, atol=tolerance)
