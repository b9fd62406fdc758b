"""The options of a run as frozen dataclasses: the only place of each default and each description."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from gradcam_cli.urls import Url

FitMode = Literal["squash", "crop", "pad"]
FIT_MODES: tuple[FitMode, ...] = ("squash", "crop", "pad")
# `auto`: as the model was trained, if that is known; otherwise squash.
FitChoice = Literal["auto", "squash", "crop", "pad"]

Precision = Literal["float32", "bfloat16"]
# What is differentiated: the score before the softmax or sigmoid, or the output of that function.
Score = Literal["logit", "probability"]
EngineName = Literal["auto", "tensorflow", "openvino"]

# What a run does with images that an earlier run has explained. finished: skip those that are finished and whose size
# and time are the same. verify: compare their hashes too. overwrite: explain all images again. retry-failed: explain
# only those that failed.
Resume = Literal["finished", "overwrite", "retry-failed", "verify"]

# How `scorecam` scales a channel A to a mask: max(A, 0) / max(A), or (A - min A) / (max A - min A).
MaskScaling = Literal["max", "minmax"]

# What the model's output contains. `auto`: read it from the model's operations or its stored loss.
OutputKind = Literal["auto", "softmax-logits", "sigmoid-logits", "probabilities", "value"]

# A level of the heatmap in (0, 1), or the level that Otsu's method chooses.
Threshold = float | Literal["otsu"]

Baseline = Literal["mean", "blur", "zero", "road"]
BASELINES: tuple[Baseline, ...] = ("mean", "blur", "zero", "road")
# The groups of measures that an evaluation computes by default: those that need few passes.
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


# What an overlay file shows: the overlay; the image and the overlay; or the image, the heatmap and the overlay.
Layout = Literal["overlay", "side-by-side", "triptych"]
LAYOUTS: tuple[Layout, ...] = ("overlay", "side-by-side", "triptych")

# Which samples of more than 8 bits become 0 and 255: two numbers; the lowest and highest sample of each image; or its
# 2nd and 98th percentile.
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


# The groups of options in the help, in this order.
OptionGroup = Literal[
    "inputs", "model", "target", "method", "measures", "output", "overlay", "engine", "limits", "messages"
]
OPTION_GROUPS: tuple[OptionGroup, ...] = get_args(OptionGroup)


@dataclass(frozen=True)
class Doc:
    """The help text of an option, and the limits of its values.

    `group` is its group in the help. `form` shows how a value is written. `low` and `high` are the smallest and the
    largest number that is allowed; `above` is an exclusive lower limit. `choices` are the allowed words. `otherwise`
    describes what happens if the option is not given, in place of the default value; `{}` in it is replaced by the
    default value, and an empty text shows nothing.
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
    """Limits of an input: bytes of the file, pixels of the image. A larger input is refused before it is decoded.

    Example:
        >>> Explainer("resnet50", max_pixels=25_000_000)  # doctest: +SKIP
    """

    max_file_bytes: Annotated[int, Doc("Refuse input files larger than N bytes.", "N", low=1, group="limits")] = (
        256 * 2**20
    )
    max_pixels: Annotated[int, Doc("Refuse images with more than N pixels.", "N", low=1, group="limits")] = 100_000_000

    @property
    def max_decoded_bytes(self) -> int:
        """Limit of the bytes of an image's decoded samples: five bytes for each of `max_pixels` pixels."""
        return 5 * self.max_pixels


@dataclass(frozen=True)
class ModelSettings:
    """The model, its target layer, and the preprocessing of its input.

    With `layers` the maps of several layers are fused; `layer` must not be given then. `labels` is a file of class
    names, or the names themselves.

    Example:
        >>> ModelSettings(model="pets.keras", layer="features").layer
        'features'
    """

    model: Annotated[
        str,
        Doc(
            "Model name (see `gradcam-cli models`), or a .keras, .h5, .onnx, OpenVINO .xml or .plan file.",
            "NAME|FILE",
            group="model",
        ),
    ] = "resnet50"
    weights: Annotated[
        Path | Url | None,
        Doc("Weights file for a named model: .h5, .weights.h5 or .keras.", "FILE|URL", group="model"),
    ] = None
    layer: Annotated[str, Doc("Target layer (see `gradcam-cli layers MODEL`).", "auto|NAME|PATH", group="model")] = (
        "auto"
    )
    layers: Annotated[
        tuple[str, ...],
        Doc(
            "Fuse the maps of several layers: the maximum of the scaled maps. Repeat the option for each layer.",
            "NAME|PATH",
            group="model",
        ),
    ] = ()
    labels: Annotated[
        Path | Url | tuple[str, ...] | None,
        Doc(
            "File of the class names: a text file with one name per line, or a CSV, JSON or .npy file.",
            "FILE|URL",
            group="model",
        ),
    ] = None
    labels_from: Annotated[
        Path | None,
        Doc(
            "Folder with one sub-folder for each class, as in a Keras data set. The names of the sub-folders are the "
            "class names.",
            "FOLDER",
            group="model",
        ),
    ] = None
    preprocess: Annotated[
        str, Doc("Preprocessing of the pixel values for the model.", choices=PREPROCESS_CHOICES, group="model")
    ] = "auto"
    input_size: Annotated[
        tuple[int, int] | None,
        Doc(
            "Height and width of the model's input. Needed only if the model does not define them.",
            "HxW",
            group="model",
        ),
    ] = None
    output_name: Annotated[
        str | None, Doc("Output to explain. Needed only if the model has several outputs.", "NAME", group="model")
    ] = None
    output_kind: Annotated[
        OutputKind, Doc("What the output contains. Needed only if the model file does not show it.", group="model")
    ] = "auto"
    sha256: Annotated[
        str | None, Doc("Refuse a model file or weights file with another SHA-256 hash.", "HEX", group="model")
    ] = None
    inputs: Annotated[
        tuple[tuple[str, str], ...],
        Doc(
            "Value of an additional input: one number, several numbers (0.1,0.2), FILE.npy, or "
            "FILE.csv:COLUMN[,COLUMN...] with one row for each image. Repeatable.",
            "NAME=VALUE",
            group="model",
        ),
    ] = ()
    image_input: Annotated[
        str | None,
        Doc(
            "Input that takes the explained image. Needed only if several inputs take images. all: every one of them "
            "takes the same image.",
            "NAME|all",
            group="model",
        ),
    ] = None
    pairs: Annotated[
        Path | None,
        Doc(
            "Second image of each input, for a model of two images: columns file and partner.",
            "FILE.csv",
            group="inputs",
        ),
    ] = None
    custom_objects: Annotated[
        Path | None,
        Doc(
            "Python file that defines the model's own layers and functions. It runs only with `trust_code`.",
            "FILE.py",
            group="model",
        ),
    ] = None
    trust_code: Annotated[bool, Doc("Allow the file of `custom_objects` to run.", group="model")] = False
    token_grid: Annotated[
        tuple[int, int] | None,
        Doc(
            "Rows and columns of a transformer's tokens. Needed only if the network does not show them.",
            "HxW",
            group="model",
        ),
    ] = None


@dataclass(frozen=True)
class TargetSettings:
    """Which classes are explained: the `top_k` most probable ones, then the named `classes`.

    Example:
        >>> TargetSettings(classes=("tabby",), top_k=2).top_k
        2
    """

    classes: Annotated[tuple[str, ...], Doc("Explain this class. Repeatable.", "ID|NAME|WNID", group="target")] = ()
    top_k: Annotated[
        int,
        Doc("Explain the K most probable classes.", "K", low=0, otherwise="{}, or 0 with `classes`", group="target"),
    ] = 1


@dataclass(frozen=True)
class OverlaySettings:
    """How overlays are made: opacity of the heatmap, colormap, JPEG quality, longest side in pixels.

    With `mask` the heatmap is not painted: the image is kept where the heatmap is at least that level, and the rest
    becomes grey. `draw_boxes` draws the boxes of the setting `boxes` of the run. With a `caption`, a `colorbar` or
    another `layout` than `overlay`, the file is a figure of panels: `max_side` then limits each panel, and small images
    are enlarged.

    Example:
        >>> OverlaySettings(colormap="viridis").alpha
        0.45
    """

    alpha: Annotated[
        float,
        Doc("Opacity of the heatmap: 0 shows only the image, 1 only the heatmap.", "A", low=0, high=1, group="overlay"),
    ] = 0.45
    colormap: Annotated[str, Doc("Colormap of the heatmap.", choices=COLORMAPS, group="overlay")] = "jet"
    quality: Annotated[int, Doc("JPEG quality of the overlays.", "N", low=1, high=100, group="overlay")] = 92
    max_side: Annotated[
        int | None,
        Doc("Longest side of an overlay in pixels.", "N", low=1, otherwise="size of the image", group="overlay"),
    ] = None
    mask: Annotated[
        Threshold | None,
        Doc(
            "Show no colours: keep the image where the heatmap is at least THRESHOLD, and make the rest grey.",
            "THRESHOLD|otsu",
            group="overlay",
        ),
    ] = None
    draw_boxes: Annotated[
        bool,
        Doc("Draw the boxes of `boxes` on the overlays, each with its share of the heat in percent.", group="overlay"),
    ] = False
    layout: Annotated[
        Layout,
        Doc(
            "overlay: the overlay alone. side-by-side: image and overlay. triptych: image, heatmap and overlay.",
            group="overlay",
        ),
    ] = "overlay"
    caption: Annotated[bool, Doc("Write the class and its probability below the overlay.", group="overlay")] = False
    colorbar: Annotated[bool, Doc("Draw the colour scale of the heatmap beside the overlay.", group="overlay")] = False
    font: Annotated[
        Path | None,
        Doc(
            "Font file of the captions: TTF, OTF or TTC.",
            "FILE",
            otherwise="fonts of installed packages",
            group="overlay",
        ),
    ] = None


@dataclass(frozen=True)
class MethodOptions:
    """Options of the method.

    `score` is the score that is differentiated. With `smooth=N` the map is the mean over N copies of the input, each
    with Gaussian noise; the standard deviation of the noise is `noise` times the range of that input. With `flip` the
    map is the mean of the maps of the input and of its mirrored copy. `max_channels` is the number of channels that
    `scorecam` uses as masks: those with the largest sum of positive activations. `scorecam_masks` is how these channels
    are scaled to masks.

    Example:
        >>> MethodOptions(smooth=20).noise
        0.15
    """

    score: Annotated[Score, Doc("Score whose gradient is computed, in methods that use gradients.", group="method")] = (
        "logit"
    )
    smooth: Annotated[
        int,
        Doc("Average the maps of N copies of the image with Gaussian noise.", "N", low=1, otherwise="", group="method"),
    ] = 0
    noise: Annotated[
        float,
        Doc(
            "Standard deviation of the noise of `smooth`, as a fraction of the input's range.",
            "S",
            above=0,
            high=1,
            otherwise="{}, with `smooth`",
            group="method",
        ),
    ] = 0.15
    flip: Annotated[bool, Doc("Average the maps of the image and of its mirrored copy.", group="method")] = False
    max_channels: Annotated[
        int,
        Doc(
            "Number of channels that scorecam uses as masks: those with the largest sum of positive activations.",
            "N",
            low=1,
            otherwise="{}",
            group="method",
        ),
    ] = 128
    scorecam_masks: Annotated[
        MaskScaling,
        Doc(
            "How scorecam scales a channel A to a mask. max: max(A, 0) / max(A). minmax: (A - min A) / (max A - min "
            "A), as in the paper.",
            otherwise="{}",
            group="method",
        ),
    ] = "max"


@dataclass(frozen=True)
class RunSettings:
    """Settings of one run of `explain`, without its model and its inputs.

    A class that was chosen by `top_k` is explained only if its probability is at least `min_score`; named classes are
    always explained. `boxes` is the level of the heatmap from which connected regions are recorded as boxes; None: no
    regions are recorded. `sample_range` is the range of samples of more than 8 bits that becomes 0 to 255.

    Example:
        >>> RunSettings(method="layercam").batch_size
        16
    """

    method: Annotated[
        str, Doc("Explanation method (see `gradcam-cli methods`).", choices=METHOD_CHOICES, group="method")
    ] = "gradcam++"
    method_options: MethodOptions = field(default_factory=MethodOptions)
    fit: FitMode = "squash"
    batch_size: Annotated[
        int, Doc("Maximum number of images in one forward pass.", "N", low=1, high=4096, group="engine")
    ] = 16
    save_maps: Annotated[
        bool, Doc("Also write the raw maps, before scaling: NAME.map.npy, float32 (h, w).", group="output")
    ] = False
    min_score: Annotated[
        float,
        Doc(
            "Of the `top_k` classes, explain only those with a probability of at least P.",
            "P",
            low=0,
            high=1,
            group="target",
        ),
    ] = 0.0
    boxes: Annotated[
        Threshold | None,
        Doc(
            "Record the connected regions where the heatmap is at least THRESHOLD (0 to 1): a box for each, and its "
            "share of the heat.",
            "THRESHOLD|otsu",
            group="overlay",
        ),
    ] = None
    sample_range: Annotated[
        SampleRange | None,
        Doc(
            "Sample values that become black and white, in images with more than 8 bits or floating-point samples.",
            "LOW:HIGH|minmax|percentile",
            otherwise="full range of 16 bits; floating point is refused",
            group="inputs",
        ),
    ] = None
    overlay: OverlaySettings = field(default_factory=OverlaySettings)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class EngineSettings:
    """What runs the network, its floating-point format, and whether compiled models are stored for later runs.

    Example:
        >>> EngineSettings(precision="bfloat16").engine
        'auto'
    """

    engine: Annotated[
        EngineName,
        Doc(
            "What runs the network. auto: tensorflow on a GPU; otherwise openvino, if it is installed and can run the "
            "model.",
            group="engine",
        ),
    ] = "auto"
    precision: Annotated[
        Precision, Doc("Floating-point format of the forward pass. bfloat16 needs openvino.", group="engine")
    ] = "float32"
    cache: Annotated[bool, Doc("Store compiled models, so that later runs start faster.", group="engine")] = True


@dataclass(frozen=True)
class PoolSettings:
    """The processes that explain for a run: `workers` on this machine, or actors of a Ray cluster.

    Example:
        >>> PoolSettings(ray="auto", ray_cpus=4).ray_min
        1
    """

    workers: Annotated[
        int | None,
        Doc(
            "Explain in N processes, which share the CPU cores. With `ray`: in at most N actors.",
            "N",
            low=1,
            otherwise="1: in threads of this process; with `ray`: as many actors as the cluster can start",
            group="engine",
        ),
    ] = None
    ray: Annotated[
        str | None,
        Doc(
            "Explain in actors of a Ray cluster. local: start a cluster on this machine. auto: use the cluster that "
            "runs on this machine. ADDRESS: use the cluster at this address.",
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
        Doc("Start when N Ray actors are ready.", "N", low=1, otherwise="{}, with `ray`", group="engine"),
    ] = 1


@dataclass(frozen=True)
class InputSettings:
    """Which images are read: files, folders, and a list of paths.

    `files_from` is a file with one path per line (`-`: stdin); with `null_separated` the paths are separated by NUL
    characters. Folders are searched for images: with `recursive` also their sub-folders, with `follow_links` also
    folders behind symbolic links, with `hidden` also hidden and system files. `exclude` and `include` are patterns in
    the syntax of .gitignore. With `limit=N` only the first N images are used.

    Example:
        >>> InputSettings(paths=("photos",), exclude=("*.thumb.jpg",)).recursive
        True
    """

    paths: tuple[str, ...] = ()
    files_from: Annotated[
        str | None,
        Doc(
            "Read more inputs from a list with one path per line. -: read the list from stdin.",
            "FILE|-",
            group="inputs",
        ),
    ] = None
    null_separated: Annotated[
        bool, Doc("Paths in the list are separated by NUL characters, as find -print0 writes them.", group="inputs")
    ] = False
    recursive: Annotated[bool, Doc("Search sub-folders too.", group="inputs")] = True
    follow_links: Annotated[
        bool, Doc("Search folders behind symbolic links too, each folder once.", group="inputs")
    ] = False
    hidden: Annotated[
        bool, Doc("Search hidden and system files and folders too (.git, ._*, Thumbs.db).", group="inputs")
    ] = False
    exclude: Annotated[
        tuple[str, ...],
        Doc(
            "In folders, skip the files and sub-folders that match PATTERN, in the syntax of .gitignore. Repeatable.",
            "PATTERN",
            group="inputs",
        ),
    ] = ()
    include: Annotated[
        tuple[str, ...],
        Doc(
            "In folders, take only the files that match PATTERN, in the syntax of .gitignore. Repeatable.",
            "PATTERN",
            group="inputs",
        ),
    ] = ()
    limit: Annotated[int | None, Doc("Take only the first N images.", "N", low=1, group="inputs")] = None
