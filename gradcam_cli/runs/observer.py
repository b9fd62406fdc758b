"""What a run reports while it goes on: the one way in which a command line, a notebook or a worker hears of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from gradcam_cli.inputs.decoding import Admit
from gradcam_cli.results.sidecar import ModelCard, Record

if TYPE_CHECKING:
    from gradcam_cli.inputs.discovery import Found


class RunObserver:
    """Receives the events of a run. Every method does nothing here: override those that you want.

    The methods are called in the thread of the caller, except `listen`. An exception that one of them raises ends the
    run, after `run.json` has been written.
    """

    def found(self, found: "Found") -> None:
        """Receive the sources of the run and what was left out, before anything is loaded."""

    def note(self, text: str) -> None:
        """Receive one line for people about this run."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Give a context that lasts as long as something slow is done, such as `loading the model`."""
        del what
        return nullcontext()

    def downloading(self, name: str, size: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Give a context for the download of a file of `size` bytes (0: unknown); it takes the size of each chunk."""
        del name, size
        return nullcontext(_ignore)

    def opened(self, model: ModelCard, notes: tuple[str, ...], warnings: tuple[str, ...]) -> None:
        """Receive what was chosen when the model has been loaded: once, before the first record.

        `notes` are for everybody, `warnings` say what looks wrong.
        """

    def started(self, total: int) -> None:
        """Receive the number of images of the run, those that an earlier run has finished included."""

    def record(self, record: Record, *, before: bool) -> None:
        """Receive the record of one image, in the order of the sources; `before` where an earlier run has made it."""

    def listen(self, name: str, admit: Admit) -> AbstractContextManager[Admit]:
        """Give a context in which a picture is decoded, with what admits it; called from other threads."""
        del name
        return nullcontext(admit)


def _ignore(count: int) -> None:
    del count
