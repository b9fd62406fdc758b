"""One frozen dataclass for each command with all its options: `explain`, `evaluate`, `report`, `compare`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from gradcam_cli.settings import (
    METHOD_CHOICES,
    QUICK_METRICS,
    Baseline,
    Doc,
    EngineSettings,
    FitChoice,
    InputSettings,
    ModelSettings,
    PoolSettings,
    Resume,
    RunSettings,
    SampleRange,
    TargetSettings,
)
from gradcam_cli.urls import Url

# How many images are stored in one file, a part: see `results.part_names.PACKINGS`.
Packing = Literal["webdataset", "parquet"]
# How the results of a run are stored: a file for each overlay and sidecar, or parts.
Format = Literal["files", Packing]
# Formats that store neither overlays nor maps: their sidecars name none.
WITHOUT_OVERLAYS: frozenset[Format] = frozenset({"parquet"})


@dataclass(frozen=True)
class ExplainRequest:
    """All options of one run of `explain`.

    Without an `output` no files are written; an `output` that is a `Url` is a prefix in an object store. `fit` may be
    `auto`; `run.fit` holds the choice after the model is known. With `max_failures=N` the run stops after N failed
    images. With `isolate_decoder` images are decoded in separate processes. A `shard` is (index, count); the first
    index is 1. The `pool` does not change results.

    Example:
        >>> request = ExplainRequest(InputSettings(("photos",)), output=Path("out"))
        >>> explain_folder(request)  # doctest: +SKIP
    """

    inputs: InputSettings = field(default_factory=InputSettings)
    output: Path | Url | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    fit: Annotated[
        FitChoice,
        Doc(
            "How an image is fitted to the input size. squash: resize it and change its aspect ratio. crop: take "
            "its middle. pad: add a border. auto: crop for models of Teachable Machine, otherwise squash.",
            group="model",
        ),
    ] = "auto"
    run: RunSettings = field(default_factory=RunSettings)
    resume: Annotated[Resume, Doc("What is done with images that an earlier run has explained.", group="output")] = (
        "finished"
    )
    max_failures: Annotated[int | None, Doc("Stop after N failed images.", "N", low=1, group="limits")] = None
    isolate_decoder: Annotated[
        bool,
        Doc(
            "Decode images in separate processes. If an image crashes the decoder, only this image fails.",
            group="engine",
        ),
    ] = False
    shard: Annotated[
        tuple[int, int] | None,
        Doc(
            "Take only part K of N of the images (1/N to N/N); the hash of its path decides the part of an image. See "
            "`gradcam-cli merge`.",
            "K/N",
            group="inputs",
        ),
    ] = None

    format: Annotated[
        Format,
        Doc(
            "How results are stored. files: one file for each overlay and sidecar. webdataset: tar files of overlays "
            "and sidecars. parquet: tables without overlays.",
            group="output",
        ),
    ] = "files"
    images_per_file: Annotated[
        int | None,
        Doc(
            "Number of images in one tar file or table.",
            "N",
            low=1,
            otherwise="1000 in a tar file, 10000 in a table",
            group="output",
        ),
    ] = None
    pool: PoolSettings = field(default_factory=PoolSettings)

    def digest(self, model: Mapping[str, Any], versions: Mapping[str, str]) -> str:
        """Give the SHA-256 hash of everything, except the image, that the results of an image depend on.

        Args:
            model: the properties of the model that results depend on, see `ModelRequest.depends`.
            versions: the installed versions of this program and of the libraries that compute.

        The batch size and the limits of inputs do not change results, so they are not part of the hash.
        """
        settings = asdict(self.run) | {"fit": self.fit}
        del settings["batch_size"], settings["limits"]
        depends = {
            "model": dict(model),
            "settings": settings,
            "targets": asdict(self.targets),
            "engine": [self.engine.engine, self.engine.precision],
            "versions": dict(versions),
        }
        # Imported here, so that help and completion start faster.
        import hashlib

        return hashlib.sha256(json.dumps(depends, sort_keys=True, default=str).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class StudySettings:
    """The methods that an evaluation compares, and what it measures.

    `metrics` are groups of measures, see `evaluation.measures.GROUPS`. `steps` and `baseline` are options of deletion
    and insertion. `grid` is the number of rows and columns of the collages in the grid pointing game.
    """

    methods: Annotated[
        tuple[str, ...],
        Doc("Explanation method (see `gradcam-cli methods`). Repeatable.", choices=METHOD_CHOICES, group="method"),
    ] = (
        "gradcam",
        "gradcam++",
    )
    metrics: tuple[str, ...] = QUICK_METRICS
    steps: Annotated[
        int, Doc("Number of steps of deletion and insertion.", "N", low=2, high=1000, group="measures")
    ] = 20
    baseline: Annotated[
        Baseline,
        Doc(
            "What replaces removed pixels. mean: the mean colour of the image. blur: the blurred image (sigma 10 "
            "pixels at 224). zero: black. road: a linear interpolation of their neighbours, with noise (ROAD, Rong "
            "2022).",
            group="measures",
        ),
    ] = "mean"
    grid: Annotated[
        tuple[int, int] | None,
        Doc(
            "Measure the grid pointing game on collages of R rows and C columns. The model must accept a larger input.",
            "RxC",
            group="measures",
        ),
    ] = None


@dataclass(frozen=True)
class Gate:
    """A limit for one measure, a name of `evaluation.measures.MEASURES`: the figure must not be worse.

    The limit is for one method; if `method` is None it is for all methods.
    """

    measure: str
    limit: float
    method: str | None = None


@dataclass(frozen=True)
class EvaluateRequest:
    """All options of one run of `evaluate`.

    Each of `layers` is evaluated separately; the `layer` of the `model` is ignored. `boxes_csv` is a file with the
    boxes of objects. Without an `output` no files are written; an `output` that is a `Url` is a prefix in an object
    store.
    """

    inputs: InputSettings = field(default_factory=InputSettings)
    output: Path | Url | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    layers: tuple[str, ...] = ("auto",)
    study: StudySettings = field(default_factory=StudySettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    fit: FitChoice = "auto"
    batch_size: int = 16
    sample_range: SampleRange | None = None
    boxes_csv: Annotated[
        Path | None,
        Doc(
            "CSV file of the objects' boxes: file,x0,y0,x1,y1 in pixels of the original image. One line for each box.",
            "FILE.csv",
            group="inputs",
        ),
    ] = None
    gates: Annotated[
        tuple[Gate, ...],
        Doc(
            "Exit with code 5 if a mean is worse than VALUE: higher if lower is better, lower if higher is better. "
            "Repeatable.",
            "[METHOD:]METRIC=VALUE",
            group="limits",
        ),
    ] = ()


# How the images of two runs are matched: by the path in the output folder, or by the content of the image file.
Match = Literal["path", "sha256"]


@dataclass(frozen=True)
class ChangeLimit:
    """A limit for one metric of a comparison, a name of `report.change_metrics.CHANGE_METRICS`."""

    metric: str
    value: float


# How a report sorts its images: by name; by probability; by the area of high heat; or by the distance of the peak from
# the middle of the image. The highest figure is first.
ReportSort = Literal["name", "probability", "area", "peak-distance"]
REPORT_SORTS: tuple[ReportSort, ...] = ("name", "probability", "area", "peak-distance")


@dataclass(frozen=True)
class ReportRequest:
    """All options of one HTML page about a run.

    The page is written to `output`, by default to `index.html` in the folder of the run. Only the first `limit` images
    are shown; the summary covers all images.
    """

    run: Path | Url
    output: Path | Url | None = None
    self_contained: Annotated[
        bool, Doc("Write one file that contains the thumbnails and has no links to other files.", group="output")
    ] = False
    sort: Annotated[
        ReportSort, Doc("Order of the images. Figures are sorted from the highest to the lowest.", group="output")
    ] = "name"
    limit: Annotated[int | None, Doc("Show only the first N images in this order.", "N", low=1, group="output")] = None


@dataclass(frozen=True)
class CompareRequest:
    """All options of one comparison: the new run, its base, and the limits of the changes.

    The base is a run or a snapshot. A snapshot contains limits; a limit of `fail_over` replaces the snapshot's limit of
    the same metric. With `update` the snapshot is replaced by one of the new run, and limits are not checked.
    """

    new: Path | Url
    base: Path | Url | None = None
    snapshot: Annotated[
        Path | Url | None, Doc("Compare NEW with a snapshot instead of BASE.", "FILE", group="inputs")
    ] = None
    match: Annotated[
        Match, Doc("How images are matched. path: the same path. sha256: files with the same content.", group="inputs")
    ] = "path"
    output: Path | Url | None = None
    fail_over: Annotated[
        tuple[ChangeLimit, ...],
        Doc(
            "Exit with code 5 if METRIC is worse than VALUE (see the metrics below). Repeatable.",
            "METRIC=VALUE",
            group="limits",
        ),
    ] = ()
    warn_over: Annotated[
        tuple[ChangeLimit, ...], Doc("Warn if METRIC is worse than VALUE. Repeatable.", "METRIC=VALUE", group="limits")
    ] = ()
    update: Annotated[
        bool, Doc("Accept NEW: replace the snapshot by one of NEW, and keep its tolerance.", group="output")
    ] = False
