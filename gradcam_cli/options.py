"""The options of the library as keywords, and the typed request that is made from them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin

from gradcam_cli.errors import UsageError
from gradcam_cli.requests import WITHOUT_OVERLAYS, EvaluateRequest, ExplainRequest, Format, StudySettings
from gradcam_cli.settings import (
    Doc,
    EngineName,
    EngineSettings,
    FitChoice,
    InputSettings,
    Layout,
    Limits,
    MaskScaling,
    MethodOptions,
    ModelSettings,
    OutputKind,
    OverlaySettings,
    PoolSettings,
    Precision,
    Resume,
    RunSettings,
    SampleRange,
    Score,
    TargetSettings,
    Threshold,
)
from gradcam_cli.text import did_you_mean
from gradcam_cli.urls import Url, place

StrPath = str | os.PathLike[str]


# Options that change only overlays and other files, with the values that have no effect.
_PAINTED: Mapping[str, Any] = {
    "save_maps": False,
    "draw_boxes": False,
    "mask": None,
    "caption": False,
    "colorbar": False,
    "layout": OverlaySettings().layout,
}


@dataclass(frozen=True)
class Option:
    """One option: the type of its value, its default and its description."""

    kind: Any
    default: Any
    doc: Doc

    @property
    def members(self) -> frozenset[Any]:
        """The types that a value can have."""
        return frozenset({self.kind, *get_args(self.kind)})

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words; empty if every word is allowed."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else self.doc.choices


def options_of(settings: type[Any]) -> dict[str, Option]:
    """Give the options of a request class and of its parts: the fields that have a description."""
    found: dict[str, Option] = {}
    for each in fields(settings):
        # No annotation is a string. `get_type_hints` would search all of them for strings, which takes 15 ms in all.
        hint: Any = each.type
        if isinstance(hint, type) and is_dataclass(hint):
            found |= options_of(hint)
        elif get_origin(hint) is Annotated:
            found[each.name] = Option(hint.__origin__, each.default, hint.__metadata__[0])
    return found


class ExplainOptions(TypedDict, total=False):
    """Options of an `Explainer`. The command line has the same options with the same defaults.

    Model:
        weights: weights file for a named model.
        layers: several layers whose maps are fused, instead of one `layer`.
        labels_from: a folder with one sub-folder for each class, named after the class.
        input_size: (height, width) of the input, if the model does not define them.
        output_name: the output to explain, if the model has several.
        output_kind: what the output contains, if the model does not show it.
        sha256: the expected SHA-256 hash of the model file or weights file.
        inputs: (name, value) of additional inputs, as in `("age", "41")`.
        pairs: a CSV file with the second image of each input.
        image_input: the input that takes the explained image, if several inputs take images.
        custom_objects, trust_code: a Python file that defines the model's own layers, and the permission to run it.
        token_grid: (rows, columns) of a transformer's tokens, if the network does not show them.

    Method:
        score: the score that is differentiated, `logit` or `probability`.
        smooth, noise, flip: average the map over noisy copies, and with the mirrored image.
        max_channels, scorecam_masks: options of `scorecam`.

    Run:
        cache: store compiled models for later runs.
        min_score: of the `top_k` classes, explain only those with at least this probability.
        boxes: the level of the heatmap, or `otsu`, from which regions are recorded in `to_dict()`.
        save_maps: also write the raw maps.
        sample_range: the sample values of more than 8 bits that become black and white.
        max_pixels, max_file_bytes: refuse larger images and files.
        alpha, colormap, quality, max_side, mask, draw_boxes: how overlays are painted by `save`.
        layout, caption, colorbar, font: make figures with panels, a caption and a colour scale.
    """

    weights: StrPath
    layers: Sequence[str]
    labels_from: StrPath
    input_size: tuple[int, int]
    output_name: str
    output_kind: OutputKind
    sha256: str
    inputs: Sequence[tuple[str, str]]
    pairs: StrPath
    image_input: str
    custom_objects: StrPath
    trust_code: bool
    token_grid: tuple[int, int]
    score: Score
    smooth: int
    noise: float
    flip: bool
    max_channels: int
    scorecam_masks: MaskScaling
    cache: bool
    min_score: float
    boxes: Threshold
    save_maps: bool
    sample_range: SampleRange
    max_pixels: int
    max_file_bytes: int
    alpha: float
    colormap: str
    quality: int
    max_side: int
    mask: Threshold
    draw_boxes: bool
    layout: Layout
    caption: bool
    colorbar: bool
    font: StrPath


class RunOptions(ExplainOptions, total=False):
    """Options of `explain_folder`: those of an `Explainer`, and these.

    Attributes:
        model, layer, method, labels, preprocess, fit, engine, precision, batch_size: see `Explainer`.
        classes, top_k: see `Explainer.explain`.
        files_from, null_separated, recursive, follow_links, hidden, exclude, include, limit: see `InputSettings`.
        resume: what is done with images that an earlier run has explained: `finished`, `verify`, `overwrite` or
        `retry-failed`.
        max_failures: stop after this number of failed images.
        isolate_decoder: decode images in separate processes.
        shard: (K, N): explain only shard K of N; K is from 1 to N.
        format: `files`, or files of many images: `webdataset` or `parquet`.
        images_per_file: number of images in one file; the default is 1000 in a tar file and 10000 in a table.
        workers, ray, ray_cpus, ray_gpus, ray_min: see `PoolSettings`.
    """

    model: Any
    layer: str
    method: Any
    labels: StrPath | Sequence[str]
    preprocess: str
    fit: FitChoice
    engine: EngineName
    precision: Precision
    batch_size: int
    classes: Sequence[str | int]
    top_k: int
    files_from: str
    null_separated: bool
    recursive: bool
    follow_links: bool
    hidden: bool
    exclude: Sequence[str]
    include: Sequence[str]
    limit: int
    resume: Resume
    max_failures: int
    isolate_decoder: bool
    shard: tuple[int, int]
    format: Format
    images_per_file: int
    workers: int
    ray: str
    ray_cpus: int
    ray_gpus: float
    ray_min: int


def explain_request(
    paths: Iterable[StrPath] = (), output: StrPath | None = None, options: Mapping[str, Any] | None = None
) -> ExplainRequest:
    """Make a request from keywords; an option that is not given has its default.

    Raises:
        UsageError: an option does not exist, or has a wrong value.
    """
    left = _given(options)
    _refuse_idle(left)
    targets = target_settings(left.pop("classes", ()), left.pop("top_k", None))
    request = ExplainRequest(
        inputs=_taken(InputSettings, left, paths=tuple(os.fsdecode(path) for path in paths)),
        output=None if output is None else place(output),
        model=_taken(ModelSettings, left),
        engine=_taken(EngineSettings, left),
        targets=targets,
        fit=left.pop("fit", "auto"),
        run=_taken(
            RunSettings,
            left,
            method_options=_taken(MethodOptions, left),
            overlay=_taken(OverlaySettings, left),
            limits=_taken(Limits, left),
        ),
        resume=left.pop("resume", "finished"),
        max_failures=left.pop("max_failures", None),
        isolate_decoder=left.pop("isolate_decoder", False),
        shard=left.pop("shard", None),
        format=left.pop("format", "files"),
        images_per_file=left.pop("images_per_file", None),
        pool=_taken(PoolSettings, left),
    )
    _refuse_unknown(left)
    return request


def evaluate_request(
    paths: Iterable[StrPath] = (), output: StrPath | None = None, options: Mapping[str, Any] | None = None
) -> EvaluateRequest:
    """Make a request from keywords, the fields of `EvaluateRequest` and of its settings.

    `layers` are the layers that are compared.

    Raises:
        UsageError: an option does not exist, or has a wrong value.
    """
    left = _given(options)
    layers = left.pop("layers", EvaluateRequest().layers)
    if "methods" in left:
        left["methods"] = tuple(dict.fromkeys(left["methods"]))
    request: EvaluateRequest = _taken(
        EvaluateRequest,
        left,
        inputs=_taken(InputSettings, left, paths=tuple(os.fsdecode(path) for path in paths)),
        output=None if output is None else place(output),
        model=_taken(ModelSettings, left, layer=layers[0], layers=()),
        layers=layers,
        study=_taken(StudySettings, left),
        engine=_taken(EngineSettings, left),
    )
    _refuse_unknown(left)
    return request


def target_settings(classes: Iterable[str | int], top_k: int | None) -> TargetSettings:
    """Choose the explained classes. `top_k` is 1 by default, or 0 if `classes` are named.

    Raises:
        UsageError: no class would be explained.
    """
    named = (classes,) if isinstance(classes, (str, int)) else tuple(classes)
    if top_k is None:
        top_k = 0 if named else TargetSettings().top_k
    if top_k < 0 or (top_k == 0 and not named):
        raise UsageError(f"`top_k={top_k}` explains no class. Use a positive `top_k`, or name a class with `classes`.")
    return TargetSettings(tuple(str(name) for name in named), top_k)


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the options that are not None, in the types of the settings; refuse wrong values."""
    known = options_of(ExplainRequest) | options_of(EvaluateRequest)
    given = {name: _plain(known.get(name), value) for name, value in (options or {}).items() if value is not None}
    for name, value in given.items():
        choices = known[name].choices if name in known else ()
        # A method may be defined by the user: its name is checked where it is used.
        if isinstance(value, str) and choices and name != "method" and value not in choices:
            raise UsageError(f"`{name}={value}`: choose from {', '.join(choices)}.{did_you_mean(value, choices)}")
    return given


def _refuse_idle(given: Mapping[str, Any]) -> None:
    """Refuse options that would have no effect."""
    if "noise" in given and not given.get("smooth"):
        raise UsageError("`noise` needs `smooth=N`: it is the noise of the N copies.")
    for name in ("max_channels", "scorecam_masks"):
        if name in given and given.get("method") != "scorecam":
            raise UsageError(f"`{name}` needs `method=scorecam`.")
    if given.get("draw_boxes") and "boxes" not in given:
        raise UsageError("`draw_boxes` draws the boxes of `boxes`. Add `boxes=otsu`, or a level such as `boxes=0.5`.")
    if "font" in given and not given.get("caption"):
        raise UsageError("`font` needs `caption`: it is the font of the captions.")
    if given.get("colorbar") and "mask" in given and given.get("layout") != "triptych":
        raise UsageError(
            "`colorbar` with `mask` needs `layout=triptych`: other overlays with a mask have no heatmap colours."
        )
    _refuse_idle_format(given)
    _refuse_idle_pool(given)
    layers = given.get("layers", ())
    if layers and given.get("layer", "auto") != "auto":
        raise UsageError("`layer` explains one layer and `layers` fuses several. Use only one of them.")
    if len(set(layers)) != len(layers) or len(layers) == 1:
        raise UsageError("`layers` needs at least two different layers, each of them once.")


def _refuse_idle_format(given: Mapping[str, Any]) -> None:
    if given.get("images_per_file") and given.get("format", "files") == "files":
        raise UsageError("`images_per_file` needs `format=webdataset` or `format=parquet`.")
    if given.get("format") in WITHOUT_OVERLAYS:
        painted = [name for name in _PAINTED if given.get(name, _PAINTED[name]) != _PAINTED[name]]
        if painted:
            stored = f"`format={given['format']}`"
            raise UsageError(f"`{painted[0]}` changes overlays or maps, but {stored} does not store them.")


def _refuse_idle_pool(given: Mapping[str, Any]) -> None:
    for name in ("ray_cpus", "ray_gpus", "ray_min"):
        if name in given and "ray" not in given:
            raise UsageError(f"`{name}` needs `ray`: it is an option of the Ray actors.")


def _refuse_unknown(left: Mapping[str, Any]) -> None:
    if left:
        raise UsageError(_unknown(next(iter(left))))


def _plain(option: Option | None, value: Any) -> Any:
    if option and Path in option.members and isinstance(value, (str, os.PathLike)):
        return place(value) if Url in option.members else Path(value)
    if isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return value


def _taken(settings: type[Any], left: dict[str, Any], **given: Any) -> Any:
    """Make settings from the options with the names of its fields, and remove these options."""
    own = {field.name for field in fields(settings)} - given.keys()
    return settings(**{name: left.pop(name) for name in own & left.keys()}, **given)


def _unknown(name: str) -> str:
    return f"There is no option `{name}`.{did_you_mean(name, RunOptions.__annotations__, '`')}"
