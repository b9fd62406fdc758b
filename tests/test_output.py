"""Files appear whole or not at all, and nobody else's file is touched."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcam_cli.discovery import Source
from gradcam_cli.errors import EnvironmentStop, ImageError, Reason, UsageError
from gradcam_cli.output import Names, OutputFolder, npy_bytes

RECORD = {"schema_version": 1, "versions": {}, "status": "ok"}
NAMES = Names(Source("sub/cat.png", "in/sub/cat.png"), several=False)


def prepared(root: Path) -> OutputFolder:
    folder = OutputFolder(root)
    folder.prepare()
    return folder


def test_names() -> None:
    assert NAMES.overlay(281) == "cat.png.overlay.jpg"
    assert NAMES.map(281) == "cat.png.map.npy"
    assert NAMES.sidecar == "cat.png.json"
    several = Names(NAMES.source, several=True)
    assert several.overlay(281) == "cat.png.281.overlay.jpg"
    assert several.map(281) == "cat.png.281.map.npy"
    assert several.sidecar == "cat.png.json"


def test_the_tree_is_mirrored_and_nothing_else_is_left(tmp_path: Path) -> None:
    prepared(tmp_path / "out").write_image(NAMES, {"cat.png.overlay.jpg": b"jpeg"}, RECORD)
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["out/sub/cat.png.json", "out/sub/cat.png.overlay.jpg"]
    assert (tmp_path / "out/sub/cat.png.overlay.jpg").read_bytes() == b"jpeg"


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    prepared(tmp_path).write_image(NAMES, {}, RECORD)
    before = os.umask(0)
    os.umask(before)
    assert (tmp_path / "sub/cat.png.json").stat().st_mode & 0o777 == 0o666 & ~before


def test_the_sidecar_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = Path.replace

    def noted(self: Path, target: Any) -> Path:
        order.append(Path(target).name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    prepared(tmp_path).write_image(NAMES, {"a": b"1", "b": b"2"}, RECORD)
    assert order == ["a", "b", "cat.png.json"]


def test_a_full_disk_stops_the_run_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared(tmp_path)

    def full(self: Path, target: Any) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EnvironmentStop, match="No space left"):
        folder.write_image(NAMES, {"cat.png.overlay.jpg": b"jpeg"}, RECORD)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_name_too_long_is_that_images_affair(tmp_path: Path) -> None:
    long = "x" * 250 + ".jpg"
    with pytest.raises(ImageError) as caught:
        prepared(tmp_path).write_image(Names(Source(long, long), several=False), {f"{long}.overlay.jpg": b""}, RECORD)
    assert caught.value.reason is Reason.NAME_TOO_LONG


def test_somebody_elses_json_is_left_alone(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    theirs = tmp_path / "sub" / "cat.png.json"
    theirs.parent.mkdir()
    theirs.write_text('{"label": "cat"}')
    with pytest.raises(ImageError) as caught:
        folder.write_image(NAMES, {"cat.png.overlay.jpg": b"jpeg"}, RECORD)
    assert caught.value.reason is Reason.OUTPUT_NOT_OURS
    assert theirs.read_text() == '{"label": "cat"}'
    assert not (tmp_path / "sub" / "cat.png.overlay.jpg").exists()


@pytest.mark.parametrize("before", ["", '{"schema_ver', '{"schema_version": 1, "versions": {}}'])
def test_our_own_and_broken_sidecars_are_written_anew(tmp_path: Path, before: str) -> None:
    folder = prepared(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/cat.png.json").write_text(before)
    folder.write_image(NAMES, {}, RECORD)
    assert '"status": "ok"' in (tmp_path / "sub/cat.png.json").read_text()


def test_a_planted_link_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = prepared(tmp_path / "out")
    (tmp_path / "out/sub").symlink_to(outside)
    with pytest.raises(ImageError) as caught:
        folder.write_image(NAMES, {"cat.png.overlay.jpg": b"jpeg"}, RECORD)
    assert caught.value.reason is Reason.OUTPUT_NOT_OURS
    assert not list(outside.iterdir())


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        OutputFolder(tmp_path / "file" / "out").prepare()


def test_maps_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    (tmp_path / "m.npy").write_bytes(npy_bytes(array))
    loaded = np.load(tmp_path / "m.npy")
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, array)
