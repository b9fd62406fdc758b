"""What people see of an evaluation: notes and failures on stderr, and progress over passes."""

from typing import TYPE_CHECKING

from gradcam_cli.cli.observer import ConsoleEvents
from gradcam_cli.evaluation.observer import StudyObserver

if TYPE_CHECKING:
    from gradcam_cli.runs.job import Unexplained


class ConsoleStudyObserver(ConsoleEvents, StudyObserver):
    """Prints what an evaluation reports; to be closed at the end."""

    @property
    def is_measuring(self) -> bool:
        """Whether the first image has been reached."""
        return self._progress is not None

    def measuring(self, passes: int) -> None:
        """Show progress."""
        self._show_progress(passes, "pass")

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
