"""Find which preprocessing a network was trained with, by its scaling, its batch statistics and its backbone.

A scaling before the first weights was also used in training, so it decides. Otherwise the first BatchNormalization
decides, because it stores the mean and variance of the training data. A known backbone gives only a guess: it contains
the statistics of ImageNet, and its head may have been trained with another preprocessing. The order of the channels
is decided afterwards, see `_ordered`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, other_order
from gradcam_cli.models.batch_statistics import ALIKE, CLEAR_RATIO, RANGES, Testimony, batch_testimony
from gradcam_cli.models.families import has_imagenet_classes, is_deep
from gradcam_cli.models.guesses import likelier_guess
from gradcam_cli.models.named import NamedModel
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder
from gradcam_cli.models.scaling import SCALED_BEFORE, Scaling, read_scaling

# Used if a network shows nothing about its preprocessing.
GUESS = "unit"
# The alternative guess: raw pixels.
OTHER_GUESS = "none"
# Preprocessings of backbones that were trained on ImageNet.
IMAGENETS = frozenset({"tf", "lite", "caffe", "torch"})
# Batch statistics with a larger distance do not fit the scaling of a network.
CONVINCING = 0.5
# An order of the channels fits the batch statistics better if the distance of the other order is this many times as
# large. Of models trained on mixed photographs, at most one of a hundred gave this result for the wrong order: see
# docs/your-own-model.md.
BETTER_ORDER = 1.5
COLOURS = 3


@dataclass(frozen=True)
class Evidence:
    """A preprocessing, whether it is certain, and why; `scores` are distances, see `batch_statistics`.

    `order_assumed` is True if nothing shows the order of the channels. The reason says so too.
    """

    preprocess: str
    certain: bool
    reason: str
    scores: Mapping[str, float] | None = None
    order_assumed: bool = False

    def contradicts(self, chosen: str) -> bool:
        """Whether the network was certainly trained with other values than those of `chosen`, in any channel order."""
        same = {chosen, other_order(chosen)} & {self.preprocess, *(ALIKE if self.preprocess in ALIKE else ())}
        return self.certain and not same


def find_evidence(
    network: keras.Model,
    shape: tuple[int, int, int],
    family: NamedModel | None,
    *,
    as_it_came: bool,
    feeder: Feeder = ONLY_PICTURES,
) -> Evidence:
    """Choose the preprocessing for a network with inputs of a shape (height, width, channels).

    `family` is the architecture that the network is built on, if it is known. `as_it_came` is True if the network is
    this architecture with its head for the classes of ImageNet.
    """
    if _takes_whole_numbers(network, feeder.place):
        return Evidence("none", True, "its input has an integer type")
    try:
        scaling = read_scaling(network, shape, feeder)
        testimony = batch_testimony(network, shape, SCALED_BEFORE if scaling else RANGES, feeder)
    except Exception as error:  # noqa: BLE001 - a network may refuse to be run in any way; running it says so later
        scaling, testimony = None, None
        tried = f" ({type(error).__name__})"
    else:
        tried = ""
    if scaling:
        found = _by_scaling(scaling, testimony)
        # The scaling itself is certain. The order is mentioned only if the batch statistics contradict RGB.
        doubtful = testimony is not None and testimony.order_ratio * BETTER_ORDER <= 1
        return _ordered(found, testimony, shape[2]) if doubtful else found
    known = family
    # A family that contains its own scaling shows nothing if the network has no scaling.
    if known and (known.preprocess == "none" or not PREPROCESSINGS[known.preprocess].takes(shape[2])):
        known = None
    if known and as_it_came:
        return Evidence(known.preprocess, True, f"it is {known.name} with ImageNet's classes", _scores(testimony))
    if testimony:
        found = _by_statistics(testimony, known)
        if found.certain and _may_be_imagenets(network, found.preprocess):
            found = _of_its_backbone(found)
    elif tried:
        found = Evidence(known.preprocess if known else GUESS, False, f"the model could not be tested{tried}")
    else:
        found = _by_guess(network, shape, known, feeder)
    return _ordered(found, testimony, shape[2])


def _ordered(found: Evidence, testimony: Testimony | None, channels: int) -> Evidence:
    """Decide the order of the channels of a preprocessing that treats all channels alike.

    RGB is certain if the distance of BGR images from the batch statistics is at least CLEAR_RATIO times that of RGB
    images. Otherwise RGB is assumed. BGR is never certain: RGB images of sea and sky look like usual images in BGR.
    """
    chosen = PREPROCESSINGS[found.preprocess]
    if channels == 1 or not chosen.alike:
        return found
    if chosen.bgr:
        return replace(found, certain=False, reason=f"{found.reason}; bluish images in RGB would give the same result")
    ratio = testimony.order_ratio if testimony else 1.0
    if ratio >= CLEAR_RATIO:
        return found
    guessed = ratio * BETTER_ORDER <= 1
    better = ", although BGR fits its batch statistics better" if guessed else ""
    other = other_order(found.preprocess)
    hint = f"; for BGR, as OpenCV reads images, choose '{other}'" if other and channels == COLOURS else ""
    reason = f"{found.reason}; the channel order RGB is assumed{better}{hint}"
    return replace(found, certain=found.certain and not guessed, reason=reason, order_assumed=True)


def _may_be_imagenets(network: keras.Model, preprocess: str) -> bool:
    """Whether the statistics may be those of an unknown backbone whose head was trained with another preprocessing."""
    return preprocess in IMAGENETS and is_deep(network) and not has_imagenet_classes(network)


def _of_its_backbone(found: Evidence) -> Evidence:
    reason = (
        f"{found.reason}, but these may come from a backbone for ImageNet, and its head may have been trained otherwise"
    )
    return Evidence(found.preprocess, False, reason, found.scores)


def _by_guess(network: keras.Model, shape: tuple[int, int, int], known: NamedModel | None, feeder: Feeder) -> Evidence:
    usual = (known.preprocess, GUESS) if known else (GUESS, OTHER_GUESS)
    guess, flaws = likelier_guess(network, shape, tuple(dict.fromkeys(usual)), feeder)
    if known:
        reason = f"it is built on {known.name}, but it may have been trained with another preprocessing{flaws}"
    else:
        reason = f"the model does not show its preprocessing{flaws}"
    return Evidence(guess, False, reason)


def _takes_whole_numbers(network: keras.Model, place: int) -> bool:
    inputs = getattr(network, "inputs", None) or []
    return len(inputs) > place and "int" in str(inputs[place].dtype)


def _by_scaling(scaling: Scaling, testimony: Testimony | None) -> Evidence:
    scores = _scores(testimony)
    made_for = f"its layer '{scaling.layer}' scales values from {range_text(scaling.preprocess)}"
    best = testimony.best if testimony and testimony.clear else None
    frozen = testimony is not None and testimony.frozen
    if best not in {None, scaling.preprocess} and (frozen or scaling.certain):
        # The statistics may be those of pixels that were scaled before, so that they are scaled twice.
        return Evidence(str(best), False, f"{made_for}, but its batch statistics fit '{best}'", scores)
    if best is None or best == scaling.preprocess:
        certain = scaling.certain or (best is not None and not frozen)
        if certain and testimony and scores and _is_far(scores, scaling.preprocess):
            reason = f"{made_for}, but its batch statistics fit '{testimony.best}' better"
            return Evidence(scaling.preprocess, False, reason, scores)
        return Evidence(scaling.preprocess, certain, made_for if certain else f"{made_for}, or others", scores)
    certain = testimony is not None and testimony.rival is None
    return Evidence(best, certain, f"its batch statistics fit '{best}'", scores)


def _is_far(scores: Mapping[str, float], preprocess: str) -> bool:
    """Whether the batch statistics do not fit a preprocessing, and fit another one much better."""
    own = scores[preprocess]
    return own > CONVINCING and own > CLEAR_RATIO * min(scores.values())


def _by_statistics(testimony: Testimony, known: NamedModel | None) -> Evidence:
    best, scores = testimony.best, dict(testimony.scores)
    fits = f"the batch statistics of its layer '{testimony.layer}' fit '{best}'"
    if known and (best == known.preprocess or {best, known.preprocess} == ALIKE):
        reason = (
            f"{fits}, but these may be those of {known.name} for ImageNet, and its head may have been trained otherwise"
        )
        return Evidence(known.preprocess, False, reason, scores)
    if testimony.rival and not known:
        return Evidence(best, False, f"{fits}, but {testimony.rival} nearly as well", scores)
    if not testimony.clear:
        if known:
            reason = f"it is built on {known.name}, but its batch statistics fit no preprocessing clearly"
            return Evidence(known.preprocess, False, reason, scores)
        return Evidence(best, False, f"{fits} only a little better than others", scores)
    if testimony.frozen:
        return Evidence(best, False, f"{fits}, but were frozen while its head was trained", scores)
    return Evidence(best, True, fits, scores)


def _scores(testimony: Testimony | None) -> dict[str, float] | None:
    return dict(testimony.scores) if testimony else None


def range_text(preprocess: str) -> str:
    """The range of a preprocessing's values, for messages."""
    low, high = (end + 0.0 for end in PREPROCESSINGS[preprocess].range)  # no -0
    return f"{low:.4g} to {high:.4g}"
