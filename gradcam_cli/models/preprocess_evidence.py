"""Which numbers a network was trained on: what its scaling, its batch statistics and its backbone show of it.

A scaling in front of the first weights was there in training, so it decides. Else the first BatchNormalization
remembers the mean and variance of the training data. A known backbone is a guess only: it brings the statistics of
ImageNet with it, whatever its head was trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.batch_statistics import ALIKE, Testimony, batch_testimony
from gradcam_cli.models.families import has_imagenet_classes, is_deep
from gradcam_cli.models.guesses import likelier_guess
from gradcam_cli.models.named import NamedModel
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder
from gradcam_cli.models.scaling import SCALED_BEFORE, Scaling, read_scaling

# What is taken where nothing in a network shows anything.
GUESS = "unit"
# What it may be instead: raw pixels.
OTHER_GUESS = "none"
# What backbones trained on ImageNet take.
IMAGENETS = frozenset({"tf", "lite", "caffe", "torch"})
# Batch statistics have to fit so well to be believed against a scaling in the network.
CONVINCING = 0.5


@dataclass(frozen=True)
class Evidence:
    """A preprocessing, whether it is certain, and why; `scores` are distances, see `batch_statistics`."""

    preprocess: str
    certain: bool
    reason: str
    scores: Mapping[str, float] | None = None

    def contradicts(self, chosen: str) -> bool:
        """Whether the network was certainly trained on other numbers than those of a preprocessing."""
        return self.certain and chosen != self.preprocess and {chosen, self.preprocess} != ALIKE


def find_evidence(
    network: keras.Model,
    shape: tuple[int, int, int],
    family: NamedModel | None,
    *,
    as_it_came: bool,
    feeder: Feeder = ONLY_PICTURES,
) -> Evidence:
    """Choose the preprocessing for a network with inputs of a shape (height, width, channels).

    `family` is the architecture that it is built on, where that is known; `as_it_came` where it is that architecture
    with its head for ImageNet's classes.
    """
    if _takes_whole_numbers(network, feeder.place):
        return Evidence("none", True, "its input is of whole numbers")
    try:
        scaling = read_scaling(network, shape, feeder)
        testimony = batch_testimony(network, shape, SCALED_BEFORE if scaling else tuple(PREPROCESSINGS), feeder)
    except Exception as error:  # noqa: BLE001 - a network may refuse to be run in any way; running it says so later
        scaling, testimony = None, None
        tried = f" ({type(error).__name__})"
    else:
        tried = ""
    if scaling:
        return _by_scaling(scaling, testimony)
    known = family
    # A family that scales for itself, without its scaling, shows nothing.
    if known and (known.preprocess == "none" or not PREPROCESSINGS[known.preprocess].takes(shape[2])):
        known = None
    if known and as_it_came:
        return Evidence(known.preprocess, True, f"it is {known.name} with ImageNet's classes", _scores(testimony))
    if testimony:
        found = _by_statistics(testimony, known)
        return _of_its_backbone(found) if found.certain and _may_be_imagenets(network, found.preprocess) else found
    if tried:
        return Evidence(known.preprocess if known else GUESS, False, f"the model could not be tried{tried}")
    return _by_guess(network, shape, known, feeder)


def _may_be_imagenets(network: keras.Model, preprocess: str) -> bool:
    """Whether batch statistics may have come with an unknown backbone whose head was trained on other numbers."""
    return preprocess in IMAGENETS and is_deep(network) and not has_imagenet_classes(network)


def _of_its_backbone(found: Evidence) -> Evidence:
    reason = f"{found.reason}, but these may be those of a backbone for ImageNet, whatever its head was trained on"
    return Evidence(found.preprocess, False, reason, found.scores)


def _by_guess(network: keras.Model, shape: tuple[int, int, int], known: NamedModel | None, feeder: Feeder) -> Evidence:
    usual = (known.preprocess, GUESS) if known else (GUESS, OTHER_GUESS)
    guess, flaws = likelier_guess(network, shape, tuple(dict.fromkeys(usual)), feeder)
    if known:
        reason = f"it is built on {known.name}, but may have been trained on other numbers{flaws}"
    else:
        reason = f"nothing in the model shows how pixels become its input{flaws}"
    return Evidence(guess, False, reason)


def _takes_whole_numbers(network: keras.Model, place: int) -> bool:
    inputs = getattr(network, "inputs", None) or []
    return len(inputs) > place and "int" in str(inputs[place].dtype)


def _by_scaling(scaling: Scaling, testimony: Testimony | None) -> Evidence:
    scores = _scores(testimony)
    made_for = f"its layer '{scaling.layer}' scales numbers from {range_text(scaling.preprocess)}"
    best = testimony.best if testimony and testimony.clear and not testimony.frozen else None
    if best is None or best == scaling.preprocess:
        certain = scaling.certain or best is not None
        return Evidence(scaling.preprocess, certain, made_for if certain else f"{made_for}, or others", scores)
    if not scaling.certain:
        certain = testimony is not None and testimony.rival is None
        return Evidence(best, certain, f"its batch statistics fit '{best}'", scores)
    if scores and scores[best] < CONVINCING:
        return Evidence(best, False, f"{made_for}, but its batch statistics fit '{best}'", scores)
    return Evidence(scaling.preprocess, True, made_for, scores)


def _by_statistics(testimony: Testimony, known: NamedModel | None) -> Evidence:
    best, scores = testimony.best, dict(testimony.scores)
    fits = f"the batch statistics of its layer '{testimony.layer}' fit '{best}'"
    if known and (best == known.preprocess or {best, known.preprocess} == ALIKE):
        reason = f"{fits}, but these may be those of {known.name} for ImageNet, whatever its head was trained on"
        return Evidence(known.preprocess, False, reason, scores)
    if testimony.rival and not known:
        return Evidence(best, False, f"{fits}, but {testimony.rival} about as well", scores)
    if not testimony.clear:
        if known:
            reason = f"it is built on {known.name}, but its batch statistics fit nothing clearly"
            return Evidence(known.preprocess, False, reason, scores)
        return Evidence(best, False, f"{fits} only a little better than others", scores)
    if testimony.frozen:
        return Evidence(best, False, f"{fits}, but were frozen while its head was trained", scores)
    return Evidence(best, True, fits, scores)


def _scores(testimony: Testimony | None) -> dict[str, float] | None:
    return dict(testimony.scores) if testimony else None


def range_text(preprocess: str) -> str:
    """The range of a preprocessing's numbers, for people."""
    low, high = (end + 0.0 for end in PREPROCESSINGS[preprocess].range)  # no -0
    return f"{low:.4g} to {high:.4g}"
