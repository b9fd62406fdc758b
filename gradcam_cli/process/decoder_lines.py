"""Messages of native decoders, with the name of the image."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

# libtiff prints a line for each damaged strip.
MOST_LINES = 5
MOST_BYTES = 65_536


class DecoderLines:
    """Captures the output to file descriptor 2 while an image is decoded, and reports it afterwards.

    The descriptor belongs to the whole process, so images are decoded one at a time.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        """Capture nothing yet; each line goes to `report`."""
        self._report = report
        self._one_at_a_time = threading.Lock()
        self._captured: IO[bytes] | None = None
        self._saved = -1

    @contextmanager
    def listen(self, name: str, admit: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
        """Give the function that admits the image; the output after that call is reported with the image's name."""
        capturing = False
        printed = b""

        def admit_and_capture(cost: int) -> None:
            nonlocal capturing, printed
            # Wait for memory without holding the lock: the thread that has the memory may wait for the lock.
            if capturing:
                printed += self._stop()
            capturing = False
            admit(cost)
            self._start()
            capturing = True

        try:
            yield admit_and_capture
        finally:
            if capturing:
                printed += self._stop()
            self._report_lines(name, printed)

    def _start(self) -> None:
        import tempfile

        self._one_at_a_time.acquire()
        try:
            captured = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by _stop
        except OSError:
            # If the disk is full, the run continues and the lines appear without the name.
            return
        self._captured, self._saved = captured, os.dup(2)
        os.dup2(captured.fileno(), 2)

    def _stop(self) -> bytes:
        try:
            if self._captured is None:
                return b""
            os.dup2(self._saved, 2)
            os.close(self._saved)
            with self._captured as captured:
                self._captured = None
                captured.seek(0)
                return captured.read(MOST_BYTES)
        finally:
            self._one_at_a_time.release()

    def _report_lines(self, name: str, printed: bytes) -> None:
        lines = [line for line in printed.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
        for line in lines[:MOST_LINES]:
            self._report(f"{name!r}: while it was decoded: {line}")
        if len(lines) > MOST_LINES:
            self._report(f"{name!r}: while it was decoded: {len(lines) - MOST_LINES} more lines")
