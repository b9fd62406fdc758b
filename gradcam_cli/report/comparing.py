"""One comparison: read both sides, compare them, check limits, write `comparison.json` and a page."""

from dataclasses import dataclass, replace
from typing import Final

from gradcam_cli.errors import UsageError
from gradcam_cli.report.change_metrics import crossed, figures
from gradcam_cli.report.compare import Comparison, compare_sides, side_of_run
from gradcam_cli.report.comparison_page import PAGE_MARK, write_comparison_page
from gradcam_cli.report.own_files import write_own
from gradcam_cli.report.report import PAGE, refuse_foreign
from gradcam_cli.report.snapshot import Snapshot, merged, read_snapshot, snapshot_of, write_snapshot
from gradcam_cli.requests import ChangeLimit, CompareRequest
from gradcam_cli.results.ownership import COMPARISON_MARK
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.sidecar import Record, to_json

COMPARISON_RECORD: Final = "comparison.json"
VERSION: Final = 1
GATE_CROSSED: Final = 5


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison and its limits; `crossed` and `warnings` have a line for each limit that is exceeded."""

    request: CompareRequest
    comparison: Comparison
    limits: tuple[ChangeLimit, ...]
    crossed: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """Give 5 if a limit is exceeded, otherwise 0."""
        return GATE_CROSSED if self.crossed else 0

    def lines(self) -> list[str]:
        """Give a line for each limit that is exceeded, with its kind."""
        return [f"warning: {line}" for line in self.warnings] + [f"crossed: {line}" for line in self.crossed]

    def as_record(self) -> Record:
        """Give the contents of `comparison.json`, without absolute paths and time stamps."""
        return {
            COMPARISON_MARK: VERSION,
            "match": self.request.match,
            "figures": figures(self.comparison),
            "limits": {
                "fail_over": {limit.metric: limit.value for limit in self.limits},
                "warn_over": {limit.metric: limit.value for limit in self.request.warn_over},
                "crossed": list(self.crossed),
                "warnings": list(self.warnings),
            },
            **self.comparison.as_record(),
        }


def compare(request: CompareRequest) -> Compared:
    """Compare a run with another run or with a snapshot; with `update` the snapshot is replaced.

    Raises:
        UsageError: a folder is not a run, the snapshot is missing or invalid, or there is no image in common.
        EnvironmentStop: a file cannot be written.
    """
    if request.update and not request.snapshot:
        raise UsageError("`update` needs `snapshot=FILE`: the snapshot that is replaced.")
    if request.output:
        refuse_foreign(request.output / PAGE, PAGE_MARK)
    snapshot = read_snapshot(request.snapshot) if request.snapshot else None
    new = read_run(request.new)
    comparison = _comparison(request, new, snapshot)
    if not (comparison.in_common or request.update):
        raise UsageError("The runs have no image in common, so they cannot be compared. Try another `match`.")
    limits = merged(snapshot.tolerance if snapshot else (), request.fail_over)
    if request.update and request.snapshot:
        write_snapshot(request.snapshot, replace(snapshot_of(new), tolerance=limits))
        limits = ()
    warnings = crossed(comparison, request.warn_over)
    found = Compared(request, comparison, limits, tuple(crossed(comparison, limits)), tuple(warnings))
    if request.output:
        write_own(request.output / COMPARISON_RECORD, to_json(found.as_record()), COMPARISON_MARK)
        write_comparison_page(request.output / PAGE, comparison, new, (*found.crossed, *warnings))
    return found


def _comparison(request: CompareRequest, new: Run, snapshot: Snapshot | None) -> Comparison:
    side = side_of_run(new, "new")
    if snapshot:
        return compare_sides(snapshot.side(), side, request.match)
    if request.base is None:
        raise UsageError("There is nothing to compare with. Give `base` or `snapshot`.")
    return compare_sides(side_of_run(read_run(request.base), "base"), side, request.match)
