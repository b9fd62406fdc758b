"""The data of a page as JSON, for its script. Links are relative to the page."""

import base64
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.overlay import colour_table
from gradcam_cli.report.analysis import EXAMPLES, ClassMean, Cluster
from gradcam_cli.report.entries import Entry, ExplainedClass, Placement
from gradcam_cli.report.ordering import peak_distance
from gradcam_cli.report.places import PLACES, place_of
from gradcam_cli.report.thumbnails import Thumbnail
from gradcam_cli.requests import ReportSort
from gradcam_cli.settings import COLORMAPS, OverlaySettings
from gradcam_cli.urls import is_url

Json = dict[str, Any]
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Links:
    """Makes relative links from the page to files; a self-contained page has no links.

    A browser resolves `..` in the text of the address, so symbolic links are not followed here either.
    """

    root: str
    page_folder: str
    self_contained: bool
    is_packed: bool = False

    @cached_property
    def _to_root(self) -> str | None:
        return _relative(self.root, self.page_folder)

    def below(self, relative: str | None) -> str | None:
        """Link a file below the output folder, given by its path there."""
        if relative is None or self.self_contained or self._to_root is None:
            return None
        return _quoted(relative if self._to_root == os.curdir else f"{self._to_root}/{relative}")

    def result(self, relative: str | None) -> str | None:
        """Link a sidecar or an overlay; None if they are in part files."""
        return None if self.is_packed else self.below(relative)

    def to(self, path: str | None) -> str | None:
        """Link a file; None if there is no relative link, as from one drive to another."""
        relative = None if path is None or self.self_contained else _relative(path, self.page_folder)
        return None if relative is None else _quoted(relative)


def _relative(path: str, start: str) -> str | None:
    if is_url(path) or is_url(start):
        (store, _, path), (other, _, start) = path.partition("://"), start.partition("://")
        return posixpath.relpath(f"/{path}", f"/{start}") if store == other else None
    try:
        return os.path.relpath(path, start or os.curdir)
    except ValueError:
        return None


def _quoted(path: str) -> str:
    """Encode a path as a relative address; a colon in its first name would be read as a scheme."""
    return quote(os.fsencode(path.replace(os.sep, "/")), safe="/")


@dataclass(frozen=True)
class Shown:
    """The contents of a page: the images in their order with thumbnails, all classes and all clusters.

    Classes and clusters refer to images by their numbers in the order; at most `limit` are shown.
    """

    entries: Sequence[Entry]
    thumbnails: Sequence[Thumbnail]
    means: Sequence[ClassMean]
    clusters: Sequence[Cluster]
    total: int
    sort: ReportSort
    style: OverlaySettings


def payload_of(shown: Shown, links: Links) -> Json:
    """Build the data of the page."""
    number = len(shown.entries)
    cluster_of = {member: i for i, cluster in enumerate(shown.clusters) for member in cluster.members}
    return {
        "images": [
            _image(entry, thumbnail, links) | {"cluster": cluster_of.get(i)}
            for i, (entry, thumbnail) in enumerate(zip(shown.entries, shown.thumbnails, strict=True))
        ],
        "classes": [_class_mean(mean, number) for mean in shown.means],
        "clusters": [_cluster(cluster, number) for cluster in shown.clusters],
        "places": PLACES,
        "total": shown.total,
        "sort": shown.sort,
        "alpha": shown.style.alpha,
        "colormap": shown.style.colormap,
        "colormaps": {name: encoded(colour_table(name)) for name in COLORMAPS},
    }


def _image(entry: Entry, thumbnail: Thumbnail, links: Links) -> Json:
    record = entry.record
    source = thumbnail.source
    if source is not None and not source.startswith("data:"):
        source = links.below(source)
    distance = peak_distance(entry)
    return {
        "name": entry.name,
        "status": record["status"],
        "reason": record["reason"],
        "message": record["message"],
        "width": entry.size and entry.size.width,
        "height": entry.size and entry.size.height,
        "layer": record["model"]["layer"],
        "method": record["method"]["name"],
        "thumbnail": source,
        "painted": thumbnail.photo is None,
        "panel": thumbnail.panel and [round(edge, 5) for edge in thumbnail.panel],
        "photo": links.to(thumbnail.photo),
        "sidecar": links.result(f"{entry.relative}.json"),
        "distance": None if distance is None else round(distance, 4),
        "classes": [_explained(found, links) for found in entry.classes],
    }


def _explained(found: ExplainedClass, links: Links) -> Json:
    record = found.record
    kept = {key: record.get(key) for key in ("index", "probability", "value", "logit", "area", "peak", "boxes", "flat")}
    return kept | {
        "label": found.label,
        "overlay": links.result(found.overlay),
        "heat": None if found.heat is None else _map(found.heat),
        "place": None if found.grid is None else place_of(found.grid),
        **_placement(found.placement),
    }


def _placement(placement: Placement | None) -> Json:
    """Give the placement only if the map does not cover the whole image, as most do."""
    if placement is None:
        return {}
    windows = {name: tuple(round(edge, 5) for edge in window) for name, window in vars(placement).items()}
    return {name: window for name, window in windows.items() if window != WHOLE}


def _class_mean(mean: ClassMean, number: int) -> Json:
    return {
        "index": mean.index,
        "label": mean.label,
        "count": len(mean.members),
        "heat": _map(_scaled(mean.mean)),
        "farthest": [member for member in mean.members if member < number][:EXAMPLES],
        "flag": mean.flag and {"place": mean.flag.place, "count": mean.flag.count, "mean": mean.flag.of_mean},
    }


def _cluster(cluster: Cluster, number: int) -> Json:
    return {
        "count": len(cluster.members),
        "heat": _map(_scaled(cluster.mean)),
        "examples": [member for member in cluster.members if member < number][:EXAMPLES],
        "place": cluster.place,
        "classes": [{"label": label, "count": count} for label, count in cluster.classes],
    }


def _scaled(grid: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    highest = float(grid.max())
    return np.asarray(np.rint(grid * (255 / highest if highest else 0)), np.uint8)


def _map(heat: NDArray[np.uint8]) -> Json:
    return {"height": heat.shape[0], "width": heat.shape[1], "uint8": encoded(heat)}


def encoded(values: NDArray[np.uint8]) -> str:
    """Encode an array of bytes, row by row, in base64."""
    return base64.b64encode(values.tobytes()).decode("ascii")
