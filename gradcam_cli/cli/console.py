"""Messages on stderr, and progress."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import click

from gradcam_cli.cli.wording import as_options
from gradcam_cli.text import counted, printable


@dataclass(frozen=True)
class Verbosity:
    """How much is printed. `progress` is None if neither --progress nor --no-progress was given."""

    quiet: bool = False
    verbose: bool = False
    progress: bool | None = None


@dataclass(frozen=True)
class Records:
    """The file of the records, one per line; `-` for stdout, None for no file. `overlay`: stdout takes the overlay."""

    jsonl: str | None = None
    overlay: bool = False


NO_RECORDS = Records()
SECONDS_BETWEEN_LINES = 10.0


def say(message: str) -> None:
    """Print a message to stderr; names of arguments in it become names of options."""
    click.echo(printable(as_options(message)), err=True)


def show_list(rows: Sequence[Any], table: Callable[[Any], str], *, as_json: bool) -> None:
    """Print dataclass rows to stdout, as JSON or as a table."""
    click.echo(json.dumps([asdict(row) for row in rows], indent=2) if as_json else printable(table(rows)))


@contextmanager
def busy(what: str, *, quiet: bool) -> Iterator[None]:
    """Show a message on stderr during the block, if stderr is a terminal."""
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
    """Show the progress of a download; the caller passes the number of bytes of each chunk."""
    from tqdm import tqdm

    with tqdm(total=size or None, desc=name, unit="B", unit_scale=True, file=sys.stderr) as bar:
        yield bar.update


class Progress:
    """Progress of images or forward passes: a bar on a terminal, otherwise a line every ten seconds, or nothing."""

    def __init__(self, total: int, *, wanted: bool | None, quiet: bool, unit: str = "image") -> None:
        """Take the total; `wanted` is --progress or --no-progress, None if neither was given."""
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

    def close(self) -> None:
        """Close the bar and leave its last state on the terminal."""
        if self._bar is not None:
            self._bar.close()

    def extend(self, count: int) -> None:
        """Add `count`, which may be negative, to the total."""
        with self._advancing:
            self._total += count
            if self._bar is not None:
                self._bar.total = self._total
                self._bar.refresh()

    def advance(self, count: int = 1) -> None:
        """Add `count` to what is done; may be called from any thread."""
        with self._advancing:
            self._done += count
            if self._bar is not None:
                self._bar.update(count)
            elif self._lines and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
                self._last = time.monotonic()
                say(f"{self._done} of {counted(self._total, self._unit)}")

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.clear()
            say(message)
            self._bar.refresh()
        else:
            say(message)
