"""The record of one image: build a JSON object from plain data. The same run gives the same bytes.

`sidecar.schema.json` describes every field; `gradcam-cli schema` prints it.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError
from gradcam_cli.imaging.geometry import CellLine, MapGeometry, Size
from gradcam_cli.imaging.heatmap import Summary
from gradcam_cli.imaging.regions import Region
from gradcam_cli.inputs.discovery import as_text, from_text
from gradcam_cli.inputs.photo import Header
from gradcam_cli.labels.class_labels import Label
from gradcam_cli.results.ownership import parsed

SCHEMA_VERSION = 2
FIRST_VERSION = 1
# The `status` of an image that has an explanation.
EXPLAINED = ("ok", "flat")

Record = dict[str, Any]


@dataclass(frozen=True)
class GivenCard:
    """The description of an additional input in a sidecar: its name, the given value, and the hash of the values."""

    name: str | None
    value: str
    sha256: str


@dataclass(frozen=True)
class ModelCard:
    """The description of the model in a sidecar; it is the same for every image of a run."""

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
    preprocess_reason: str = ""
    preprocess_scores: Mapping[str, float] | None = None
    image_input: str | None = None
    inputs: tuple[GivenCard, ...] = ()
    custom_objects: str | None = None
    output_kind: str = "softmax"
    output_reason: str = ""
    output_assumed: bool = False
    geometry: MapGeometry | None = None
    layer_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodCard:
    """The description of the method in a sidecar. A field is None if the option is not used or does not apply.

    `score` is the differentiated score. `classes_sampled` is given only if a sample of the classes was used instead of
    all classes, `layers` only if the maps of several layers were fused.
    """

    name: str
    score: str | None = None
    classes_sampled: int | None = None
    max_channels: int | None = None
    scorecam_masks: str | None = None
    smooth: int | None = None
    noise: float | None = None
    flip: bool = False
    layers: tuple[str, ...] = ()
    derivatives: str | None = None


@dataclass(frozen=True)
class RunCard:
    """The description of the run in a sidecar, the same for every image: the hash of all options, and versions."""

    options_sha256: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class FileCard:
    """One file next to a sidecar: its name, its size in bytes, and its hash."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ClassResult:
    """One explained class of one image; file names are relative to the sidecar.

    `probability` is None if the output is a `value`. `heat` (h, w) uint8 is the small map, see `heatmap.small`.
    """

    index: int
    label: Label | None
    logit: float
    probability: float | None
    value: float | None
    overlay: str | None
    map: str | None
    heat: NDArray[np.uint8]
    summary: Summary
    regions: list[Region] | None = None


@dataclass(frozen=True)
class InputCard:
    """The description of the image in a sidecar; unknown fields are None.

    `mtime_ns` is the modification time in nanoseconds. An object of a store has an `etag` instead, if the store gives
    one. `levels` are the sample values that were mapped to 0 and 255, if a range was used.
    """

    path: str
    sha256: str | None = None
    bytes: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    size: Size | None = None
    header: Header | None = None
    reduction: int | None = None
    levels: tuple[float, float] | None = None


def explained(
    image: InputCard,
    model: ModelCard,
    method: MethodCard,
    run: RunCard,
    classes: Sequence[ClassResult],
    files: Sequence[FileCard],
) -> Record:
    """Build the record of an explained image. Its status is `flat` if all of its classes have no heat, else `ok`."""
    flat = bool(classes) and all(result.summary.flat for result in classes)
    return {
        **_circumstances(image, model, method, run),
        "status": "flat" if flat else "ok",
        "reason": None,
        "message": None,
        "classes": [_class(result) for result in classes],
        "files": [_file(file) for file in files],
    }


def failed(image: InputCard, model: ModelCard, method: MethodCard, run: RunCard, error: ImageError) -> Record:
    """Build the record of an image that could not be explained."""
    return {
        **_circumstances(image, model, method, run),
        "status": "error",
        "reason": error.reason.value,
        "message": as_text(str(error)),
        "classes": [],
        "files": [],
    }


def _circumstances(image: InputCard, model: ModelCard, method: MethodCard, run: RunCard) -> Record:
    return {
        "schema_version": SCHEMA_VERSION,
        "input": input_record(image),
        "model": _model(model),
        "method": {**asdict(method), "layers": list(method.layers) or None},
        "options_sha256": run.options_sha256,
        "versions": dict(run.versions),
    }


def input_record(image: InputCard) -> Record:
    """Build the part of a record that describes the image."""
    size, header = image.size, image.header
    text = as_text(image.path)
    raw = image.path.encode("utf-8", "surrogateescape")
    return {
        "path": text,
        **({} if text == image.path else {"path_b64": base64.b64encode(raw).decode("ascii")}),
        "sha256": image.sha256,
        "bytes": image.bytes,
        "mtime_ns": image.mtime_ns,
        **({"etag": image.etag} if image.etag else {}),
        "width": size.width if size else None,
        "height": size.height if size else None,
        "orientation_applied": header.orientation != 1 if header else None,
        "frames": header.frames if header else None,
        "alpha": header.alpha if header else None,
        "reduction": image.reduction,
        "range": list(image.levels) if image.levels else None,
    }


def _file(file: FileCard) -> Record:
    return {"name": as_text(file.name), "bytes": file.bytes, "sha256": file.sha256}


def _model(model: ModelCard) -> Record:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "layer": model.layer,
        "layer_reason": model.layer_reason,
        "layer_notes": list(model.layer_notes),
        "engine": model.engine,
        "precision": model.precision,
        "preprocess": model.preprocess,
        "preprocess_guessed": model.preprocess_guessed,
        "preprocess_reason": model.preprocess_reason,
        "preprocess_scores": model.preprocess_scores and dict(model.preprocess_scores),
        "output_kind": model.output_kind,
        "output_reason": model.output_reason,
        "output_assumed": model.output_assumed,
        "fit": model.fit,
        "image_input": model.image_input,
        "custom_objects": model.custom_objects,
        "inputs": [asdict(given) for given in model.inputs],
        "input_size": {"width": model.input_size[1], "height": model.input_size[0]},
        "geometry": model.geometry and {name: _line(line) for name, line in vars(model.geometry).items()},
    }


def _line(line: CellLine) -> Record:
    return {name: round(value, 6) for name, value in vars(line).items()}


def _class(result: ClassResult) -> Record:
    peak = result.summary.peak
    return {
        "index": result.index,
        "label": result.label.name if result.label else None,
        "wnid": result.label.wnid if result.label else None,
        "logit": shortest(result.logit),
        "probability": None if result.probability is None else shortest(result.probability),
        "value": None if result.value is None else shortest(result.value),
        "overlay": result.overlay and as_text(result.overlay),
        "map": result.map and as_text(result.map),
        "heat": _heat(result.heat),
        "peak": {"x": peak[0], "y": peak[1]} if peak else None,
        "area": round(result.summary.area, 6),
        "boxes": None if result.regions is None else [_box(region) for region in result.regions],
        "flat": result.summary.flat,
    }


def _heat(heat: NDArray[np.uint8]) -> Record:
    height, width = heat.shape
    return {"height": height, "width": width, "uint8": base64.b64encode(heat.tobytes()).decode("ascii")}


def _box(region: Region) -> Record:
    box = region.box
    return {"x0": box.left, "y0": box.top, "x1": box.right, "y1": box.bottom, "share": round(region.share, 6)}


def shortest(value: float) -> float:
    """Round a float32 value to its shortest decimal form, instead of the 17 digits of a float64."""
    return float(str(np.float32(value)))


def to_json(record: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Write a record as ASCII JSON with sorted keys, paths as text, and a newline at the end.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(record, sort_keys=True, indent=indent, allow_nan=False, default=os.fspath) + "\n"


def files_of(data: bytes) -> list[str]:
    """Give the names on disk of the files next to a sidecar of this program; none if the sidecar is damaged."""
    try:
        record = parsed(data)
        return [name_on_disk(record, file["name"]) for file in record["files"]]
    except (ValueError, LookupError, TypeError, AttributeError):
        return []


def name_on_disk(record: Record, name: str) -> str:
    """Give the name on disk of a file that a sidecar names.

    Raises:
        ValueError: the name is not in the folder of the sidecar; this program does not write such names.
    """
    real = from_text(name, escaped="path_b64" in record["input"])
    if "/" in real or os.sep in real or "\0" in real or real in {"", ".", ".."}:
        raise ValueError(f"{name} is not in the folder of its sidecar")
    return real


@cache
def schema_text(version: int = SCHEMA_VERSION) -> str:
    """Give the JSON Schema of the record for a version: the current one, or the first one."""
    name = "sidecar.v1.schema.json" if version == FIRST_VERSION else "sidecar.schema.json"
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def run_schema_text() -> str:
    """Give the JSON Schema of `run.json`, and of the record of a shard."""
    return Path(__file__).with_name("run.schema.json").read_text(encoding="utf-8")
