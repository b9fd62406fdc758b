"""The report of `compare` for a CI system."""

from collections.abc import Iterator

from gradcam_cli.report.change_metrics import CHANGE_METRICS, crossed
from gradcam_cli.report.changes_table import HEAD, changed_images, row_of, summary_of
from gradcam_cli.report.compare import Comparison
from gradcam_cli.report.comparing import Compared
from gradcam_cli.requests import ChangeLimit
from gradcam_cli.results.ci_report import CiReport, gate_case
from gradcam_cli.results.junit import Case, CaseList
from gradcam_cli.results.markdown import Table
from gradcam_cli.text import one_line


def compare_report(compared: Compared | None) -> CiReport:
    """Make the report of a comparison; it is empty if the comparison is incomplete."""
    if compared is None:
        return CiReport("compare", CaseList())
    comparison = compared.comparison
    changed = changed_images(comparison)
    return CiReport(
        "compare",
        _images(comparison),
        outcome=summary_of(comparison),
        gates=tuple(_gate(comparison, limit) for limit in compared.limits),
        notes=(*(f"Warning: {line}" for line in compared.warnings), *comparison.remarks),
        tables=(
            Table("Changed most", tuple(map(str.lower, HEAD)), tuple(map(row_of, changed))),
            Table("Not compared", ("image", "reason"), tuple(_not_compared(comparison))),
        ),
    )


def _gate(comparison: Comparison, limit: ChangeLimit) -> Case:
    images = "\n".join(map(one_line, CHANGE_METRICS[limit.metric].measure(comparison).images))
    return gate_case(f"{limit.metric}={limit.value:g}", crossed(comparison, (limit,)), images)


def _images(comparison: Comparison) -> CaseList:
    """Make a test case of each image: images that fail now are failures, images of only one run are skipped."""
    cases = CaseList()
    for failure in comparison.failed_now:
        cases.add_failed_image(failure.path, failure.reason or "", failure.message or "")
    for path, reason in _not_compared(comparison):
        cases.add(path, "skipped", kind="not_compared", message=reason)
    for change in comparison.images:
        cases.add(change.path)
    return cases


def _not_compared(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Give the images that cannot be compared, and the reason, without those that fail now."""
    failing = {failure.path for failure in comparison.failed_now}
    yield from ((path, "only in NEW") for path in comparison.added if path not in failing)
    yield from ((path, "only in BASE") for path in comparison.removed)
    yield from ((failure.path, "failed in BASE, explained in NEW") for failure in comparison.failed_before)
    yield from ((failure.path, f"failed in both: {failure.reason}") for failure in comparison.failed_both)
