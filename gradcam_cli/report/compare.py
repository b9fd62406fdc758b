"""Comparison of two runs: the changes of each image, and the images that are in or were explained by only one run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradcam_cli.report.change_measures import correlation, overlap, peak_shift, rank_correlation
from gradcam_cli.report.image_state import ClassState, ImageState, state_of
from gradcam_cli.requests import Match
from gradcam_cli.results.run import Run
from gradcam_cli.results.sidecar import Record
from gradcam_cli.text import counted

# The key of an image in both runs: its path or hash, and its number among images with the same hash.
Key = tuple[str, int]


@dataclass(frozen=True)
class MapChange:
    """The differences between two maps of one image; see `change_measures`."""

    correlation: float
    rank_correlation: float
    overlap: float


# The values if only one of the runs has a map.
LOST = MapChange(0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class ImageChange:
    """The changes of one image that both runs explained.

    Attributes:
        path, base_path: its path in the new run, and in the base.
        old, now: the image in the base, and in the new run.
        base_best, new_best: the best class of each run; None where a run explained no class.
        base, new: the classes whose maps, probabilities, areas and peaks are compared: the best class of the base in
            both runs; the best class of each where the new run did not explain that one, and `same_class` is False.
        input_changed: whether the file has another hash.
        map: how far the two maps are apart; None where there are none to compare.
        peak_shift: in per cent of the photograph's diagonal; None where a map has no peak.

    Example:
        >>> change = compare_runs(read_run("baseline"), read_run("current")).images[0]  # doctest: +SKIP
        >>> change.path, change.class_changed, change.correlation, change.overlap  # doctest: +SKIP
    """

    path: str
    base_path: str
    old: ImageState
    now: ImageState
    base_best: ClassState | None
    new_best: ClassState | None
    base: ClassState | None
    new: ClassState | None
    input_changed: bool
    map: MapChange | None
    peak_shift: float | None

    @property
    def class_changed(self) -> bool:
        """Whether the best class changed."""
        return not _same(self.base_best, self.new_best)

    @property
    def same_class(self) -> bool:
        """Whether the compared maps are of the same class."""
        return _same(self.base, self.new)

    @property
    def flat_now(self) -> bool:
        """Whether the map has lost all its heat."""
        return bool(self.base and self.base.peak and not (self.new and self.new.peak))

    @property
    def probability_change(self) -> float | None:
        """Give the probability in the new run minus that in the base; None if one of them has none."""
        return self._difference("probability")

    @property
    def value_change(self) -> float | None:
        """Give the change of the value of an output that is not a probability."""
        return self._difference("value")

    @property
    def area_change(self) -> float | None:
        """Give the change of the share of the image with heat of 0.5 or more."""
        return self._difference("area")

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of the maps."""
        return None if self.map is None else self.map.correlation

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's correlation of the maps."""
        return None if self.map is None else self.map.rank_correlation

    @property
    def overlap(self) -> float | None:
        """Intersection over union of the hottest 20 %."""
        return None if self.map is None else self.map.overlap

    def _difference(self, figure: str) -> float | None:
        before, after = getattr(self.base, figure, None), getattr(self.new, figure, None)
        return None if before is None or after is None else after - before

    def as_record(self) -> Record:
        """The change as JSON."""
        figures = ("probability_change", "value_change", "area_change", *MapChange.__annotations__, "peak_shift")
        return {
            "path": self.path,
            **({} if self.base_path == self.path else {"base_path": self.base_path}),
            "class_changed": self.class_changed,
            "same_class": self.same_class,
            "input_changed": self.input_changed,
            "flat_now": self.flat_now,
            "base": _as_record(self.base_best),
            "new": _as_record(self.new_best),
            "compared": self.base and self.base.name,
            **{name: _rounded(getattr(self, name)) for name in figures},
        }


@dataclass(frozen=True)
class Failure:
    """An image that a run could not explain: its path, and the reason and the message of the sidecar."""

    path: str
    reason: str | None
    message: str | None


@dataclass(frozen=True)
class Facts:
    """The models, layers and methods of one side; each is sorted, and has one entry for most runs."""

    images: int
    models: tuple[str, ...]
    layers: tuple[str, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs compared.

    Attributes:
        base, new: what each was made with.
        images: the changes of all images that both explained, the worst first: those whose best class is another one,
            then those with the lowest correlation.
        added, removed: paths of images that only the new run has, and only the base.
        failed_now: images that failed in the new run and not in the base; added ones are included.
        failed_before: images that failed in the base, and are explained now.
        failed_both: images that failed in both.
        remarks: what else is to be known, a sentence each.

    Example:
        >>> comparison = compare_runs(read_run("baseline"), read_run("current"))  # doctest: +SKIP
        >>> comparison.removed, [failure.path for failure in comparison.failed_now]  # doctest: +SKIP
    """

    base: Facts
    new: Facts
    images: tuple[ImageChange, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    failed_now: tuple[Failure, ...]
    failed_before: tuple[Failure, ...]
    failed_both: tuple[Failure, ...]
    remarks: tuple[str, ...] = ()

    @property
    def in_common(self) -> int:
        """Count the images in both runs, including failed ones."""
        return self.new.images - len(self.added)

    def as_record(self) -> Record:
        """The comparison as JSON: no absolute path, no time stamp."""
        failed = {name: getattr(self, name) for name in ("failed_now", "failed_before", "failed_both")}
        return {
            "base": {name: _plain(value) for name, value in vars(self.base).items()},
            "new": {name: _plain(value) for name, value in vars(self.new).items()},
            "images": [change.as_record() for change in self.images],
            "added": list(self.added),
            "removed": list(self.removed),
            **{name: [vars(failure) for failure in failures] for name, failures in failed.items()},
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison: its images, their models, layers and methods, and remarks."""

    images: tuple[ImageState, ...]
    facts: Facts
    remarks: tuple[str, ...] = ()


def compare_runs(base: Run, new: Run, match: Match = "path") -> Comparison:
    """Compare two runs, image by image.

    Args:
        base: the run that the other one is compared with.
        new: the other one.
        match: `path` takes images of one path for the same image, `sha256` files of the same bytes.

    Raises:
        UsageError: a sidecar is incomplete.

    Example:
        >>> comparison = compare_runs(read_run("baseline"), read_run("current"))  # doctest: +SKIP
        >>> [change.path for change in comparison.images if change.class_changed]  # doctest: +SKIP
    """
    return compare_sides(side_of_run(base, "base"), side_of_run(new, "new"), match)


def side_of_run(run: Run, name: str) -> Side:
    """Read the sidecars of a run; `name` is its name in remarks."""
    side = side_of(run.records(), name)
    if not run.record.get("interrupted"):
        return side
    return replace(side, remarks=(f"The {name} run was interrupted: some of its images are missing.", *side.remarks))


def side_of(records: Iterable[Mapping[str, Any]], name: str) -> Side:
    """Make a side from sidecars, or from the records of a snapshot."""
    images, options = [], set()
    for record in records:
        images.append(state_of(record))
        options.add(str(record.get("options_sha256")))
    models, layers, methods = (tuple(sorted({image.explained_with[i] for image in images})) for i in range(3))
    several = f"The {name} run holds results of {len(options)} runs with different options."
    remarks = (several,) if len(options) > 1 else ()
    return Side(tuple(images), Facts(len(images), models, layers, methods), remarks)


def compare_sides(base: Side, new: Side, match: Match = "path") -> Comparison:
    """Compare two sides, see `compare_runs`."""
    before, after = _keyed(base.images, match), _keyed(new.images, match)
    both = [(before[key], after[key]) for key in after if key in before]
    changes = [_change(old, now) for old, now in both if not (old.is_failed or now.is_failed)]
    unmapped = sum(change.map is None and change.base is not None for change in changes)
    remarks = [*base.remarks, *new.remarks]
    if unmapped:
        remarks.append(
            f"{counted(unmapped, 'image')} without maps in the sidecars. To compare maps, explain these images again."
        )
    failed_now = [now for key, now in after.items() if now.is_failed and not (key in before and before[key].is_failed)]
    return Comparison(
        base=base.facts,
        new=new.facts,
        images=tuple(sorted(changes, key=_worst_first)),
        added=tuple(now.path for key, now in after.items() if key not in before),
        removed=tuple(old.path for key, old in before.items() if key not in after),
        failed_now=tuple(map(_failure, failed_now)),
        failed_before=tuple(_failure(old) for old, now in both if old.is_failed and not now.is_failed),
        failed_both=tuple(_failure(now) for old, now in both if old.is_failed and now.is_failed),
        remarks=tuple(remarks),
    )


def _keyed(images: Iterable[ImageState], match: Match) -> dict[Key, ImageState]:
    """Give each image a key; images with equal hashes are numbered in the order of their paths."""
    found: dict[Key, ImageState] = {}
    seen: Counter[str] = Counter()
    for image in sorted(images, key=lambda each: each.path):
        # A failed image may have no hash.
        word = image.sha256 if match == "sha256" and image.sha256 else f"path {image.path}"
        found[word, seen[word]] = image
        seen[word] += 1
    return found


def _change(old: ImageState, now: ImageState) -> ImageChange:
    base, new = old.best, now.best
    if base is not None:
        new = now.find(base) or new
    return ImageChange(
        path=now.path,
        base_path=old.path,
        old=old,
        now=now,
        base_best=old.best,
        new_best=now.best,
        base=base,
        new=new,
        input_changed=old.sha256 != now.sha256,
        map=_map_change(old, base, now, new),
        peak_shift=_peak_shift(old, base, now, new),
    )


def _map_change(old: ImageState, base: ClassState | None, now: ImageState, new: ClassState | None) -> MapChange | None:
    if base is None and new is None:
        return None
    if base is None or new is None:
        return LOST
    before, after = old.map_of(base), now.map_of(new)
    if before is None or after is None:
        return None
    # Cells that neither model saw are 0 in both maps, and would count as agreement.
    seen = before[1] | after[1]
    one, other = before[0][seen], after[0][seen]
    return MapChange(correlation(one, other), rank_correlation(one, other), overlap(one, other))


def _peak_shift(old: ImageState, base: ClassState | None, now: ImageState, new: ClassState | None) -> float | None:
    if base is None or new is None or not (base.peak and new.peak and old.size and now.size):
        return None
    return peak_shift(base.peak, old.size, new.peak, now.size)


def _worst_first(change: ImageChange) -> tuple[bool, float, float, str]:
    shift = change.probability_change if change.probability_change is not None else change.value_change
    lowest = 2.0 if change.correlation is None else change.correlation
    return not change.class_changed, lowest, -abs(shift or 0.0), change.path


def _failure(image: ImageState) -> Failure:
    return Failure(image.path, image.reason, image.message)


def _same(one: ClassState | None, other: ClassState | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.is_same(other)


def _as_record(best: ClassState | None) -> Record | None:
    if best is None:
        return None
    names = ("index", "label", "wnid", "probability", "value", "area")
    return {name: getattr(best, name) for name in names}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _plain(value: int | tuple[str, ...]) -> int | list[str]:
    return list(value) if isinstance(value, tuple) else value
