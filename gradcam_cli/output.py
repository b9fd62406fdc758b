"""Files that appear whole or not at all: overlays and maps first, the sidecar last, as the mark of a finished image."""

import errno
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.atomic import atomically, temporary_beside
from gradcam_cli.discovery import OVERLAY_SUFFIX, RUN_RECORD, Source
from gradcam_cli.errors import EnvironmentStop, ImageError, Reason, UsageError
from gradcam_cli.sidecar import Record, is_foreign, to_json

_STOPS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class Names:
    """Where one image's files go, by target class: `cat.png.overlay.jpg`, or `cat.png.281.overlay.jpg` if many."""

    source: Source
    several: bool

    def overlay(self, index: int) -> str:
        """Name of the overlay of one class, relative to the sidecar."""
        return f"{self._stem(index)}{OVERLAY_SUFFIX}"

    def map(self, index: int) -> str:
        """Name of the raw map of one class, relative to the sidecar."""
        return f"{self._stem(index)}.map.npy"

    @property
    def sidecar(self) -> str:
        """Name of the sidecar."""
        return f"{self._name}.json"

    @property
    def _name(self) -> str:
        return self.source.relative.rsplit("/", 1)[-1]

    def _stem(self, index: int) -> str:
        return f"{self._name}.{index}" if self.several else self._name


class OutputFolder:
    """The folder a run writes to; the only place that creates files."""

    def __init__(self, root: Path) -> None:
        """Name the folder; nothing is created before `prepare`."""
        self.root = root
        self._real_root = ""

    def prepare(self) -> None:
        """Create the folder and prove that it can be written, before a model is loaded.

        Raises:
            UsageError: it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._real_root = os.path.realpath(self.root)
            probe = temporary_beside(self.root / RUN_RECORD)
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise UsageError(f"{self.root}: the output folder cannot be written: {error.strerror}.") from error

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write one image's overlays and maps, then its sidecar.

        Raises:
            ImageError: this image's names cannot be written, or a file that is not ours stands in the way.
            EnvironmentStop: nothing can be written any more.
        """
        folder = self._folder_of(names.source)
        self._refuse_foreign(folder / names.sidecar)
        for name, data in files.items():
            _replace(folder / name, data)
        _replace(folder / names.sidecar, to_json(record).encode("ascii"))

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Write the run's own record at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
        self.write(RUN_RECORD, to_json(record).encode("ascii"))

    def write(self, name: str, data: bytes) -> None:
        """Write one file at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
        try:
            _replace(self.root / name, data)
        except ImageError as error:
            raise EnvironmentStop(f"{self.root / name}: {error}") from error

    def _folder_of(self, source: Source) -> Path:
        folder = (self.root / source.relative).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _translated(error, folder) from error
        real = os.path.realpath(folder)
        if os.path.commonpath([real, self._real_root]) != self._real_root:
            raise ImageError(Reason.OUTPUT_NOT_OURS, f"{folder} leads out of the output folder by a symbolic link")
        return folder

    def _refuse_foreign(self, sidecar: Path) -> None:
        """Leave other people's JSON alone; a broken file of that name is a sidecar to be written anew."""
        try:
            data = sidecar.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _translated(error, sidecar) from error
        if is_foreign(data):
            raise ImageError(
                Reason.OUTPUT_NOT_OURS,
                f"{sidecar.name} is there already and is not a sidecar of this program",
            )


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Give an array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _replace(path: Path, data: bytes) -> None:
    try:
        with atomically(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise _translated(error, path) from error


def _translated(error: OSError, path: Path) -> ImageError | EnvironmentStop:
    if error.errno == errno.ENAMETOOLONG:
        return ImageError(Reason.NAME_TOO_LONG, "the names of its outputs are longer than the file system allows")
    if error.errno in _STOPS:
        return EnvironmentStop(f"{path}: {error.strerror}. What was finished stays valid.")
    return EnvironmentStop(f"{path}: cannot be written: {error.strerror}.")
