"""The lines that are reported once after the model was loaded: the choices, and warnings."""

from collections.abc import Iterator

from gradcam_cli.results.sidecar import ModelCard
from gradcam_cli.runs.observer import OpenedModel
from gradcam_cli.settings import FitChoice, RunSettings

DEFAULT_FIT = RunSettings().fit
APPROXIMATE = (
    "the layers after the target layer are not piecewise linear, so the closed form of {method} is an approximation "
    "(see docs/choosing-a-method.md)"
)


def announcement(model: OpenedModel, name: str, fit: FitChoice, method: str | None = None) -> Iterator[str]:
    """Give one line for each choice about the model `name`, and for each warning.

    `fit` is the requested fit; `method` is the name of the method, if the run has only one.
    """
    card = model.card
    yield f"layer {card.layer} ({card.layer_reason})"
    if model.layers:
        yield f"fused with {', '.join(model.layers[1:])}"
    if card.preprocess_guessed:
        yield (
            f"preprocess '{card.preprocess}' is a guess: {card.preprocess_reason}. Check it: "
            f"gradcam-cli check-preprocess {name} PHOTOS `truth_from_folders`"
        )
    if card.fit != DEFAULT_FIT and fit == "auto":
        yield f"fit '{card.fit}', as in the tool that made the model (change it with `fit`)"
    yield from _about_output(card)
    yield from (*model.notes, *card.layer_notes)
    yield from (f"warning: {warning}" for warning in model.warnings)
    if model.derivatives == "approximation" and method:
        yield APPROXIMATE.format(method=method)


def _about_output(card: ModelCard) -> Iterator[str]:
    """Give the lines about the meaning of the output's numbers."""
    if card.output_assumed:
        yield f"the kind of the output is {card.output_reason}. Set it with `output_kind`."
    if card.output_kind in {"value", "score"}:
        yield f"the output is {card.output_reason}: it has no probabilities, and the map explains what increases it"
    if card.output_kind == "probabilities":
        yield f"the output contains probabilities: {card.output_reason}"
    if "softmax of one number" in card.output_reason:
        yield "the model ends with a softmax of one number, so every probability is 1. A sigmoid was probably intended"
    if card.output_reason == "softmax of a softmax":
        yield "the model ends with a softmax of a softmax, so its probabilities are nearly equal"
