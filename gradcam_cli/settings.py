"""The options of a run as frozen dataclasses: every default and its description stand here, once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from gradcam_cli.urls import Url

FitMode = Literal["squash", "crop", "pad"]
FIT_MODES: tuple[FitMode, ...] = ("squash", "crop", "pad")
# `auto`: as the model was trained where that is known, else squash.
FitChoice = Literal["auto", "squash", "crop", "pad"]

Precision = Literal["float32", "bfloat16"]
# What is differentiated: the score before the softmax or sigmoid, or what comes out of it.
Score = Literal["logit", "probability"]
EngineName = Literal["auto", "tensorflow", "openvino"]

# What becomes of images that an earlier run has explained: those that are finished are left out, by size and time or
# by their hashes too (verify); all are explained again (overwrite); or only those that failed are (retry-failed).
Resume = Literal["finished", "overwrite", "retry-failed", "verify"]

# How `scorecam` makes a channel a mask: max(A, 0) / max(A), or (A - min A) / (max A - min A).
MaskScaling = Literal["max", "minmax"]

# What the model's output is, where neither its operations nor its stored loss say so.
OutputKind = Literal["auto", "softmax-logits", "sigmoid-logits", "probabilities", "value"]

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


# What an overlay shows: the heat over the picture; the picture beside that; or the picture, the heat, and both.
Layout = Literal["overlay", "side-by-side", "triptych"]
LAYOUTS: tuple[Layout, ...] = ("overlay", "side-by-side", "triptych")

# Which samples of more than 8 bits become 0 and 255: two numbers, each picture's lowest and highest sample, or its 2nd
# and 98th percentile.
SampleRange = tuple[float, float] | Literal["minmax", "percentile"]

# The names of the preprocessings and of the methods. They are repeated here, so that --help does not import NumPy.
# A test compares them with the registries.
PREPROCESS_CHOICES = ("auto", "caffe", "tf", "torch", "unit", "none", "lite", "unit-bgr", "none-bgr", "tf-bgr")
METHOD_CHOICES = (
    "gradcam",
    "gradcam++",
    "gradcam++-paper",
    "gradcam++-softmax",
    "cam",
    "layercam",
    "hirescam",
    "xgradcam",
    "scorecam",
    "ablationcam",
    "eigencam",
    "eigengradcam",
)


# The headings below which options stand in help, in this order.
OptionGroup = Literal[
    "inputs", "model", "target", "method", "measures", "output", "overlay", "engine", "limits", "messages"
]
OPTION_GROUPS: tuple[OptionGroup, ...] = get_args(OptionGroup)


@dataclass(frozen=True)
class Doc:
    """What an option means, for people, and which values it takes besides what its type says.

    `group` is the heading below which the option stands in help. `form` is how a value is written as text; `low` and
    `high` are the least and the greatest number, `above` a number that is too low itself. `otherwise` says what holds
    where the option is not given, if that is more than its default, which stands for `{}`; '' says nothing.
    """

    text: str
    form: str | None = None
    low: int | None = None
    high: int | None = None
    above: int | None = None
    choices: tuple[str, ...] = ()
    otherwise: str | None = None
    group: OptionGroup = field(kw_only=True)


@dataclass(frozen=True)
class Limits:
    """What an input may cost before it is refused unread: bytes of the file, pixels of the picture.

    Example:
        >>> Explainer("resnet50", max_pixels=25_000_000)  # doctest: +SKIP
    """

    max_file_bytes: Annotated[int, Doc("Refuse larger files.", low=1, group="limits")] = 256 * 2**20
    max_pixels: Annotated[int, Doc("Refuse pictures of more pixels.", low=1, group="limits")] = 100_000_000

    @property
    def max_decoded_bytes(self) -> int:
        """Bytes of a picture's samples as its file has them: for so many pixels, five bytes each."""
        return 5 * self.max_pixels


@dataclass(frozen=True)
class ModelSettings:
    """Which network, which of its layers, and how pixels become its input.

    Where there are several `layers`, their maps are fused; give no `layer` then. `labels` is a file of class
    names, or the names themselves.

    Example:
        >>> ModelSettings(model="pets.keras", layer="features").layer
        'features'
    """

    model: Annotated[
        str,
        Doc(
            "Architecture (see `gradcam-cli models`), or a .keras, .h5, .onnx or OpenVINO .xml file.",
            "NAME|FILE",
            group="model",
        ),
    ] = "resnet50"
    weights: Annotated[
        Path | Url | None,
        Doc("Local weights for a named model: .h5, .weights.h5 or .keras.", "FILE|URL", group="model"),
    ] = None
    layer: Annotated[str, Doc("Target layer (see `gradcam-cli layers MODEL`).", "auto|NAME|PATH", group="model")] = (
        "auto"
    )
    layers: Annotated[
        tuple[str, ...],
        Doc(
            "Fuse the maps of several layers, by the maximum of the scaled maps; repeat it for each.",
            "NAME|PATH",
            group="model",
        ),
    ] = ()
    labels: Annotated[
        Path | Url | tuple[str, ...] | None,
        Doc("Names of the classes: one a line, CSV or JSON.", "FILE|URL", group="model"),
    ] = None
    labels_from: Annotated[
        Path | None,
        Doc(
            "Folder whose sub-folders are named after the classes, as Keras reads a data set.", "FOLDER", group="model"
        ),
    ] = None
    preprocess: Annotated[
        str, Doc("How pixels become the model's input.", choices=PREPROCESS_CHOICES, group="model")
    ] = "auto"
    input_size: Annotated[
        tuple[int, int] | None,
        Doc("Height and width of the input, where the model leaves them open.", "HxW", group="model"),
    ] = None
    output_name: Annotated[
        str | None, Doc("Which output to explain, where the model has several.", "NAME", group="model")
    ] = None
    output_kind: Annotated[
        OutputKind, Doc("What the output is, where the model file does not say so.", group="model")
    ] = "auto"
    sha256: Annotated[str | None, Doc("Refuse a model file, or weights, with another hash.", "HEX", group="model")] = (
        None
    )
    inputs: Annotated[
        tuple[tuple[str, str], ...],
        Doc(
            "Value of a further input: a number, several as 0.1,0.2, FILE.npy, or FILE.csv:COLUMN[,COLUMN...] with a "
            "row for each picture; repeatable.",
            "NAME=VALUE",
            group="model",
        ),
    ] = ()
    image_input: Annotated[
        str | None,
        Doc(
            "Which input takes the explained picture, where several take pictures; all: the same picture in each.",
            "NAME|all",
            group="model",
        ),
    ] = None
    pairs: Annotated[
        Path | None, Doc("The second picture of each: columns file and partner.", "FILE.csv", group="inputs")
    ] = None
    custom_objects: Annotated[
        Path | None,
        Doc(
            "Python file with the model's own layers and functions; it is run, with `trust_code`.",
            "FILE.py",
            group="model",
        ),
    ] = None
    trust_code: Annotated[bool, Doc("Allow `custom_objects` to run its file.", group="model")] = False
    token_grid: Annotated[
        tuple[int, int] | None,
        Doc("Grid of a transformer's tokens, where the network does not show it.", "HxW", group="model"),
    ] = None


@dataclass(frozen=True)
class TargetSettings:
    """Which classes are explained: the `top_k` most probable ones, then `classes` as a person named them.

    Example:
        >>> TargetSettings(classes=("tabby",), top_k=2).top_k
        2
    """

    classes: Annotated[tuple[str, ...], Doc("Explain this class; repeatable.", "ID|NAME|WNID", group="target")] = ()
    top_k: Annotated[
        int,
        Doc("Explain the K most probable classes.", "K", low=0, otherwise="{}, or 0 with `classes`", group="target"),
    ] = 1


@dataclass(frozen=True)
class OverlaySettings:
    """How heat is painted: its share of the colour, the colormap, JPEG quality, longest side in pixels.

    With `mask` nothing is painted: the photograph is kept where heat is at that level or above it, the rest greyed.
    `draw_boxes` draws the boxes that the run's `boxes` asks for. With another `layout` than `overlay`, a `caption` or a
    `colorbar` the file is a figure: `max_side` is then that of each panel, and small pictures are enlarged.

    Example:
        >>> OverlaySettings(colormap="viridis").alpha
        0.45
    """

    alpha: Annotated[float, Doc("The heat's share of the overlay's colour.", low=0, high=1, group="overlay")] = 0.45
    colormap: Annotated[str, Doc("Colours of the heat.", choices=COLORMAPS, group="overlay")] = "jet"
    quality: Annotated[int, Doc("JPEG quality of the overlays.", low=1, high=100, group="overlay")] = 92
    max_side: Annotated[
        int | None,
        Doc("Longest side of the overlays in pixels.", "N", low=1, otherwise="the picture's own size", group="overlay"),
    ] = None
    mask: Annotated[
        Threshold | None,
        Doc(
            "Paint no colours: keep the photo where heat is at THRESHOLD or above, and grey the rest.",
            "THRESHOLD|otsu",
            group="overlay",
        ),
    ] = None
    draw_boxes: Annotated[
        bool, Doc("Draw the boxes on the overlays, with their shares in percent.", group="overlay")
    ] = False
    layout: Annotated[
        Layout,
        Doc("The overlay alone, or the photo beside it, or the photo, the heat and the overlay.", group="overlay"),
    ] = "overlay"
    caption: Annotated[bool, Doc("Write the class and its probability on a band below.", group="overlay")] = False
    colorbar: Annotated[bool, Doc("Draw the scale of the heat's colours beside the overlays.", group="overlay")] = False
    font: Annotated[
        Path | None,
        Doc("Font of the captions: TTF, OTF or TTC.", "FILE", otherwise="fonts of installed packages", group="overlay"),
    ] = None


@dataclass(frozen=True)
class MethodOptions:
    """How a method explains.

    `score` is what is differentiated. With `smooth` the map is the mean over so many copies of the input, each with
    Gaussian noise whose standard deviation is the share `noise` of the input's own range. With `flip` it is the mean
    with the mirrored input too. `max_channels` is how many channels `scorecam` looks through, the strongest of them;
    `scorecam_masks` is how they become masks.

    Example:
        >>> MethodOptions(smooth=20).noise
        0.15
    """

    score: Annotated[Score, Doc("What is differentiated, by methods that take a gradient.", group="method")] = "logit"
    smooth: Annotated[
        int, Doc("Explain by the mean map of N copies with noise.", "N", low=1, otherwise="", group="method")
    ] = 0
    noise: Annotated[
        float,
        Doc(
            "Standard deviation of that noise, as a share of the input's range.",
            "S",
            above=0,
            high=1,
            otherwise="{}, with `smooth`",
            group="method",
        ),
    ] = 0.15
    flip: Annotated[bool, Doc("Explain by the mean of the map and that of the mirrored picture.", group="method")] = (
        False
    )
    max_channels: Annotated[
        int,
        Doc(
            "How many channels scorecam uses as masks, the strongest of each picture.",
            "N",
            low=1,
            otherwise="{}",
            group="method",
        ),
    ] = 128
    scorecam_masks: Annotated[
        MaskScaling,
        Doc(
            "How scorecam makes a channel a mask: divided by its maximum, or from its minimum to its maximum as in "
            "the paper.",
            otherwise="{}",
            group="method",
        ),
    ] = "max"


@dataclass(frozen=True)
class RunSettings:
    """One run of `explain`, apart from its model and its inputs.

    `min_score` is the probability below which a predicted class is not explained; classes asked for always are.
    `boxes` is the level of heat at which connected regions are boxed; None: they are not looked for.
    `sample_range` says which samples deeper than 8 bits become 0 and 255.

    Example:
        >>> RunSettings(method="layercam").batch_size
        16
    """

    method: Annotated[
        str, Doc("Which of the CAM family (see `gradcam-cli methods`).", choices=METHOD_CHOICES, group="method")
    ] = "gradcam++"
    method_options: MethodOptions = field(default_factory=MethodOptions)
    fit: FitMode = "squash"
    batch_size: Annotated[int, Doc("Images in one forward pass, at most.", low=1, high=4096, group="engine")] = 16
    save_maps: Annotated[
        bool, Doc("Write the raw maps too: NAME.map.npy, float32 (h, w), before scaling.", group="output")
    ] = False
    min_score: Annotated[
        float,
        Doc("Of the `top_k` classes, explain only those with this probability or more.", low=0, high=1, group="target"),
    ] = 0.0
    boxes: Annotated[
        Threshold | None,
        Doc(
            "Record the connected regions of heat from THRESHOLD (0 to 1) on as boxes, with their shares of the heat.",
            "THRESHOLD|otsu",
            group="overlay",
        ),
    ] = None
    sample_range: Annotated[
        SampleRange | None,
        Doc(
            "Which samples become black and white in pictures of more than 8 bits or of floating point.",
            "LOW:HIGH|minmax|percentile",
            otherwise="all of 16 bits; floating point is refused",
            group="inputs",
        ),
    ] = None
    overlay: OverlaySettings = field(default_factory=OverlaySettings)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class EngineSettings:
    """What runs the network, in which floating-point format, and whether compiled plans are kept for the next time.

    Example:
        >>> EngineSettings(precision="bfloat16").engine
        'auto'
    """

    engine: Annotated[
        EngineName,
        Doc(
            "What runs the network; auto takes tensorflow on a GPU, else openvino where it is installed and can.",
            group="engine",
        ),
    ] = "auto"
    precision: Annotated[
        Precision, Doc("Floating-point format of the forward pass (bfloat16: openvino).", group="engine")
    ] = "float32"
    cache: Annotated[bool, Doc("Keep compiled plans for the next time.", group="engine")] = True


@dataclass(frozen=True)
class PoolSettings:
    """Which other processes explain for a run, if any: `workers` on this machine, or actors of a Ray cluster.

    Example:
        >>> PoolSettings(ray="auto", ray_cpus=4).ray_min
        1
    """

    workers: Annotated[
        int | None,
        Doc(
            "Explain in N processes, which share the cores; with `ray`, in at most N actors.",
            "N",
            low=1,
            otherwise="1: in threads of this process; with `ray`, as many actors as the cluster has room for",
            group="engine",
        ),
    ] = None
    ray: Annotated[
        str | None,
        Doc(
            "Explain in actors of a Ray cluster: local starts one on this machine, auto finds the one of this machine.",
            "local|auto|ADDRESS",
            group="engine",
        ),
    ] = None
    ray_cpus: Annotated[
        int,
        Doc("CPUs that each Ray actor reserves and uses.", "N", low=1, otherwise="{}, with `ray`", group="engine"),
    ] = 1
    ray_gpus: Annotated[
        float,
        Doc("GPUs that each Ray actor reserves.", "X", low=0, otherwise="none, with `ray`", group="engine"),
    ] = 0.0
    ray_min: Annotated[
        int,
        Doc("Begin when N Ray actors are ready.", "N", low=1, otherwise="{}, with `ray`", group="engine"),
    ] = 1


@dataclass(frozen=True)
class InputSettings:
    """Which pictures: files, folders, and a list of paths.

    `files_from` is a file with one path a line (`-`: stdin), separated by NUL with `null_separated`. Folders are
    walked: `recursive` into sub-folders, `follow_links` through links to folders, `hidden` with hidden and system
    files; `exclude` and `include` are patterns as in a .gitignore. `limit` takes only the first images.

    Example:
        >>> InputSettings(paths=("photos",), exclude=("*.thumb.jpg",)).recursive
        True
    """

    paths: tuple[str, ...] = ()
    files_from: Annotated[
        str | None, Doc("Read more inputs from a list, one path a line.", "FILE|-", group="inputs")
    ] = None
    null_separated: Annotated[bool, Doc("The list is separated by NUL, as find -print0 writes it.", group="inputs")] = (
        False
    )
    recursive: Annotated[bool, Doc("Walk into sub-folders.", group="inputs")] = True
    follow_links: Annotated[bool, Doc("Walk folders behind symbolic links too, each folder once.", group="inputs")] = (
        False
    )
    hidden: Annotated[
        bool, Doc("Take hidden and system files and folders (.git, ._*, Thumbs.db) too.", group="inputs")
    ] = False
    exclude: Annotated[
        tuple[str, ...],
        Doc(
            "Leave out files and folders of a walk that fit, as in a .gitignore; repeatable.", "PATTERN", group="inputs"
        ),
    ] = ()
    include: Annotated[
        tuple[str, ...],
        Doc(
            "Of the files of a walk, take only those that fit, as in a .gitignore; repeatable.",
            "PATTERN",
            group="inputs",
        ),
    ] = ()
    limit: Annotated[int | None, Doc("Take only the first N images.", "N", low=1, group="inputs")] = None
