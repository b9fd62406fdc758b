"""What an evaluation reports while it goes on."""

from typing import TYPE_CHECKING

from gradcam_cli.runs.job import Unexplained
from gradcam_cli.runs.observer import RunObserver

if TYPE_CHECKING:
    # The console's observer is of this class, and `explain` evaluates nothing.
    from gradcam_cli.evaluation.rows import Row


class StudyObserver(RunObserver):
    """Receives the events of an evaluation. Every method does nothing here: override those that you want.

    Progress is counted in passes: inputs that go through the network.
    """

    def measuring(self, passes: int) -> None:
        """Receive the number of passes for all images: once, before the first of them."""

    def extended(self, passes: int) -> None:
        """Receive that there are so many more passes to do; fewer where the number is negative."""

    def advanced(self, passes: int) -> None:
        """Receive that so many passes more are done; called from any thread."""

    def row(self, row: "Row") -> None:
        """Receive one row of `evaluation.jsonl`, also where no files are written."""

    def failed(self, image: Unexplained) -> None:
        """Receive an image that could not be measured, or not be laid into a collage."""
