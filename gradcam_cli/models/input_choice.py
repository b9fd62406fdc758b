"""Choose how images become the input of a model file: by the user's setting, or by the evidence in the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from gradcam_cli.imaging.preprocessing import ASKED_FOR, PREPROCESSINGS, Preprocessing
from gradcam_cli.models.families import family_of, is_as_it_came
from gradcam_cli.models.preprocess_evidence import Evidence, find_evidence, range_text
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder
from gradcam_cli.models.teachable_machine import FIT, PREPROCESS, is_export, is_named_like_export
from gradcam_cli.settings import FitMode


@dataclass(frozen=True)
class InputChoice:
    """A preprocessing, whether it is a guess, why it was chosen, and warnings about it.

    `notes` are for the user: what was assumed although the choice is not a guess.
    """

    preprocessing: Preprocessing
    guessed: bool
    reason: str
    scores: Mapping[str, float] | None
    fit: FitMode
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose_input(
    network: keras.Model, shape: tuple[int, int, int], path: Path, wanted: str, feeder: Feeder = ONLY_PICTURES
) -> InputChoice:
    """Choose the preprocessing `wanted` (`auto`: the one that the evidence shows), and how images are fitted."""
    evidence, fit = _evidence(network, shape, path, feeder)
    if wanted == "auto":
        chosen = PREPROCESSINGS[evidence.preprocess]
        assumed = evidence.certain and evidence.order_assumed
        notes = (f"preprocess '{chosen.name}': {evidence.reason}",) if assumed else ()
        return InputChoice(chosen, not evidence.certain, evidence.reason, evidence.scores, fit, (), notes)
    warnings = (_warning(wanted, evidence),) if evidence.contradicts(wanted) else ()
    return InputChoice(PREPROCESSINGS[wanted], False, ASKED_FOR, evidence.scores, fit, warnings)


def _evidence(
    network: keras.Model, shape: tuple[int, int, int], path: Path, feeder: Feeder
) -> tuple[Evidence, FitMode]:
    family = family_of(network)
    evidence = find_evidence(network, shape, family, as_it_came=is_as_it_came(network), feeder=feeder)
    if is_export(network):
        reason = "it has the layers of a model of Teachable Machine"
        return Evidence(PREPROCESS, True, reason, evidence.scores), FIT
    shows_nothing = not evidence.certain and evidence.scores is None and family is None
    if shows_nothing and is_named_like_export(path):
        reason = "its name and the numbered labels.txt in its folder are those of Teachable Machine"
        return Evidence(PREPROCESS, False, reason), FIT
    return evidence, "squash"


def _warning(wanted: str, evidence: Evidence) -> str:
    return (
        f"preprocess '{wanted}' gives the model values from {range_text(wanted)}, but {evidence.reason}: it expects "
        f"'{evidence.preprocess}', {range_text(evidence.preprocess)}."
    )
