"""Snapshots: the class and the map of each image of a run, in one small file for a repository.

The same run gives the same bytes. Each image has its own line, so that a diff shows the images that changed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.report.change_metrics import change_limit, change_limits
from gradcam_cli.report.compare import Side, side_of
from gradcam_cli.report.image_state import state_of
from gradcam_cli.report.own_files import read_own, write_own
from gradcam_cli.requests import ChangeLimit
from gradcam_cli.results.ownership import SNAPSHOT_MARK
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.sidecar import Record
from gradcam_cli.urls import Url

VERSION: Final = 1
# Default limits that another run of the same model meets on every machine and engine in float32.
TOLERANCE: Final = (
    ChangeLimit("class-changes", 0),
    ChangeLimit("failed-now", 0),
    ChangeLimit("flat-now", 0),
    ChangeLimit("inputs-changed", 0),
    ChangeLimit("removed", 0),
    ChangeLimit("worst-correlation-below", 0.98),
)
# The limit of probabilities is left out if the model has none: a metric without a value would count as exceeded.
OF_PROBABILITIES: Final = ChangeLimit("worst-probability-change", 0.01)

INPUT_FIELDS = ("path", "sha256", "width", "height")
CLASS_FIELDS = ("index", "label", "wnid", "logit", "probability", "value", "area", "peak", "heat")
MODEL_FIELDS = ("name", "layer", "fit", "input_size", "geometry")


@dataclass(frozen=True)
class Snapshot:
    """The stored part of each sidecar, sorted by path, and the tolerance for another run."""

    records: tuple[Record, ...]
    tolerance: tuple[ChangeLimit, ...]

    def side(self) -> Side:
        """Give the images as one side of a comparison.

        Raises:
            UsageError: an image is incomplete.
        """
        return side_of(self.records, "base")

    def as_text(self) -> str:
        """Format the snapshot as ASCII JSON with sorted keys, a line for each image."""
        explained_with = sorted({_written(_explained_with(record)) for record in self.records})
        images = [_image(record, explained_with) for record in self.records]
        parts = {
            "explained_with": f"[\n{_lines(explained_with)}\n ]",
            SNAPSHOT_MARK: str(VERSION),
            "images": f"[\n{_lines(map(_written, images))}\n ]",
            "tolerance": _written({limit.metric: limit.value for limit in self.tolerance}),
        }
        return "{\n" + ",\n".join(f' "{name}": {parts[name]}' for name in sorted(parts)) + "\n}\n"


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _lines(values: Iterable[str]) -> str:
    return ",\n".join(f"  {value}" for value in values)


def _image(record: Record, explained_with: list[str]) -> Record:
    """Give one line of the file: an image, and the number of its model, layer and method."""
    return {
        **record["input"],
        "status": record["status"],
        "reason": record["reason"],
        "class": record["classes"][0] if record["classes"] else None,
        "explained_with": explained_with.index(_written(_explained_with(record))),
    }


def _explained_with(record: Record) -> Record:
    return {"model": record["model"], "method": record["method"]}


def snapshot_of(run: Run, tolerance: Iterable[ChangeLimit] = ()) -> Snapshot:
    """Make a snapshot from the best class of each image of a run.

    Args:
        run: the run.
        tolerance: limits that replace those of the same metric in `TOLERANCE`, or are added.

    Raises:
        UsageError: no image was explained, or a sidecar is incomplete or has no map.
    """
    records = sorted((_kept(record) for record in run.records()), key=lambda record: str(record["input"]["path"]))
    classes = [record["classes"][0] for record in records if record["classes"]]
    if not classes:
        raise UsageError(f"{run.folder}: no image was explained, so there is nothing to write.")
    with_probability = any(each["probability"] is not None for each in classes)
    usual = (*TOLERANCE, OF_PROBABILITIES) if with_probability else TOLERANCE
    return Snapshot(tuple(records), merged(usual, tolerance))


def take_snapshot(run: Path | Url, path: Path | Url, tolerance: Iterable[str] = ()) -> Snapshot:
    """Write the snapshot of a run's folder to a file; both may be places in an object store.

    Args:
        run: the folder.
        path: the file; an existing snapshot is replaced.
        tolerance: limits as `METRIC=VALUE`, see `snapshot_of`.

    Raises:
        UsageError: there is no run or nothing to keep, a limit cannot be read, or another file is at `path`.
        EnvironmentStop: the file cannot be written.
    """
    limits = change_limits(tolerance, "tolerance")
    made = snapshot_of(read_run(run), limits)
    write_snapshot(path, made)
    return made


def merged(limits: Iterable[ChangeLimit], others: Iterable[ChangeLimit]) -> tuple[ChangeLimit, ...]:
    """Replace limits of the same metric; the result is sorted by metric."""
    found = {limit.metric: limit for limit in (*limits, *others)}
    return tuple(found[metric] for metric in sorted(found))


def _kept(record: Record) -> Record:
    state = state_of(record)
    best = [] if state.best is None else [record["classes"][state.classes.index(state.best)]]
    if any(not entry.get("heat") for entry in best):
        raise UsageError(f"{state.path}: its sidecar has no map. Explain the image again.")
    return {
        "input": {name: record["input"][name] for name in INPUT_FIELDS},
        "status": record["status"],
        "reason": record["reason"],
        "message": None,
        "classes": [{name: entry.get(name) for name in CLASS_FIELDS} for entry in best],
        "model": {name: record["model"].get(name) for name in MODEL_FIELDS},
        "method": {"name": record["method"]["name"]},
    }


def write_snapshot(path: Path | Url, snapshot: Snapshot) -> None:
    """Write a snapshot; an existing snapshot is replaced.

    Raises:
        UsageError: the path is another file.
        EnvironmentStop: it cannot be written.
    """
    write_own(path, snapshot.as_text(), SNAPSHOT_MARK)


def read_snapshot(path: Path | Url) -> Snapshot:
    """Read a snapshot.

    Raises:
        UsageError: the file cannot be read, or is not a snapshot of this version.
    """
    try:
        stored = read_own(path, SNAPSHOT_MARK)
    except ImageError as error:
        raise UsageError(f"{path}: the snapshot cannot be read: {error}.") from error
    if stored is None:
        raise UsageError(f"{path} is not a snapshot of this program.")
    if stored[SNAPSHOT_MARK] != VERSION:
        raise UsageError(
            f"{path} is a snapshot of version {stored[SNAPSHOT_MARK]}, but this program reads version {VERSION}."
        )
    try:
        records = tuple(_record(image, stored["explained_with"]) for image in stored["images"])
        tolerance = tuple(change_limit(f"{name}={value}", "tolerance") for name, value in stored["tolerance"].items())
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is an incomplete snapshot: {type(error).__name__} at {error}.") from error
    return Snapshot(records, tolerance)


def _record(image: Mapping[str, Any], explained_with: list[Record]) -> Record:
    return {
        "input": {name: image[name] for name in INPUT_FIELDS},
        "status": image["status"],
        "reason": image["reason"],
        "message": None,
        "classes": [image["class"]] if image["class"] else [],
        **explained_with[image["explained_with"]],
    }
