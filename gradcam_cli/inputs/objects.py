"""Walk a prefix of an object store by the rules of a folder: every object is an input or is counted as left out.

Objects come in the order of the listing. Only the folders of the current object are kept in memory.
"""

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gradcam_cli.errors import Reason, StorageError, UsageError
from gradcam_cli.inputs.formats import HEAD_BYTES, format_of, is_picture
from gradcam_cli.inputs.left_out import LeftOut, Why
from gradcam_cli.inputs.other_files import Others
from gradcam_cli.inputs.tar_inputs import is_tar_name
from gradcam_cli.inputs.walk import (
    Rules,
    has_suffix,
    is_hidden,
    may_be_picture,
    says_picture,
    why_not,
)
from gradcam_cli.storage import Store, Stored, Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import shown

# The number of objects whose first bytes are read at the same time, because each read waits for the network.
LOOKS: Final = 16


class MetObject(NamedTuple):
    """An object that is an input; `relative` is its place below the prefix."""

    relative: str
    stored: Stored


def find_objects(
    url: str, stores: Stores, rules: Rules, left_out: LeftOut, output: str | None, tars: list[MetObject]
) -> Iterator[MetObject]:
    """Give the object of a URL, or the inputs below its prefix. Objects below `output` are left out.

    A `*` in the last part of a URL matches any characters except a slash, unless an object has exactly this name. After
    the last input, `tars` contains the tars that are inputs: the one that the URL names, those that match a pattern,
    and those below a prefix without images.

    Raises:
        UsageError: there is no such object or prefix, or the store refuses access.
        StorageError: the store does not answer.
    """
    store = stores.of(url)
    try:
        found = None if url.endswith("/") or "/" not in url.split("://", 1)[1] else _object(store, url)
        if found is not None:
            yield from _named(MetObject(url.rsplit("/", 1)[-1], found), tars)
            return
        if is_pattern(url):
            matched = list(matching(store, url))
            if not matched:
                raise UsageError(f"{shown(url)}: there is no object with this name.")
            for met in matched:
                yield from _named(met, tars)
            return
        walked = _Walk(store, rules, left_out, output)
        count = 0
        for met in walked.run(url):
            count += 1
            yield met
        if count:
            for tar in walked.tars:
                left_out.add_file(Why.OTHER, tar.stored.url)
        else:
            tars.extend(walked.tars)
    except StorageError as error:
        raise refusal(error) from None
    if not walked.met:
        raise UsageError(f"{shown(url)}: there is no such object, and no object below this name.")


def _named(met: MetObject, tars: list[MetObject]) -> Iterator[MetObject]:
    """Give a named object. A tar is added to `tars` instead."""
    if is_tar_name(met.relative):
        tars.append(met)
    else:
        yield met


def is_pattern(url: str) -> bool:
    """Whether the last part of a URL is a pattern of names."""
    return "*" in url.rsplit("/", 1)[-1]


def matching(store: Store, url: str) -> Iterator[MetObject]:
    """Give the objects directly below a prefix whose names match a pattern. They count as named one by one."""
    prefix, _, pattern = url.rpartition("/")
    expression = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    for relative, stored in store.list(prefix):
        if "/" not in relative and expression.fullmatch(relative):
            yield MetObject(relative, stored)


def _object(store: Store, url: str) -> Stored | None:
    try:
        return Stored(store, url, store.stat(url))
    except StorageError as error:
        if error.reason is Reason.VANISHED:
            return None
        raise


@dataclass
class _Folder:
    """A folder that is open: its prefix with a `/`, its other files, and why it is left out as a whole."""

    prefix: str
    others: Others
    why: Why | None = None


@dataclass
class _Walk:
    store: Store
    rules: Rules
    left_out: LeftOut
    output: str | None
    met: int = 0
    open: list[_Folder] = field(default_factory=list)
    tars: list[MetObject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open.append(_Folder("", Others(self.left_out)))

    def run(self, url: str) -> Iterator[MetObject]:
        """Give the inputs.

        If a name does not show whether the object is an image, the object is given later, after its first bytes were
        read.
        """
        looks: deque[tuple[MetObject, Future[str | None]]] = deque()
        with ThreadPoolExecutor(LOOKS) as pool:
            for relative, stored in self.store.list(url):
                self.met += 1
                name = relative.rsplit("/", 1)[-1]
                folder = self._folder(relative.removesuffix(name), stored.url.removesuffix(relative))
                why = folder.why or why_not(self.rules, folder.prefix, name)
                if is_tar_name(name) and why in {None, Why.NOT_INCLUDED}:
                    # Patterns of `include` apply to the photographs in the tar.
                    self.tars.append(MetObject(relative, stored))
                elif why is not None:
                    # If a folder is left out, only the folder is counted, and not its files.
                    if folder.why is None:
                        self.left_out.add_file(why, stored.url)
                elif has_suffix(name, self.rules.suffixes):
                    folder.others.taken(name)
                    yield MetObject(relative, stored)
                elif may_be_picture(name):
                    looks.append((MetObject(relative, stored), pool.submit(_format, stored)))
                    if len(looks) > 2 * LOOKS:
                        yield from self._looked(*looks.popleft())
                else:
                    folder.others.add(name, stored.url)
            for look in looks:
                yield from self._looked(*look)
        while self.open:
            self.open.pop().others.close()

    def _folder(self, prefix: str, root: str) -> _Folder:
        """Open the folders of an object, and close those of the previous object."""
        while not prefix.startswith(self.open[-1].prefix):
            self.open.pop().others.close()
        while self.open[-1].prefix != prefix:
            above = self.open[-1]
            inner = prefix[: prefix.index("/", len(above.prefix)) + 1]
            why = above.why
            if why is None:
                why = self._why_not(inner, root)
                if why is not None:
                    self.left_out.add_folder(why, f"{root}{inner}"[:-1])
            self.open.append(_Folder(inner, Others(self.left_out), why))
        return self.open[-1]

    def _why_not(self, prefix: str, root: str) -> Why | None:
        if not self.rules.hidden and is_hidden(prefix[:-1].rsplit("/", 1)[-1]):
            return Why.HIDDEN
        if self.rules.excluded and self.rules.excluded(prefix):
            return Why.EXCLUDED
        if self.output is not None and f"{root}{prefix}".rstrip("/") == self.output:
            return Why.OUTPUT
        return None if self.rules.recursive else Why.NOT_RECURSIVE

    def _looked(self, met: MetObject, look: "Future[str | None]") -> Iterator[MetObject]:
        try:
            format_name = look.result()
        except StorageError as error:
            if says_picture(met.relative.rsplit("/", 1)[-1]):
                # The record of the object says why it cannot be read.
                yield met
                return
            if error.is_transient:
                raise
            format_name = None
        if format_name in self.rules.formats:
            yield met
            return
        self.left_out.add_file(Why.OTHER, met.stored.url, format_name)
        if format_name is not None and is_picture(format_name):
            self.left_out.pictures[format_name] += 1


def _format(stored: Stored) -> str | None:
    """Name the format of an object by its first bytes. Only these are read."""
    if not stored.stat().size:
        return None
    return format_of(stored.store.read(stored.url, 0, HEAD_BYTES))
