"""Copy part files of several folders into one folder.

The names of part files contain their shard, so the files of different shards can be copied whole.
"""

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
    """A part of another folder, and the entries of its images that are copied."""

    parts: Parts
    wanted: Sequence[PartEntry]
    is_whole: bool

    @property
    def places(self) -> set[str]:
        return {entry.place for entry in self.wanted}


def adopt_parts(into: Parts, others: Iterable[tuple[Parts, Collection[str]]]) -> None:
    """Copy the named images of other folders, as part files.

    If `into` already contains one of these images, that image is removed first, so no image exists twice. All other
    images of `into` are kept; if a part that contains them has the name of a copied part, it is renamed. A part that
    an earlier call has copied is not copied again.

    Args:
        into: the parts of the folder to copy to.
        others: the parts of each other folder, with the places of the images to copy.

    Raises:
        ImageError, OSError: a part is damaged or cannot be written.
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
            # If the index is missing, this call makes it.
            entries = list(parts.entries(name))
            wanted = [entry for entry in entries if entry.place in places]
            yield name, _Incoming(parts, wanted, is_whole=len(wanted) == len(entries))


def _is_here(into: Parts, name: PartName, each: _Incoming) -> bool:
    return each.is_whole and name in into.names and into.summary(name) == each.parts.summary(name)


def _rename(into: Parts, left: Mapping[PartName, _Incoming]) -> None:
    """Rename the parts of `into` that have the name of a part in `left`; they contain other images."""
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
