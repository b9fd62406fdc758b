"""The text of a comparison: a table of the images that changed most, and the images of only one run."""

from collections.abc import Iterable, Iterator
from itertools import islice

from gradcam_cli.report.compare import Comparison, Failure, ImageChange
from gradcam_cli.report.image_state import ClassState
from gradcam_cli.text import columns, counted, one_line

ROWS = 20
HEAD = ("IMAGE", "CLASS", "PROBABILITY", "CORRELATION", "RANK", "OVERLAP", "PEAK %", "AREA")
NOTHING = "-"
LEGEND = "* the best class changed: the maps of the two best classes are compared"
# The smallest changes that are visible with the digits of a row.
SHOWN = 0.0005
SHOWN_SHIFT = 0.05


def changes_table(comparison: Comparison) -> str:
    """Format a comparison as text: the images that changed most, the names of others, and a summary."""
    changed = changed_images(comparison)
    lines = [columns([HEAD, *map(row_of, changed[:ROWS])])] if changed else []
    if len(changed) > ROWS:
        lines.append(f"and {counted(len(changed) - ROWS, 'more changed image')}")
    lines += _others(comparison)
    stars = any(change.class_changed and not change.same_class for change in comparison.images)
    return "\n".join([*lines, summary_of(comparison), *([LEGEND] if stars else [])]) + "\n"


def changed_images(comparison: Comparison) -> list[ImageChange]:
    """Give the images whose row shows a change, the worst first."""
    return [change for change in comparison.images if _differs(change)]


def _differs(change: ImageChange) -> bool:
    """Whether a row would show any change."""
    changes = (change.probability_change, change.value_change, change.area_change)
    alike = (change.correlation, change.rank_correlation, change.overlap)
    return (
        change.class_changed
        or change.flat_now
        or any(abs(value or 0) >= SHOWN for value in changes)
        or any(value is not None and 1 - value >= SHOWN for value in alike)
        or (change.peak_shift or 0) >= SHOWN_SHIFT
    )


def row_of(change: ImageChange) -> tuple[str, ...]:
    """Give the cells of an image, as `HEAD` names them."""
    score = "value" if change.value_change is not None else "probability"
    return (
        one_line(change.path),
        _pair(change),
        _before_after(change.base, change.new, score),
        _figure(change.correlation),
        _figure(change.rank_correlation),
        _figure(change.overlap),
        NOTHING if change.peak_shift is None else f"{change.peak_shift:.1f}",
        _before_after(change.base, change.new, "area"),
    )


def _pair(change: ImageChange) -> str:
    """Format the best classes, with a star if maps of different classes are compared."""
    before, after = (one_line(each.name) if each else NOTHING for each in (change.base_best, change.new_best))
    if not change.class_changed:
        return before
    return f"{before} -> {after}{'' if change.same_class else ' *'}"


def _before_after(before: ClassState | None, after: ClassState | None, name: str) -> str:
    return " -> ".join(_figure(getattr(each, name, None)) for each in (before, after))


def _figure(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _others(comparison: Comparison) -> Iterator[str]:
    """Give the names of the images that are not in the table, by kind."""
    yield from _named("input changed", (change.path for change in comparison.images if change.input_changed))
    yield from _named("added", comparison.added)
    yield from _named("removed", comparison.removed)
    yield from _named("failed now", map(_told, comparison.failed_now))
    yield from _named("failed before", map(_told, comparison.failed_before))
    yield from _named("failed in both", map(_told, comparison.failed_both))


def _named(kind: str, names: Iterable[str]) -> Iterator[str]:
    left = iter(names)
    for name in islice(left, ROWS):
        yield f"{kind}: {one_line(name)}"
    if more := sum(1 for _ in left):
        yield f"{kind}: {more} more"


def _told(failure: Failure) -> str:
    return f"{failure.path} ({failure.reason})"


def summary_of(comparison: Comparison) -> str:
    """Describe in one line how many images changed."""
    changed = len(changed_images(comparison))
    changes = counted(sum(change.class_changed for change in comparison.images), "class change")
    return f"{counted(len(comparison.images), 'image')} compared: {changed} changed, {changes}"
