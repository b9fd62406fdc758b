"""What a run reports, as lines of text for people."""

import sys
from collections.abc import Callable

from gradcam_cli.inputs.discovery import Found
from gradcam_cli.inputs.left_out import left_out_lines
from gradcam_cli.requests import EvaluateRequest, ExplainRequest
from gradcam_cli.results.records import line_of
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.announcement import announcement
from gradcam_cli.runs.observer import OpenedModel, RunObserver
from gradcam_cli.runs.tally import Tally
from gradcam_cli.text import counted, one_line


class TextObserver(RunObserver):
    """Writes lines: what was left out, what was chosen of the model, what failed, and the outcome.

    Args:
        request: what is asked for.
        write: takes each line.
        quiet: write only what failed.
        verbose: write each file that was left out, and what was found in each image, too.
    """

    def __init__(
        self,
        request: ExplainRequest | EvaluateRequest,
        write: Callable[[str], None],
        *,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        """Write nothing yet."""
        self.wants_omissions = verbose
        self._request = request
        self._write = write
        self._quiet = quiet
        self._verbose = verbose
        self._announced: set[str] = set()

    def found(self, found: Found) -> None:
        """Write what was left out."""
        for line in left_out_lines(found.left_out):
            self.note(line)

    def note(self, text: str) -> None:
        """Write the line, unless only failures are wanted."""
        if not self._quiet:
            self._write(text)

    def warn(self, text: str) -> None:
        """Write the line."""
        self._write(text)

    def opened(self, model: OpenedModel) -> None:
        """Write what was chosen, and nothing twice: an evaluation opens the model at each of its layers."""
        card, request = model.card, self._request
        run = request.run if isinstance(request, ExplainRequest) else None
        for line in announcement(model, request.model.model, request.fit, run.method if run else None):
            if line not in self._announced:
                self.note(one_line(f"{card.name}: {line}"))
                self._announced.add(line)
        if self._verbose:
            height, width = card.input_size
            chosen = f"fit {card.fit}, preprocess {card.preprocess}, {card.engine} {card.precision}"
            self._write(f"input {height}x{width}, {chosen}")
            if model.engine_reason:
                self._write(f"engine {card.engine}, because OpenVINO cannot run the model: {model.engine_reason}")
        if run and run.min_score and card.output_kind in {"value", "score"}:
            self.note(f"{card.name}: `min_score` has no effect, because the output has no probabilities")

    def record(self, record: Record, *, before: bool) -> None:
        """Write what failed."""
        del before
        if record["status"] == "error" or self._verbose:
            self._write(one_line(line_of(record)))

    def finished(self, tally: Tally, *, interrupted: bool) -> None:
        """Write the outcome, except where stdout was closed."""
        interruption = sys.exception()
        if interrupted and isinstance(interruption, KeyboardInterrupt):
            self._write("Interrupted. Finished results stay valid; run the same command to continue.")
        elif tally.stopped:
            failures = counted(tally.counts["error"], "failure")
            self._write(f"Stopped after {failures}: {counted(tally.left, 'image')} not reached.")
        if tally.nothing_likely and isinstance(self._request, ExplainRequest):
            lowest = f"`min_score={self._request.run.min_score:g}`"
            images = f"{tally.nothing_likely} of {counted(tally.total, 'image')}"
            self._write(f"In {images} no class reaches {lowest}, so they have no overlay.")
        if not isinstance(interruption, BrokenPipeError):
            self.note(f"{tally.summary()}{f' -> {self._request.output}' if self._request.output else ''}")
