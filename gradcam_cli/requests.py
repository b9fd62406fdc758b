"""What the commands are asked for, as one frozen dataclass each: `explain`, `evaluate`, `report`, `compare`."""

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
    """All that one run of `explain` is asked for.

    Without an `output` no files are written; a `Url` is a prefix of an object store. `fit` is resolved when the model
    is known; the `run` has the resolved one. With `max_failures` the run stops after so many failed images. With
    `isolate_decoder` pictures are decoded in processes of their own. A `shard` is (index, count), from (1, count) on.
    The `pool` changes no result.

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
            "How a picture is laid into the input: whole, its middle, or whole with a border; auto is squash, or "
            "what the tool that made the model does.",
            group="model",
        ),
    ] = "auto"
    run: RunSettings = field(default_factory=RunSettings)
    resume: Annotated[Resume, Doc("What becomes of images that an earlier run has explained.", group="output")] = (
        "finished"
    )
    max_failures: Annotated[int | None, Doc("Stop after N failures.", "N", low=1, group="limits")] = None
    isolate_decoder: Annotated[
        bool,
        Doc("Decode in processes of their own: a picture that crashes a codec fails only that image.", group="engine"),
    ] = False
    shard: Annotated[
        tuple[int, int] | None,
        Doc(
            "Take only shard K of N, from 1/N to N/N, by the hash of each path; see `gradcam-cli merge`.",
            "K/N",
            group="inputs",
        ),
    ] = None

    format: Annotated[
        Format,
        Doc(
            "How results are stored: a file for each overlay and sidecar, or files of many images: tars of overlays "
            "and sidecars (WebDataset), or tables without overlays (Parquet).",
            group="output",
        ),
    ] = "files"
    images_per_file: Annotated[
        int | None,
        Doc("Images in one tar or table.", "N", low=1, otherwise="1000 in a tar, 10000 in a table", group="output"),
    ] = None
    pool: PoolSettings = field(default_factory=PoolSettings)

    def digest(self, model: Mapping[str, Any], versions: Mapping[str, str]) -> str:
        """Hash what the files of an image depend on besides the image: sha256 in hexadecimal.

        Args:
            model: what the results depend on of the model, see `ModelRequest.depends`.
            versions: the installed versions of this program and of what computes.

        The size of batches and the limits of inputs change no result: they are no part of it.
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
        # Only here: help and completion must not wait for it.
        import hashlib

        return hashlib.sha256(json.dumps(depends, sort_keys=True, default=str).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class StudySettings:
    """What an evaluation measures of which methods.

    `metrics` are groups of figures, see `evaluation.measures.GROUPS`. `steps` and `baseline` are those of deletion and
    insertion. `grid` is the rows and columns of collages for the grid pointing game.
    """

    methods: Annotated[
        tuple[str, ...], Doc("Which of the CAM family; repeatable.", choices=METHOD_CHOICES, group="method")
    ] = (
        "gradcam",
        "gradcam++",
    )
    metrics: tuple[str, ...] = QUICK_METRICS
    steps: Annotated[int, Doc("Steps of deletion and insertion.", low=2, high=1000, group="measures")] = 20
    baseline: Annotated[
        Baseline,
        Doc(
            "What replaces removed pixels: the picture's mean colour, the picture blurred (sigma 10 pixels at 224), "
            "black, or what the pixels around them suggest, with noise (ROAD, Rong 2022).",
            group="measures",
        ),
    ] = "mean"
    grid: Annotated[
        tuple[int, int] | None,
        Doc(
            "Grid pointing game on collages of R rows and C columns; the model must take a larger input.",
            "RxC",
            group="measures",
        ),
    ] = None


@dataclass(frozen=True)
class Gate:
    """A limit that one figure (a name of `evaluation.measures.MEASURES`) must not be worse than.

    It holds for one method, or for all of them where `method` is None.
    """

    measure: str
    limit: float
    method: str | None = None


@dataclass(frozen=True)
class EvaluateRequest:
    """All that one run of `evaluate` is asked for.

    The `layer` of the `model` is ignored: each of `layers` is explained for itself. `boxes_csv` is a file of objects.
    Without an `output` folder no files are written; a `Url` is a prefix of an object store.
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
            "Where the objects are: file,x0,y0,x1,y1 in pixels of the whole picture; several lines a file.",
            group="inputs",
        ),
    ] = None
    gates: Annotated[
        tuple[Gate, ...],
        Doc(
            "End with 5 where a mean is worse than VALUE: above it where lower is better, below it where higher is; "
            "repeatable.",
            "[METHOD:]METRIC=VALUE",
            group="limits",
        ),
    ] = ()


# By what images of two runs are taken for the same: the path in the output tree, or the bytes of the file.
Match = Literal["path", "sha256"]


@dataclass(frozen=True)
class ChangeLimit:
    """A limit for one figure of a comparison, a name of `report.change_metrics.CHANGE_METRICS`."""

    metric: str
    value: float


# By what a report sorts its images: the most probable first, the largest hot area first, by name, or those whose peak
# is farthest from the middle of the photograph first.
ReportSort = Literal["name", "probability", "area", "peak-distance"]
REPORT_SORTS: tuple[ReportSort, ...] = ("name", "probability", "area", "peak-distance")


@dataclass(frozen=True)
class ReportRequest:
    """Which run becomes a page, and how.

    The page is written to `output`, or to `index.html` in the folder of the run. Only the first `limit` images are
    shown; the summary is that of all.
    """

    run: Path | Url
    output: Path | Url | None = None
    self_contained: Annotated[
        bool, Doc("One file that needs no other: thumbnails inside, no links.", group="output")
    ] = False
    sort: Annotated[ReportSort, Doc("Order of the images; figures from the highest to the lowest.", group="output")] = (
        "name"
    )
    limit: Annotated[int | None, Doc("Show only the first N images of that order.", "N", low=1, group="output")] = None


@dataclass(frozen=True)
class CompareRequest:
    """Which run is compared with what, and which figures must not be worse than which limits.

    The base is a run or a snapshot. A snapshot brings limits of its own; those of `fail_over` take their place. With
    `update` the snapshot becomes that of the new run, and no limit counts.
    """

    new: Path | Url
    base: Path | Url | None = None
    snapshot: Annotated[
        Path | Url | None, Doc("Compare NEW with a snapshot, in place of BASE.", "FILE", group="inputs")
    ] = None
    match: Annotated[
        Match, Doc("Which images are the same: those of one path, or files of the same bytes.", group="inputs")
    ] = "path"
    output: Path | Url | None = None
    fail_over: Annotated[
        tuple[ChangeLimit, ...],
        Doc("End with 5 beyond VALUE; repeatable. See the metrics.", "METRIC=VALUE", group="limits"),
    ] = ()
    warn_over: Annotated[
        tuple[ChangeLimit, ...], Doc("Warn beyond VALUE; repeatable.", "METRIC=VALUE", group="limits")
    ] = ()
    update: Annotated[
        bool, Doc("Accept NEW: the snapshot becomes that of NEW, with its old tolerance.", group="output")
    ] = False
