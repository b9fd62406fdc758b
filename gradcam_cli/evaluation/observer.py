"""The events of an evaluation."""

from typing import TYPE_CHECKING

from gradcam_cli.runs.job import Unexplained
from gradcam_cli.runs.observer import RunObserver

if TYPE_CHECKING:
    # The console's observer is a subclass, also for `explain`, so this module imports nothing heavy.
    from gradcam_cli.evaluation.rows import Row


class StudyObserver(RunObserver):
    """Receives the events of an evaluation. All methods do nothing; override the ones that you need.

    Progress is counted in passes: inputs that go through the network.
    """

    def measuring(self, passes: int) -> None:
        """Receive the number of passes for all images: once, before the first image."""

    def extended(self, passes: int) -> None:
        """Receive a change of the total number of passes, which may be negative."""

    def advanced(self, passes: int) -> None:
        """Receive the number of further passes that are done; called from any thread."""

    def row(self, row: "Row") -> None:
        """Receive one row of `evaluation.jsonl`, also if no files are written."""

    def failed(self, image: Unexplained) -> None:
        """Receive an image that could not be measured, or not be put in a collage."""
