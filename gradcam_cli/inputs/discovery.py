"""Turn arguments into sources: files, folders and lists, sorted, mirrored, and without collisions.

Paths are `str` as `os.fsdecode` gives them, so a name that is not UTF-8 can be converted back to its bytes.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from gradcam_cli.errors import StorageError, UsageError
from gradcam_cli.inputs.left_out import LeftOut
from gradcam_cli.inputs.objects import MetObject, find_objects
from gradcam_cli.inputs.shards import is_run_record
from gradcam_cli.inputs.sources import STDIN, Source, Sources
from gradcam_cli.inputs.tar_inputs import TarFiles, is_tar, is_tar_name
from gradcam_cli.inputs.walk import Rules, walk
from gradcam_cli.storage import Stored, Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import Url, is_url


def as_text(path: str) -> str:
    r"""Write a path as valid Unicode: a byte that is not UTF-8 as `\xff`, and in a path with such bytes `\` as `\\`."""
    data = path.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")


def from_text(text: str, *, escaped: bool) -> str:
    """Reverse `as_text`. A path is `escaped` if it is not UTF-8."""
    if not escaped and text.isascii():
        # This is the case for most names, and a later run converts the name of each file.
        return text
    data = text.encode("utf-8", "surrogateescape")
    return os.fsdecode(re.sub(rb"\\(\\|x[0-9a-f]{2})", _unescaped, data) if escaped else data)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] == b"\\" else bytes.fromhex(found[1][1:].decode("ascii"))


@dataclass(frozen=True)
class Found:
    """The sources, sorted by their place in the output, and the counts of files that were left out."""

    sources: Sources
    left_out: LeftOut


def find_sources(
    inputs: Iterable[str],
    listed: Iterable[str] = (),
    *,
    rules: Rules,
    output: Path | Url | None = None,
    keep_omissions: bool = False,
    stores: Stores | None = None,
) -> Found:
    """Turn arguments and a list of paths into sources, sorted by their place in the output.

    A folder is walked by the rules, and its tree is mirrored. The output folder and overlays are never inputs. A file
    given by name is an input whatever its name is, and its place is the top of the output. The photographs of a tar are
    placed below its name; tars inside folders are not inputs. Paths of a list are mirrored as they are written, without
    a leading `/` or `..`, and folders among them are walked. A URL names an object of a store, or a prefix of objects,
    which is walked like a folder; in a list, a prefix ends with a slash. URLs are opened by `stores`.

    Raises:
        UsageError: an argument does not exist, is a URL of another kind, or two sources would write the same files.
        StorageError: a store does not answer.
    """
    finding = _Finding(rules, LeftOut(keep_omissions), output, stores or Stores())
    given = chain.from_iterable(map(finding.from_argument, inputs))
    found = Sources(map(_placed, chain(given, chain.from_iterable(map(finding.from_list, listed)))))
    _refuse_collisions(found)
    return Found(found, finding.left_out)


@dataclass(frozen=True)
class _Finding:
    rules: Rules
    left_out: LeftOut
    output: Path | Url | None
    stores: Stores
    tars: TarFiles = field(default_factory=TarFiles)

    def from_argument(self, given: str) -> Iterator[Source]:
        if given == STDIN:
            yield Source("stdin", STDIN)
            return
        if is_url(given):
            yield from self._objects(given, "")
            return
        if _is_absent(given):
            raise UsageError(f"{given}: there is no such file or folder.")
        if os.path.isdir(given):  # noqa: PTH112 - names that are not UTF-8 stay str
            name = os.path.basename(os.path.abspath(given)) or "root"  # noqa: PTH100, PTH119 - as above
            yield from self._walked(given, "", name)
        elif is_tar(given):
            yield from self._members(given, os.path.basename(given))  # noqa: PTH119 - as above
        else:
            yield Source(os.path.basename(given), given)  # noqa: PTH119 - as above

    def from_list(self, path: str) -> Iterator[Source]:
        if is_url(path):
            yield from self._listed_url(path)
            return
        place = mirrored(path)
        if os.path.isdir(path):  # noqa: PTH112 - as above
            name = place or os.path.basename(os.path.abspath(path)) or "root"  # noqa: PTH100, PTH119 - as above
            yield from self._walked(path, f"{place}/" if place else "", name)
        elif place and is_tar(path):
            yield from self._members(path, place)
        elif place:
            yield Source(place, path)
        else:
            raise UsageError(f"{path!r} in the list is not a file.")

    def _listed_url(self, url: str) -> Iterator[Source]:
        """Take an object without a request, because a list may have millions. A missing object gets a record."""
        stored = self.stores.object(url)
        place = mirrored(url.split("://", 1)[1])
        if url.endswith("/"):
            yield from self._objects(url, f"{place}/")
        elif is_tar_name(url) and self._is_there(url):
            yield from self._members(url, place, stored)
        else:
            yield Source(place, url, stored=stored)

    def _is_there(self, url: str) -> bool:
        try:
            return self.stores.of(url).has(url)
        except StorageError as error:
            raise refusal(error) from None

    def _objects(self, url: str, prefix: str) -> Iterator[Source]:
        output = self.output.text if isinstance(self.output, Url) else None
        tars: list[MetObject] = []
        for met in find_objects(url, self.stores, self.rules, self.left_out, output, tars):
            # Names of objects may contain `..` and empty parts, which must not lead out of the output folder.
            yield Source(prefix + mirrored(met.relative), met.stored.url, stored=met.stored)
        for tar in tars:
            yield from self._members(tar.stored.url, prefix + mirrored(tar.relative), tar.stored)

    def _members(self, path: str, place: str, stored: Stored | None = None) -> Iterator[Source]:
        """Give the photographs of a tar. If it is damaged, a record with its own name says so."""
        try:
            for met in self.tars.find(path, self.rules, self.left_out, stored):
                if met.stored is None:
                    yield Source(place, path, errno.EIO)
                else:
                    yield Source(f"{place}/{met.relative}", met.stored.url, stored=met.stored)
        except StorageError as error:
            raise refusal(error) from None

    def _walked(self, root: str, prefix: str, name: str) -> Iterator[Source]:
        """Walk a folder whose tree is mirrored below `prefix`; `name` is the name of the folder itself in records."""
        output = os.fspath(self.output) if isinstance(self.output, Path) else None
        for met in walk(root, self.rules, self.left_out, output):
            yield Source(prefix + met.relative if met.relative else name, met.path, met.errno)


def _is_absent(path: str) -> bool:
    """Whether a path does not exist. A path that cannot be checked for lack of permission gets a record like a file."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
    return False


def mirrored(path: str) -> str:
    """Give the place of a listed path or an object in the output, like `tar`: no drive, no leading `/`, no `..`."""
    parts = _posix(os.path.normpath(os.path.splitdrive(path)[1])).split("/")
    return "/".join(part for part in parts if part not in {"", "..", "."})


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _placed(source: Source) -> Source:
    """Refuse an input whose sidecar would have the name of a run's record."""
    sidecar = f"{source.relative}.json"
    if is_run_record(sidecar) and source.errno is None:
        raise UsageError(
            f"{source.path}: its sidecar would be {sidecar}, which is the name of the record of a run. "
            "Rename the image."
        )
    return source


def _refuse_collisions(sources: Sources) -> None:
    """Refuse inputs with the same place in the output. Other spellings of the same path are removed."""
    for sharing in sources.sharing_places():
        files = [source for source in sharing if source.errno is None]
        for other in files[1:]:
            first = files[0]
            if _absolute(first) != _absolute(other):
                raise UsageError(
                    f"{first.path} and {other.path} would both be written as {first.relative}. Give the folder "
                    "above them as INPUT, "
                    "or their paths by `files_from`, so that the folder structure is kept."
                )
            sources.remove(other)


def _absolute(source: Source) -> str:
    return source.path if source.stored else os.path.abspath(source.path)  # noqa: PTH100 - names that are not UTF-8 stay str
