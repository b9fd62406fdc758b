"""The predictions of a model for each preprocessing: accuracy, confidence and agreement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Engine
from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.imaging.geometry import Size, apply_fit, plan_fit
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, other_order
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.reading import read_source
from gradcam_cli.inputs.sources import Source
from gradcam_cli.labels.class_labels import Labels, folded
from gradcam_cli.settings import FitMode, Limits
from gradcam_cli.text import counted

# These give numbers that differ by 0.4 %.
ALIKE = frozenset({"tf", "lite"})
# Significance level: a preprocessing is certainly better if chance would give this result in fewer than one of twenty
# cases.
CHANCE = 0.05

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Predictions:
    """The result of one preprocessing for N images: the most probable class of each, and its probability."""

    preprocess: str
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]

    def right(self, truth: Sequence[int]) -> int:
        """Count the images whose predicted class is the true class."""
        return sum(found == true for found, true in zip(self.classes, truth, strict=True))


@dataclass(frozen=True)
class Row:
    """One line of the table: shares and means over the images; `accuracy` is None if the true classes are unknown.

    `agreement` is the share of images with the same class as with the preprocessing of the first line; `classes_seen`
    is the number of different predicted classes.
    """

    preprocess: str
    accuracy: float | None
    confidence: float
    agreement: float
    classes_seen: int
    distance: float | None


def read_pictures(
    sources: Iterable[Source], target: Size, channels: int, fit: FitMode, failed: Callable[[Source, ImageError], None]
) -> Iterator[tuple[Source, Pixels]]:
    """Decode images and fit them to the model's input: (height, width, channels) uint8; report failures."""
    limits = Limits()
    for source in sources:
        try:
            photo = decode(read_source(source, limits), limits, None)
        except ImageError as error:
            failed(source, error)
            continue
        pixels = photo.with_channels(channels)
        yield source, apply_fit(pixels, plan_fit(Size(pixels.shape[1], pixels.shape[0]), target, fit))


def predict(pixels: Sequence[Pixels], preprocess: str, engine: Engine) -> Predictions:
    """Predict the classes of images (height, width, channels) uint8 with one preprocessing."""
    classes: list[int] = []
    probabilities: list[float] = []
    for start in range(0, len(pixels), engine.batch_size):
        inputs = [PREPROCESSINGS[preprocess](each) for each in pixels[start : start + engine.batch_size]]
        found = engine.head.probabilities(engine.explain(np.stack(inputs)).logits)
        # Values far outside the expected range may give NaN.
        found = np.nan_to_num(found)
        classes += [int(c) for c in found.argmax(axis=1)]
        probabilities += [float(p) for p in found.max(axis=1)]
    return Predictions(preprocess, tuple(classes), tuple(probabilities))


def truth_from_folders(sources: Sequence[Source], labels: Labels, class_count: int) -> tuple[int, ...]:
    """Read the class of each image from the name of its folder.

    A folder has the name of a class; or, if the class names are unknown, there is one folder for each class, in Keras's
    alphabetical order.

    Raises:
        UsageError: the folders do not match the classes.
    """
    names = [Path(source.path).resolve().parent.name for source in sources]
    by_name = {folded(label.name): i for i, label in enumerate(labels.entries)}
    by_name |= {label.wnid: i for i, label in enumerate(labels.entries) if label.wnid}
    folders = sorted(set(names))
    if all(folded(name) in by_name for name in folders):
        return tuple(by_name[folded(name)] for name in names)
    if len(folders) == class_count and not len(labels):
        return tuple(folders.index(name) for name in names)
    unknown = [name for name in folders if folded(name) not in by_name]
    raise UsageError(
        f"The names of the folders are not the names of the model's {counted(class_count, 'class')}: "
        f"{', '.join(unknown[:5])}. Name each folder after its class, or give the class names: `labels=FILE` or "
        "`labels_from=FOLDER`."
    )


def table(
    predictions: Sequence[Predictions], truth: Sequence[int] | None, scores: Mapping[str, float] | None
) -> list[Row]:
    """Make the table of the predictions, sorted by accuracy or, without true classes, by distance."""

    def rank(each: Predictions) -> tuple[float, float]:
        far = (scores or {}).get(each.preprocess, float("inf"))
        return (-each.right(truth) if truth else 0, far)

    ordered = sorted(predictions, key=rank)
    first = ordered[0].classes
    return [
        Row(
            preprocess=each.preprocess,
            accuracy=each.right(truth) / len(truth) if truth else None,
            confidence=float(np.mean(each.probabilities)),
            agreement=float(np.mean(np.asarray(each.classes) == np.asarray(first))),
            classes_seen=len(set(each.classes)),
            distance=(scores or {}).get(each.preprocess),
        )
        for each in ordered
    ]


def decided_by_truth(predictions: Sequence[Predictions], truth: Sequence[int], usual: str = "") -> tuple[str, bool]:
    """Give the preprocessing with the best accuracy, and whether it beats all that give other numbers.

    Of several that are equally good, `usual` is given.
    Of the pictures on which two differ, one being right, the better one must be right on more than chance would have
    it: a one-sided sign test at 5 %. The order of the channels is judged apart, see `decides_order`: where it makes no
    such difference, `usual` or else RGB is given.
    """
    best = max(predictions, key=lambda each: (each.right(truth), each.preprocess == usual))
    other = _in_other_order(best, predictions)
    is_usual = best.preprocess == usual or not PREPROCESSINGS[best.preprocess].bgr
    if other and (other.preprocess == usual or not is_usual) and not _beats(best, other, truth):
        best, other = other, best
    same = {best.preprocess, other.preprocess if other else None, *(ALIKE if best.preprocess in ALIKE else ())}
    rivals = [each for each in predictions if each.preprocess not in same]
    return best.preprocess, all(_beats(best, rival, truth) for rival in rivals)


def decides_order(predictions: Sequence[Predictions], truth: Sequence[int], chosen: str) -> bool:
    """Whether a preprocessing is certainly better than the one with the other channel order, or has no other order."""
    best = next(each for each in predictions if each.preprocess == chosen)
    other = _in_other_order(best, predictions)
    return other is None or _beats(best, other, truth)


def _in_other_order(one: Predictions, predictions: Sequence[Predictions]) -> Predictions | None:
    return next((each for each in predictions if each.preprocess == other_order(one.preprocess)), None)


def _beats(best: Predictions, rival: Predictions, truth: Sequence[int]) -> bool:
    pairs = list(zip(best.classes, rival.classes, truth, strict=True))
    wins = sum(a == true != b for a, b, true in pairs)
    losses = sum(b == true != a for a, b, true in pairs)
    trials = wins + losses
    return trials > 0 and sum(comb(trials, k) for k in range(wins, trials + 1)) / 2**trials < CHANCE
