"""Small JPEGs of the photographs of a run; where a photograph is not found, of its overlay."""

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradcam_cli.atomic import atomically
from gradcam_cli.cores import available_cores
from gradcam_cli.errors import ImageError
from gradcam_cli.imaging.geometry import Size, resize
from gradcam_cli.imaging.opencv import quiet_single_thread
from gradcam_cli.inputs.decoding import Needed, decode, encode_jpeg, file_size, read_file
from gradcam_cli.inputs.discovery import STDIN, from_text
from gradcam_cli.inputs.walk import THUMBNAIL_SUFFIX
from gradcam_cli.report.entries import Entry
from gradcam_cli.settings import Limits, SampleRange

# About the width of a picture in the grid. Photographs of 500 pixels, as in ImageNet, are decoded at half their size.
LONGEST_SIDE: Final = 240
QUALITY: Final = 80


@dataclass(frozen=True)
class Thumbnail:
    """The picture of one image: a path below the output folder or a data URI, and where its photograph is.

    `photo` is None where the photograph was not found; then `source` shows the overlay, or is None as well.
    """

    source: str | None
    photo: str | None


@dataclass(frozen=True)
class Photographs:
    """Where the photographs of a run may be, by its `run.json`."""

    folders: tuple[str, ...]
    files: Mapping[str, str]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "Photographs":
        """Read the places of the inputs from `run.json`; paths are relative to the current folder."""
        given = run.get("inputs") or {}
        paths = [path for path in given.get("paths") or [] if isinstance(path, str) and path != STDIN]
        folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112 - names that are not UTF-8 stay str
        # Paths of a list are mirrored as they were written, relative to the folder or to the root of the machine.
        listed = [os.curdir, os.sep] if given.get("list") else []
        files = {os.path.basename(path): path for path in paths if path not in folders}  # noqa: PTH119 - as above
        return cls((*folders, *listed), files)

    def find(self, entry: Entry) -> str | None:
        """Find the photograph of an image: a file at its path, of the size that the sidecar says."""
        image = entry.record["input"]
        name = from_text(image["path"], escaped="path_b64" in image)
        if not name or ".." in name.split("/") or os.path.isabs(name):  # noqa: PTH117 - as above
            return None
        places = [os.path.join(folder, name) for folder in self.folders]  # noqa: PTH118 - as above
        if name in self.files:
            places.insert(0, self.files[name])
        return next((place for place in places if image.get("bytes") and file_size(place) == image["bytes"]), None)


@dataclass(frozen=True)
class ThumbnailMaker:
    """Makes the thumbnails of a run: in a folder below the output folder, or embedded as data URIs."""

    root: Path
    folder: str
    photographs: Photographs
    sample_range: SampleRange | None = None
    embedded: bool = False

    def make_all(self, entries: Sequence[Entry]) -> list[Thumbnail]:
        """Make the thumbnails of all images, in the order of the entries; those that are there already stay."""
        if not self.embedded:
            (self.root / self.folder).mkdir(exist_ok=True)
        with quiet_single_thread(), ThreadPoolExecutor(available_cores()) as threads:
            return list(threads.map(self.make, entries))

    def make(self, entry: Entry) -> Thumbnail:
        """Make the thumbnail of one image."""
        photo = self.photographs.find(entry)
        if photo is not None and (source := self._from(photo, entry, self.sample_range)):
            return Thumbnail(source, photo)
        for overlay in self._overlays(entry):
            if source := self._from(overlay, entry, None):
                return Thumbnail(source, None)
        return Thumbnail(None, None)

    def _overlays(self, entry: Entry) -> Iterator[str]:
        for found in entry.classes:
            if found.overlay is not None:
                yield os.path.join(self.root, found.overlay)  # noqa: PTH118 - names that are not UTF-8 stay str

    def _from(self, path: str, entry: Entry, sample_range: SampleRange | None) -> str | None:
        """Make a thumbnail of one file; None where it cannot be read."""
        if self.embedded:
            data = thumbnail_of(path, sample_range)
            return None if data is None else data_address(data)
        kind = "photo" if path not in self._overlays(entry) else "overlay"
        name = f"{self.folder}/{_hashed((entry.relative, entry.record['input'].get('sha256'), kind))}{THUMBNAIL_SUFFIX}"
        if (self.root / name).is_file():
            return name
        data = thumbnail_of(path, sample_range)
        if data is None:
            return None
        with atomically(self.root / name) as temporary:
            temporary.write_bytes(data)
        return name


def _hashed(parts: Iterable[str | None]) -> str:
    """Name a thumbnail by what it shows, so that it is made again when that changes."""
    text = "\0".join(part or "" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def data_address(jpeg: bytes) -> str:
    """Write a JPEG as an address that has the picture in it, for a page that stands alone."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def thumbnail_of(path: str, sample_range: SampleRange | None) -> bytes | None:
    """Make a JPEG, of at most `LONGEST_SIDE` pixels a side, of a picture file; None where it cannot be decoded."""
    limits = Limits()
    try:
        photo = decode(read_file(path, limits), limits, Needed(LONGEST_SIDE, 1, 1), sample_range)
        factor = min(1.0, LONGEST_SIDE / max(photo.size.width, photo.size.height))
        size = Size(max(1, round(photo.size.width * factor)), max(1, round(photo.size.height * factor)))
        return encode_jpeg(resize(photo.pixels, size), QUALITY)
    except ImageError:
        return None
