"""What a comparison of two runs can be gated on: each name says by its end which side of a limit is bad.

Nothing heavy is imported here: the command's help lists the names.
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

# So many images are named where a gate is crossed.
NAMED = 3


@dataclass(frozen=True)
class Measured:
    """One figure of a comparison, None where nothing was measured; and the images that it comes from."""

    value: float | None
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangeMetric:
    """One figure of a comparison: its name and its definition. Names that end in `-below` are bad below a limit."""

    name: str
    definition: str
    measure: "Callable[[Comparison], Measured]"

    @property
    def is_bad_below(self) -> bool:
        """Whether low figures are bad."""
        return self.name.endswith("-below")

    def is_crossed(self, value: float, limit: float) -> bool:
        """Whether a figure is on the bad side of a limit; the limit itself is good."""
        return value < limit if self.is_bad_below else value > limit


def _class_changes(comparison: "Comparison") -> Measured:
    return _counted(comparison, lambda change: change.class_changed)


def _class_change_share(comparison: "Comparison") -> Measured:
    changes = _class_changes(comparison)
    share = None if changes.value is None else changes.value / len(comparison.images)
    return Measured(share, changes.images)


def _counted(comparison: "Comparison", holds: "Callable[[ImageChange], bool]") -> Measured:
    """Count the images that both runs explained and for which something holds."""
    found = tuple(change.path for change in comparison.images if holds(change))
    return Measured(float(len(found)) if comparison.images else None, found)


def _named(paths: Iterable[str]) -> Measured:
    found = tuple(paths)
    return Measured(float(len(found)), found)


def _size_of(change: "ImageChange", attribute: str) -> float | None:
    """The figure of one image; of a change its size, whether up or down."""
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


# The figures of one image, and what they are.
OF_AN_IMAGE = {
    "probability_change": "change of the probability, up or down, of the class that is compared",
    "value_change": "change of the value, up or down, of an output that is no probability",
    "correlation": "Pearson's correlation of the two maps",
    "rank_correlation": "Spearman's correlation of the two maps",
    "overlap": "intersection over union of the hottest 20 % of the photograph",
    "peak_shift": "distance that the hottest pixel moved, in per cent of the diagonal",
    "area_change": "change of the share of the photograph with heat of 0.5 or more, up or down",
}
BAD_BELOW = ("correlation", "rank_correlation", "overlap")


def _of_an_image() -> Iterator[ChangeMetric]:
    """The mean and the worst of each figure."""
    for attribute, definition in OF_AN_IMAGE.items():
        below = attribute in BAD_BELOW
        name = f"{attribute.replace('_', '-')}{'-below' if below else ''}"
        yield ChangeMetric(f"mean-{name}", f"mean over images of the {definition}", _mean(attribute))
        word, choose = ("lowest", min) if below else ("largest", max)
        yield ChangeMetric(f"worst-{name}", f"the {word} {definition}", _worst(attribute, choose))


CHANGE_METRICS = {
    metric.name: metric
    for metric in (
        ChangeMetric("class-changes", "images whose best class is another one", _class_changes),
        ChangeMetric("class-change-share", "their share of the images that both runs explained", _class_change_share),
        ChangeMetric(
            "failed-now",
            "images that fail, and did not fail in the base",
            lambda comparison: _named(failure.path for failure in comparison.failed_now),
        ),
        ChangeMetric("removed", "images that only the base has", lambda comparison: _named(comparison.removed)),
        ChangeMetric("added", "images that the base does not have", lambda comparison: _named(comparison.added)),
        ChangeMetric(
            "inputs-changed",
            "images whose file has other bytes",
            lambda comparison: _counted(comparison, lambda change: change.input_changed),
        ),
        ChangeMetric(
            "flat-now",
            "images whose map lost all its heat",
            lambda comparison: _counted(comparison, lambda change: change.flat_now),
        ),
        *_of_an_image(),
    )
}


def change_limit(text: str, argument: str) -> ChangeLimit:
    """Read `METRIC=VALUE`; `argument` is the name of what it was given by.

    Raises:
        UsageError: there is no such metric, or the value is no finite number.
    """
    match = re.fullmatch(r"([^=]+)=(.+)", text)
    if match is None or match[1] not in CHANGE_METRICS:
        known, near = ", ".join(CHANGE_METRICS), did_you_mean(text.partition("=")[0], CHANGE_METRICS)
        raise UsageError(f"`{argument}={text}`: METRIC=VALUE, METRIC one of {known}.{near}")
    try:
        value = float(match[2])
    except ValueError as error:
        raise UsageError(f"`{argument}={text}`: '{match[2]}' is not a number.") from error
    if not math.isfinite(value):
        raise UsageError(f"`{argument}={text}`: no figure can be compared with '{match[2]}'. Give a finite number.")
    return ChangeLimit(match[1], value)


def change_limits(texts: Iterable[str], argument: str) -> tuple[ChangeLimit, ...]:
    """Read several, as `change_limit` does."""
    return tuple(change_limit(text, argument) for text in texts)


def definitions() -> str:
    """List every metric with its definition, for people."""
    lines = [f"  {metric.name}: {metric.definition}." for metric in CHANGE_METRICS.values()]
    return "\n\n".join(["Metrics; a name that ends in -below is bad below its limit, all others above it:", *lines])


def crossed(comparison: "Comparison", limits: Iterable[ChangeLimit]) -> list[str]:
    """Say which limits are crossed, a line each; one that nothing was measured for is crossed, too."""
    return [line for limit in limits if (line := _crossed(comparison, limit)) is not None]


def _crossed(comparison: "Comparison", limit: ChangeLimit) -> str | None:
    metric = CHANGE_METRICS[limit.metric]
    found = metric.measure(comparison)
    if found.value is None:
        return f"{metric.name}: nothing was measured"
    if not metric.is_crossed(found.value, limit.value):
        return None
    # A limit of more digits than are shown must not read as the figure itself.
    digits = next(n for n in (4, 17) if n == 17 or f"{found.value:.{n}g}" != f"{limit.value:.{n}g}")
    side = "below" if metric.is_bad_below else "above"
    return f"{metric.name} is {found.value:.{digits}g}, {side} {limit.value:.{digits}g}{_among(found.images)}"


def _among(images: tuple[str, ...]) -> str:
    if not images:
        return ""
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return f": {', '.join(map(one_line, images[:NAMED]))}{more}"


def figures(comparison: "Comparison") -> dict[str, float | None]:
    """Measure every metric; None where there is nothing to measure."""
    found = {name: metric.measure(comparison).value for name, metric in CHANGE_METRICS.items()}
    return {name: None if value is None else round(value, 6) for name, value in found.items()}
