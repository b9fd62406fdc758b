"""The report of `evaluate` for a CI system, made from the rows of its images."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gradcam_cli.evaluation.measures import MEASURES, Measure
from gradcam_cli.evaluation.rows import Row
from gradcam_cli.evaluation.run import Evaluation, gate_text
from gradcam_cli.evaluation.summary import StudySummary
from gradcam_cli.evaluation.table import figure_cell
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.requests import Gate
from gradcam_cli.results.ci_report import CiReport, gate_case
from gradcam_cli.results.junit import Case, CaseList
from gradcam_cli.results.markdown import Table, Worst
from gradcam_cli.text import counted


@dataclass(eq=False)
class EvaluateCi:
    """Collects the rows of `evaluation.jsonl`, and makes a report from them.

    Attributes:
        files: the images that were measured, each once, in the order of their first row.
        failed: the rows of images that could not be measured, or not be put in a collage.
        outcome, gates, tables: those of the evaluation, if it is complete.
    """

    files: dict[str, None] = field(default_factory=dict)
    failed: list[Row] = field(default_factory=list)
    outcome: str = ""
    gates: tuple[Case, ...] = ()
    tables: tuple[Table, ...] = ()
    # Sorted by the first measure of an image.
    _worst: Worst[Row] = field(default_factory=Worst)

    def add(self, row: Row) -> None:
        """Add one row."""
        row = {**row, "file": as_text(row["file"])}
        if row["kind"] == "error":
            self.failed.append(row)
        elif row["kind"] == "image":
            self.files[row["file"]] = None
            self._keep_worst(row)

    def finish(self, evaluation: Evaluation, gates: Iterable[Gate]) -> None:
        """Add the means of all images, and the results of the gates."""
        summary = evaluation.summary
        self.outcome = evaluation.outcome()
        self.gates = tuple(gate_case(gate_text(gate), summary.crossed((gate,))) for gate in gates)
        self.tables = (_figures(summary),)

    def report(self) -> CiReport:
        """Make the report from the rows so far."""
        images = CaseList()
        for row in self.failed:
            images.add_failed_image(row["file"], row["reason"], row["message"])
        failed = {row["file"] for row in self.failed}
        for file in self.files:
            if file not in failed:
                images.add(file)
        outcome = self.outcome or f"{counted(len(self.files), 'image')} measured"
        return CiReport("evaluate", images, outcome, self.gates, tables=(*self.tables, *self._worst_table()))

    def _keep_worst(self, row: Row) -> None:
        measure = _first_measure(row)
        if measure is not None:
            value = row[measure.name]
            self._worst.add(value if measure.better == "lower" else -value, row)

    def _worst_table(self) -> list[Table]:
        rows = self._worst.rows()
        measure = _first_measure(rows[0]) if rows else None
        if measure is None:
            return []
        head = ("image", "class", "layer", "method", measure.column)
        cells = [
            (row["file"], _class_of(row), row["layer"], row["method"], f"{row[measure.name]:.3f}")
            for row in rows
            if measure.name in row
        ]
        return [Table(f"Worst {measure.column}", head, tuple(cells), self._worst.count)]


def _first_measure(row: Row) -> Measure | None:
    """Give the first measure in a row of an image, in the order of the table."""
    return next((measure for measure in MEASURES.values() if measure.name in row), None)


def _class_of(row: Row) -> str:
    found = row["class"]
    return str(found["label"] or found["index"])


def _figures(summary: StudySummary) -> Table:
    """Format the means: a line for each layer and method."""
    measures = summary.measured()
    head = ("layer", "method", *(f"{measure.column} ({measure.better} is better)" for measure in measures))
    rows = tuple(
        (layer, method, *(figure_cell(summary.figure(layer, method, measure), measure) for measure in measures))
        for layer, method in summary.lines
    )
    return Table("Figures", head, rows)
