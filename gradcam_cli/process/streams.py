"""Standard streams that the shell closed or that are full, and the silence of native libraries.

Only the command line calls this. The library leaves the process of its caller as it is.
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
    """A file descriptor for messages to people: what cannot be written is dropped, and the work goes on."""

    def write(self, data: object, /) -> int:
        """Write, or drop the data where the descriptor is full or closed."""
        try:
            return super().write(data) or 0  # type: ignore[arg-type]
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """Make the standard streams safe to use where the shell closed them.

    A closed descriptor would be given to the first file that is opened, and messages would be written into that file.
    Messages on stderr are dropped where they cannot be written. Data on a closed stdout fails as in a closed pipe.
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
    """Keep what TensorFlow, CUDA, libpng and libjpeg print off the screen, unless the user asked for it.

    They write to file descriptor 2 from C, past Python: so descriptor 2 leads nowhere for a while, and
    Python's stderr gets a descriptor of its own. It gets one in any case: with `verbose`, what is printed while a
    picture is decoded is captured.
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
        # Warnings of Python libraries are about their own affairs, not about the user's pictures; Pillow's name no
        # picture.
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
