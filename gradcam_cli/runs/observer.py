"""The events of a run: what a command line, a notebook or a worker receives while the run goes on."""

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
    """What was chosen when the model was loaded.

    `notes` are for everybody, `warnings` say what looks wrong. `layers` are the paths of the layers whose maps are
    fused, where there are several. `derivatives` says whether those in alpha are `exact` or an `approximation`; None
    for methods that have none. With `several_targets` an image may have several overlays. `engine_reason` says why a
    preferred engine does not run the model.
    """

    card: ModelCard
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    derivatives: str | None = None
    several_targets: bool = False
    engine_reason: str = ""


class RunObserver:
    """Receives the events of a run. Every method does nothing here: override those that you want.

    The methods are called in the thread of the caller, except `listen`. An exception that one of them raises ends the
    run. After a KeyboardInterrupt or a BrokenPipeError, `run.json` is written first.

    Example:
        >>> class Printer(RunObserver):
        ...     def record(self, record, *, before):
        ...         print(record["input"]["path"], record["status"])
        >>> explain_folder("photos", "out", observer=Printer())  # doctest: +SKIP
    """

    # Whether the paths of files that were left out are kept for `found`; their counts always are.
    wants_omissions = False

    def found(self, found: Found) -> None:
        """Receive the sources of the run and what was left out, before anything is loaded."""

    def note(self, text: str) -> None:
        """Receive one line for people about this run."""

    def warn(self, text: str) -> None:
        """Receive one line for people that is important: what the run could not do as it was asked."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Give a context for something slow; `what` describes it, as in `loading TensorFlow and the model resnet50`."""
        del what
        return nullcontext()

    def downloading(self, name: str, size: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Give a context for the download of a file of `size` bytes (0: unknown); it takes the size of each chunk."""
        del name, size
        return nullcontext(_ignore)

    def opened(self, model: OpenedModel) -> None:
        """Receive what was chosen when the model has been loaded: once, before the first record."""

    def started(self, total: int) -> None:
        """Receive the number of images of the run, those that an earlier run has finished included."""

    def record(self, record: Record, *, before: bool) -> None:
        """Receive the record of one image, in the order of the sources; `before` where an earlier run has made it."""

    def finished(self, tally: Tally, *, interrupted: bool) -> None:
        """Receive the counts at the end, after `run.json` was written; `interrupted` by a signal or a closed pipe."""

    def listen(self, name: str, admit: Admit) -> AbstractContextManager[Admit]:
        """Give a context in which a picture is decoded, with what admits it; called from other threads."""
        del name
        return nullcontext(admit)


def _ignore(count: int) -> None:
    del count
