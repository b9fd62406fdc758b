"""What people see: stderr without the chatter of native libraries, progress, and one line a failed file."""

import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from unicodedata import category

import click

from gradcam_cli.cli.process import LossyWriter
from gradcam_cli.cli.wording import as_options


@dataclass(frozen=True)
class Verbosity:
    """What people want to see: `progress` is None where neither --progress nor --no-progress was given."""

    quiet: bool = False
    verbose: bool = False
    progress: bool | None = None


@dataclass(frozen=True)
class Records:
    """Where records go, one a line: a file, `-` for stdout, or nowhere; `overlay` to stdout instead of a folder."""

    jsonl: str | None = None
    overlay: bool = False


SECONDS_BETWEEN_LINES = 10.0
# Unicode categories: control, format (such as the reversal of writing direction), line and paragraph separators.
UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp"})


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
        nowhere = os.open(os.devnull, os.O_WRONLY)
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


def say(message: str) -> None:
    """Print a message for people on stderr; where it speaks of arguments, they read of options."""
    click.echo(printable(as_options(message)), err=True)


def printable(text: str) -> str:
    r"""Write control and format characters as escapes such as `\x1b`, so that a name cannot command a terminal."""
    return "".join(_visible(character) if category(character) in UNSAFE else character for character in text)


def _visible(character: str) -> str:
    return character if character in "\n\t" else ascii(character)[1:-1]


@contextmanager
def busy(what: str, *, quiet: bool) -> Iterator[None]:
    """Show on a terminal, and on nothing else, what the program is doing, as long as it does it."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    sys.stderr.write(f"{what} ...\r")
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write(" " * (len(what) + 4) + "\r")
        sys.stderr.flush()


@contextmanager
def download_bar(name: str, size: int) -> Iterator[Callable[[int], Any]]:
    """Show a download; takes the bytes of each chunk."""
    from tqdm import tqdm

    with tqdm(total=size or None, desc=name, unit="B", unit_scale=True, file=sys.stderr) as bar:
        yield bar.update


class Progress:
    """Progress over images or passes: a bar on a terminal, a plain line now and then elsewhere, or nothing."""

    def __init__(self, total: int, *, wanted: bool | None, quiet: bool, unit: str = "image") -> None:
        """`wanted` is --progress/--no-progress, None where neither was said."""
        self._unit = unit
        self._advancing = threading.Lock()
        terminal = sys.stderr.isatty()
        on = not quiet and wanted is not False
        self._total = total
        self._done = 0
        self._bar: Any = None
        self._lines = on and not (terminal or wanted)
        self._last = time.monotonic()
        if on and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Self:
        """Show it until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar where it got to."""
        if self._bar is not None:
            self._bar.close()

    def extend(self, count: int) -> None:
        """Add to what there is to do; less where `count` is negative."""
        with self._advancing:
            self._total += count
            if self._bar is not None:
                self._bar.total = self._total
                self._bar.refresh()

    def advance(self, count: int = 1) -> None:
        """So much more is done; from any thread."""
        with self._advancing:
            self._done += count
            if self._bar is not None:
                self._bar.update(count)
            elif self._lines and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
                self._last = time.monotonic()
                unit = f"{self._unit}es" if self._unit.endswith("s") else f"{self._unit}s"
                say(f"{self._done} of {self._total} {unit}")

    def say(self, message: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.clear()
            say(message)
            self._bar.refresh()
        else:
            say(message)
