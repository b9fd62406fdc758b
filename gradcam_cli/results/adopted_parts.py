"""Part files of several folders in one: those of shards have names of their own, so that whole files are copied."""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gradcam_cli.results.output import link_or_copy
from gradcam_cli.results.part_index import PartEntry
from gradcam_cli.results.part_names import PartName
from gradcam_cli.results.parts import OpenPart, Parts


@dataclass(frozen=True)
class _Incoming:
    """A part of another folder, and those of its images that are wanted."""

    parts: Parts
    wanted: Sequence[PartEntry]
    is_whole: bool

    @property
    def places(self) -> set[str]:
        return {entry.place for entry in self.wanted}


def adopt_parts(into: Parts, others: Iterable[tuple[Parts, Collection[str]]]) -> None:
    """Copy part files of other folders: of each folder those images that are named.

    An image that is here already is removed first, so that none is there twice. Other images that are here stay; where
    they are in a part whose name is needed, that part gets a new name. A part that was copied before is not copied
    again.

    Raises:
        ImageError, OSError: a part is damaged, or cannot be written.
    """
    incoming = dict(_incoming(others))
    left = {name: each for name, each in incoming.items() if not _is_here(into, name, each)}
    if into.names:
        into.without({place for each in left.values() for place in each.places}, "")
        _rename(into, left)
    for name, each in left.items():
        if each.is_whole:
            for file in (name.index, str(name)):
                _copy(each.parts, into, file)
        elif each.wanted:
            each.parts.copy_entries(name, each.wanted, OpenPart(into.place, name, ""))
    into.forget()


def _incoming(others: Iterable[tuple[Parts, Collection[str]]]) -> Iterable[tuple[PartName, _Incoming]]:
    for parts, places in others:
        for name in parts.names:
            # This makes the index where it is missing.
            entries = list(parts.entries(name))
            wanted = [entry for entry in entries if entry.place in places]
            yield name, _Incoming(parts, wanted, is_whole=len(wanted) == len(entries))


def _is_here(into: Parts, name: PartName, each: _Incoming) -> bool:
    return each.is_whole and name in into.names and into.summary(name) == each.parts.summary(name)


def _rename(into: Parts, left: Mapping[PartName, _Incoming]) -> None:
    """Give new names to those parts that have other images, and whose names are needed."""
    into.forget()
    number = 1 + max((name.number for name in (*into.names, *left)), default=-1)
    for name in [name for name in into.names if name in left]:
        renamed = OpenPart(into.place, PartName("", number, name.packing), "")
        into.copy_entries(name, list(into.entries(name)), renamed)
        into.place.remove(str(name))
        into.place.remove(name.index)
        number += 1


def _copy(parts: Parts, into: Parts, file: str) -> None:
    temporary = into.place.temporary("")
    origin = parts.place.path_of(file)
    try:
        if origin is not None:
            link_or_copy(origin, temporary)
        else:
            with parts.place.open(file) as source, temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        into.place.publish(temporary, file)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
