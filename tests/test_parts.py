"""Images of part files are found in any order, and of two results of one image the later one counts."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gradcam_cli.results.part_names import PartName
from gradcam_cli.results.part_place import LocalParts
from gradcam_cli.results.parts import OpenPart, Parts

ORDERS = ["abcdef", "fedcba", "acebdf", "aabbcc", "abxcdyef"]


def write_part(root: Path, number: int, places: str, digest: str) -> None:
    """Write a tar of images without overlays."""
    part = OpenPart(LocalParts(root), PartName("", number, "webdataset"), "")
    for place in places:
        given = {"path": place, "bytes": 1, "mtime_ns": 1, "sha256": None}
        record: dict[str, Any] = {"schema_version": 2, "status": "ok", "options_sha256": digest, "versions": {}}
        part.add(place, {}, {**record, "model": {"sha256": None}, "input": given, "files": []})
    part.publish()


def found_in(parts: Parts, places: str) -> str:
    """Give the hash of the options of each image, one character, or `-` where there is no such image."""
    entries = [parts.find(place) for place in places]
    return "".join(entry[1].known["options_sha256"] if entry else "-" for entry in entries)


@pytest.mark.parametrize("order", ORDERS)
def test_images_are_found_in_any_order(tmp_path: Path, order: str) -> None:
    write_part(tmp_path, 0, "abc", "1")
    write_part(tmp_path, 1, "def", "2")
    expected = {"a": "1", "b": "1", "c": "1", "d": "2", "e": "2", "f": "2", "x": "-", "y": "-"}
    parts = Parts(LocalParts(tmp_path))
    assert found_in(parts, order) == "".join(expected[place] for place in order)
    # A reader that has closed its files opens them again.
    parts.close()
    assert found_in(parts, order) == "".join(expected[place] for place in order)
    parts.close()


def test_the_later_result_of_an_image_counts(tmp_path: Path) -> None:
    """A run that was killed may leave the old result of an image in an earlier part; its neighbours are those there."""
    write_part(tmp_path, 0, "abcd", "1")
    write_part(tmp_path, 1, "bd", "2")
    parts = Parts(LocalParts(tmp_path))
    assert found_in(parts, "abcd") == "1212"
    parts.close()


def test_images_that_were_removed_are_not_found(tmp_path: Path) -> None:
    write_part(tmp_path, 0, "abcd", "1")
    parts = Parts(LocalParts(tmp_path))
    assert found_in(parts, "ab") == "11"
    assert parts.without(["c"], "") == [PartName("", 0, "webdataset")]
    assert found_in(parts, "abcd") == "11-1"
    parts.close()


def write_table(root: Path, number: int, message: str) -> None:
    """Write a table of two images that failed, with a long message each."""
    part = OpenPart(LocalParts(root), PartName("", number, "parquet"), "")
    for name in ("a", "b"):
        given = {"path": f"{number}{name}", **dict.fromkeys(("bytes", "mtime_ns", "sha256", "width", "height"))}
        model = dict.fromkeys(("name", "sha256", "layer", "engine", "preprocess"))
        record = {"schema_version": 2, "status": "error", "options_sha256": "1", "versions": {}, "reason": "empty"}
        lists: dict[str, Any] = {"classes": [], "files": []}
        full = {**record, **lists, "message": message, "model": model, "input": given, "method": {"name": "gradcam"}}
        part.add(str(given["path"]), {}, full)
    part.publish()


def test_memory_does_not_grow_with_the_number_of_tables_that_were_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra gradcam-cli[parquet] is not installed")
    for number in range(12):
        write_table(tmp_path, number, "x" * 2**20)
    parts = Parts(LocalParts(tmp_path))
    tracemalloc.start()
    try:
        for number in range(12):
            # The last row is read last, as in the order of the inputs.
            for name in "abab":
                found = parts.find(f"{number}{name}")
                assert found
                assert len(parts.sidecar(*found)["message"]) == 2**20
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        parts.close()
    assert held < 3 * 2**20
