"""The early end of a run: Ctrl-C, SIGTERM, a closed terminal, and a closed stdout."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from gradcam_cli.system import INTERRUPT, STOPPING, TERMINATE

INTERRUPTED, PIPE_CLOSED = 130, 141


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the run ends as after Ctrl-C, with another exit code."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__()
        self.number = number


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """Give the exit code of a run that was stopped by a signal, as shells define it."""
    return 128 + stop.number if isinstance(stop, Stopped) else INTERRUPTED


def interruption_of(error: BaseException) -> KeyboardInterrupt | None:
    """Give the signal that caused an error; None if there was none.

    A signal during the import of a native module causes an ImportError.
    """
    seen_import = False
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, KeyboardInterrupt):
            return current if seen_import or current is error else None
        seen_import = seen_import or isinstance(current, (ImportError, SystemError))
        current = current.__cause__ or current.__context__
    return None


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let a signal end the run, which finishes or drops its current batch; a second signal ends the process at once.

    A closed terminal does not stop the run if SIGHUP is ignored, as under `nohup`.
    """

    def unwind(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, _end)
        raise KeyboardInterrupt if number == INTERRUPT else Stopped(number)

    handlers = {number: signal.getsignal(number) for number in STOPPING}
    before = {
        number: handler
        for number, handler in handlers.items()
        if number in {INTERRUPT, TERMINATE} or handler is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
