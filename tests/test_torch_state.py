"""Reading a PyTorch state dict: strides, bounds, and nothing executable."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcam_cli.models.torch_state import MAGIC, PROTOCOL, read_state


class Persistent:
    """Stands for a storage while a file is written."""

    def __init__(self, *pid: Any) -> None:
        self.pid = pid


class Global:
    """Pickles as a call of any name at all."""

    def __init__(self, name: str, *args: Any) -> None:
        self.name, self.args = name, args


_Pickler: Any = vars(pickle)["_Pickler"]


class Writer(_Pickler):  # type: ignore[misc]
    """Writes names of modules that are not installed, as torch.save would."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Persistent):
            kind, dtype, key, count = obj.pid
            return (kind, Global(f"torch {dtype}"), key, "cpu", count, None)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            module, name = obj.name.split()
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
            if obj.args:
                self.save(obj.args)
                self.write(pickle.REDUCE)
            return
        super().save(obj, save_persistent_id)


def file_of(views: dict[str, Any], storages: dict[str, Any]) -> io.BytesIO:
    buffer = io.BytesIO()
    for value in (MAGIC, PROTOCOL, {"little_endian": True}, views, list(storages)):
        Writer(buffer, protocol=2).dump(value)
    for array in storages.values():
        buffer.write(struct.pack("<q", array.size) + array.tobytes())
    buffer.seek(0)
    return buffer


def view(
    key: str, count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: str = "Float"
) -> Any:
    storage = Persistent("storage", f"{kind}Storage", key, count)
    return Global("torch._utils _rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def test_strides_and_offsets_are_honoured() -> None:
    values = np.arange(12, dtype=np.float32)
    state = read_state(
        file_of(
            {
                "plain": view("7", 12, 0, (3, 4), (4, 1)),
                "transposed": view("7", 12, 0, (4, 3), (1, 4)),
                "slice": view("7", 12, 5, (2, 2), (4, 1)),
                "count": view("8", 1, 0, (), (), "Long"),
            },
            {"7": values, "8": np.array([3], np.int64)},
        )
    )
    grid = values.reshape(3, 4)
    assert np.array_equal(state["plain"], grid)
    assert np.array_equal(state["transposed"], grid.T)
    assert np.array_equal(state["slice"], grid[1:, 1:3])
    assert state["count"] == 3


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(0, (4, 4), (4, 1)), (9, (2, 2), (4, 1)), (-1, (2,), (1,)), (3, (2,), (-1,))]
)
def test_a_view_cannot_reach_outside_its_storage(offset: int, shape: Any, strides: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="exceeds its storage"):
        read_state(file_of({"x": view("7", 12, offset, shape, strides)}, {"7": np.zeros(12, np.float32)}))


@pytest.mark.parametrize(
    "name", ["os system", "builtins exec", "torch load", "numpy load", "torch._utils _rebuild_tensor"]
)
def test_nothing_else_has_a_place(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    hostile = {"x": Global(name, f"touch {victim}")}
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        read_state(file_of(hostile, {}))
    assert not victim.exists()


def test_a_pickle_that_calls_at_once_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'victim'}",)

    with pytest.raises(pickle.UnpicklingError):
        read_state(io.BytesIO(pickle.dumps(Attack())))
    assert not (tmp_path / "victim").exists()


def test_a_file_that_ends_too_early() -> None:
    whole = file_of({"x": view("7", 4, 0, (4,), (1,))}, {"7": np.zeros(4, np.float32)}).getvalue()
    with pytest.raises(pickle.UnpicklingError, match="too early"):
        read_state(io.BytesIO(whole[:-1]))
    with pytest.raises(pickle.UnpicklingError, match="old format"):
        read_state(io.BytesIO(pickle.dumps(3)))
