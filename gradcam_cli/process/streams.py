"""Closed or full standard streams, and suppression of the output of native libraries.

Only the command line calls this. The library does not change the process of its caller.
"""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradcam_cli.system import open_nowhere


class LossyWriter(io.FileIO):
    """A file descriptor for messages: text that cannot be written is dropped, and the run continues."""

    def write(self, data: object, /) -> int:
        """Write the data, or drop it if the descriptor is full or closed."""
        try:
            return super().write(data) or 0  # type: ignore[arg-type]
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """Make the standard streams usable if the shell closed them.

    Otherwise the first opened file would get a closed descriptor, and messages would be written to that file. Messages
    that cannot be written to stderr are dropped. Writing to a closed stdout fails as with a closed pipe.
    """
    closed = list(_fill_closed_descriptors())
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
    if 1 in closed:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        os.close(writing)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "surrogateescape")
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = io.TextIOWrapper(LossyWriter(2, "w", closefd=False), encoding, "backslashreplace", line_buffering=True)


def _fill_closed_descriptors() -> Iterator[int]:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is taken, which is this one.
            open_nowhere()
            yield descriptor


@contextmanager
def quiet_libraries(*, verbose: bool) -> Iterator[None]:
    """Suppress the messages of TensorFlow, CUDA, libpng and libjpeg, unless `verbose`.

    They write to file descriptor 2 from C code. So descriptor 2 is redirected to nowhere during the block, and Python's
    stderr uses another descriptor. It does so also with `verbose`, because the output of decoders is captured.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    own = sys.stderr
    replaced = _writes_to(own, 2)
    if replaced:
        binary = LossyWriter(saved, "w", closefd=False)
        sys.stderr = io.TextIOWrapper(binary, own.encoding, "backslashreplace", line_buffering=True)
    if not verbose:
        nowhere = open_nowhere()
        os.dup2(nowhere, 2)
        os.close(nowhere)
    try:
        # Warnings of Python libraries do not concern the user's images; those of Pillow do not name the image.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="" if not verbose else r"PIL\.")
            yield
    finally:
        if replaced:
            sys.stderr.flush()
            sys.stderr = own
        os.dup2(saved, 2)
        os.close(saved)


def _writes_to(stream: Any, descriptor: int) -> bool:
    try:
        return bool(stream.fileno() == descriptor)
    except (OSError, ValueError, AttributeError):
        return False
