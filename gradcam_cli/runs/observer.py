"""The events of a run, for a command line, a notebook or a worker."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from gradcam_cli.inputs.discovery import Found
from gradcam_cli.inputs.photo import Admit
from gradcam_cli.results.sidecar import ModelCard, Record
from gradcam_cli.runs.tally import Tally


@dataclass(frozen=True)
class OpenedModel:
    """The choices that were made when the model was loaded.

    `notes` are general information, `warnings` are possible mistakes. `layers` are the paths of the layers whose maps
    are fused, if there are several. `derivatives` says whether the derivatives in alpha are `exact` or an
    `approximation`; None for methods without alpha. With `several_targets` an image may have several overlays.
    `engine_reason` is the reason why the preferred engine does not run the model.
    """

    card: ModelCard
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    derivatives: str | None = None
    several_targets: bool = False
    engine_reason: str = ""


class RunObserver:
    """Receives the events of a run. All methods do nothing; override the ones that you need.

    The methods are called in the thread of the caller, except `listen`. An exception in a method ends the run. After a
    KeyboardInterrupt or a BrokenPipeError, `run.json` is written first.

    Example:
        >>> class Printer(RunObserver):
        ...     def record(self, record, *, before):
        ...         print(record["input"]["path"], record["status"])
        >>> explain_folder("photos", "out", observer=Printer())  # doctest: +SKIP
    """

    # Whether `found` receives the paths of the files that were left out, in addition to their counts.
    wants_omissions = False

    def found(self, found: Found) -> None:
        """Receive the sources of the run and the files that were left out, before anything is loaded."""

    def note(self, text: str) -> None:
        """Receive one line of information about this run."""

    def warn(self, text: str) -> None:
        """Receive one line with a warning: something that the run could not do as requested."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Give a context for something slow; `what` describes it, as in `loading TensorFlow and the model resnet50`."""
        del what
        return nullcontext()

    def downloading(self, name: str, size: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Give a context for the download of a file of `size` bytes (0: unknown); it takes the size of each chunk."""
        del name, size
        return nullcontext(_ignore)

    def opened(self, model: OpenedModel) -> None:
        """Receive the choices after the model was loaded: once, before the first record."""

    def started(self, total: int) -> None:
        """Receive the number of images of the run, including those that an earlier run has finished."""

    def record(self, record: Record, *, before: bool) -> None:
        """Receive the record of one image, in the order of the sources; `before` if it is from an earlier run."""

    def finished(self, tally: Tally, *, interrupted: bool) -> None:
        """Receive the counts at the end, after `run.json` was written; `interrupted` by a signal or a closed pipe."""

    def listen(self, name: str, admit: Admit) -> AbstractContextManager[Admit]:
        """Give a context for the decoding of an image, with the function that admits it; called from other threads."""
        del name
        return nullcontext(admit)


def _ignore(count: int) -> None:
    del count
