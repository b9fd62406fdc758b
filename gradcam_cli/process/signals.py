"""How a run ends early: Ctrl-C, SIGTERM, and a closed stdout."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

INTERRUPTED, TERMINATED, PIPE_CLOSED = 130, 143, 141


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as it does for Ctrl-C, with another exit code."""


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM unwind the run, which ends or drops its current batch; a second one ends it at once."""

    def unwind(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, _end)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
