"""The console output of a run or an evaluation: messages and progress on stderr, and records, one per line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from gradcam_cli.cli.console import NO_RECORDS, Progress, Records, Verbosity, busy, download_bar, say
from gradcam_cli.cli.wording import as_options
from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.observer import StudyObserver
from gradcam_cli.process.decoder_lines import DecoderLines
from gradcam_cli.process.signals import exit_code_of, interruption_of, stopped_by_signals
from gradcam_cli.requests import EvaluateRequest, ExplainRequest
from gradcam_cli.results.records import lines_to, write_line
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.observer import OpenedModel
from gradcam_cli.runs.text_observer import TextObserver

if TYPE_CHECKING:
    from gradcam_cli.inputs.discovery import Found
    from gradcam_cli.inputs.photo import Admit
    from gradcam_cli.runs.job import Unexplained
    from gradcam_cli.runs.tally import Tally


class ConsoleObserver(TextObserver, StudyObserver):
    """Prints the events of a run or an evaluation, and writes the records of a run. Must be closed at the end."""

    def __init__(
        self,
        request: ExplainRequest | EvaluateRequest,
        verbosity: Verbosity,
        records: Records = NO_RECORDS,
        receive: Callable[[Record], None] | None = None,
    ) -> None:
        """Take the request; `receive` is called with each record of a run, or each row of an evaluation."""
        super().__init__(request, self._print, quiet=verbosity.quiet, verbose=verbosity.verbose)
        self._verbosity = verbosity
        self._records = records
        self._receive = receive
        self._lines: TextIO | None = None
        self._open = ExitStack()
        self._progress: Progress | None = None
        self._decoder_lines = DecoderLines(say)
        # The message that is printed if a signal stops the run.
        self.interruption = "Interrupted."

    def close(self) -> None:
        """Close the progress bar, and the file of records."""
        self._open.close()

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Show on a terminal what the program is doing."""
        return busy(what, quiet=self._verbosity.quiet)

    def downloading(self, name: str, size: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Show a download."""
        return download_bar(name, size)

    def listen(self, name: str, admit: "Admit") -> "AbstractContextManager[Admit]":
        """With --verbose, print the messages of native decoders."""
        return self._decoder_lines.listen(name, admit) if self._verbosity.verbose else super().listen(name, admit)

    def found(self, found: "Found") -> None:
        """Print the inputs that were left out."""
        super().found(found)
        if self._records.overlay and len(found.sources) > 1:
            raise UsageError(f"-o - writes only one overlay, but there are {len(found.sources)} inputs. Use -o FOLDER.")

    def opened(self, model: OpenedModel) -> None:
        """Print what was chosen for the model."""
        if self._records.overlay and model.several_targets:
            raise UsageError("-o - writes only one overlay, but several classes are to be explained. Use -o FOLDER.")
        super().opened(model)

    def started(self, total: int) -> None:
        """Open the file of records, and show progress."""
        self._lines = self._open.enter_context(lines_to(self._records.jsonl, sys.stdout))
        self._show_progress(total, "image")

    def record(self, record: Record, *, before: bool) -> None:
        """Write the record, and print its failure."""
        self.row(record)
        if self._lines:
            write_line(self._lines, record, self._records.jsonl)
        if self._progress:
            super().record(record, before=before)
            self._progress.advance()

    def finished(self, tally: "Tally", *, interrupted: bool) -> None:
        """Close the progress bar and print the summary."""
        self._open.close()
        self._progress = None
        self.interruption = ""
        super().finished(tally, interrupted=interrupted)

    def measuring(self, passes: int) -> None:
        """Show progress of forward passes."""
        self._show_progress(passes, "pass")
        self.interruption = "Interrupted. The rows that were written stay valid; there is no summary."

    def extended(self, passes: int) -> None:
        """Add passes to the total of the progress bar."""
        if self._progress:
            self._progress.extend(passes)

    def advanced(self, passes: int) -> None:
        """Advance the progress bar."""
        if self._progress:
            self._progress.advance(passes)

    def row(self, row: Record) -> None:
        """Pass the row on; names of arguments in its message become names of options."""
        if self._receive:
            message = row.get("message")
            self._receive({**row, "message": as_options(message)} if message else row)

    def failed(self, image: "Unexplained") -> None:
        """Print the image that could not be measured, and the reason."""
        self.warn(f"{image.source.relative!r}: {image.error.reason}: {image.error}")

    def _show_progress(self, total: int, unit: str) -> None:
        wanted, quiet = self._verbosity.progress, self._verbosity.quiet
        self._progress = self._open.enter_context(closing(Progress(total, wanted=wanted, quiet=quiet, unit=unit)))

    def _print(self, text: str) -> None:
        (self._progress.say if self._progress else say)(text)


@contextmanager
def stoppable(observer: ConsoleObserver) -> Iterator[None]:
    """Let signals stop the block: print the observer's message, and exit with the exit code of the signal."""
    try:
        with stopped_by_signals(), closing(observer):
            yield
    except (KeyboardInterrupt, Exception) as error:
        stop = interruption_of(error)
        if stop is None:
            raise
        if observer.interruption:
            say(observer.interruption)
        raise click.exceptions.Exit(exit_code_of(stop)) from None
