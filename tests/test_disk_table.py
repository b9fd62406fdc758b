"""Rows on a disk, and the inputs of a run that are kept there: the order, the look-ups and the memory."""

import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from conftest import jpeg
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli.disk_table import PAGE, DiskTable, key_of, text_of
from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.inputs import walk
from gradcam_cli.inputs.discovery import Found, find_sources
from gradcam_cli.inputs.files import SUFFIXES
from gradcam_cli.inputs.sources import Source, Sources
from gradcam_cli.storage import Stat, Stores

# Names on a disk: any bytes, of which those that are not UTF-8 become surrogates.
NAME = st.binary(min_size=1, max_size=8).map(os.fsdecode)


@given(st.sets(st.tuples(NAME, NAME), max_size=20))
def test_inputs_come_sorted_as_python_sorts_them(names: set[tuple[str, str]]) -> None:
    sources = Sources(Source(relative, path) for relative, path in names)
    assert [(source.relative, source.path) for source in sources] == sorted(names)
    assert len(sources) == len(names)


@given(st.text(max_size=8))
def test_a_key_has_its_text(text: str) -> None:
    assert text_of(key_of(text)) == text


def test_rows_are_given_over_several_pages() -> None:
    table = DiskTable()
    rows = [(b"%06d" % i, b"", i) for i in range(2 * PAGE + 7)]
    table.put(reversed(rows))
    assert list(table.rows()) == rows
    assert len(table) == len(rows)
    assert table.get(b"000005") == 5
    table.remove(b"000005")
    assert table.get(b"000005") is None


def test_rows_that_share_a_key_are_found() -> None:
    table = DiskTable()
    table.put([(b"a", b"2", 2), (b"b", b"1", 3), (b"a", b"1", 1), (b"c", b"1", 4), (b"c", b"2", None)])
    assert list(table.sharing()) == [[(b"a", b"1", 1), (b"a", b"2", 2)], [(b"c", b"1", 4), (b"c", b"2", None)]]


def test_rows_before_an_error_are_kept_and_the_table_goes_on() -> None:
    def broken() -> object:
        yield b"a", b"", 1
        raise OSError

    table = DiskTable()
    with pytest.raises(OSError, match=r"^$"):
        table.put(broken())  # type: ignore[arg-type]
    table.put([(b"b", b"", 2)])
    assert [row[0] for row in table.rows()] == [b"a", b"b"]


def test_a_full_disk_stops_the_run_and_says_where_another_is_named() -> None:
    table = DiskTable()
    table._all("PRAGMA max_page_count = 4")
    with pytest.raises(EnvironmentStop, match="TMPDIR"):
        table.put((b"%06d" % i, b"", None) for i in range(100_000))


def test_several_threads_go_through_the_inputs_at_the_same_time() -> None:
    sources = Sources(Source(f"{i:05}", f"/{i}") for i in range(5_000))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len({s.relative for s in sources}))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [5_000] * 4


def test_what_is_known_of_an_object_is_kept() -> None:
    stores = Stores()
    stored = stores.object("memory://bucket/a.jpg")
    (plain,) = Sources([Source("a.jpg", stored.url, stored=stored)])
    assert plain.stored == stored
    listed = stored.__class__(stored.store, stored.url, Stat(7, "etag", 5))
    (again,) = Sources([Source("a.jpg", stored.url, stored=listed)])
    assert again.stored == listed
    (folder,) = Sources([Source("a", "/a", 13)])
    assert folder.errno == 13


def peak_of(count: int) -> int:
    """The most memory of Python's objects while so many inputs are kept and read, in bytes."""
    tracemalloc.start()
    try:
        sources = Sources(Source(f"{i // 1000:06}/photograph-{i:09}.jpg", f"photos/{i:09}.jpg") for i in range(count))
        assert sum(1 for _ in sources) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_inputs() -> None:
    peak_of(1_000)
    assert peak_of(40_000) < 1.2 * peak_of(2_000)


def found_in(root: Path) -> Found:
    return find_sources([str(root)], rules=walk.Rules(SUFFIXES))


def test_a_folder_that_is_sorted_on_a_disk_is_listed_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.jpg", "a.jpg", "a.jpg.json", "a.jpg-x.txt", "a.json", "run.json", "z.PNG", "odd"):
        (tmp_path / name).write_bytes(jpeg() if name == "odd" else b"")
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("b.jpg")
    (tmp_path / "folder-link").symlink_to("inner")
    plain = found_in(tmp_path)
    monkeypatch.setattr(walk, "SORTED_IN_MEMORY", 3)
    large = found_in(tmp_path)
    assert list(large.sources) == list(plain.sources)
    assert large.left_out == plain.left_out
    assert large.left_out.as_record() == {
        "files": {"output": {".json": 2}, "other": {".json": 1, ".txt": 1}},
        "folders": {"link_to_folder": 1},
    }
