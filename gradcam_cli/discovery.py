"""From arguments to sources: files, folders and lists, sorted, mirrored, and without collisions.

Paths are kept as `str` the way `os.fsdecode` gives them, so that a name which is not UTF-8 survives the round trip.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from gradcam_cli.errors import UsageError

STDIN = "-"
OVERLAY_SUFFIX = ".overlay.jpg"
RUN_RECORD = "run.json"


@dataclass(frozen=True, order=True)
class Source:
    """One input: where it is, and its place in the output tree (relative, POSIX)."""

    relative: str
    path: str

    @property
    def is_stdin(self) -> bool:
        """Whether the picture comes through a pipe."""
        return self.path == STDIN


def as_text(path: str) -> str:
    r"""Write a path as valid Unicode: bytes that are no UTF-8 as `\xff`, and in a path with such bytes `\` as `\\`."""
    data = path.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")


def from_text(text: str, *, escaped: bool) -> str:
    """Undo `as_text`; a path is `escaped` where it is not UTF-8."""
    data = text.encode("utf-8", "surrogateescape")
    return os.fsdecode(re.sub(rb"\\(\\|x[0-9a-f]{2})", _unescaped, data) if escaped else data)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] == b"\\" else bytes.fromhex(found[1][1:].decode("ascii"))


def find_sources(
    inputs: Iterable[str],
    listed: Iterable[str] = (),
    *,
    suffixes: frozenset[str],
    recursive: bool = True,
    output: Path | None = None,
) -> list[Source]:
    """Turn arguments and a list of paths into sources, sorted by their place in the output.

    A folder is walked and its tree mirrored; in it, only files with an image suffix count, symbolic links to
    folders or out of the tree are not followed, and neither the output folder nor overlays are ever inputs. A
    file given by name is taken whatever it is called, and lands at the top. Paths of a list are mirrored as
    they are written, without a leading `/` or `..`.

    Raises:
        UsageError: an argument does not exist, or two sources would write the same files.
    """
    found: list[Source] = []
    for given in inputs:
        found.extend(_from_argument(given, suffixes, recursive=recursive, output=output))
    found.extend(Source(_mirrored(path), path) for path in listed)
    sources = sorted(set(found))
    _refuse_collisions(sources)
    return sources


def read_list(data: bytes, *, null_separated: bool) -> list[str]:
    """Split a list of paths at newlines, or at NUL bytes as `find -print0` writes them."""
    separator = b"\0" if null_separated else b"\n"
    entries = (entry if null_separated else entry.removesuffix(b"\r") for entry in data.split(separator))
    return [os.fsdecode(entry) for entry in entries if entry]


def _from_argument(given: str, suffixes: frozenset[str], *, recursive: bool, output: Path | None) -> Iterator[Source]:
    if given == STDIN:
        return iter([Source("stdin", STDIN)])
    if not os.path.lexists(given):
        raise UsageError(f"{given}: there is no such file or folder.")
    if os.path.isdir(given):  # noqa: PTH112 - names that are not UTF-8 stay str
        return _walk(given, suffixes, recursive=recursive, output=output)
    return iter([Source(os.path.basename(given), given)])  # noqa: PTH119 - as above


def _walk(root: str, suffixes: frozenset[str], *, recursive: bool, output: Path | None) -> Iterator[Source]:
    real_root = os.path.realpath(root)
    real_output = os.path.realpath(output) if output else None
    for folder, folders, files in os.walk(root):
        real_folder = os.path.realpath(folder)
        folders[:] = sorted(
            name
            for name in folders
            if recursive and real_output != os.path.join(real_folder, name)  # noqa: PTH118 - str paths
        )
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - str paths
            if _is_input(name, suffixes) and _stays_inside(path, real_root):
                yield Source(_posix(os.path.relpath(path, root)), path)


def _is_input(name: str, suffixes: frozenset[str]) -> bool:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - str paths
    return bool(stem) and suffix.lower() in suffixes and not name.endswith(OVERLAY_SUFFIX)


def _stays_inside(path: str, real_root: str) -> bool:
    """Whether a file met on a walk is in the tree: a link out of it is somebody else's file."""
    if not os.path.islink(path):  # noqa: PTH114 - str paths
        return True
    target = os.path.realpath(path)
    return os.path.commonpath([real_root, target]) == real_root


def _mirrored(path: str) -> str:
    """Place a listed path in the output as `tar` would: no drive, no leading `/` or `..`."""
    parts = _posix(os.path.normpath(os.path.splitdrive(path)[1])).split("/")
    return "/".join(part for part in parts if part not in {"", "..", "."})


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _refuse_collisions(sources: list[Source]) -> None:
    """Two different inputs with one place in the output, or one that would overwrite `run.json`."""
    for first, second in pairwise(sources):
        if first.relative == second.relative:
            raise UsageError(
                f"{first.path} and {second.path} would both be written as {first.relative}: give the folder "
                "above them as INPUT, or their paths by --files-from, and the tree is mirrored."
            )
    reserved = RUN_RECORD.removesuffix(".json")
    for source in sources:
        if source.relative == reserved:
            raise UsageError(f"{source.path}: its sidecar would be {RUN_RECORD}, which is the run's own record.")
