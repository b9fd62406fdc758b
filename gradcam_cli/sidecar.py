"""The record of one image: pure data in, one JSON object out. The same run gives the same bytes.

`sidecar.schema.json` describes every field; `gradcam-cli schema` prints it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from gradcam_cli.errors import ImageError
from gradcam_cli.geometry import Size
from gradcam_cli.heatmap import Summary
from gradcam_cli.images import Header
from gradcam_cli.labels import Label
from gradcam_cli.regions import Region

SCHEMA_VERSION = 1

Record = dict[str, Any]


@dataclass(frozen=True)
class ModelCard:
    """What a sidecar says of the model: the same for every image of a run."""

    name: str
    sha256: str | None
    layer: str
    layer_reason: str
    engine: str
    precision: str
    preprocess: str
    preprocess_guessed: bool
    fit: str
    input_size: tuple[int, int]


@dataclass(frozen=True)
class MethodCard:
    """What a sidecar says of the method; None where an option has no meaning for it, or was not used.

    `score` is what was differentiated; `classes_sampled` is there only where a sample of classes stood for all,
    `layers` only where the maps of several were fused.
    """

    name: str
    score: str | None = None
    classes_sampled: int | None = None
    max_channels: int | None = None
    smooth: int | None = None
    noise: float | None = None
    flip: bool = False
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassResult:
    """One explained class of one image; file names are relative to the sidecar."""

    index: int
    label: Label | None
    logit: float
    probability: float
    overlay: str | None
    map: str | None
    summary: Summary
    regions: list[Region] | None = None


@dataclass(frozen=True)
class InputCard:
    """What a sidecar says of its image, as far as it is known."""

    path: str
    sha256: str | None = None
    size: Size | None = None
    header: Header | None = None
    reduction: int | None = None


def explained(
    image: InputCard, model: ModelCard, method: MethodCard, classes: list[ClassResult], versions: Mapping[str, str]
) -> Record:
    """Build the record of an image that was explained; `flat` when no class has any heat."""
    flat = bool(classes) and all(result.summary.flat for result in classes)
    outcome = {"status": "flat" if flat else "ok", "reason": None, "message": None}
    return {**_circumstances(image, model, method, versions), **outcome, "classes": [_class(c) for c in classes]}


def failed(
    image: InputCard, model: ModelCard, method: MethodCard, error: ImageError, versions: Mapping[str, str]
) -> Record:
    """Build the record of an image that could not be explained."""
    outcome = {"status": "error", "reason": error.reason.value, "message": str(error)}
    return {**_circumstances(image, model, method, versions), **outcome, "classes": []}


def _circumstances(image: InputCard, model: ModelCard, method: MethodCard, versions: Mapping[str, str]) -> Record:
    return {
        "schema_version": SCHEMA_VERSION,
        "input": _input(image),
        "model": _model(model),
        "method": {**asdict(method), "layers": list(method.layers) or None},
        "versions": dict(versions),
    }


def _input(image: InputCard) -> Record:
    size, header = image.size, image.header
    return {
        "path": image.path,
        "sha256": image.sha256,
        "width": size.width if size else None,
        "height": size.height if size else None,
        "orientation_applied": header.orientation != 1 if header else None,
        "frames": header.frames if header else None,
        "alpha": header.alpha if header else None,
        "reduction": image.reduction,
    }


def _model(model: ModelCard) -> Record:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "layer": model.layer,
        "layer_reason": model.layer_reason,
        "engine": model.engine,
        "precision": model.precision,
        "preprocess": model.preprocess,
        "preprocess_guessed": model.preprocess_guessed,
        "fit": model.fit,
        "input_size": {"width": model.input_size[1], "height": model.input_size[0]},
    }


def _class(result: ClassResult) -> Record:
    peak = result.summary.peak
    return {
        "index": result.index,
        "label": result.label.name if result.label else None,
        "wnid": result.label.wnid if result.label else None,
        "logit": shortest(result.logit),
        "probability": shortest(result.probability),
        "overlay": result.overlay,
        "map": result.map,
        "peak": {"x": peak[0], "y": peak[1]} if peak else None,
        "area": round(result.summary.area, 6),
        "boxes": None if result.regions is None else [_box(region) for region in result.regions],
        "flat": result.summary.flat,
    }


def _box(region: Region) -> Record:
    box = region.box
    return {"x0": box.left, "y0": box.top, "x1": box.right, "y1": box.bottom, "share": round(region.share, 6)}


def shortest(value: float) -> float:
    """Write a float32 with the digits it has, not with the seventeen of the double that holds it."""
    return float(str(np.float32(value)))


def to_json(record: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Write a record as ASCII JSON with sorted keys, ending in a newline.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(record, sort_keys=True, indent=indent, allow_nan=False) + "\n"


def is_foreign(data: bytes) -> bool:
    """Whether this is valid JSON that somebody else wrote."""
    try:
        value = json.loads(data)
    except ValueError:
        return False
    return not (isinstance(value, dict) and {"schema_version", "versions"} <= value.keys())


@cache
def schema_text() -> str:
    """Give the JSON Schema of the record."""
    return (resources.files("gradcam_cli") / "sidecar.schema.json").read_text(encoding="utf-8")
