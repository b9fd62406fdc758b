"""Look through the tensors of an HDF5 file by their headers: no value is read.

HDF5 can point to other files, claim sizes that are not stored, and ask its reader for buffers of any size. Such files
are refused.
"""

import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import h5py

from gradcam_cli.errors import ModelError

# A tensor may claim this many times the bytes that are stored for it, and this much more.
MAX_RATIO = 100
SLACK_BYTES = 16 * 2**20
MAX_OBJECTS = 100_000
# HDF5 reads whole chunks. A chunk may be this many times as large as its tensor, and SLACK_BYTES more.
MAX_CHUNK_RATIO = 4
# The most that one compressed byte can become.
MAX_DEFLATE_RATIO = 1032
FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})


@dataclass(frozen=True)
class Stored:
    """The shapes of all tensors that a file stores."""

    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def largest(self) -> int:
        """The largest single dimension of a tensor."""
        return max((side for shape in self.shapes for side in shape), default=1)

    @cached_property
    def largest_tensor(self) -> int:
        """The number of values in the largest tensor."""
        return max((math.prod(shape) for shape in self.shapes), default=0)

    @cached_property
    def total(self) -> int:
        """The number of values in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes)


class Window(io.RawIOBase):
    """A part of an open file as a file of its own. Seeking costs nothing, unlike in a member of a zip archive."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        """Show `size` bytes of `file` from `start` on."""
        super().__init__()
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        """Give True: this is what a window is for."""
        return True

    def seekable(self) -> bool:
        """Give True: HDF5 needs it."""
        return True

    def tell(self) -> int:
        """Give the position inside the window."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move inside the window."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the window goes."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(view), self._size - self._at)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def stored_tensors(path: Path, file: Path | IO[bytes], size: int) -> Stored:
    """Walk an HDF5 file of `size` bytes by its links; `path` is named in errors.

    Raises:
        ModelError: a link or a tensor leads out of the file, or claims far more than the file stores.
    """
    shapes, declared = [], 0
    with h5py.File(file, "r") as root:
        for dataset in _datasets(path, root):
            declared += _check_dataset(path, dataset, size)
            shapes.append(tuple(dataset.shape or ()))
    if declared > MAX_RATIO * size + SLACK_BYTES:
        raise ModelError(f"{path}: its weights declare {declared:,} bytes, but the file has {size:,}. Refused.")
    return Stored(tuple(shapes))


def _datasets(path: Path, root: Any) -> Iterator[Any]:
    """All datasets, each once: a hostile file may link a group into itself."""
    waiting, seen = [root], {_address(root)}
    while waiting:
        group = waiting.pop()
        for name in group.id:
            if group.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                text = name.decode(errors="replace")
                raise ModelError(f"{path}: {group.name}/{text} is a link to another object or file. Refused.")
            item = _item(h5py.h5o.open(group.id, name))
            address = _address(item)
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise ModelError(f"{path}: more than {MAX_OBJECTS:,} groups and tensors. Refused.")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item


def _item(identifier: Any) -> Any:
    """Wrap an open object. `group[name]` does the same, and looks the name up three times."""
    if isinstance(identifier, h5py.h5g.GroupID):
        return h5py.Group(identifier)
    return h5py.Dataset(identifier) if isinstance(identifier, h5py.h5d.DatasetID) else h5py.Datatype(identifier)


def _address(item: Any) -> Any:
    return h5py.h5o.get_info(item.id).addr


def _check_dataset(path: Path, dataset: Any, size: int) -> int:
    """Give the bytes that a tensor takes in memory; what its header says is stored cannot be more than the file."""
    if dataset.external or dataset.is_virtual:
        raise ModelError(f"{path}: {dataset.name} keeps its values in another file. Refused.")
    declared = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), size)
    if declared > MAX_RATIO * stored + SLACK_BYTES:
        raise ModelError(f"{path}: {dataset.name} declares {declared:,} bytes but stores {stored:,}. Refused.")
    if dataset.chunks is not None:
        _check_chunks(path, dataset, declared)
    return int(declared)


def _check_chunks(path: Path, dataset: Any, declared: int) -> None:
    """Refuse chunks that need a far larger buffer than the tensor: HDF5 reads each chunk as a whole."""
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    limit = MAX_CHUNK_RATIO * declared + SLACK_BYTES
    if chunk > limit:
        raise ModelError(
            f"{path}: {dataset.name} has {declared:,} bytes, but each of its chunks declares {chunk:,}. Refused. If "
            "you made the model, load it with Keras and save it again."
        )
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if unknown := set(filters) - FILTERS:
        raise ModelError(
            f"{path}: {dataset.name} has a compression that Keras does not use (HDF5 filter "
            f"{min(unknown)}). If you made the model, load it with Keras and save it again."
        )
    if h5py.h5z.FILTER_DEFLATE in filters:
        _check_compressed(path, dataset, max(chunk, 1))


def _check_compressed(path: Path, dataset: Any, chunk: int) -> None:
    """Refuse compressed chunks that become larger than a chunk is: HDF5 enlarges its buffer until all is unpacked."""
    for number in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(number)
        if info.size * MAX_DEFLATE_RATIO <= chunk + SLACK_BYTES:
            continue
        _, data = dataset.id.read_direct_chunk(info.chunk_offset)
        # A chunk may have been stored as it was where it did not become smaller.
        unpacker = zlib.decompressobj()
        try:
            unpacked = len(unpacker.decompress(data, chunk + SLACK_BYTES))
        except zlib.error:
            continue
        if unpacked >= chunk + SLACK_BYTES:
            raise ModelError(
                f"{path}: {dataset.name} has a chunk that is larger when decompressed than {chunk:,} bytes. Refused."
            )
