"""A model is hashed, checked and loaded at different times: it must be the same bytes each time."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from gradcam_cli.engines import cache
from gradcam_cli.errors import ModelError
from gradcam_cli.models.request import checked, locate_model, open_source
from gradcam_cli.models.safety.held_file import HashedFile, hash_file, held
from gradcam_cli.settings import ModelSettings

OLD = 10**18  # long ago, in nanoseconds


@pytest.fixture
def file(tmp_path: Path) -> HashedFile:
    path = tmp_path / "model.keras"
    path.write_bytes(b"good" * 100)
    os.utime(path, ns=(OLD, OLD))
    return hash_file(path)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"evil" * 100)
    other.replace(path)


def rewritten(path: Path) -> None:
    """The same inode, size and time of modification."""
    with path.open("r+b") as stream:
        stream.write(b"evil" * 100)
    os.utime(path, ns=(OLD, OLD))


def relinked(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"evil" * 100)
    path.unlink()
    path.symlink_to(other)


CHANGES: list[Callable[[Path], None]] = [replaced, rewritten, relinked]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("settled", [False, True])
def test_a_file_that_was_changed_after_it_was_hashed_is_refused(
    file: HashedFile, change: Callable[[Path], None], settled: bool
) -> None:
    file = HashedFile(file.path, file.sha256, file.identity, settled)
    change(file.path)
    with pytest.raises(ModelError, match="changed after it was checked"), held(file):
        pass


def test_the_same_bytes_in_another_file_are_the_same_model(file: HashedFile) -> None:
    data = file.path.read_bytes()
    file.path.unlink()
    file.path.write_bytes(data)
    with held(file) as opened:
        assert opened.link.read_bytes() == data


@pytest.mark.parametrize("change", [replaced, relinked])
def test_what_becomes_of_the_name_meanwhile_does_not_matter(file: HashedFile, change: Callable[[Path], None]) -> None:
    with held(file) as opened:
        change(file.path)
        assert opened.link.read_bytes() == b"good" * 100
        assert opened.link.suffix == ".keras"


def test_a_write_into_the_open_file_is_found(file: HashedFile) -> None:
    with pytest.raises(ModelError, match="changed while it was loaded"), held(file):
        rewritten(file.path)


def test_where_there_are_no_links_to_descriptors(file: HashedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.models.safety.held_file.DESCRIPTOR_LINKS", Path("/nowhere"))
    with held(file) as opened:
        assert opened.link == file.path
    with pytest.raises(ModelError, match="changed while it was loaded"), held(file):
        replaced(file.path)


def test_errors_name_the_file_of_the_user(file: HashedFile) -> None:
    with pytest.raises(ModelError) as caught, held(file) as opened:
        raise ModelError(f"{opened.link}: damaged")
    assert str(caught.value) == f"{file.path}: damaged"


def test_a_file_with_an_odd_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"b\xff d\n.weights.h5")
    with h5py.File(path, "w") as stream:
        stream["x"] = [1.0]
    with held(hash_file(path)) as opened, h5py.File(os.fsencode(opened.link)) as stream:
        assert stream["x"][0] == 1


def test_a_file_that_is_gone(file: HashedFile) -> None:
    file.path.unlink()
    with pytest.raises(ModelError, match="cannot be read"), held(file):
        pass


def hostile(path: Path) -> Path:
    layer = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "code"}}
    with zipfile.ZipFile(path, "w") as archive:
        config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}}
        archive.writestr("config.json", json.dumps(config))
        weights = io.BytesIO()
        h5py.File(weights, "w").close()
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def test_no_file_at_the_place_of_a_kept_plan_stands_for_the_preflight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither junk nor a valid plan: what Keras is to load has passed the preflight."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = ModelSettings(model=str(hostile(tmp_path / "m.keras")))
    with pytest.raises(ModelError, match="is a Lambda"):
        locate_model(settings, lambda *_: None, may_wait=cache.has_plan)
    waiting = locate_model(settings, lambda *_: None, may_wait=lambda _: True)
    assert not waiting.is_checked
    place = cache.cached_path(waiting)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"junk")
    command = ["explain", str(tmp_path), "-o", str(tmp_path / "out"), "--model", settings.model]
    (tmp_path / "p.jpg").write_bytes(b"")
    code = (
        "import sys\nfrom gradcam_cli.cli import program\n"
        f"try:\n    program({command!r})\nexcept SystemExit as error:\n    assert error.code == 3, error.code\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is a Lambda" in done.stderr
    assert str(tmp_path / "m.keras") in done.stderr
    assert not {"keras", "tensorflow"} & set(done.stdout.split())


def test_a_file_that_changes_after_the_preflight_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    hostile(path)
    request = locate_model(ModelSettings(model=str(path)), lambda *_: None, may_wait=lambda _: True)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="changed after it was checked"), open_source(path, request):
        pass
    with pytest.raises(ModelError, match="changed after it was checked"):
        checked(request)
