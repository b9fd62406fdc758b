"""One JSON object for each image, cell or stage and method: the lines of `evaluation.jsonl`."""

from collections.abc import Iterator
from typing import Any

from gradcam_cli.evaluation.grid import Cell
from gradcam_cli.evaluation.images import Measured
from gradcam_cli.evaluation.sanity import Change
from gradcam_cli.labels.class_labels import Labels
from gradcam_cli.runs.job import Unexplained

Row = dict[str, Any]
DIGITS = 6


def image_rows(layer: str, image: Measured, labels: Labels) -> Iterator[Row]:
    """Give one row for each method."""
    for method, result in image.methods.items():
        yield {
            "kind": "image",
            "file": image.source.relative,
            "layer": layer,
            "method": method,
            "class": _class(image.index, labels),
            "probability": round(image.probability, DIGITS),
            "flat": result.flat,
            **{name: round(value, DIGITS) for name, value in result.figures.items()},
        }


def cell_row(layer: str, cell: Cell, labels: Labels) -> Row:
    """Give the row of one cell of a collage."""
    return {
        "kind": "cell",
        "file": cell.candidate.source.relative,
        "layer": layer,
        "method": cell.method,
        "class": _class(cell.candidate.index, labels),
        "collage": cell.collage,
        "row": cell.row,
        "column": cell.column,
        "flat": cell.flat,
        "grid": round(cell.share, DIGITS),
    }


def change_row(layer: str, change: Change) -> Row:
    """Give the row of one map of the sanity check."""
    return {
        "kind": "sanity",
        "file": change.source.relative,
        "layer": layer,
        "method": change.method,
        "layers": change.stage.layers,
        "correlation": round(change.correlation, DIGITS),
    }


def error_row(image: Unexplained) -> Row:
    """Give the row of an image that could not be measured."""
    reason = {"reason": image.error.reason.value, "message": str(image.error)}
    return {"kind": "error", "file": image.source.relative, **reason}


def _class(index: int, labels: Labels) -> Row:
    label = labels.get(index)
    return {"index": index, "label": label.name if label else None}
