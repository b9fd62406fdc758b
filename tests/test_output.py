"""Files appear whole or not at all, and nobody else's file is touched."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcam_cli.atomic import atomically
from gradcam_cli.errors import EnvironmentStop, ImageError, Reason, UsageError
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.output import Names, OutputFolder, npy_bytes
from gradcam_cli.results.sidecar import to_json

RECORD = {"schema_version": 1, "versions": {}, "options_sha256": "0", "classes": [], "files": [], "status": "ok"}
OURS = to_json(RECORD).encode()
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


@pytest.mark.parametrize("before", [b"", b"{", b"\0" * 4096, OURS[:40], OURS[:-2], OURS])
def test_our_own_and_broken_sidecars_are_written_anew(tmp_path: Path, before: bytes) -> None:
    folder = prepared(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/cat.png.json").write_bytes(before)
    folder.write_image(NAMES, {}, RECORD)
    assert (tmp_path / "sub/cat.png.json").read_bytes() == OURS


THEIRS = {
    "latin-1": '{"name": "caf\u00e9"}'.encode("latin-1"),
    "json lines": b'{"schema_version": 1}\n{"versions": 2}\n',
    "comments": b'// mine\n{"a": 1}\n',
    "other indent": b'{\n    "classes": []\n}\n',
    "cut off, not of this program": b'{"schema_version": 1, "versions": ',
    "text": b"not json",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "list": b"[1, 2]",
    "another tool's": b'{"schema_version": 2, "versions": {}}',
}


@pytest.mark.parametrize("theirs", THEIRS.values(), ids=THEIRS.keys())
@pytest.mark.parametrize("name", ["sub/cat.png.json", "run.json"])
def test_what_is_not_provably_ours_stays(tmp_path: Path, theirs: bytes, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(theirs)
    if name == "run.json":
        with pytest.raises(UsageError, match="did not write it"):
            prepared(tmp_path)
    else:
        with pytest.raises(ImageError) as caught:
            prepared(tmp_path).write_image(NAMES, {}, RECORD)
        assert caught.value.reason is Reason.OUTPUT_NOT_OURS
    assert path.read_bytes() == theirs


def test_a_planted_sidecar_deletes_nothing_of_the_user(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    (tmp_path / "sub").mkdir()
    # Names of others, names of this image, and names that are none.
    kept = ["thesis.docx", ".bashrc", "dog.png.overlay.jpg", "cat.png", "cat.png.x.overlay.jpg", "cat.png.json.bak"]
    gone = ["cat.png.overlay.jpg", "cat.png.281.overlay.jpg", "cat.png.map.npy"]
    named = [*kept, *gone, "a\0b", "../../x", "", 7]
    for name in (*kept, *gone):
        (tmp_path / "sub" / name).write_text("precious")
    planted = {**RECORD, "input": {}, "files": [{"name": name} for name in named[:9]]}
    (tmp_path / "sub/cat.png.json").write_text(json.dumps(planted))
    folder.write_image(NAMES, {}, RECORD)
    assert sorted(p.name for p in (tmp_path / "sub").iterdir()) == sorted([*kept, "cat.png.json"])
    for hostile in named[9:]:
        (tmp_path / "sub/cat.png.json").write_text(json.dumps({**planted, "files": [{"name": hostile}]}))
        folder.write_image(NAMES, {}, RECORD)


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
def test_a_folder_that_is_gone_stops_the_run_and_is_not_made_again(tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    folder = prepared(out)
    folder.write_image(NAMES, {}, RECORD)
    if how == "removed":
        shutil.rmtree(out)
    else:
        out.rename(tmp_path / "elsewhere")
    if how == "replaced":
        out.mkdir()
    with pytest.raises(EnvironmentStop, match="output folder"):
        folder.write_image(NAMES, {}, RECORD)
    with pytest.raises(EnvironmentStop, match="output folder"):
        folder.write_run({})
    assert (not out.exists()) or not list(out.iterdir())


def test_rows_appear_when_they_are_closed(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / "rows.jsonl").symlink_to(outside)
    with folder.rows("rows.jsonl") as file:
        file.write('{"kind": "image"}\n')
    assert outside.read_text() == "precious"
    assert (tmp_path / "rows.jsonl").read_text() == '{"kind": "image"}\n'
    with pytest.raises(KeyboardInterrupt):
        _interrupted(folder)
    assert (tmp_path / "rows.jsonl").read_text() == "{}\n"
    assert not list(tmp_path.glob(".gradcam*"))


def _interrupted(folder: OutputFolder) -> None:
    with folder.rows("rows.jsonl") as file:
        file.write("{}\n")
        raise KeyboardInterrupt


@pytest.mark.parametrize("data", [b"mine\n", b'{"label": 1}\n', b"\n", b"caf\xe9"])
def test_rows_of_others_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(UsageError, match="did not write it"):
        OutputFolder(tmp_path).prepare("evaluation.json", "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == data


def test_only_temporaries_of_this_program_are_swept(tmp_path: Path) -> None:
    for name in (".gradcam-0123456789abcdef.tmp", ".gradcam-notes.tmp"):
        (tmp_path / name).touch()
    prepared(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".gradcam-notes.tmp"]


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


def test_a_file_never_takes_the_place_of_a_pipe_or_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for /dev: a test that named a device would replace it if the check failed."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="Not a regular file"), atomically(tmp_path / "pipe") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "pipe").is_fifo()
    monkeypatch.setattr("gradcam_cli.atomic.DEVICE_FILES", tmp_path)
    with pytest.raises(OSError, match="Not a regular file"), atomically(tmp_path / "stdout") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "stdout").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe", "stdout"]
