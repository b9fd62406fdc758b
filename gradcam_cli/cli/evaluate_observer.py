"""What people see of an evaluation: notes and failures on stderr, and progress over passes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gradcam_cli.cli.announcing import announce
from gradcam_cli.cli.console import Progress, Verbosity, busy, download_bar, say
from gradcam_cli.cli.inputs import say_left_out
from gradcam_cli.evaluation.observer import StudyObserver
from gradcam_cli.process.decoder_lines import DecoderLines
from gradcam_cli.runs.observer import OpenedModel
from gradcam_cli.settings import EvaluateRequest

if TYPE_CHECKING:
    from gradcam_cli.inputs.decoding import Admit
    from gradcam_cli.inputs.discovery import Found
    from gradcam_cli.runs.job import Unexplained


class ConsoleStudyObserver(StudyObserver):
    """Prints what an evaluation reports; a context manager, whose end closes the progress bar."""

    def __init__(self, request: EvaluateRequest, verbosity: Verbosity) -> None:
        """Print nothing yet."""
        self.wants_omissions = verbosity.verbose
        self._request = request
        self._verbosity = verbosity
        self._open = ExitStack()
        self._progress: Progress | None = None
        self._decoder_lines = DecoderLines(say)

    def __enter__(self) -> Self:
        """Observe until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the progress bar."""
        self._open.close()

    @property
    def is_measuring(self) -> bool:
        """Whether the first image has been reached."""
        return self._progress is not None

    def found(self, found: "Found") -> None:
        """Say what was left out."""
        if not self._verbosity.quiet:
            say_left_out(found.left_out)

    def note(self, text: str) -> None:
        """Print a line, except with --quiet."""
        if not self._verbosity.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a line."""
        (self._progress.say if self._progress else say)(text)

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Show on a terminal what is done."""
        return busy(what, quiet=self._verbosity.quiet)

    def downloading(self, name: str, size: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Show a download."""
        return download_bar(name, size)

    def opened(self, model: OpenedModel) -> None:
        """Say what was chosen."""
        announce(model, self._request.model.model, self._request.fit, self._verbosity)

    def measuring(self, passes: int) -> None:
        """Show progress."""
        wanted, quiet = self._verbosity.progress, self._verbosity.quiet
        self._progress = self._open.enter_context(Progress(passes, wanted=wanted, quiet=quiet, unit="pass"))

    def extended(self, passes: int) -> None:
        """Show that there is more to do."""
        if self._progress:
            self._progress.extend(passes)

    def advanced(self, passes: int) -> None:
        """Show that more is done."""
        if self._progress:
            self._progress.advance(passes)

    def failed(self, image: "Unexplained") -> None:
        """Say which image failed, and why."""
        self.warn(f"{image.source.relative!r}: {image.error.reason}: {image.error}")

    def listen(self, name: str, admit: "Admit") -> "AbstractContextManager[Admit]":
        """Report what native decoders print, with --verbose; otherwise nothing of it is shown."""
        return self._decoder_lines.listen(name, admit) if self._verbosity.verbose else super().listen(name, admit)
