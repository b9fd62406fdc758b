"""Which files are found, in which order, and where their outputs go."""

import os
from pathlib import Path

import pytest

from gradcam_cli.discovery import Source, find_sources, read_list
from gradcam_cli.errors import UsageError
from gradcam_cli.images import SUFFIXES


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def relatives(*inputs: Path, recursive: bool = True, output: Path | None = None) -> list[str]:
    found = find_sources([str(i) for i in inputs], suffixes=SUFFIXES, recursive=recursive, output=output)
    return [source.relative for source in found]


def test_a_folder_is_walked_sorted_and_mirrored(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "sub/deep/c.webp", "notes.txt", ".jpg", "sub/a.jpg")
    assert relatives(tmp_path) == ["a.PNG", "b.jpg", "sub/a.jpg", "sub/deep/c.webp"]
    assert relatives(tmp_path, recursive=False) == ["a.PNG", "b.jpg"]


def test_a_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "sub/picture.dat")
    assert relatives(tmp_path / "sub" / "picture.dat") == ["picture.dat"]


def test_suffixes_never_collide(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "sub/a.jpg")
    assert relatives(tmp_path) == ["a.jpg", "a.png", "sub/a.jpg"]


def test_our_own_outputs_are_never_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.jpg.overlay.jpg", "a.jpg.281.overlay.jpg", "out/b.jpg", "deep/out/c.jpg")
    assert relatives(tmp_path, output=tmp_path / "out") == ["a.jpg", "deep/out/c.jpg"]
    assert relatives(tmp_path, output=tmp_path) == ["a.jpg", "deep/out/c.jpg", "out/b.jpg"]


def test_links_are_followed_inside_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    touch(inside, "a.jpg")
    touch(outside, "secret.jpg")
    (inside / "same.jpg").symlink_to(inside / "a.jpg")
    (inside / "out.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to("..")
    (inside / "loop.jpg").symlink_to("loop.jpg")
    assert relatives(inside) == ["a.jpg", "loop.jpg", "same.jpg"]


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    assert relatives(tmp_path / "a.jpg", tmp_path / "a.jpg") == ["a.jpg"]


def test_collisions_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "y/a.jpg")
    with pytest.raises(UsageError, match="--files-from"):
        relatives(tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg")
    with pytest.raises(UsageError):
        relatives(tmp_path / "x", tmp_path / "y")


def test_run_json_is_reserved(tmp_path: Path) -> None:
    touch(tmp_path, "run")
    with pytest.raises(UsageError, match=r"run\.json"):
        relatives(tmp_path / "run")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        relatives(tmp_path / "nosuch")


@pytest.mark.parametrize(
    ("listed", "relative"),
    [
        ("a/b.png", "a/b.png"),
        ("./a/b.png", "a/b.png"),
        ("/data/x/b.png", "data/x/b.png"),
        ("../up/b.png", "up/b.png"),
        (".hidden.png", ".hidden.png"),
        ("a/../b.png", "b.png"),
    ],
)
def test_a_list_is_mirrored_as_it_is_written(listed: str, relative: str) -> None:
    assert find_sources([], [listed], suffixes=SUFFIXES) == [Source(relative, listed)]


def test_lists_are_split_at_newlines_or_nul() -> None:
    assert read_list(b"a.jpg\nb c.jpg\r\n\n", null_separated=False) == ["a.jpg", "b c.jpg"]
    assert read_list(b"a\nb.jpg\0c.jpg\0", null_separated=True) == ["a\nb.jpg", "c.jpg"]
    (odd,) = read_list(b"bad\xff.jpg", null_separated=False)
    assert os.fsencode(odd) == b"bad\xff.jpg"
