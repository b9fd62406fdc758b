"""From arguments to sources: files, folders and lists, sorted, mirrored, and without collisions.

Paths are kept as `str` the way `os.fsdecode` gives them, so that a name which is not UTF-8 survives the round trip.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.left_out import LeftOut
from gradcam_cli.inputs.walk import RUN_RECORD, Rules, walk

STDIN = "-"
# One letter and a colon is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, order=True)
class Source:
    """One input: where it is, and its place in the output tree (relative, POSIX).

    With an `errno` it is a folder that could not be listed, for that reason: it has a record, but no files. `content`
    is that of a picture in memory: then `path` is empty.
    """

    relative: str
    path: str
    errno: int | None = field(default=None, compare=False)
    content: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def is_stdin(self) -> bool:
        """Whether the picture comes through a pipe."""
        return self.path == STDIN

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which can be read again."""
        return self.content is None and not self.is_stdin


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


@dataclass(frozen=True)
class Found:
    """The sources, sorted by their place in the output, and what was left out of the folders."""

    sources: list[Source]
    left_out: LeftOut


def find_sources(
    inputs: Iterable[str],
    listed: Iterable[str] = (),
    *,
    rules: Rules,
    output: Path | None = None,
    keep_omissions: bool = False,
) -> Found:
    """Turn arguments and a list of paths into sources, sorted by their place in the output.

    A folder is walked by the rules and its tree mirrored; neither the output folder nor overlays are ever inputs. A
    file given by name is taken whatever it is called, and lands at the top. Paths of a list are mirrored as they are
    written, without a leading `/` or `..`; folders among them are walked.

    Raises:
        UsageError: an argument does not exist, is a URL, or two sources would write the same files.
    """
    left_out = LeftOut(keep_omissions)
    folder = os.fspath(output) if output else None
    found: list[Source] = []
    for given in inputs:
        found.extend(_from_argument(given, rules, left_out, folder))
    for path in listed:
        found.extend(_from_list(path, rules, left_out, folder))
    return Found(_without_collisions(sorted(set(found))), left_out)


def refuse_url(text: str) -> None:
    """Refuse a URL, of which the file system would make folders.

    Raises:
        UsageError: it is one.
    """
    if _URL.match(text):
        raise UsageError(
            f"{text}: URLs are not supported. Copy the files to this machine and back; a path that looks like a URL "
            f"is written ./{text.replace('//', '/', 1)}"
        )


def _from_argument(given: str, rules: Rules, left_out: LeftOut, output: str | None) -> Iterator[Source]:
    if given == STDIN:
        yield Source("stdin", STDIN)
        return
    refuse_url(given)
    if not os.path.lexists(given):
        raise UsageError(f"{given}: there is no such file or folder.")
    if os.path.isdir(given):  # noqa: PTH112 - names that are not UTF-8 stay str
        name = os.path.basename(os.path.abspath(given)) or "root"  # noqa: PTH100, PTH119 - as above
        yield from _walked(given, "", name, rules, left_out, output)
    else:
        yield Source(os.path.basename(given), given)  # noqa: PTH119 - as above


def _from_list(path: str, rules: Rules, left_out: LeftOut, output: str | None) -> Iterator[Source]:
    refuse_url(path)
    place = _mirrored(path)
    if os.path.isdir(path):  # noqa: PTH112 - as above
        name = place or os.path.basename(os.path.abspath(path)) or "root"  # noqa: PTH100, PTH119 - as above
        yield from _walked(path, f"{place}/" if place else "", name, rules, left_out, output)
    elif place:
        yield Source(place, path)
    else:
        raise UsageError(f"{path!r} in the list names no file.")


def _walked(root: str, prefix: str, name: str, rules: Rules, left_out: LeftOut, output: str | None) -> Iterator[Source]:
    """Walk a folder whose tree is mirrored below `prefix`; `name` is what a record calls the folder itself."""
    for met in walk(root, rules, left_out, output):
        yield Source(prefix + met.relative if met.relative else name, met.path, met.errno)


def _mirrored(path: str) -> str:
    """Place a listed path in the output as `tar` would: no drive, no leading `/` or `..`."""
    parts = _posix(os.path.normpath(os.path.splitdrive(path)[1])).split("/")
    return "/".join(part for part in parts if part not in {"", "..", "."})


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _without_collisions(sources: list[Source]) -> list[Source]:
    """Refuse different inputs with one place in the output, or that of `run.json`; drop other spellings of one path."""
    kept: list[Source] = []
    for source in sources:
        if kept and kept[-1].relative == source.relative and source.errno is kept[-1].errno is None:
            if _absolute(kept[-1]) == _absolute(source):
                continue
            raise UsageError(
                f"{kept[-1].path} and {source.path} would both be written as {source.relative}: give the folder "
                "above them as INPUT, or their paths by `files_from`, and the tree is mirrored."
            )
        if f"{source.relative}.json" == RUN_RECORD and source.errno is None:
            raise UsageError(f"{source.path}: its sidecar would be {RUN_RECORD}, which is the run's own record.")
        kept.append(source)
    return kept


def _absolute(source: Source) -> str:
    return os.path.abspath(source.path)  # noqa: PTH100 - names that are not UTF-8 stay str
