"""Walk one folder: every file is an input, or is counted as left out.

Names decide first. Only files without a suffix or with an unusual one are opened, and only their first bytes are read.
Folders are listed with `os.scandir`, and no file's status is read, so that large trees on slow disks stay fast.
"""

import os
import re
import stat
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final, NamedTuple

from gradcam_cli.disk_table import DiskTable, Row, key_of, text_of
from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.formats import HEAD_BYTES, PICTURES, format_of
from gradcam_cli.inputs.left_out import LeftOut, Why, suffix_of
from gradcam_cli.inputs.other_files import Others
from gradcam_cli.system import open_to_read

OVERLAY_SUFFIX: Final = ".overlay.jpg"
MAP_SUFFIX: Final = ".map.npy"
# Small images that a report writes. Like overlays, they are never inputs.
THUMBNAIL_SUFFIX: Final = ".gradcam-thumbnail.jpg"
# Files and folders that systems and devices create. Names are compared in lower case.
SYSTEM_NAMES: Final = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "found.000",
    }
)
# Suffixes that show that a file is not an image, or not a complete one. Such files are not opened.
_NEVER: Final = frozenset(
    {".json", ".jsonl", ".txt", ".xml", ".csv", ".npy", ".part", ".crdownload", ".download", ".tmp"}
)
_PICTURE_WORD: Final = re.compile(
    r"\.(?:jpe?g|jpe|jpg|jfif|jif|pjp|a?png|webp|tiff?|bmp|dib|gif|p[bgpn]m|jp2|j2[kc]|jp[cfhx]|avif|hei[cf]|hif|jxl|jxr"
    r"|mpo|thm|btf|tf[28]|pam|pfm|p7|img|image|pic|photo|thumb|dcm|dicom|svg|psd|exr|hdr|ico|tga|pcx|qoi|pdf|eps|dng|cr[23w]|nef|arw|raf|orf|rw2)"
)
_PLAIN_SUFFIX: Final = re.compile(r"\.[a-z][a-z0-9]*\Z")

Match = Callable[[str], bool]
# Device and inode.
Identity = tuple[int, int]
# The number of bits of an integer in an array. Some file systems of Windows have inodes with more bits.
_INODE_BITS: Final = 2**64 - 1
# Larger folders are sorted on a disk.
SORTED_IN_MEMORY: Final = 20_000


@dataclass(frozen=True)
class Rules:
    """The rules that decide which files of a folder are inputs.

    `suffixes` are those of images. `formats` are the names (of `formats.format_of`) of decoded formats. `excluded` and
    `included` say whether a pattern matches a path relative to the folder. The path of a folder ends with a `/`.
    """

    suffixes: frozenset[str]
    formats: frozenset[str] = PICTURES
    recursive: bool = True
    follow_links: bool = False
    hidden: bool = False
    excluded: Match | None = None
    included: Match | None = None


class Entry(NamedTuple):
    """The data of a file or folder in a folder's listing."""

    name: str
    path: str
    inode: int
    is_folder: bool
    is_link: bool


class Met(NamedTuple):
    """A file that is an input, or, with an `errno`, a folder that cannot be listed; `relative` is POSIX."""

    relative: str
    path: str
    errno: int | None = None


def patterns(lines: tuple[str, ...]) -> Match | None:
    """Compile patterns as in a .gitignore; None if there are none.

    Raises:
        UsageError: a pattern can match nothing.
    """
    if not lines:
        return None
    from pathspec import GitIgnoreSpec

    for line in lines:
        try:
            useless = all(pattern.include is None for pattern in GitIgnoreSpec.from_lines([line]).patterns)
        except ValueError:
            useless = True
        if useless:
            raise UsageError(f"'{line}' is not a pattern such as '*.png', 'cache/' or '/top/**/*.jpg'.")
    return GitIgnoreSpec.from_lines(lines).match_file


def walk(root: str, rules: Rules, left_out: LeftOut, output: str | None = None) -> Iterator[Met]:
    """Walk a folder, and count what is left out. The output folder is never entered.

    Links to files are inputs, whatever they refer to. With `follow_links`, folders behind links are walked after all
    others, in order, and each folder only once, even if several links refer to it.
    """
    return _Walk(root, rules, left_out, _identity(output) if output else None).run()


@dataclass
class _Walk:
    root: str
    rules: Rules
    left_out: LeftOut
    output: Identity | None
    folders: list[tuple[str, str]] = field(default_factory=list)
    links: deque[tuple[str, str]] = field(default_factory=deque)
    seen: set[Identity] = field(default_factory=set)
    # Files recognised by their contents. If a link leads to such a file, only the link is an input.
    odd: list[tuple[Identity, Met]] = field(default_factory=list)
    # The inodes of the links' targets, by device. For a million links, a set of pairs would take 150 MB, and this 8 MB.
    targets: "dict[int, array[int]]" = field(default_factory=dict)

    def run(self) -> Iterator[Met]:
        self.folders.append(("", self.root))
        while self.folders or self.links:
            prefix, path = self.folders.pop() if self.folders else self.links.popleft()
            if self.rules.follow_links and not self._is_new(path):
                self.left_out.add_folder(Why.WALKED_BEFORE, path)
                continue
            yield from self._folder(prefix, path)
        is_linked = self._is_linked()
        for identity, met in self.odd:
            if is_linked(identity):
                self.left_out.add_file(Why.LINK_TARGET, met.path)
            else:
                yield met

    def _is_linked(self) -> Callable[[Identity], bool]:
        """Give a function that says whether a link leads to a file that was recognised by its contents."""
        odd = {(device, inode & _INODE_BITS) for (device, inode), _ in self.odd}
        linked = {
            (device, inode)
            for device, inodes in (self.targets.items() if odd else ())
            for inode in inodes
            if (device, inode) in odd
        }
        return lambda identity: (identity[0], identity[1] & _INODE_BITS) in linked

    def _is_new(self, path: str) -> bool:
        identity = _identity(path)
        if identity is None:
            return True
        new = identity not in self.seen
        self.seen.add(identity)
        return new

    def _folder(self, prefix: str, path: str) -> Iterator[Met]:
        try:
            entries = _listed(path)
        except OSError as error:
            yield Met(prefix.rstrip("/"), path, error.errno or 0)
            return
        others = Others(self.left_out)
        for entry in entries:
            if entry.is_folder:
                self._meet_folder(entry, prefix)
                continue
            why = why_not(self.rules, prefix, entry.name)
            if why is not None:
                self.left_out.add_file(why, entry.path)
            elif has_suffix(entry.name, self.rules.suffixes):
                others.taken(entry.name)
                yield self._taken(entry, prefix)
            else:
                yield from self._meet_odd(entry, prefix, others)
        others.close()

    def _meet_folder(self, entry: Entry, prefix: str) -> None:
        link = entry.is_link
        relative = prefix + entry.name
        if not self.rules.hidden and is_hidden(entry.name):
            why = Why.HIDDEN
        elif self.rules.excluded and self.rules.excluded(f"{relative}/"):
            why = Why.EXCLUDED
        elif self.output and (link or entry.inode == self.output[1]) and _identity(entry.path) == self.output:
            why = Why.OUTPUT
        elif not self.rules.recursive:
            why = Why.NOT_RECURSIVE
        elif link and not self.rules.follow_links:
            why = Why.LINK_TO_FOLDER
        else:
            (self.links if link else self.folders).append((f"{relative}/", entry.path))
            return
        self.left_out.add_folder(why, entry.path)

    def _taken(self, entry: Entry, prefix: str) -> Met:
        """Take a file as input. If it is a link, record its target."""
        if entry.is_link:
            target = _identity(entry.path)
            if target is not None:
                self.targets.setdefault(target[0], array("Q")).append(target[1] & _INODE_BITS)
        return Met(prefix + entry.name, entry.path)

    def _meet_odd(self, entry: Entry, prefix: str, others: Others) -> Iterator[Met]:
        """Read the first bytes of a file whose name does not show whether it is an image."""
        if not may_be_picture(entry.name):
            others.add(entry.name, entry.path)
            return
        try:
            identity, format_name = _first_bytes(entry.path)
        except OSError:
            # If the name is that of an image, the file gets a record that says why it cannot be read.
            if says_picture(entry.name):
                yield self._taken(entry, prefix)
            else:
                self.left_out.add_file(Why.UNREADABLE, entry.path)
            return
        if format_name not in self.rules.formats:
            others.add(entry.name, entry.path, format_name)
        elif entry.is_link:
            yield self._taken(entry, prefix)
        else:
            self.odd.append((identity, Met(prefix + entry.name, entry.path)))


def why_not(rules: Rules, prefix: str, name: str) -> Why | None:
    """Say why a file is not an input, whatever its content; else None. `prefix` is its folder with a `/`."""
    if not rules.hidden and is_hidden(name):
        return Why.HIDDEN
    if name.endswith((OVERLAY_SUFFIX, MAP_SUFFIX, THUMBNAIL_SUFFIX)):
        return Why.OUTPUT
    if rules.excluded and rules.excluded(prefix + name):
        return Why.EXCLUDED
    if rules.included and not rules.included(prefix + name):
        return Why.NOT_INCLUDED
    return None


def may_be_picture(name: str) -> bool:
    """Whether a file without the suffix of an image may be one, so that its first bytes are read."""
    lower = name.lower()
    return suffix_of(lower) not in _NEVER and (says_picture(lower) or _leaves_it_open(lower))


def says_picture(name: str) -> bool:
    """Whether a name contains a suffix of images, as in `cat.jpg.1`."""
    return _PICTURE_WORD.search(name.lower()) is not None


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot, or is one that systems create."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _listed(path: str) -> Iterator[Entry]:
    """List a folder in the order of names. The whole folder is listed before the first entry is given.

    Raises:
        OSError: the folder cannot be listed.
    """
    with os.scandir(path) as listing:
        found = map(_entry, listing)
        entries = sorted(islice(found, SORTED_IN_MEMORY))
        if len(entries) < SORTED_IN_MEMORY:
            return iter(entries)
        # In memory, each file of such a folder would take about 300 bytes.
        table = DiskTable()
        table.put(map(_row, chain(entries, found)))
    return (_entry_of(path, row) for row in table.rows())


def _entry(entry: os.DirEntry[str]) -> Entry:
    return Entry(entry.name, entry.path, entry.inode(), _is_folder(entry), entry.is_symlink())


def _row(entry: Entry) -> Row:
    # An inode number has 64 bits, so together with flags it does not fit into one integer of the table.
    return key_of(entry.name), b"", f"{entry.inode} {entry.is_folder:d} {entry.is_link:d}".encode("ascii")


def _entry_of(folder: str, row: Row) -> Entry:
    name, value = text_of(row[0]), row[2]
    assert isinstance(value, bytes)  # noqa: S101 - `_row` made it
    inode, is_folder, is_link = map(int, value.split())
    return Entry(name, os.path.join(folder, name), inode, bool(is_folder), bool(is_link))  # noqa: PTH118 - names that are not UTF-8 stay str


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - names that are not UTF-8 stay str
    except OSError:
        return None
    return status.st_dev, status.st_ino


def has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    """Whether a name has one of the suffixes, and a stem before it."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - names that are not UTF-8 stay str
    return bool(stem) and suffix.lower() in suffixes


def _leaves_it_open(name: str) -> bool:
    """Whether a name has no suffix, or one that is a number or not a word, as in `IMG_2023.01` or `photo.~1~`."""
    return _PLAIN_SUFFIX.search(suffix_of(name)) is None


def _first_bytes(path: str) -> tuple[Identity, str | None]:
    """Name the format of a regular file. FIFOs and devices are not opened, because opening may disturb other programs.

    Raises:
        OSError: the file is a broken link, or cannot be opened or read.
    """
    status = os.stat(path)  # noqa: PTH116 - names that are not UTF-8 stay str
    if not stat.S_ISREG(status.st_mode):
        return (status.st_dev, status.st_ino), None
    descriptor = open_to_read(path)
    try:
        status = os.fstat(descriptor)
        head = os.read(descriptor, HEAD_BYTES) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    return (status.st_dev, status.st_ino), format_of(head)
