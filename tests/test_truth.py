"""Boxes from a CSV: read, refused, and asked what is inside."""

from pathlib import Path

import pytest

from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.ground_truth import TruthBox, box_mask, hits, read_boxes
from gradcam_cli.imaging.geometry import Size


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_several_boxes_a_file_in_any_order_of_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "x0,y0,x1,y1,file,label\n1,2,3.5,4,a.jpg,cat\n0,0,1,1,sub/b.jpg,dog\n5,5,6,7,a.jpg,cat\n")
    assert read_boxes(path) == {
        "a.jpg": (TruthBox(1, 2, 3.5, 4), TruthBox(5, 5, 6, 7)),
        "sub/b.jpg": (TruthBox(0, 0, 1, 1),),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the column file, x0, y0, x1, y1 is missing"),
        ("file,x0,y0,x1\n", "the column y1 is missing"),
        ("file,x0,y0,x1,y1\na,1,2,x,4\n", "line 2: x0, y0, x1 and y1 must be numbers"),
        ("file,x0,y0,x1,y1\na,0,0,1,1\na,1,2,3\n", "line 3"),
        ("file,x0,y0,x1,y1\na,3,2,3,4\n", "x0 < x1"),
        ("file,x0,y0,x1,y1\na,0,0,inf,4\n", "x0 < x1"),
    ],
)
def test_what_is_no_list_of_boxes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_boxes(written(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_boxes(tmp_path / "none.csv")


def test_inside_is_by_the_centre_of_a_pixel() -> None:
    boxes = (TruthBox(1, 0, 3, 1), TruthBox(0, 1.6, 1, 9))
    mask = box_mask(boxes, Size(4, 3))
    assert mask.tolist() == [[False, True, True, False], [False, False, False, False], [True, False, False, False]]
    for y in range(3):
        for x in range(4):
            assert hits(boxes, (x, y)) == mask[y, x]
