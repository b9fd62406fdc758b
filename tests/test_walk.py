"""The walk: every file below a folder is an input or is counted as left out, whatever the tree looks like."""

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import jpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.files import SUFFIXES
from gradcam_cli.inputs.left_out import LeftOut, Why, suffix_of
from gradcam_cli.inputs.walk import Met, Rules, patterns, walk

PHOTO = jpeg(8, 8)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50)
NEEDS_LINKS = pytest.mark.skipif(sys.platform == "win32", reason="links and modes are those of POSIX")


def put(root: Path, *names: str, data: bytes = PHOTO) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def walked(root: Path, output: Path | None = None, **rules: Any) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    met = walk(str(root), Rules(SUFFIXES, **rules), left_out, str(output) if output else None)
    return sorted(each.relative for each in met), left_out


NAMES = st.sampled_from(
    [
        *("a.jpg", "b.PNG", "c", "d.txt", "e.heic", "f.jpg_large", ".h.jpg", "._i.jpg", "Thumbs.db", "j.overlay.jpg"),
        *("k.jpg.json", "l.map.npy", "m.jpeg~", "n.01", "a.jpg.json", "IMG. 1", "desktop.ini"),
    ]
)
FOLDERS = st.sampled_from(["", "x", "x/y", ".git", "__MACOSX", "x/.cache", "z", "out", "lost+found"])
CONTENTS = st.sampled_from([PHOTO, HEIC, b"text", b"", bytes(20)])
FILES = st.dictionaries(st.tuples(FOLDERS, NAMES), CONTENTS, max_size=14)
RULES = st.builds(
    lambda exclude, include, **flags: Rules(SUFFIXES, excluded=patterns(exclude), included=patterns(include), **flags),
    exclude=st.sampled_from([(), ("x/",), ("*.png", "*.PNG"), ("/z",), ("*", "!a.jpg")]),
    include=st.sampled_from([(), ("*.jpg",), ("x/**",)]),
    recursive=st.booleans(),
    hidden=st.booleans(),
    follow_links=st.booleans(),
)
LINKS = st.dictionaries(
    st.sampled_from(["link.jpg", "odd", "up", "x/loop", "farm"]),
    st.sampled_from(["a.jpg", "..", ".", "nowhere", "x", "z", "c"]),
    max_size=3,
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@NEEDS_LINKS
@settings(max_examples=120, deadline=None)
@given(files=FILES, links=LINKS, rules=RULES)
def test_every_file_is_an_input_or_counted(
    place: Path, files: dict[tuple[str, str], bytes], links: dict[str, str], rules: Rules
) -> None:
    root = place / "above" / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for (folder, name), data in files.items():
        put(root, f"{folder}/{name}", data=data)
    for name, target in links.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(target)
    left_out = LeftOut(keep=True)
    met = list(walk(str(root), rules, left_out, str(root / "out")))
    omitted = [each.path for each in left_out.omissions]
    seen = Counter([*(each.path for each in met), *omitted])
    assert max(seen.values(), default=1) == 1
    below = tuple(f"{path}/" for path in omitted)
    for folder, _, names in os.walk(root):
        for name in names:
            path = f"{folder}/{name}"
            assert (path in seen) != path.startswith(below), path
    assert sum(left_out.files.values()) + left_out.folders.total() == len(omitted)
    assert all(each.path == f"{root}/{each.relative}" and each.errno is None for each in met)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a.jpg_large",
            "a.jpg-large",
            "a.jpeg~",
            "a.jfif",
            "a.pjpeg",
            "a.jpe",
            "a.JPG",
            "a.img",
            "a.image",
            "a.jpg.bak",
        ),
        *("a.jpg.1", "a.jpg!d", "a.jpg?w=100", "IMG_2023.01.02", "sha256abc", "a.jpg ", "a.webp-small"),
        *("photo v1.2", "Mr. Smith at home", "a.orig.jpeg_old", "a.PNG;1", "a.", "a.jpg.~1~", "a.apng"),
        *("a.MPO", "a.thm"),
    ],
)
def test_pictures_with_an_odd_suffix_or_none_are_taken(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    assert walked(tmp_path) == ([name], LeftOut())
    put(tmp_path, name, data=b"no picture")
    names, left_out = walked(tmp_path)
    if suffix_of(name) in SUFFIXES:
        assert names == [name]
    else:
        assert names == []
        assert left_out.files == {(Why.OTHER, suffix_of(name)): 1}


@pytest.mark.parametrize(
    "name", ["a.part", "a.jpg.part", "a.jpg.crdownload", "a.jpg.json", "a.py", "a.exe", "a.jpg.tmp"]
)
def test_other_suffixes_are_not_looked_into(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    names, left_out = walked(tmp_path)
    assert names == []
    assert left_out.count_files(Why.OTHER) == 1


def test_pictures_that_are_not_decoded_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jxl", "b", data=b"\xff\x0a\xfa\x1f")
    put(tmp_path, "c.jxl")
    names, left_out = walked(tmp_path)
    assert names == ["c.jxl"]
    assert left_out.pictures == {"JPEG XL": 2}
    assert left_out.as_record() == {"files": {"other": {".jxl": 1, "": 1}}, "folders": {}}


@pytest.mark.parametrize(
    "name",
    [
        *("._a.jpg", "__MACOSX/a.jpg", ".git/a.jpg", ".a.jpg", ".cache/x/a.jpg", "Thumbs.db", "x/desktop.ini"),
        *("@eaDir/a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "$RECYCLE.BIN/a.jpg", "lost+found/a.jpg", ".jpg"),
    ],
)
def test_rubbish_is_left_out_and_counted(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    names, left_out = walked(tmp_path)
    assert names == []
    assert left_out.count_files(Why.HIDDEN) + left_out.folders[Why.HIDDEN] == 1
    names, left_out = walked(tmp_path, hidden=True)
    assert not left_out.folders
    assert names == ([] if name.endswith((".db", ".ini")) else [name])


@pytest.mark.parametrize(
    ("exclude", "include", "expected"),
    [
        (("*.png",), (), ["a.jpg", "x/c.jpg", "x/y/d.jpg"]),
        (("x/",), (), ["a.jpg", "b.png"]),
        (("/x/*.jpg",), (), ["a.jpg", "b.png", "x/y/d.jpg"]),
        (("x/*", "!x/c.jpg"), (), ["a.jpg", "b.png", "x/c.jpg"]),
        ((), ("*.png",), ["b.png"]),
        ((), ("x/",), ["x/c.jpg", "x/y/d.jpg"]),
        ((), ("/*.jpg", "d.*"), ["a.jpg", "x/y/d.jpg"]),
        (("d.jpg",), ("x/**",), ["x/c.jpg"]),
    ],
)
def test_patterns(exclude: tuple[str, ...], include: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.png", "x/c.jpg", "x/y/d.jpg")
    assert walked(tmp_path, excluded=patterns(exclude), included=patterns(include))[0] == expected


@pytest.mark.parametrize("line", ["", "#a", "!", "/", " "])
def test_patterns_that_can_fit_nothing_are_refused(line: str) -> None:
    with pytest.raises(UsageError, match="is not a pattern"):
        patterns(("*.jpg", line))


@NEEDS_LINKS
def test_link_farms_are_walked(tmp_path: Path) -> None:
    put(tmp_path, "data/a.jpg", "data/b.jpg", "cache/0a1b", "cache/2c3d")
    farm = tmp_path / "farm"
    farm.mkdir()
    for name, target in {
        "a.jpg": "../data/a.jpg",
        "c.png": "../cache/0a1b",
        "d": "../cache/2c3d",
        "e.jpg": "x",
    }.items():
        (farm / name).symlink_to(target)
    assert walked(farm) == (["a.jpg", "c.png", "d", "e.jpg"], LeftOut())
    # From above, files without a suffix that links lead to are not taken a second time.
    names, left_out = walked(tmp_path)
    assert names == ["data/a.jpg", "data/b.jpg", "farm/a.jpg", "farm/c.png", "farm/d", "farm/e.jpg"]
    assert left_out.files == {(Why.LINK_TARGET, ""): 2}


@NEEDS_LINKS
def test_links_to_folders(tmp_path: Path) -> None:
    put(tmp_path, "tree/a.jpg", "tree/x/b.jpg", "far/c.jpg", "far/deep/d.jpg")
    tree = tmp_path / "tree"
    for name, target in {"loop": ".", "x/up": "..", "far": "../far", "far2": "../far", "deep": "../far/deep"}.items():
        (tree / name).symlink_to(target)
    names, left_out = walked(tree)
    assert names == ["a.jpg", "x/b.jpg"]
    assert left_out.folders == {Why.LINK_TO_FOLDER: 5}
    names, left_out = walked(tree, follow_links=True)
    assert names == ["a.jpg", "deep/d.jpg", "far/c.jpg", "x/b.jpg"]
    assert left_out.folders[Why.WALKED_BEFORE] == 4
    assert walked(tree, follow_links=True, output=tmp_path / "far")[1].folders[Why.OUTPUT] == 2


@NEEDS_LINKS
def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    for name in ("pipe", "b.jpg_large", "a.jpg"):
        os.mkfifo(tmp_path / name)
    names, left_out = walked(tmp_path)
    assert names == ["a.jpg"]
    assert left_out.count_files(Why.OTHER) == 2


def test_a_folder_that_cannot_be_listed_is_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.jpg", "x/b.jpg", "x/secret/c.jpg")
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert sorted(walk(str(tmp_path), Rules(SUFFIXES), LeftOut())) == [
        Met("a.jpg", f"{tmp_path}/a.jpg"),
        Met("x/b.jpg", f"{tmp_path}/x/b.jpg"),
        Met("x/secret", f"{tmp_path}/x/secret", 13),
    ]


@NEEDS_LINKS
def test_a_file_whose_name_says_nothing_and_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "blob").symlink_to("nowhere")
    (tmp_path / "photo.jpg_large").symlink_to("nowhere")
    sources, left_out = walked(tmp_path)
    assert sources == ["a.jpg", "photo.jpg_large"]
    assert left_out.as_record() == {"files": {"unreadable": {"": 1}}, "folders": {}}
