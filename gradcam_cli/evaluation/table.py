"""The table of `evaluate`: a line for each figure, a column for each method, a block for each layer."""

from collections.abc import Iterator
from itertools import islice

from gradcam_cli.evaluation.measures import Measure
from gradcam_cli.evaluation.summary import Figure, StudySummary

# Maximum number of methods in one block; a column has about eighteen characters.
METHODS_A_BLOCK = 6
LEGEND = "mean +- standard error; * marks the best mean of each line."


def table(summary: StudySummary) -> str:
    """Format all results as an ASCII table."""
    measures = summary.measured()
    blocks = []
    for layer in summary.layers():
        methods = iter(summary.methods())
        while part := list(islice(methods, METHODS_A_BLOCK)):
            blocks.append("\n".join(_block(summary, layer, part, measures)))
    return "\n\n".join([*blocks, LEGEND])


def _block(summary: StudySummary, layer: str, methods: list[str], measures: list[Measure]) -> Iterator[str]:
    rows = [["", "better", *methods]]
    for measure in measures:
        figures = [summary.figure(layer, method, measure) for method in methods]
        best = summary.best(layer, measure)
        if len({_mean(figure, measure) for figure in figures if figure.count}) == 1:
            # If all values look the same, none is marked.
            best = None
        rows.append([measure.column, measure.better, *(_cell(figure, measure, best) for figure in figures)])
    counted = {measure.name: summary.counts_of(layer, measure) for measure in measures}
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    yield f"layer {layer}"
    for row, count in zip(rows, ["count", *counted.values()], strict=True):
        cells = [f"{row[0]:<{widths[0]}}", f"{row[1]:<{widths[1]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield "  ".join([*cells, f"{count:>6}"])


def _cell(figure: Figure, measure: Measure, best: float | None) -> str:
    """Format the mean and error, with a star if the text is the same as that of the best mean."""
    if not figure.count:
        return "- "
    mean, error = _mean(figure, measure), figure.standard_error
    spread = "" if error is None else f" +- {error:.{_digits(measure)}f}"
    star = "*" if best is not None and mean == f"{best:.{_digits(measure)}f}" else " "
    return f"{mean}{spread}{star}"


def figure_cell(figure: Figure, measure: Measure) -> str:
    """Format the mean and standard error; `-` if nothing was measured."""
    return _cell(figure, measure, None).rstrip()


def _mean(figure: Figure, measure: Measure) -> str:
    return f"{figure.mean:.{_digits(measure)}f}"


def _digits(measure: Measure) -> int:
    return 2 if measure.percent else 3
