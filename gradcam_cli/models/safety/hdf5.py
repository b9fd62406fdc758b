"""Check the tensors of an HDF5 file by their headers. Their values are not read.

HDF5 files can refer to other files, declare sizes that are not stored, and make the reader allocate buffers of any
size. Such files are refused.
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

# A tensor may declare at most this many times its stored bytes, plus SLACK_BYTES.
MAX_RATIO = 100
SLACK_BYTES = 16 * 2**20
MAX_OBJECTS = 100_000
# HDF5 reads whole chunks. A chunk may have at most this many times the bytes of its tensor, plus SLACK_BYTES.
MAX_CHUNK_RATIO = 4
# The largest number of bytes that one compressed byte can give.
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
    """A part of an open file as a separate file. Unlike in a member of a zip archive, seeking reads nothing."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        """Give access to `size` bytes of `file` from `start` on."""
        super().__init__()
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True; HDF5 needs it."""
        return True

    def tell(self) -> int:
        """Give the position inside the window."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position inside the window, and give it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer up to the end of the window, and give the number of bytes."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(view), self._size - self._at)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def stored_tensors(path: Path, file: Path | IO[bytes], size: int) -> Stored:
    """Walk an HDF5 file of `size` bytes by its links; `path` is the name in messages.

    Raises:
        ModelError: a link or a tensor refers to data outside the file, or declares far more than the file stores.
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
    """Give all datasets, each once. In a hostile file, a group may contain a link to itself."""
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
    """Wrap an open object. `group[name]` does the same, but looks up the name three times."""
    if isinstance(identifier, h5py.h5g.GroupID):
        return h5py.Group(identifier)
    return h5py.Dataset(identifier) if isinstance(identifier, h5py.h5d.DatasetID) else h5py.Datatype(identifier)


def _address(item: Any) -> Any:
    return h5py.h5o.get_info(item.id).addr


def _check_dataset(path: Path, dataset: Any, size: int) -> int:
    """Give the bytes of a tensor in memory. Its stored bytes are counted as at most those of the file."""
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
    """Refuse chunks that need a far larger buffer than the tensor, because HDF5 reads each chunk as a whole."""
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
    """Refuse compressed chunks that unpack to more than their size, because HDF5 enlarges its buffer without limit."""
    for number in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(number)
        if info.size * MAX_DEFLATE_RATIO <= chunk + SLACK_BYTES:
            continue
        _, data = dataset.id.read_direct_chunk(info.chunk_offset)
        # A chunk may be stored uncompressed if compression does not make it smaller.
        unpacker = zlib.decompressobj()
        try:
            unpacked = len(unpacker.decompress(data, chunk + SLACK_BYTES))
        except zlib.error:
            continue
        if unpacked >= chunk + SLACK_BYTES:
            raise ModelError(
                f"{path}: {dataset.name} has a chunk that is larger when decompressed than {chunk:,} bytes. Refused."
            )
