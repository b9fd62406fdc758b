"""Which files are found, in which order, and where their outputs go."""

import os
from pathlib import Path

import pytest

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.inputs.discovery import find_sources
from gradcam_cli.inputs.files import SUFFIXES, read_file
from gradcam_cli.inputs.sources import Source
from gradcam_cli.inputs.walk import Rules
from gradcam_cli.settings import Limits


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def relatives(*inputs: Path, recursive: bool = True, output: Path | None = None) -> list[str]:
    rules = Rules(SUFFIXES, recursive=recursive)
    found = find_sources([str(i) for i in inputs], rules=rules, output=output)
    return [source.relative for source in found.sources]


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


def test_links_to_files_are_inputs_wherever_they_lead(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    touch(inside, "a.jpg")
    touch(outside, "secret.jpg")
    (inside / "same.jpg").symlink_to(inside / "a.jpg")
    (inside / "out.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to("..")
    (inside / "loop.jpg").symlink_to("loop.jpg")
    (inside / "broken.jpg").symlink_to("nowhere.jpg")
    assert relatives(inside) == ["a.jpg", "broken.jpg", "loop.jpg", "out.jpg", "same.jpg"]


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    assert relatives(tmp_path / "a.jpg", tmp_path / "a.jpg") == ["a.jpg"]


def test_collisions_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "y/a.jpg")
    with pytest.raises(UsageError, match="`files_from`"):
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
    assert list(find_sources([], [listed], rules=Rules(SUFFIXES)).sources) == [Source(relative, listed)]


@pytest.mark.parametrize("listed", [".", "./", "..", "sub/..", "sub/../"])
def test_folders_of_a_list_are_walked(listed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "here/a.jpg", "here/sub/b.jpg")
    monkeypatch.chdir(tmp_path / "here")
    expected = ["here/a.jpg", "here/sub/b.jpg"] if listed == ".." else ["a.jpg", "sub/b.jpg"]
    found = find_sources([], [listed], rules=Rules(SUFFIXES)).sources
    assert [source.relative for source in found] == expected
    assert all(Path(source.path).is_file() for source in found)


def test_a_folder_of_a_list_is_mirrored_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "x/y/a.jpg", "x/y/z/b.jpg", "c.jpg")
    monkeypatch.chdir(tmp_path)
    found = find_sources([], ["./x/y/", "c.jpg"], rules=Rules(SUFFIXES)).sources
    assert [source.relative for source in found] == ["c.jpg", "x/y/a.jpg", "x/y/z/b.jpg"]


def test_a_listed_path_that_names_no_file_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a file"):
        find_sources([], ["nosuch/.."], rules=Rules(SUFFIXES))


def test_other_spellings_of_one_path_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/b.jpg")
    monkeypatch.chdir(tmp_path)
    spellings = ["a/b.jpg", "./a/b.jpg", "a//b.jpg", "a/./b.jpg"]
    (source,) = find_sources([], spellings, rules=Rules(SUFFIXES)).sources
    assert source.relative == "a/b.jpg"
    (source,) = find_sources(["a", "./a", "a/b.jpg"], rules=Rules(SUFFIXES)).sources
    assert source.relative == "b.jpg"


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "file:///data/a.jpg", "sftp://host/a.jpg"])
def test_urls_of_no_object_store_are_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, url.replace("://", ":/") + "/a.jpg")
    monkeypatch.chdir(tmp_path)
    for inputs, listed in (([url], []), ([], [url])):
        with pytest.raises(UsageError, match=r"this kind of URL is not supported|without file:"):
            find_sources(inputs, listed, rules=Rules(SUFFIXES))
    way_out = f"./{url.replace('//', '/', 1)}"
    assert find_sources([way_out], rules=Rules(SUFFIXES)).sources


def test_a_folder_that_is_given_and_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a name of its own in the records, and does not end the run."""
    touch(tmp_path, "photos/a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)

    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scandir)
    for inputs, listed in ((["photos/", "b.jpg"], []), ([], ["photos", "./b.jpg"])):
        found = find_sources(inputs, listed, rules=Rules(SUFFIXES)).sources
        assert [(source.relative, source.errno) for source in found] == [("b.jpg", None), ("photos", 13)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
def test_what_is_no_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("", "pipe", "nosuch") * 20:
        with pytest.raises(ImageError):
            read_file(str(tmp_path / name), Limits())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
