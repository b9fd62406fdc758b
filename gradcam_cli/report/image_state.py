"""The data of an image for comparisons of runs: the classes of a sidecar, and their maps over the image."""

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import UsageError, first_line
from gradcam_cli.imaging.geometry import CellLine, Fit, MapGeometry, Size, map_to_source, plan_fit
from gradcam_cli.imaging.heatmap import SMALL_SIDE
from gradcam_cli.results.sidecar import Record
from gradcam_cli.settings import FIT_MODES

# A record with longer sides is refused: its maps would not fit in memory.
LONGEST_SIDE: Final = 2**31
# Side of the grid over the image on which two maps are compared.
GRID: Final = 32

# The errors of reading a record with missing or invalid fields.
NOT_WHOLE: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)

Grid = NDArray[np.float32]
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class ClassState:
    """One explained class of one image.

    `score` is its probability, or its logit if there are no probabilities. `heat` (h, w) uint8 is the map of the
    sidecar; None in sidecars of the first version, which have no maps. `peak` is (x, y) in pixels of the image.
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
        """Its label, or its index if it has none."""
        return self.label or f"class {self.index}"

    def is_same(self, other: "ClassState") -> bool:
        """Whether both are the same class: by WordNet ID or label, if both have one, otherwise by index."""
        if self.wnid and other.wnid:
            return self.wnid == other.wnid
        if self.label and other.label:
            return self.label == other.label
        return self.index == other.index


@dataclass(frozen=True, eq=False)
class ImageState:
    """One image of a run.

    `fit` is the fit of the image to the input; None if it has no map. `explained_with` are the names of the model, the
    layer and the method.
    """

    path: str
    sha256: str | None
    status: str
    reason: str | None
    message: str | None
    size: Size | None
    classes: tuple[ClassState, ...]
    fit: Fit | None
    explained_with: tuple[str, str, str]

    @property
    def is_failed(self) -> bool:
        """Whether the image could not be explained."""
        return self.status == "error"

    @cached_property
    def best(self) -> ClassState | None:
        """The explained class with the highest score; None if no class was explained."""
        return max(self.classes, key=lambda each: each.score, default=None)

    def find(self, wanted: ClassState) -> ClassState | None:
        """Find a class of another image among the explained ones."""
        return next((each for each in self.classes if each.is_same(wanted)), None)

    def map_of(self, explained: ClassState) -> tuple[Grid, NDArray[np.bool_]] | None:
        """Interpolate the map of a class at the centres of GRID x GRID cells over the image.

        Returns:
            Heat (GRID, GRID) float32 in [0, 1], and the cells that the model saw; None if there is no map.
        """
        if explained.heat is None or self.fit is None:
            return None
        heat = np.asarray(explained.heat / 255, np.float32)
        seen = map_to_source(np.ones_like(heat), self.fit, Size(GRID, GRID))
        return map_to_source(heat, self.fit, Size(GRID, GRID)), seen > 0


def state_of(record: Mapping[str, Any]) -> ImageState:
    """Make the state of an image from its sidecar.

    Raises:
        UsageError: a field is missing, or is not what a sidecar holds there.
    """
    try:
        return _state(record)
    except NOT_WHOLE as error:
        image = record.get("input")
        path = image.get("path") if isinstance(image, Mapping) else None
        raise UsageError(
            f"{path}: its record is incomplete ({first_line(error)}). Explain the image again, or remove the record."
        ) from error


def _state(record: Mapping[str, Any]) -> ImageState:
    image = record["input"]
    classes = tuple(_class(entry) for entry in record["classes"])
    heat = next((each.heat for each in classes if each.heat is not None), None)
    model = record["model"]
    return ImageState(
        path=_text(image["path"]),
        sha256=_known(image["sha256"], _text),
        status=_text(record["status"]),
        reason=_known(record["reason"], _text),
        message=_known(record["message"], _text),
        size=None if image["width"] is None else _size(image),
        classes=classes,
        fit=None if heat is None else fit_of(record, Size(heat.shape[1], heat.shape[0])),
        explained_with=(str(model.get("name")), _text(model["layer"]), _text(record["method"]["name"])),
    )


def _class(entry: Record) -> ClassState:
    peak, probability = entry["peak"], entry["probability"]
    return ClassState(
        index=int(_number(entry["index"])),
        label=_known(entry["label"], _text),
        wnid=_known(entry["wnid"], _text),
        score=_number(entry["logit"] if probability is None else probability),
        probability=_known(probability, _number),
        value=_known(entry.get("value"), _number),
        area=_number(entry["area"]),
        peak=(int(_number(peak["x"])), int(_number(peak["y"]))) if peak else None,
        heat=heat_of(entry["heat"]) if entry.get("heat") else None,
    )


def _known(value: Any, read: Callable[[Any], Value]) -> Value | None:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _number(value: Any) -> float:
    """Read a finite number; NaN, which may be in JSON of other programs, would never exceed a limit."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a number")
    return value


def _size(stored: Mapping[str, Any]) -> Size:
    width, height = (_number(stored[side]) for side in ("width", "height"))
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise ValueError(f"{width} x {height} is not a size")
    return Size(int(width), int(height))


def heat_of(stored: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Decode the small map of a sidecar: (h, w) uint8.

    Raises:
        ValueError: the map is empty, or the number of bytes is not the number of cells.
    """
    values = np.frombuffer(base64.b64decode(stored["uint8"]), np.uint8)
    if not values.size:
        raise ValueError("a map without cells")
    return values.reshape(_size(stored).height, stored["width"])


def fit_of(record: Mapping[str, Any], cells: Size) -> Fit:
    """Reconstruct the fit of the image from a sidecar, for the number of cells of its map."""
    image, model = record["input"], record["model"]
    if model["fit"] not in FIT_MODES:
        raise ValueError(f"{model['fit']!r} is not a fit")
    fit = plan_fit(_size(image), _size(model["input_size"]), model["fit"])
    geometry = model.get("geometry")
    if not geometry:
        return fit
    rows = _averaged(_line(geometry["rows"]), cells.height)
    columns = _averaged(_line(geometry["columns"]), cells.width)
    return Fit(fit.source, fit.input, fit.seen, fit.filled, MapGeometry(rows, columns))


def _line(stored: Mapping[str, Any]) -> CellLine:
    return CellLine(**{name: _number(value) for name, value in stored.items()})


def _averaged(line: CellLine, cells: int) -> CellLine:
    """Give the cell positions of a map that was averaged to `SMALL_SIDE` cells; other maps are not changed."""
    before = round((line.seen_to - line.seen_from) / abs(line.stride))
    if cells < SMALL_SIDE or before <= SMALL_SIDE:
        return line
    stride = line.stride * before / cells
    return CellLine(line.offset + (stride - line.stride) / 2, stride, line.seen_from, line.seen_to)
