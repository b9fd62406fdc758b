"""Read a PyTorch state dict in the old format (before zip files) without torch. No code of the file is run.

The file has five pickles (magic number, protocol, a dict of sizes, the state dict, the storages' keys). Then it has
for each key an 8-byte count and as many little-endian values. The state dict has no values. It describes each tensor
as a view: its storage, offset, shape and strides.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _View:
    return _View(storage, offset, tuple(shape), tuple(strides))


class _NothingExecutable(pickle.Unpickler):
    """Accepts three names, and replaces each by code of this module. No other callable of the file is used."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        return _Storage(dtype, key, count)


def read_state(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dict by name.

    Returns:
        Arrays with the shapes and dtypes of the file. Transposed views keep the shape that they had in PyTorch.

    Raises:
        pickle.UnpicklingError: the file is not a state dict, it names something other than tensors, or a view goes
            beyond its storage.
    """
    if _load(file) != MAGIC or _load(file) != PROTOCOL:
        raise pickle.UnpicklingError("not a PyTorch file in the old format")
    _load(file)
    views: dict[str, _View] = _load(file)
    keys: list[str] = _load(file)
    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    storages = dict(_storages(file, keys, dtypes))
    return {name: _tensor(view, storages[view.storage.key]) for name, view in views.items()}


def _load(file: BinaryIO) -> Any:
    return _NothingExecutable(file).load()


def _storages(file: BinaryIO, keys: list[str], dtypes: dict[str, str]) -> Iterator[tuple[str, NDArray[Any]]]:
    for key in keys:
        (count,) = struct.unpack("<q", _exactly(file.read, 8))
        dtype = np.dtype(dtypes[key])
        yield key, np.frombuffer(_exactly(file.read, count * dtype.itemsize), dtype)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) != size:
        raise pickle.UnpicklingError("the file ends too early")
    return data


def _tensor(view: _View, storage: NDArray[Any]) -> NDArray[Any]:
    """Make an array of a view of its storage. Many tensors are transposed, so they are not assumed to be contiguous."""
    reach = sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True))
    negative = view.offset < 0 or any(stride < 0 for stride in view.strides)
    if negative or (0 not in view.shape and view.offset + reach >= storage.size):
        raise pickle.UnpicklingError("a tensor exceeds its storage")
    strides = tuple(stride * storage.itemsize for stride in view.strides)
    return np.array(as_strided(storage[view.offset :], view.shape, strides))
