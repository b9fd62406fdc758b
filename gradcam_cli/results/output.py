"""Atomic output files: overlays and maps are written first, the sidecar last, so it marks a finished image."""

import errno
import io
import os
import re
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.atomic import PREFIX, TEMPORARY, TEMPORARY_SUFFIX, atomically, temporary_beside, write_new
from gradcam_cli.errors import STAYS, EnvironmentStop, ImageError, Reason, UsageError
from gradcam_cli.inputs.files import read_file
from gradcam_cli.inputs.shards import RUN_RECORD, Shard, is_run_record
from gradcam_cli.inputs.sources import Source
from gradcam_cli.inputs.walk import MAP_SUFFIX, OVERLAY_SUFFIX
from gradcam_cli.results.folder_lock import LOCK_SUFFIX, FolderLock
from gradcam_cli.results.ownership import are_rows, belongs_to, is_ours
from gradcam_cli.results.sidecar import Record, files_of, to_json
from gradcam_cli.settings import Limits
from gradcam_cli.system import ignores_case, is_too_long, refused_name

SIDECAR_SUFFIX = ".json"
# A sidecar with a thousand classes has about 400 kB.
SIDECAR_LIMITS = Limits(max_file_bytes=64 * 2**20)
_STOPS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EPERM}
# The lock file of a shard; a killed shard leaves it behind.
_LOCK = re.compile(rf"\.gradcam-\d+-of-\d+{re.escape(LOCK_SUFFIX)}")
NOT_ALLOWED = "the file system does not allow the names of its output files"
TOO_LONG = "the names of its output files are longer than the file system allows"


@dataclass(frozen=True)
class Names:
    """The names of one image's files: `cat.png.overlay.jpg`, or `cat.png.281.overlay.jpg` for several classes."""

    source: Source
    several: bool

    def overlay(self, index: int) -> str:
        """Give the name of the overlay of one class, relative to the sidecar."""
        return f"{self._stem(index)}{OVERLAY_SUFFIX}"

    def map(self, index: int) -> str:
        """Give the name of the raw map of one class, relative to the sidecar."""
        return f"{self._stem(index)}{MAP_SUFFIX}"

    @property
    def sidecar(self) -> str:
        """The name of the sidecar."""
        return f"{self._name}{SIDECAR_SUFFIX}"

    @property
    def _name(self) -> str:
        return self.source.relative.rsplit("/", 1)[-1]

    def _stem(self, index: int) -> str:
        return f"{self._name}.{index}" if self.several else self._name


class OutputFolder:
    """The folder that a run writes to; only this class creates files there. One run, or several shards, lock it."""

    def __init__(self, root: Path, shard: Shard | None = None) -> None:
        """Store the folder and the shard that writes to it; nothing is created before `prepare`."""
        self.root = root
        self.shard = shard
        self.run_record = shard.run_record if shard else RUN_RECORD
        self._owner = shard.name if shard else ""
        self._lock = FolderLock(root, shard)
        # Set by `prepare`: whether `A.jpg` and `a.jpg` are the same file, as usual on macOS and Windows.
        self.ignores_case = False
        self._real_root = ""
        self._identity: tuple[int, int] | None = None
        self._made: set[Path] = set()
        self._making = threading.Lock()

    def prepare(self, record: str | None = None, rows: str | None = None) -> None:
        """Create the folder, lock it, and check that it can be written, before a model is loaded.

        Args:
            record: the JSON file that will be written at the top; None for the record of the run or of the shard.
            rows: the JSON Lines file that will be written at the top, if there is one.

        Raises:
            UsageError: the folder cannot be written, another run uses it, or one of these files is not of this program.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._real_root = os.path.realpath(self.root)
            self._lock.take()
            found = self.root.stat()
            self._identity = (found.st_dev, found.st_ino)
            self._sweep(self.root)
            self._made.add(self.root)
            probe = temporary_beside(self.root / RUN_RECORD, self._owner)
            probe.touch(exist_ok=False)
            self.ignores_case = ignores_case(probe)
            probe.unlink()
        except OSError as error:
            raise UsageError(f"{self.root}: the output folder cannot be written: {error.strerror}.") from error
        try:
            _refuse_foreign(self.root / (record or self.run_record), is_ours)
            if rows is not None:
                _refuse_foreign(self.root / rows, are_rows)
        except ImageError as error:
            raise UsageError(f"{self.root}: {error}. Choose another folder.") from error

    @contextmanager
    def held(self, record: str | None = None, rows: str | None = None) -> Iterator["OutputFolder"]:
        """Prepare the folder, and release it when the block ends; arguments and errors are those of `prepare`."""
        try:
            self.prepare(record, rows)
            yield self
        finally:
            self.release()

    def refuse_same_names(self, sources: Iterable[Source]) -> None:
        """Refuse inputs whose outputs would replace each other, because the folder does not distinguish case.

        Raises:
            UsageError: there are two such inputs; the message names them.
        """
        if not self.ignores_case:
            return
        seen: dict[str, Source] = {}
        for source in sources:
            other = seen.setdefault(unicodedata.normalize("NFC", source.relative).casefold(), source)
            if other.relative != source.relative:
                raise UsageError(
                    f"{other.path} and {source.path} would replace each other in {self.root}, because its file "
                    "system ignores upper and lower case. "
                    "Rename one of them, or choose a folder on another file system."
                )

    def check_identity(self) -> None:
        """Check that the folder is the same one as at the start of the run.

        Raises:
            EnvironmentStop: the folder was removed, renamed, replaced or unmounted.
        """
        try:
            found = self.root.stat()
        except OSError as error:
            raise EnvironmentStop(
                f"{self.root}: the output folder no longer exists: {error.strerror}. {STAYS}"
            ) from error
        if self._identity not in {None, (found.st_dev, found.st_ino)}:
            raise EnvironmentStop(f"{self.root}: the output folder was replaced by another folder. {STAYS}")

    def release(self) -> None:
        """Release the lock of the folder; the end of the process releases it too."""
        self._lock.release()

    @property
    def has_run_record(self) -> bool:
        """Whether an earlier run of all images, or of this shard, has written its record here."""
        return (self.root / self.run_record).is_file()

    def sidecar_path(self, source: Source) -> Path:
        """Give the path of a source's sidecar."""
        return (self.root / source.relative).with_name(Names(source, several=False).sidecar)

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write one image's overlays and maps, then its sidecar; its files from an earlier run are removed.

        Raises:
            ImageError: a name of this image cannot be written, or a file of another program has this name.
            EnvironmentStop: nothing can be written any more.
        """
        folder = self._cleared(names, files)
        for name, data in files.items():
            self._replace(folder / name, data)
        self._replace(folder / names.sidecar, to_json(record).encode("ascii"))

    def link_image(self, names: Names, files: Mapping[str, Path], sidecar: Path) -> None:
        """Link the files of one image from another folder, then its sidecar; copy them if links are not possible.

        Raises:
            ImageError, EnvironmentStop: as for `write_image`.
        """
        folder = self._cleared(names, files)
        for name, path in files.items():
            self._link(folder / name, path)
        self._link(folder / names.sidecar, sidecar)

    def _cleared(self, names: Names, files: Iterable[str]) -> Path:
        """Remove the sidecar and the old files of one image, and give the folder of its sidecar."""
        folder = self._folder_of(names.source)
        sidecar = folder / names.sidecar
        # The old sidecar may name any file: only files with names that this program writes are removed.
        image = sidecar.name.removesuffix(SIDECAR_SUFFIX)
        before = {name for name in files_of(_refuse_foreign(sidecar, is_ours)) if belongs_to(name, image)}
        # The sidecar is removed first, so that no overlay is ever next to the sidecar of another run.
        _remove(sidecar)
        for name in before - set(files):
            _remove(folder / name)
        return folder

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Write the run's own record at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
        self.write(self.run_record, to_json(record).encode("ascii"))

    def write(self, name: str, data: bytes) -> None:
        """Write one file at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
        self.check_identity()
        try:
            self._replace(self.root / name, data)
        except ImageError as error:
            raise EnvironmentStop(f"{self.root / name}: {error}") from error

    @contextmanager
    def rows(self, name: str) -> Iterator[TextIO]:
        """Open a JSON Lines file at the top. It gets its name when the block ends, even if the block ends early.

        Raises:
            EnvironmentStop: the file cannot be written.
        """
        temporary = temporary_beside(self.root / name)
        try:
            file = temporary.open("x", encoding="ascii", newline="\n")
        except OSError as error:
            raise EnvironmentStop(f"{self.root / name}: the file cannot be written: {error.strerror}.") from error
        try:
            with file:
                yield file
        finally:
            self._keep(temporary, name)

    def _keep(self, temporary: Path, name: str) -> None:
        self.check_identity()
        try:
            temporary.replace(self.root / name)
        except OSError as error:
            raise EnvironmentStop(f"{self.root / name}: the file cannot be written: {error.strerror}.") from error

    def _folder_of(self, source: Source) -> Path:
        self.check_identity()
        refused = refused_name(source.relative)
        if refused:
            raise ImageError(Reason.NAME_REFUSED, refused)
        folder = (self.root / source.relative).parent
        if folder == self.root:
            # `check_identity` has already checked this folder.
            return folder
        try:
            self._make(folder)
        except OSError as error:
            raise translated(error, folder) from error
        real = os.path.realpath(folder)
        if os.path.commonpath([real, self._real_root]) != self._real_root:
            raise ImageError(
                Reason.OUTPUT_NOT_OURS, "its folder is a symbolic link that points outside the output folder"
            )
        with self._making:
            if folder not in self._made:
                self._sweep(folder)
                self._made.add(folder)
        return folder

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            with atomically(path, self._owner) as temporary:
                write_new(temporary, data)
        except OSError as error:
            raise translated(error, path) from error

    def _link(self, path: Path, origin: Path) -> None:
        try:
            with atomically(path, self._owner) as temporary:
                link_or_copy(origin, temporary)
            # A rename does nothing if both names are already links to the same file.
            temporary.unlink(missing_ok=True)
        except OSError as error:
            raise translated(error, path) from error

    def _sweep(self, folder: Path) -> None:
        """Remove the temporary files of killed runs, and the lock files of killed shards.

        A shard removes only its own temporary files, because other shards write at the same time.
        """
        with suppress(OSError):
            for path in folder.glob(f"{PREFIX}*"):
                temporary = TEMPORARY.fullmatch(path.name)
                if self.shard:
                    left = temporary is not None and temporary[1] == self._owner
                else:
                    left = temporary is not None or _LOCK.fullmatch(path.name) is not None
                if left:
                    path.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Make a folder below the root, but never the root: if the root was removed, the run must stop."""
        for parent in reversed([folder, *folder.parents]):
            if parent == self.root or parent in self._made or self.root not in parent.parents:
                continue
            parent.mkdir(exist_ok=True)


def is_sidecar_name(place: str) -> bool:
    """Whether the file at this place may be a sidecar, by its name alone."""
    name = place.rsplit("/", 1)[-1]
    # A sidecar is named after its image, whose name usually has a suffix: `cat.png.json`.
    is_named = name.endswith(SIDECAR_SUFFIX) and "." in name.removesuffix(SIDECAR_SUFFIX)
    return is_named and not is_run_record(name)


def is_left_behind(name: str) -> bool:
    """Whether a file of this name is a temporary or lock file, of a killed run or of a run in progress."""
    return name.startswith(PREFIX) and name.endswith((TEMPORARY_SUFFIX, LOCK_SUFFIX))


def link_or_copy(origin: Path, path: Path) -> None:
    """Link a file to a second name; copy it if a hard link is not possible, for example between file systems.

    Hard links need no disk space. They are safe, because this program never changes a file in place.
    """
    try:
        path.hardlink_to(origin)
    except OSError:
        shutil.copyfile(origin, path)


def _refuse_foreign(path: Path, ours: Callable[[bytes], bool]) -> bytes:
    """Give the bytes of a file of this program, or no bytes if the file does not exist; refuse every other file.

    Raises:
        ImageError: the content does not prove that this program wrote the file, so it is not replaced.
    """
    try:
        data = read_file(os.fspath(path), SIDECAR_LIMITS)
    except ImageError as error:
        if error.reason in {Reason.VANISHED, Reason.EMPTY}:
            return b""
        if error.reason is Reason.NAME_TOO_LONG:
            raise ImageError(error.reason, TOO_LONG) from error
        raise ImageError(Reason.OUTPUT_NOT_OURS, f"{path.name} already exists, and {error}") from error
    if not ours(data):
        raise ImageError(Reason.OUTPUT_NOT_OURS, f"{path.name} already exists, and this program did not write it")
    return data


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Encode an array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise translated(error, path) from error


def translated(error: OSError, path: Path) -> ImageError | EnvironmentStop:
    """Convert an error of the file system: to an error of this image alone, or to a stop of the whole run."""
    if error.errno == errno.ENAMETOOLONG or (error.errno == errno.ENOENT and is_too_long(path)):
        return ImageError(Reason.NAME_TOO_LONG, TOO_LONG)
    # Windows raises this for a name that it does not allow, and Linux does so on a file system of Windows.
    if error.errno == errno.EINVAL:
        return ImageError(Reason.NAME_REFUSED, NOT_ALLOWED)
    if error.errno in _IN_THE_WAY:
        return ImageError(Reason.OUTPUT_NOT_OURS, f"{path.name} cannot be written because another object has this name")
    if error.errno in _STOPS:
        return EnvironmentStop(f"{path}: {error.strerror}. {STAYS}")
    return EnvironmentStop(f"{path}: the file cannot be written: {error.strerror}.")


class StreamSink:
    """Writes the only overlay of a run to a binary stream, such as stdout."""

    def __init__(self, stream: BinaryIO) -> None:
        """Store the stream; nothing is written yet."""
        self._stream = stream

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write the overlay; a failed image has no overlay."""
        del names, record
        for data in files.values():
            self._stream.write(data)
        self._stream.flush()
