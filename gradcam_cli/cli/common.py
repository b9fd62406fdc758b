"""What `explain` and `evaluate` do alike: find inputs and the model, tell what was chosen, stop when told to."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from gradcam_cli.cli.console import download_bar, say
from gradcam_cli.cli.options import STDIO
from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.settings import ModelSettings, RunSettings

if TYPE_CHECKING:
    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.engines.protocol import Engine
    from gradcam_cli.models.classifier import Classifier
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.results.sidecar import ModelCard
    from gradcam_cli.runs.job import Decode, ExtrasOf, Listen
    from gradcam_cli.settings import FitMode

INTERRUPTED, TERMINATED, PIPE_CLOSED = 130, 143, 141
DEFAULT_FIT = RunSettings().fit
VERSIONED = ("gradcam-cli", "keras", "tensorflow", "openvino", "numpy")
# Any of these distributions may be the cv2 that was imported.
OPENCV = ("opencv-python-headless", "opencv-contrib-python-headless", "opencv-python", "opencv-contrib-python")


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as it does for Ctrl-C, with another exit code."""


def locate(options: Mapping[str, Any], layer: str) -> "ModelRequest":
    """Find the model that the options name, to be explained at one layer."""
    from gradcam_cli.models.request import locate_model

    settings = ModelSettings(
        model=options["model"],
        layer=layer,
        layers=options.get("layers", ()),
        labels=options["labels"],
        labels_from=options["labels_from"],
        preprocess=options["preprocess"],
        weights=options["weights"],
        input_size=options["input_size"],
        output_name=options["output_name"],
        output_kind=options["output_kind"],
        sha256=options["sha256"],
        inputs=options["inputs_given"],
        pairs=options["pairs"],
        image_input=options["image_input"],
        custom_objects=options["custom_objects"],
        trust_code=options["trust_code"],
        token_grid=options.get("token_grid"),
    )
    if not options["cache"]:
        return locate_model(settings, download_bar)
    from gradcam_cli.engines.cache import has_plan

    return locate_model(settings, download_bar, may_wait=has_plan)


def model_card(model: "Classifier | Plan", engine: "Engine", fit: str, request: "ModelRequest") -> "ModelCard":
    """What records say of the model."""
    from gradcam_cli.engines.protocol import map_layer
    from gradcam_cli.results.sidecar import GivenCard, ModelCard

    return ModelCard(
        name=model.name,
        sha256=model.sha256,
        layer=engine.layer.path,
        layer_reason=engine.layer.reason,
        engine=engine.name,
        precision=engine.precision,
        preprocess=model.preprocessing.name,
        preprocess_guessed=model.preprocess_guessed,
        fit=fit,
        input_size=engine.input_size,
        preprocess_reason=model.preprocess_reason,
        preprocess_scores=model.preprocess_scores,
        image_input=request.settings.image_input,
        custom_objects=request.custom.sha256 if request.custom else None,
        inputs=tuple(GivenCard(given.name or None, given.shown, given.digest) for given in request.inputs),
        output_kind=engine.head.kind,
        output_reason=engine.head.reason,
        output_assumed=engine.head.assumed,
        geometry=map_layer(engine).geometry,
        layer_notes=tuple(dict.fromkeys(note for each in (engine, *engine.others) for note in each.layer.notes)),
    )


def extras_of(model: "Classifier | Plan", decode: "Decode", settings: RunSettings) -> "ExtrasOf":
    """Tell where each image's values for the network's further inputs come from."""
    from gradcam_cli.inputs.other_inputs import ExtrasReader
    from gradcam_cli.runs.job import no_extras

    others = getattr(model, "varying", ())
    if not others:
        return no_extras
    return ExtrasReader(others, decode, model.preprocessing, settings.fit, settings.limits, settings.sample_range)


def listening(*, verbose: bool) -> "Listen":
    """Report what native decoders print, where the user asked for it; otherwise nothing of it is shown."""
    from gradcam_cli.cli.decoder_lines import DecoderLines
    from gradcam_cli.runs.job import unheard

    return DecoderLines().listen if verbose else unheard


def chosen_fit(model: "Classifier | Plan", options: Mapping[str, Any]) -> "FitMode":
    """How pictures are laid into the input: as the options say, or as the model was trained."""
    return model.fit if options["fit"] == "auto" else options["fit"]


def versions() -> dict[str, str]:
    """Versions of this program and what it computes with."""
    found: dict[str, str] = {}
    for name in (*VERSIONED, *OPENCV):
        with contextlib.suppress(PackageNotFoundError):
            found.setdefault("opencv" if name in OPENCV else name, version(name))
    return found


def announce(
    card: "ModelCard", model: "Classifier | Plan", options: Mapping[str, Any], layers: tuple[str, ...] = ()
) -> None:
    """Say once what was chosen, which `layers` are fused where there are several, and what looks wrong."""
    if options["quiet"]:
        return
    say(f"{card.name}: layer {card.layer} ({card.layer_reason})")
    if layers:
        say(f"{card.name}: fused with {', '.join(layers[1:])}")
    if card.preprocess_guessed:
        say(
            f"{card.name}: preprocess '{card.preprocess}' is a guess: {card.preprocess_reason}. Check it: "
            f"gradcam-cli check-preprocess {options['model']} PHOTOS --truth-from-folders"
        )
    if card.fit != DEFAULT_FIT and options["fit"] == "auto":
        say(f"{card.name}: fit '{card.fit}', as the tool that made the model does (change it with --fit)")
    for line in _about_output(card, options):
        say(f"{card.name}: {line}")
    for note in (*model.notes, *card.layer_notes):
        say(f"{card.name}: {note}")
    for warning in model.warnings:
        say(f"{card.name}: warning: {warning}")
    if options["verbose"]:
        height, width = card.input_size
        say(f"input {height}x{width}, fit {card.fit}, preprocess {card.preprocess}, {card.engine} {card.precision}")


def _about_output(card: "ModelCard", options: Mapping[str, Any]) -> Iterator[str]:
    """What a person has to know of the output before reading its numbers."""
    if card.output_assumed:
        yield f"what the output means is {card.output_reason}. Say it with --output-kind."
    if card.output_kind in {"value", "score"}:
        yield f"the output is {card.output_reason}: there are no probabilities, and the map explains its increase"
        if options.get("min_score"):
            yield "--min-score has no effect: it is about probabilities"
    if card.output_kind == "probabilities":
        yield f"the output is probabilities: {card.output_reason}"
    if "softmax of one number" in card.output_reason:
        yield "a softmax over one number ends this model: every probability is 1. Was a sigmoid meant?"
    if card.output_reason == "softmax of a softmax":
        yield "a softmax of a softmax ends this model, which makes its probabilities nearly equal"


@contextlib.contextmanager
def lines_to(name: str | None) -> Iterator[TextIO | None]:
    """Open a file of records for writing; None for none, - for stdout."""
    if name is None:
        yield None
    elif name == STDIO:
        yield sys.stdout
    else:
        # Only errors of this file are its own: what happens while records are made is caught where it arises.
        try:
            file = Path(name).open("w", encoding="ascii", newline="\n")  # noqa: SIM115 - closed below
        except OSError as error:
            raise EnvironmentStop(f"{name}: {error.strerror}.") from error
        try:
            yield file
        finally:
            # Each line was flushed: what is left was told when it could not be written.
            with contextlib.suppress(OSError):
                file.close()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM unwind the run, which finishes or drops what is in hand; a second one ends it at once."""

    def unwind(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, _end)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
