"""Sidecars that a second run reads in two parts: each is what parsing the whole file gives, whatever was done to it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli.results.reading import KnownSidecars, read_sidecar
from gradcam_cli.results.sidecar import to_json

MARK = b',\n  "message": '


def sidecar(name: str, digest: str) -> bytes:
    record = {
        "classes": [{"index": 3, "label": "é"}],
        "files": [{"name": f"{name}.overlay.jpg", "bytes": 5}],
        "input": {"path": name, "sha256": "ab"},
        "message": None,
        "model": {"name": "a", "message": "no run begins here"},
        "options_sha256": digest,
        "schema_version": 2,
        "status": "ok",
        "versions": {"numpy": "2"},
    }
    return to_json(record).encode("ascii")


WHOLE = sidecar("cat.jpg", "1")


def both(tmp_path: Path, *files: bytes) -> list[tuple[Any, Any]]:
    """What is read by one reader of several files, and what of each alone."""
    known = KnownSidecars()
    found = []
    for number, data in enumerate(files):
        path = tmp_path / f"{number}.json"
        path.write_bytes(data)
        found.append((known.read(str(path)), read_sidecar(path)))
    return found


def test_each_sidecar_has_its_own_image_and_run(tmp_path: Path) -> None:
    files = [sidecar("cat.jpg", "1"), sidecar("dog.jpg", "1"), sidecar("cow.jpg", "2"), sidecar("hen.jpg", "1")]
    assert [known for known, _ in both(tmp_path, *files)] == [json.loads(data) for data in files]


def test_a_sidecar_that_is_cut_off_is_none(tmp_path: Path) -> None:
    # Without its last byte, a newline, it still has all of its JSON.
    cut = [WHOLE[:end] for end in range(len(WHOLE) - 1)]
    assert [known for known, _ in both(tmp_path, WHOLE, *cut)][1:] == [None] * len(cut)


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.replace(b'"status"', b'"files": 7,\n  "status"'),
        WHOLE.replace(b'"index": 3', b'"index": 3' + MARK + b"4"),
        WHOLE.replace(b'"index": 3', b'"index": "3' + MARK + b'4"'),
        WHOLE.replace(MARK, b'},\n  "x": {"y": 1' + MARK),
        WHOLE.replace(MARK, MARK + b"1" + MARK),
        WHOLE.replace(MARK, b"," + MARK),
        WHOLE.replace(b'"options_sha256"', b'"options"'),
        WHOLE.replace(MARK, MARK + b"[" * 100_000),
        WHOLE.replace(b'"index": 3', b'"index": ' + b"[" * 100_000),
        WHOLE + b"x",
        WHOLE.decode().encode("utf-16"),
        b"",
    ],
)
def test_a_sidecar_that_somebody_changed_is_read_as_a_whole_one(tmp_path: Path, data: bytes) -> None:
    (_, _), (known, alone) = both(tmp_path, WHOLE, data)
    assert known == alone


@given(at=st.integers(0, len(WHOLE) - 1), new=st.binary(max_size=4), length=st.integers(0, 40))
def test_any_damage_gives_what_the_whole_file_gives(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: bytes, length: int
) -> None:
    damaged = WHOLE[:at] + new + WHOLE[at + length :]
    for known, alone in both(tmp_path_factory.mktemp("sidecars"), WHOLE, damaged, WHOLE):
        assert known == alone
