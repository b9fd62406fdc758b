"""What runs are compared by: the classes that a sidecar tells of, and their maps over the photograph."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import UsageError, first_line
from gradcam_cli.imaging.geometry import CellLine, Fit, MapGeometry, Size, map_to_source, plan_fit
from gradcam_cli.imaging.heatmap import SMALL_SIDE
from gradcam_cli.results.sidecar import Record

# Sides of the grid over the photograph on which two maps are compared.
GRID: Final = 32

Grid = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClassState:
    """One explained class of one image.

    `score` is its probability, or its logit where the output says no probability. `heat` (h, w) uint8 is the map of
    the sidecar; None in sidecars of the first version, which have no maps. `peak` is (x, y) in the photograph's pixels.
    """

    index: int
    label: str | None
    wnid: str | None
    score: float
    probability: float | None
    value: float | None
    area: float
    peak: tuple[int, int] | None
    heat: NDArray[np.uint8] | None

    @property
    def name(self) -> str:
        """Its label, or its number where it has none."""
        return self.label or f"class {self.index}"

    def is_same(self, other: "ClassState") -> bool:
        """Whether both are one class: by WordNet id where both have one, by label where both have one, or by number."""
        if self.wnid and other.wnid:
            return self.wnid == other.wnid
        if self.label and other.label:
            return self.label == other.label
        return self.index == other.index


@dataclass(frozen=True, eq=False)
class ImageState:
    """One image of a run. `fit` is how its maps lie on the photograph; None where it has no map."""

    path: str
    sha256: str | None
    status: str
    reason: str | None
    message: str | None
    size: Size | None
    classes: tuple[ClassState, ...]
    fit: Fit | None

    @property
    def is_failed(self) -> bool:
        """Whether it could not be explained."""
        return self.status == "error"

    @cached_property
    def best(self) -> ClassState | None:
        """The explained class with the highest score; None where no class was explained."""
        return max(self.classes, key=lambda each: each.score, default=None)

    def find(self, wanted: ClassState) -> ClassState | None:
        """Find a class of another image among the explained ones."""
        return next((each for each in self.classes if each.is_same(wanted)), None)

    def map_of(self, explained: ClassState) -> tuple[Grid, NDArray[np.bool_]] | None:
        """Read the map of a class at the centres of GRID x GRID cells over the photograph.

        Returns:
            Heat (GRID, GRID) float32 in [0, 1], and which cells the model saw; None where there is no map.
        """
        if explained.heat is None or self.fit is None:
            return None
        heat = np.asarray(explained.heat / 255, np.float32)
        seen = map_to_source(np.ones_like(heat), self.fit, Size(GRID, GRID))
        return map_to_source(heat, self.fit, Size(GRID, GRID)), seen > 0


def state_of(record: Mapping[str, Any]) -> ImageState:
    """Take from a sidecar what runs are compared by.

    Raises:
        UsageError: a field is missing, or is not what a sidecar holds there.
    """
    try:
        return _state(record)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        path = record["input"].get("path") if isinstance(record.get("input"), Mapping) else None
        raise UsageError(
            f"{path}: its sidecar is not whole ({first_line(error)}). Explain the image anew, or remove the sidecar."
        ) from error


def _state(record: Mapping[str, Any]) -> ImageState:
    image = record["input"]
    classes = tuple(_class(entry) for entry in record["classes"])
    heat = next((each.heat for each in classes if each.heat is not None), None)
    return ImageState(
        path=image["path"],
        sha256=image["sha256"],
        status=record["status"],
        reason=record["reason"],
        message=record["message"],
        size=Size(image["width"], image["height"]) if image["width"] and image["height"] else None,
        classes=classes,
        fit=None if heat is None else fit_of(record, Size(heat.shape[1], heat.shape[0])),
    )


def _class(entry: Record) -> ClassState:
    peak, probability = entry["peak"], entry["probability"]
    return ClassState(
        index=entry["index"],
        label=entry["label"],
        wnid=entry["wnid"],
        score=float(entry["logit"] if probability is None else probability),
        probability=probability,
        value=entry.get("value"),
        area=float(entry["area"]),
        peak=(peak["x"], peak["y"]) if peak else None,
        heat=heat_of(entry["heat"]) if entry.get("heat") else None,
    )


def heat_of(stored: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Decode the small map of a sidecar: (h, w) uint8."""
    values = np.frombuffer(base64.b64decode(stored["uint8"]), np.uint8)
    return values.reshape(stored["height"], stored["width"])


def fit_of(record: Mapping[str, Any], cells: Size) -> Fit:
    """Rebuild how the photograph of a sidecar was laid into the model's input, for a map of so many cells."""
    image, model = record["input"], record["model"]
    target = Size(model["input_size"]["width"], model["input_size"]["height"])
    fit = plan_fit(Size(image["width"], image["height"]), target, model["fit"])
    geometry = model.get("geometry")
    if not geometry:
        return fit
    rows = _averaged(CellLine(**geometry["rows"]), cells.height)
    columns = _averaged(CellLine(**geometry["columns"]), cells.width)
    return Fit(fit.source, fit.input, fit.seen, fit.filled, MapGeometry(rows, columns))


def _averaged(line: CellLine, cells: int) -> CellLine:
    """Give the line of a map that was averaged down to `SMALL_SIDE` cells; that of all other maps stays as it is."""
    before = round((line.seen_to - line.seen_from) / abs(line.stride))
    if cells < SMALL_SIDE or before <= SMALL_SIDE:
        return line
    stride = line.stride * before / cells
    return CellLine(line.offset + (stride - line.stride) / 2, stride, line.seen_from, line.seen_to)
