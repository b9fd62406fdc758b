"""The metrics of a comparison of two runs. A name that ends in `-below` is bad below a limit, all others above it.

The help of the command lists the metrics, so this module imports nothing heavy.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_cli.errors import UsageError
from gradcam_cli.requests import ChangeLimit
from gradcam_cli.text import did_you_mean, one_line

if TYPE_CHECKING:
    from gradcam_cli.report.compare import Comparison, ImageChange

# The number of images that are named if a limit is exceeded.
NAMED = 3


@dataclass(frozen=True)
class Measured:
    """The value of one metric, None if nothing was measured, and the images that it comes from."""

    value: float | None
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangeMetric:
    """One metric of a comparison: its name, its definition and the function that measures it."""

    name: str
    definition: str
    measure: "Callable[[Comparison], Measured]"

    @property
    def is_bad_below(self) -> bool:
        """Whether low values are bad."""
        return self.name.endswith("-below")

    def is_crossed(self, value: float, limit: float) -> bool:
        """Whether a value is on the bad side of a limit; the limit itself is good."""
        return value < limit if self.is_bad_below else value > limit


def _class_changes(comparison: "Comparison") -> Measured:
    return _counted(comparison, lambda change: change.class_changed)


def _class_change_share(comparison: "Comparison") -> Measured:
    changes = _class_changes(comparison)
    share = None if changes.value is None else changes.value / len(comparison.images)
    return Measured(share, changes.images)


def _counted(comparison: "Comparison", holds: "Callable[[ImageChange], bool]") -> Measured:
    """Count the images that both runs explained and for which a condition holds."""
    found = tuple(change.path for change in comparison.images if holds(change))
    return Measured(float(len(found)) if comparison.images else None, found)


def _named(paths: Iterable[str]) -> Measured:
    found = tuple(paths)
    return Measured(float(len(found)), found)


def _size_of(change: "ImageChange", attribute: str) -> float | None:
    """Give the value of one image; for a change, its absolute value."""
    value: float | None = getattr(change, attribute)
    return abs(value) if value is not None and attribute.endswith("_change") else value


def _mean(attribute: str) -> "Callable[[Comparison], Measured]":
    def measure(comparison: "Comparison") -> Measured:
        values = [value for each in comparison.images if (value := _size_of(each, attribute)) is not None]
        return Measured(math.fsum(values) / len(values) if values else None)

    return measure


def _worst(attribute: str, choose: "Callable[..., tuple[float, str]]") -> "Callable[[Comparison], Measured]":
    def measure(comparison: "Comparison") -> Measured:
        values = [(value, each.path) for each in comparison.images if (value := _size_of(each, attribute)) is not None]
        if not values:
            return Measured(None)
        value, path = choose(values, key=lambda pair: pair[0])
        return Measured(value, (path,))

    return measure


# The values of one image, and their definitions.
OF_AN_IMAGE = {
    "probability_change": "absolute change of the probability of the compared class",
    "value_change": "absolute change of the output value, if the output is not a probability",
    "correlation": "Pearson correlation of the two maps",
    "rank_correlation": "Spearman correlation of the two maps",
    "overlap": "intersection over union of the hottest 20 % of the image",
    "peak_shift": "distance between the hottest pixels, in percent of the diagonal",
    "area_change": "absolute change of the share of the image with heat of 0.5 or more",
}
BAD_BELOW = ("correlation", "rank_correlation", "overlap")


def _of_an_image() -> Iterator[ChangeMetric]:
    """Give the mean and the worst of each value of one image."""
    for attribute, definition in OF_AN_IMAGE.items():
        below = attribute in BAD_BELOW
        name = f"{attribute.replace('_', '-')}{'-below' if below else ''}"
        yield ChangeMetric(f"mean-{name}", f"mean over images of the {definition}", _mean(attribute))
        word, choose = ("lowest", min) if below else ("largest", max)
        yield ChangeMetric(f"worst-{name}", f"the {word} {definition}", _worst(attribute, choose))


CHANGE_METRICS = {
    metric.name: metric
    for metric in (
        ChangeMetric("class-changes", "number of images whose best class changed", _class_changes),
        ChangeMetric(
            "class-change-share", "share of these images among the images that both runs explained", _class_change_share
        ),
        ChangeMetric(
            "failed-now",
            "number of images that fail in the new run and did not fail in the base",
            lambda comparison: _named(failure.path for failure in comparison.failed_now),
        ),
        ChangeMetric(
            "removed", "number of images that are only in the base", lambda comparison: _named(comparison.removed)
        ),
        ChangeMetric(
            "added", "number of images that are only in the new run", lambda comparison: _named(comparison.added)
        ),
        ChangeMetric(
            "inputs-changed",
            "number of images whose file has another content",
            lambda comparison: _counted(comparison, lambda change: change.input_changed),
        ),
        ChangeMetric(
            "flat-now",
            "number of images whose map lost all its heat",
            lambda comparison: _counted(comparison, lambda change: change.flat_now),
        ),
        *_of_an_image(),
    )
}


def change_limit(text: str, argument: str) -> ChangeLimit:
    """Parse `METRIC=VALUE`; `argument` is the name of the argument, for error messages.

    Raises:
        UsageError: there is no such metric, or the value is not a finite number.
    """
    match = re.fullmatch(r"([^=]+)=(.+)", text)
    if match is None or match[1] not in CHANGE_METRICS:
        known, near = ", ".join(CHANGE_METRICS), did_you_mean(text.partition("=")[0], CHANGE_METRICS)
        raise UsageError(f"`{argument}={text}`: write METRIC=VALUE, where METRIC is one of {known}.{near}")
    try:
        value = float(match[2])
    except ValueError as error:
        raise UsageError(f"`{argument}={text}`: '{match[2]}' is not a number.") from error
    if not math.isfinite(value):
        raise UsageError(f"`{argument}={text}`: '{match[2]}' is not a finite number.")
    return ChangeLimit(match[1], value)


def change_limits(texts: Iterable[str], argument: str) -> tuple[ChangeLimit, ...]:
    """Parse several limits, see `change_limit`."""
    return tuple(change_limit(text, argument) for text in texts)


def definitions() -> str:
    """Give the definition of every metric, one paragraph each."""
    lines = [f"  {metric.name}: {metric.definition}." for metric in CHANGE_METRICS.values()]
    return "\n\n".join(
        ["Metrics. A metric whose name ends in -below is worse below its limit, all others above it:", *lines]
    )


def crossed(comparison: "Comparison", limits: Iterable[ChangeLimit]) -> list[str]:
    """Give a line for each limit that is exceeded; a metric that was not measured counts as exceeded."""
    return [line for limit in limits if (line := _crossed(comparison, limit)) is not None]


def _crossed(comparison: "Comparison", limit: ChangeLimit) -> str | None:
    metric = CHANGE_METRICS[limit.metric]
    found = metric.measure(comparison)
    if found.value is None:
        return f"{metric.name}: nothing was measured"
    if not metric.is_crossed(found.value, limit.value):
        return None
    # More digits are shown if the value and its limit would look the same with four.
    digits = next(n for n in (4, 17) if n == 17 or f"{found.value:.{n}g}" != f"{limit.value:.{n}g}")
    side = "below" if metric.is_bad_below else "above"
    return f"{metric.name} is {found.value:.{digits}g}, {side} {limit.value:.{digits}g}{_among(found.images)}"


def _among(images: tuple[str, ...]) -> str:
    if not images:
        return ""
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return f": {', '.join(map(one_line, images[:NAMED]))}{more}"


def figures(comparison: "Comparison") -> dict[str, float | None]:
    """Measure every metric; None if there is nothing to measure."""
    found = {name: metric.measure(comparison).value for name, metric in CHANGE_METRICS.items()}
    return {name: None if value is None else round(value, 6) for name, value in found.items()}
