"""Lists of paths: what separates them, how they are encoded, and lists that were made for the other option."""

import io
import os
from pathlib import Path

import pytest
from conftest import png
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs import path_list


def read_list(data: bytes, *, null_separated: bool) -> list[str]:
    return list(path_list.read_list(io.BytesIO(data), null_separated=null_separated))


MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
NAME = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, 10, 13} and os.fsdecode(name).strip() == os.fsdecode(name)
)
NAMES = st.lists(NAME, min_size=1, max_size=5).filter(lambda names: not names[0].startswith(MARKS))


@given(NAMES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans())
def test_names_survive_any_line_ending(names: list[bytes], ending: bytes, last: bool, mark: bool) -> None:
    data = (b"\xef\xbb\xbf" if mark else b"") + ending.join(names) + (ending if last else b"")
    assert [os.fsencode(path) for path in read_list(data, null_separated=False)] == names


@given(NAMES, st.booleans())
def test_names_survive_nul(names: list[bytes], last: bool) -> None:
    data = b"\0".join(names) + (b"\0" if last else b"")
    assert [os.fsencode(path) for path in read_list(data, null_separated=True)] == names


def test_what_is_dropped() -> None:
    data = b"\xef\xbb\xbfa.jpg\r\n\r\n\n   \nb c.jpg\n"
    assert read_list(data, null_separated=False) == ["a.jpg", "b c.jpg"]
    assert read_list(b"a\nb.jpg\0c.jpg\0\n", null_separated=True) == ["a\nb.jpg", "c.jpg"]
    assert read_list(b"", null_separated=False) == read_list(b"", null_separated=True) == []


def test_spaces_belong_to_a_name_only_where_it_exists_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg ", " c.jpg"):
        Path(name).touch()
    data = b"a.jpg  \n\ta.jpg\nb.jpg \n c.jpg\nnosuch \n"
    assert read_list(data, null_separated=False) == ["a.jpg", "a.jpg", "b.jpg ", " c.jpg", "nosuch "]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_lists_of_powershell(encoding: str) -> None:
    data = "\ufeffa.jpg\r\nGrüße.jpg\r\n".encode(encoding)
    assert read_list(data, null_separated=False) == ["a.jpg", os.fsdecode("Grüße.jpg".encode())]
    with pytest.raises(UsageError, match="UTF-8"):
        read_list(data[:-1], null_separated=False)


def test_a_list_that_is_separated_the_other_way_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"NUL bytes.*-0"):
        read_list(b"a.jpg\0b.jpg\0", null_separated=False)
    for data in (b"a.jpg\nb.jpg\n", b"a.jpg\n", b"a.jpg\r\nb.jpg"):
        with pytest.raises(UsageError, match="Do not use -0"):
            read_list(data, null_separated=True)
    Path("odd\nname.jpg").touch()
    assert read_list(b"odd\nname.jpg", null_separated=True) == ["odd\nname.jpg"]


def test_a_list_that_is_separated_in_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "c.jpg", "odd\nname.jpg"):
        Path(name).touch()
    assert read_list(b"a.jpg\0b.jpg\n\0odd\nname.jpg\0none\nnone\0", null_separated=True) == [
        *("a.jpg", "b.jpg", "odd\nname.jpg", "none\nnone")
    ]
    with pytest.raises(UsageError, match=r"NUL bytes and lines: 'b\.jpg' is one of 2 lines"):
        read_list(b"a.jpg\0none.jpg\nb.jpg\0", null_separated=True)


def test_carriage_returns_alone_end_lines_where_the_paths_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "odd\rname.jpg"):
        Path(name).touch()
    assert read_list(b"a.jpg\rb.jpg\r", null_separated=False) == ["a.jpg", "b.jpg"]
    assert read_list(b"odd\rname.jpg\n", null_separated=False) == ["odd\rname.jpg"]


def test_files_that_are_no_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(UsageError, match="UTF-16 without a byte order mark"):
            read_list("photos/a.jpg\r\n".encode(encoding), null_separated=False)
    for null_separated in (False, True):
        with pytest.raises(UsageError, match="The list is a PNG"):
            read_list(png((1, 1), 8, 0, b"\0\0"), null_separated=null_separated)
    assert read_list(b"P5 1.jpg\0P5 2.jpg\0", null_separated=True) == ["P5 1.jpg", "P5 2.jpg"]
