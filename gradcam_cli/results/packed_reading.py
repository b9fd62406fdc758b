"""Read the sidecars and overlays of a run from part files or from single files."""

import heapq
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.walk import OVERLAY_SUFFIX
from gradcam_cli.results.output import SIDECAR_SUFFIX
from gradcam_cli.results.part_index import PartEntry
from gradcam_cli.results.part_names import PartName, parts_among
from gradcam_cli.results.part_place import PartPlace
from gradcam_cli.results.parts import Parts
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.tree import Tree
from gradcam_cli.settings import Limits

_NUMBER: Final = re.compile(r"\.\d+\Z")

Listed = tuple[str, PartName, PartEntry]


def packed_records(place: PartPlace, root: str) -> Iterator[tuple[str, Record]]:
    """Read the sidecars of all part files at the top of a folder, sorted by the name of each as a single file.

    Only parts whose ranges of paths overlap are read at the same time, so memory does not grow with their number.

    Args:
        place: the folder.
        root: the name of the folder, for messages.

    Raises:
        UsageError: a part is damaged.
    """
    with closing(Parts(place)) as parts:
        try:
            for group in _overlapping([_listed(parts, name) for name in parts.names]):
                for path, name, entry in heapq.merge(*(_sorted(parts, each) for each in group)):
                    yield path, parts.sidecar(name, entry)
                # These parts are not read again, and an open table takes half a megabyte.
                parts.close()
        except ImageError as error:
            raise UsageError(f"{as_text(root)}: {error}. Explain its images again, or remove the file.") from error


def _sorted(parts: Parts, name: PartName) -> Iterator[Listed]:
    found = [(f"{entry.place}{SIDECAR_SUFFIX}", entry) for entry in parts.entries(name)]
    for path, entry in sorted(found, key=lambda pair: pair[0]):
        yield path, name, entry


def _listed(parts: Parts, name: PartName) -> tuple[str, str, PartName]:
    """Give the first and the last path of a part."""
    paths = [f"{entry.place}{SIDECAR_SUFFIX}" for entry in parts.entries(name)]
    return min(paths, default=""), max(paths, default=""), name


def _overlapping(ranges: Sequence[tuple[str, str, PartName]]) -> Iterator[list[PartName]]:
    """Group parts whose ranges overlap, in order."""
    group: list[PartName] = []
    end = ""
    for first, last, name in sorted(ranges):
        if group and first > end:
            yield group
            group = []
        group.append(name)
        end = max(end, last) if len(group) > 1 else last
    if group:
        yield group


class RunFiles:
    """Reads the files of a run by their relative names, also if they are in part files."""

    def __init__(self, tree: Tree) -> None:
        """Check whether there are part files."""
        self._tree = tree
        self.is_packed = bool(parts_among(tree.top_names()))
        self._parts = Parts(tree.parts())

    def close(self) -> None:
        """Close the part files."""
        self._parts.close()

    def read(self, name: str, limits: Limits) -> bytes:
        """Read an overlay or any other file.

        Raises:
            ImageError: the file cannot be read.
        """
        if self.is_packed and name.endswith(OVERLAY_SUFFIX):
            image = name.removesuffix(OVERLAY_SUFFIX)
            # If there are several classes, the index of the class is before the suffix.
            for place in (image, _NUMBER.sub("", image)):
                found = self._parts.find(place)
                if found:
                    return self._parts.file(*found, name.rsplit("/", 1)[-1])
        return self._tree.read(name, limits)
