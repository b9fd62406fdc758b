"""The page of a comparison: the images that changed most, before and after, in one self-contained HTML file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from gradcam_cli.imaging.opencv import quiet_single_thread
from gradcam_cli.imaging.overlay import colour_table
from gradcam_cli.inputs.reading import read_source
from gradcam_cli.report.compare import Comparison, Facts, ImageChange
from gradcam_cli.report.entries import Entry
from gradcam_cli.report.image_state import GRID, ClassState, ImageState
from gradcam_cli.report.page import filled
from gradcam_cli.report.payload import encoded
from gradcam_cli.report.report import sample_range_of
from gradcam_cli.report.thumbnails import Photographs, data_address, thumbnail_of
from gradcam_cli.results.run import Run
from gradcam_cli.results.tree import tree_of
from gradcam_cli.settings import OverlaySettings, SampleRange
from gradcam_cli.urls import Url

PAGE_MARK: Final = "<!doctype html>\n<!-- gradcam-cli comparison -->"
# The images are embedded in the page, about 20 kB each.
SHOWN: Final = 100


def write_comparison_page(path: Path | Url, comparison: Comparison, new: Run, crossed: Sequence[str]) -> None:
    """Write the page; `new` is the run with the paths of the images, `crossed` are the exceeded limits.

    Raises:
        EnvironmentStop: the file cannot be written.
    """
    text = filled(
        "comparison",
        _data(comparison, new),
        mark=PAGE_MARK,
        sides=[("Before", _facts(comparison.base)), ("After", _facts(comparison.new))],
        crossed=crossed,
        remarks=comparison.remarks,
        lists=_lists(comparison),
        total=len(comparison.images),
        shown=min(SHOWN, len(comparison.images)),
    )
    tree_of(path.parent).write(path.name, text.encode("utf-8"))


def _facts(facts: Facts) -> str:
    return "; ".join(", ".join(names) for names in (facts.models, facts.layers, facts.methods))


def _lists(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """List the images that are not shown: a title, and a line for each."""
    failures = {
        "Failed now": comparison.failed_now,
        "Failed before": comparison.failed_before,
        "Failed in both": comparison.failed_both,
    }
    lists = [("Added", list(comparison.added)), ("Removed", list(comparison.removed))]
    lists += [(title, [f"{each.path}: {each.reason}" for each in found]) for title, found in failures.items()]
    return [(title, names) for title, names in lists if names]


def _data(comparison: Comparison, new: Run) -> dict[str, Any]:
    photographs = Photographs.of(new.record)
    sample_range = sample_range_of(new.record.get("options", {}).get("sample_range"))
    shown = comparison.images[:SHOWN]
    wanted = {change.path for change in shown}
    photos: dict[str, str] = {}
    with quiet_single_thread():
        for record in new.records():
            path = record["input"]["path"]
            if path in wanted and (photo := _photo(photographs, Entry(path, path, record, ()), sample_range)):
                photos[path] = photo
    style = OverlaySettings()
    return {
        "side": GRID,
        "alpha": style.alpha,
        "colours": encoded(colour_table(style.colormap)),
        "images": [_image(change, photos.get(change.path)) for change in shown],
    }


def _photo(photographs: Photographs, entry: Entry, sample_range: SampleRange | None) -> str | None:
    photo = photographs.find(entry)
    data = thumbnail_of(partial(read_source, photo), sample_range) if photo else None
    return data_address(data) if data else None


def _image(change: ImageChange, photo: str | None) -> dict[str, Any]:
    size = change.now.size or change.old.size
    return {
        **change.as_record(),
        "photo": photo,
        "width": size.width if size else GRID,
        "height": size.height if size else GRID,
        "before": {"map": _map(change.old, change.base), **_named(change.base)},
        "after": {"map": _map(change.now, change.new), **_named(change.new)},
    }


def _named(explained: ClassState | None) -> dict[str, Any]:
    if explained is None:
        return {"name": None, "score": None}
    return {
        "name": explained.name,
        "score": explained.probability if explained.probability is not None else explained.value,
    }


def _map(image: ImageState, explained: ClassState | None) -> str | None:
    """Encode the map over the image in 8 bits, row by row, in base64."""
    found = image.map_of(explained) if explained else None
    return None if found is None else encoded(np.rint(found[0] * 255).astype(np.uint8))
