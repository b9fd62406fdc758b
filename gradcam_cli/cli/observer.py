"""What people see of a run: notes and failures on stderr, progress, and one record a line where they are wanted."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from gradcam_cli.cli.announcing import announce
from gradcam_cli.cli.console import Progress, Records, Verbosity, busy, download_bar, say
from gradcam_cli.cli.inputs import say_left_out
from gradcam_cli.cli.options import STDIO
from gradcam_cli.errors import EnvironmentStop, UsageError
from gradcam_cli.process.decoder_lines import DecoderLines
from gradcam_cli.results.sidecar import Record, to_json
from gradcam_cli.runs.observer import OpenedModel, RunObserver
from gradcam_cli.settings import ExplainRequest
from gradcam_cli.text import counted

if TYPE_CHECKING:
    from gradcam_cli.inputs.decoding import Admit
    from gradcam_cli.inputs.discovery import Found
    from gradcam_cli.results.output import Names
    from gradcam_cli.runs.tally import Tally

STAYS = "What was finished stays valid."


class ConsoleObserver(RunObserver):
    """Prints what a run reports; a context manager, whose end closes the progress bar and the file of records."""

    def __init__(self, request: ExplainRequest, verbosity: Verbosity, records: Records) -> None:
        """Print nothing yet."""
        self.wants_omissions = verbosity.verbose
        self._request = request
        self._verbosity = verbosity
        self._records = records
        self._open = ExitStack()
        self._lines: TextIO | None = None
        self._progress: Progress | None = None
        self._decoder_lines = DecoderLines(say)
        self.has_summed_up = False

    def __enter__(self) -> Self:
        """Observe until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        self._open.close()

    def found(self, found: "Found") -> None:
        """Say what was left out."""
        if not self._verbosity.quiet:
            say_left_out(found.left_out)
        if self._records.overlay and len(found.sources) > 1:
            raise UsageError(f"-o - writes one overlay, but there are {len(found.sources)} inputs. Use -o FOLDER.")

    def note(self, text: str) -> None:
        """Print a line, except with --quiet."""
        if not self._verbosity.quiet:
            say(text)

    def warn(self, text: str) -> None:
        """Print a line."""
        say(text)

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Show on a terminal what is done."""
        return busy(what, quiet=self._verbosity.quiet)

    def downloading(self, name: str, size: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Show a download."""
        return download_bar(name, size)

    def opened(self, model: OpenedModel) -> None:
        """Say what was chosen."""
        if self._records.overlay and model.several_targets:
            raise UsageError("-o - writes one overlay, but several classes are to be explained. Use -o FOLDER.")
        request = self._request
        announce(model, request.model.model, request.fit, self._verbosity, method=request.run.method)
        if request.run.min_score and model.card.output_kind in {"value", "score"} and not self._verbosity.quiet:
            say(f"{model.card.name}: --min-score has no effect: it is about probabilities")

    def started(self, total: int) -> None:
        """Open the file of records, and show progress."""
        self._lines = self._open.enter_context(lines_to(self._records.jsonl))
        wanted = self._verbosity.progress
        self._progress = self._open.enter_context(Progress(total, wanted=wanted, quiet=self._verbosity.quiet))

    def record(self, record: Record, *, before: bool) -> None:
        """Write the record, and say what failed."""
        del before
        if self._lines:
            _write_line(self._lines, record, self._records.jsonl)
        if self._progress:
            _say_record(record, self._progress, verbose=self._verbosity.verbose)
            self._progress.advance()

    def finished(self, tally: "Tally", *, interrupted: bool) -> None:
        """Sum up; where stdout was closed, nobody reads it."""
        self._open.close()
        self.has_summed_up = True
        interruption = sys.exception()
        if interrupted and isinstance(interruption, KeyboardInterrupt):
            say("Interrupted: what was finished stays valid, and the same command goes on from there.")
        elif tally.stopped:
            failures = counted(tally.counts["error"], "failure")
            say(f"Stopped after {failures}: {counted(tally.left, 'image')} not reached.")
        if tally.nothing_likely:
            lowest = f"--min-score {self._request.run.min_score:g}"
            say(f"In {tally.nothing_likely} of {tally.total} images no class reaches {lowest}: they have no overlay.")
        if not self._verbosity.quiet and not isinstance(interruption, BrokenPipeError):
            say(f"{tally.summary()}{f' -> {self._request.output}' if self._request.output else ''}")

    def listen(self, name: str, admit: "Admit") -> "AbstractContextManager[Admit]":
        """Report what native decoders print, with --verbose; otherwise nothing of it is shown."""
        return self._decoder_lines.listen(name, admit) if self._verbosity.verbose else super().listen(name, admit)


class StdoutSink:
    """Writes the one overlay to stdout."""

    def write_image(self, names: "Names", files: Mapping[str, bytes], record: Record) -> None:
        """Write the overlay; a failed image has none."""
        del names, record
        for data in files.values():
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def lines_to(name: str | None) -> Iterator[TextIO | None]:
    """Open a file of records for writing; None for none, - for stdout."""
    if name is None:
        yield None
    elif name == STDIO:
        yield sys.stdout
    else:
        # Only errors of this file are its own: what happens while records are made is caught where it arises.
        try:
            file = Path(name).open("w", encoding="ascii", newline="\n")  # noqa: SIM115 - closed below
        except OSError as error:
            raise EnvironmentStop(f"{name}: {error.strerror}.") from error
        try:
            yield file
        finally:
            # Each line was flushed: what is left was told when it could not be written.
            with suppress(OSError):
                file.close()


def _write_line(lines: TextIO, record: Record, name: str | None) -> None:
    try:
        lines.write(to_json(record, indent=None))
        lines.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EnvironmentStop(f"{name}: {error.strerror}. {STAYS}") from error


def _say_record(record: Record, progress: Progress, *, verbose: bool) -> None:
    if record["status"] == "error":
        progress.say(f"{record['input']['path']!r}: {record['reason']}: {record['message']}")
    elif verbose:
        seen = [f"{c['label'] or c['index']} {_told(c):.3f}" for c in record["classes"]]
        progress.say(f"{record['input']['path']!r}: {', '.join(seen)}")


def _told(entry: Mapping[str, Any]) -> float:
    number: float = entry["value"] if entry["probability"] is None else entry["probability"]
    return number
