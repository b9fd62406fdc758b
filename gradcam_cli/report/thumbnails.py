"""Small JPEGs of the images of a run, or of the overlay if an image is not found."""

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.cores import available_cores
from gradcam_cli.errors import ImageError
from gradcam_cli.imaging.figure import plan_figure
from gradcam_cli.imaging.geometry import Size, resize
from gradcam_cli.imaging.opencv import quiet_single_thread
from gradcam_cli.inputs.decoding import decode, encode_jpeg
from gradcam_cli.inputs.discovery import from_text
from gradcam_cli.inputs.files import file_size
from gradcam_cli.inputs.image_header import inspect
from gradcam_cli.inputs.photo import Needed
from gradcam_cli.inputs.reading import read_source
from gradcam_cli.inputs.sources import STDIN, Source
from gradcam_cli.inputs.walk import THUMBNAIL_SUFFIX
from gradcam_cli.report.entries import Entry, Window
from gradcam_cli.results.packed_reading import RunFiles
from gradcam_cli.results.stored_inputs import StoredInputs, opened
from gradcam_cli.results.tree import Tree
from gradcam_cli.runs.preparing import shown_size
from gradcam_cli.settings import Limits, OverlaySettings, SampleRange
from gradcam_cli.urls import is_url

# About the width of an image in the grid. Images of 500 pixels, as in ImageNet, are decoded at half their size.
LONGEST_SIDE: Final = 240
QUALITY: Final = 80
LEAST_SHRINKING: Final = 0.75

# A function that reads one file of the run, or one image, within limits.
Read = Callable[[Limits], bytes]


@dataclass(frozen=True)
class Thumbnail:
    """The thumbnail of one image: a path below the output folder or a data URI, and the path of the original image.

    `photo` is None if the original image was not found; then `source` shows the overlay, or is None too. `panel` is the
    position of the overlay in a figure, as shares of the figure's sides.
    """

    source: str | None
    photo: str | None
    panel: Window | None = None


@dataclass(frozen=True)
class Candidate:
    """A file for a thumbnail, and a key of its contents: files with the same `content` are equal.

    `photo` is the path of an original image; None for an overlay.
    """

    read: Read
    content: str
    photo: str | None
    panel: Window | None = None


@dataclass(frozen=True)
class Photographs:
    """The places of the original images of a run, from its `run.json`: on this machine or in object stores."""

    folders: tuple[str, ...]
    files: Mapping[str, str]
    stored: tuple[StoredInputs, ...] = ()

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "Photographs":
        """Read the places of the inputs from `run.json`; paths are relative to the current folder.

        Raises:
            StorageError: a store fails in all retries. If it refuses access, its images are not found.
        """
        given = run.get("inputs") or {}
        named = [path for path in given.get("paths") or [] if isinstance(path, str) and path != STDIN]
        stored, _ = opened(named)
        paths = [path for path in named if not is_url(path)]
        folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112 - names that are not UTF-8 stay str
        # Paths of a list are kept as they were written, relative to the folder or to the root of the file system.
        listed = [os.curdir, os.sep] if given.get("list") else []
        files = {os.path.basename(path): path for path in paths if path not in folders}  # noqa: PTH119 - as above
        return cls((*folders, *listed), files, tuple(stored))

    def find(self, entry: Entry) -> Source | None:
        """Find the original image: a file at its path, with the size in the sidecar."""
        image = entry.record["input"]
        name = from_text(image["path"], escaped="path_b64" in image)
        if not name or ".." in name.split("/") or os.path.isabs(name):  # noqa: PTH117 - as above
            return None
        places = [os.path.join(folder, name) for folder in self.folders]  # noqa: PTH118 - as above
        if name in self.files:
            places.insert(0, self.files[name])
        size = image.get("bytes")
        found = next((place for place in places if size and file_size(place) == size), None)
        if found is not None:
            return Source(name, found)
        objects = (each.find(name) for each in self.stored)
        same = (found for found in objects if found and found.listed and size and found.listed.size == size)
        return next((Source(name, found.url, stored=found) for found in same), None)


@dataclass(frozen=True)
class ThumbnailMaker:
    """Makes the thumbnails of a run: in a folder below the output folder, or embedded as data URIs.

    `files` reads overlays. `style` is the overlay settings of the run, which give the position of the overlay in a
    figure.
    """

    tree: Tree
    folder: str
    photographs: Photographs
    files: RunFiles
    sample_range: SampleRange | None = None
    embedded: bool = False
    style: OverlaySettings = field(default_factory=OverlaySettings)

    def make_all(self, entries: Sequence[Entry]) -> list[Thumbnail]:
        """Make the thumbnails of all images, in the order of the entries; existing thumbnails are kept.

        Files with the same hash in their sidecars share one thumbnail.
        """
        found = [Thumbnail(None, None)] * len(entries)
        left = {i: self._candidates(entry) for i, entry in enumerate(entries)}
        at_once = max(available_cores(), self.tree.calls_at_once)
        with quiet_single_thread(), ThreadPoolExecutor(at_once) as threads:
            while firsts := {i: first for i, rest in left.items() if (first := next(rest, None))}:
                unique = {first.content: first for first in firsts.values()}
                made = dict(zip(unique, threads.map(self._make, unique.values()), strict=True))
                for i, first in firsts.items():
                    if source := made[first.content]:
                        found[i] = Thumbnail(source, first.photo, first.panel)
                left = {i: left[i] for i, first in firsts.items() if made[first.content] is None}
        return found

    def _candidates(self, entry: Entry) -> Iterator[Candidate]:
        """Give the original image, if it is found, then its overlays."""
        hashes = {file["name"]: file["sha256"] for file in entry.record["files"]}
        photo = self.photographs.find(entry)
        if photo is not None:
            content = entry.record["input"].get("sha256") or f"at {entry.relative}"
            yield Candidate(partial(read_source, photo), f"photo {content} {self.sample_range}", photo.path)
        for found in entry.classes:
            if found.overlay is not None:
                read = partial(self.files.read, found.overlay)
                content = hashes.get(found.record["overlay"]) or f"at {found.overlay}"
                panel = self._panel(read, entry)
                yield Candidate(read, f"overlay {content} {panel}", None, panel)

    def _panel(self, read: Read, entry: Entry) -> Window | None:
        """Give the position of the overlay in a figure; None if the file is not a figure in the run's style."""
        plan = plan_figure(shown_size(entry.size, self.style.max_side), self.style) if entry.size else None
        if plan is None or size_of(read) != plan.size:
            return None
        (width, height), box = (plan.size.width, plan.size.height), plan.overlay
        return box.left / width, box.top / height, box.right / width, box.bottom / height

    def _make(self, candidate: Candidate) -> str | None:
        """Make a thumbnail of one file; None if it cannot be read."""
        sample_range = self.sample_range if candidate.photo else None
        if self.embedded:
            data = thumbnail_of(candidate.read, sample_range, candidate.panel)
            return None if data is None else data_address(data)
        name = f"{self.folder}/{_hashed(candidate.content)}{THUMBNAIL_SUFFIX}"
        if self.tree.size(name) is not None:
            return name
        data = thumbnail_of(candidate.read, sample_range, candidate.panel)
        if data is None:
            return None
        self.tree.write(name, data)
        return name


def _hashed(content: str) -> str:
    """Name a thumbnail by a hash of its content and size, so that it is made again when they change."""
    return hashlib.sha256(f"{LONGEST_SIDE} {content}".encode("utf-8", "surrogateescape")).hexdigest()[:24]


def size_of(read: Read) -> Size | None:
    """Read the size of an image file from its header; None if it cannot be read."""
    limits = Limits()
    try:
        return inspect(read(limits), limits).header.size
    except ImageError:
        return None


def data_address(jpeg: bytes) -> str:
    """Encode a JPEG as a data URI, for a self-contained page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def thumbnail_of(read: Read, sample_range: SampleRange | None, panel: Window | None = None) -> bytes | None:
    """Make a small JPEG of an image file, or of its part `panel`; None if it cannot be decoded.

    Its longest side has `LONGEST_SIDE` pixels. If 1/2, 1/4 or 1/8 of the image has at most a third more pixels, that
    size is used: another resize would add half of the time of decoding.
    """
    limits = Limits()
    left, top, right, bottom = panel or (0.0, 0.0, 1.0, 1.0)
    longest = round(LONGEST_SIDE / min(right - left, bottom - top))
    try:
        photo = decode(read(limits), limits, Needed(longest, 1, 1), sample_range)
    except ImageError:
        return None
    pixels = photo.pixels if panel is None else _part(photo.pixels, panel)
    height, width = pixels.shape[:2]
    factor = min(1.0, LONGEST_SIDE / max(width, height))
    if factor < LEAST_SHRINKING:
        pixels = resize(pixels, Size(max(1, round(width * factor)), max(1, round(height * factor))))
    return encode_jpeg(np.ascontiguousarray(pixels), QUALITY)


def _part(pixels: NDArray[np.uint8], panel: Window) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    left, top, right, bottom = panel
    return pixels[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
