"""The options of a run as frozen dataclasses: every default stands here, once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FitMode = Literal["squash", "crop", "pad"]
FIT_MODES: tuple[FitMode, ...] = ("squash", "crop", "pad")
# `auto`: as the model was trained where that is known, else squash.
FitChoice = Literal["auto", "squash", "crop", "pad"]
FIT_CHOICES: tuple[FitChoice, ...] = ("auto", *FIT_MODES)

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
# What is differentiated: the score before the softmax or sigmoid, or what comes out of it.
Score = Literal["logit", "probability"]
SCORES: tuple[Score, ...] = ("logit", "probability")
EngineName = Literal["auto", "tensorflow", "openvino"]
ENGINES: tuple[EngineName, ...] = ("auto", "tensorflow", "openvino")

# What becomes of images that an earlier run has explained: those that are finished are left out, by size and time or
# by their hashes too (verify); all are explained again (overwrite); or only those that failed are (retry-failed).
Resume = Literal["finished", "verify", "overwrite", "retry-failed"]

# How `scorecam` makes a channel a mask: max(A, 0) / max(A), or (A - min A) / (max A - min A).
MaskScaling = Literal["max", "minmax"]
MASK_SCALINGS: tuple[MaskScaling, ...] = ("max", "minmax")

# What the model's output is, where neither its operations nor its stored loss say so.
OutputKind = Literal["auto", "softmax-logits", "sigmoid-logits", "probabilities", "value"]
OUTPUT_KINDS: tuple[OutputKind, ...] = ("auto", "softmax-logits", "sigmoid-logits", "probabilities", "value")

# A level of heat in (0, 1), or Otsu's.
Threshold = float | Literal["otsu"]

Baseline = Literal["mean", "blur", "zero", "road"]
BASELINES: tuple[Baseline, ...] = ("mean", "blur", "zero", "road")
# The groups of figures that an evaluation measures unless others are asked for: the quick ones.
QUICK_METRICS = ("drop", "adcc")

COLORMAPS: tuple[str, ...] = (
    "jet",
    "inferno",
    "viridis",
    "turbo",
    "magma",
    "plasma",
    "cividis",
    "hot",
    "bone",
)


# Which samples of more than 8 bits become 0 and 255: two numbers, each picture's lowest and highest sample, or its 2nd
# and 98th percentile.
SampleRange = tuple[float, float] | Literal["minmax", "percentile"]


@dataclass(frozen=True)
class Limits:
    """What an input may cost before it is refused unread: bytes of the file, pixels of the picture."""

    max_file_bytes: int = 256 * 2**20
    max_pixels: int = 100_000_000

    @property
    def max_decoded_bytes(self) -> int:
        """Bytes of a picture's samples as its file has them: for so many pixels, five bytes each."""
        return 5 * self.max_pixels


@dataclass(frozen=True)
class ModelSettings:
    """Which network, which of its layers, and how pixels become its input.

    Where there are several `layers`, their maps are fused, and `layer` is ignored. `labels` is a file of class
    names, or the names themselves.
    """

    model: str = "resnet50"
    weights: Path | None = None
    layer: str = "auto"
    layers: tuple[str, ...] = ()
    labels: Path | tuple[str, ...] | None = None
    labels_from: Path | None = None
    preprocess: str = "auto"
    input_size: tuple[int, int] | None = None
    output_name: str | None = None
    output_kind: OutputKind = "auto"
    sha256: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    image_input: str | None = None
    pairs: Path | None = None
    custom_objects: Path | None = None
    trust_code: bool = False
    token_grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class TargetSettings:
    """Which classes are explained: the `top_k` most probable ones, then `classes` as a person named them."""

    classes: tuple[str, ...] = ()
    top_k: int = 1


@dataclass(frozen=True)
class OverlaySettings:
    """How heat is painted: its share of the colour, the colormap, JPEG quality, longest side in pixels.

    With `mask` nothing is painted: the photograph is kept where heat is at that level or above it, the rest greyed.
    `draw_boxes` draws the boxes that the run's `boxes` asks for.
    """

    alpha: float = 0.45
    colormap: str = "jet"
    quality: int = 92
    max_side: int | None = None
    mask: Threshold | None = None
    draw_boxes: bool = False


@dataclass(frozen=True)
class MethodOptions:
    """How a method explains.

    `score` is what is differentiated. With `smooth` the map is the mean over so many copies of the input, each with
    Gaussian noise whose standard deviation is the share `noise` of the input's own range. With `flip` it is the mean
    with the mirrored input too. `max_channels` is how many channels `scorecam` looks through, the strongest of them;
    `scorecam_masks` is how they become masks.
    """

    score: Score = "logit"
    smooth: int = 0
    noise: float = 0.15
    flip: bool = False
    max_channels: int = 128
    scorecam_masks: MaskScaling = "max"


@dataclass(frozen=True)
class RunSettings:
    """One run of `explain`, apart from its model and its inputs.

    `min_score` is the probability below which a predicted class is not explained; classes asked for always are.
    `boxes` is the level of heat at which connected regions are boxed; None: they are not looked for.
    `sample_range` says which samples deeper than 8 bits become 0 and 255.
    """

    method: str = "gradcam++"
    method_options: MethodOptions = field(default_factory=MethodOptions)
    fit: FitMode = "squash"
    batch_size: int = 16
    save_maps: bool = False
    min_score: float = 0.0
    boxes: Threshold | None = None
    sample_range: SampleRange | None = None
    overlay: OverlaySettings = field(default_factory=OverlaySettings)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class EngineSettings:
    """What runs the network, in which floating-point format, and whether compiled plans are kept for the next time."""

    engine: EngineName = "auto"
    precision: Precision = "float32"
    cache: bool = True


@dataclass(frozen=True)
class InputSettings:
    """Which pictures: files, folders, and a list of paths.

    `files_from` is a file with one path a line (`-`: stdin), separated by NUL with `null_separated`. Folders are
    walked: `recursive` into sub-folders, `follow_links` through links to folders, `hidden` with hidden and system
    files; `exclude` and `include` are patterns as in a .gitignore. `limit` takes only the first images.
    """

    paths: tuple[str, ...] = ()
    files_from: str | None = None
    null_separated: bool = False
    recursive: bool = True
    follow_links: bool = False
    hidden: bool = False
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class ExplainRequest:
    """All that one run of `explain` is asked for.

    Without an `output` folder no files are written. `fit` is resolved when the model is known; the `run` has the
    resolved one. With `max_failures` the run stops after so many failed images. With `isolate_decoder` pictures are
    decoded in processes of their own.
    """

    inputs: InputSettings = field(default_factory=InputSettings)
    output: Path | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    fit: FitChoice = "auto"
    run: RunSettings = field(default_factory=RunSettings)
    resume: Resume = "finished"
    max_failures: int | None = None
    isolate_decoder: bool = False

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
        return hashlib.sha256(json.dumps(depends, sort_keys=True, default=str).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class StudySettings:
    """What an evaluation measures of which methods.

    `metrics` are groups of figures, see `evaluation.measures.GROUPS`. `steps` and `baseline` are those of deletion and
    insertion. `grid` is the rows and columns of collages for the grid pointing game.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...] = QUICK_METRICS
    steps: int = 20
    baseline: Baseline = "mean"
    grid: tuple[int, int] | None = None


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

    The `layer` of the `model` is ignored: each of `layers` is explained for itself. `boxes` is a CSV file of objects.
    Without an `output` folder no files are written.
    """

    inputs: InputSettings = field(default_factory=InputSettings)
    output: Path | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    layers: tuple[str, ...] = ("auto",)
    study: StudySettings = field(default_factory=lambda: StudySettings(methods=("gradcam", "gradcam++")))
    engine: EngineSettings = field(default_factory=EngineSettings)
    fit: FitChoice = "auto"
    batch_size: int = 16
    sample_range: SampleRange | None = None
    boxes: Path | None = None
    gates: tuple[Gate, ...] = ()


# By what images of two runs are taken for the same: the path in the output tree, or the bytes of the file.
Match = Literal["path", "sha256"]
MATCHES: tuple[Match, ...] = ("path", "sha256")


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

    run: Path
    output: Path | None = None
    self_contained: bool = False
    sort: ReportSort = "name"
    limit: int | None = None


@dataclass(frozen=True)
class CompareRequest:
    """Which run is compared with what, and which figures must not be worse than which limits.

    The base is a run or a snapshot. A snapshot brings limits of its own; those of `fail_over` take their place. With
    `update` the snapshot becomes that of the new run, and no limit counts.
    """

    new: Path
    base: Path | None = None
    snapshot: Path | None = None
    match: Match = "path"
    output: Path | None = None
    fail_over: tuple[ChangeLimit, ...] = ()
    warn_over: tuple[ChangeLimit, ...] = ()
    update: bool = False
