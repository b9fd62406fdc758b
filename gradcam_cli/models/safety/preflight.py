"""Check a model file without Keras, and refuse content that a classifier does not need.

A saved model is a program: a config that names classes to import and functions to call, and weights that declare their
sizes. The checks use only zipfile, json and h5py. A file that passes is still loaded in the safe mode of Keras.
"""

import json
import shutil
import stat
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import h5py

from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.legacy.h5_weights import text
from gradcam_cli.models.recognise import kind_of
from gradcam_cli.models.safety.config import check_config
from gradcam_cli.models.safety.hdf5 import MAX_RATIO, SLACK_BYTES, Stored, Window, stored_tensors

# The largest networks of keras.applications have a config of two million bytes and a hundred thousand values.
MAX_CONFIG_BYTES = 32 * 2**20
MAX_CONFIG_VALUES = 2_000_000
MAX_MEMBERS = 1000
# A compressed member is unpacked in memory up to this size, and in a temporary file if it is larger.
MAX_UNPACKED = 64 * 2**20

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK"
ENCRYPTED = 0x1
# The fixed part of a local header. The last two numbers are the lengths of the name and the extra field after it.
LOCAL_HEADER: Final = struct.Struct("<26xHH")
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def check_model_file(path: Path, *, own: frozenset[str] = frozenset()) -> None:
    """Refuse a model file that is not what its name says, is damaged, or could run code.

    Raises:
        ModelError: the file is refused. The message has the file, the layer, and what to do instead.
    """
    kind = kind_of(path)
    if kind == "keras":
        _check_keras(path, own)
    elif kind == "hdf5":
        _check_h5(path, own)
    else:
        raise ModelError(f"{path}: this is not a complete model in one file.")


def check_parts(architecture: Path, weights: Path, *, own: frozenset[str] = frozenset()) -> None:
    """Refuse an architecture (JSON) and its weights by the same rules as a model file with both.

    Raises:
        ModelError: a file is refused. The message has the file, the layer, and what to do instead.
    """
    check_weights_file(weights)
    config = read_architecture(architecture)
    check_config(architecture, config, stored_weights(weights), str(config.get("keras_version", "")), own)


def stored_weights(path: Path) -> Stored:
    """List the tensors of a file of weights, or of a whole model.

    Raises:
        ModelError: the file is damaged, or refers to data outside itself.
    """
    if kind_of(path) != "keras":
        return _stored_in_h5(path)
    with _archive(path) as archive:
        return _check_archived_weights(path, archive)


def read_architecture(path: Path) -> dict[str, Any]:
    """Read the text of `model.to_json()`, or the config.json of a .keras file.

    Raises:
        ModelError: the file is too large, or is not JSON.
    """
    with path.open("rb") as file:
        data: Any = file.read(MAX_CONFIG_BYTES + 1)
    if data.lstrip().startswith(b'"'):
        # The text was written a second time by json.dump.
        data = json.loads(data)
    config = _parsed(path, data)
    config.pop("compile_config", None)  # the training configuration is never loaded
    return config


def check_weights_file(path: Path, *, own: frozenset[str] = frozenset()) -> None:
    """Refuse a file of weights (.h5, .weights.h5 or .keras) that is damaged, or refers to data outside itself.

    Raises:
        ModelError: the file is refused. The message says what is wrong.
    """
    del own
    if kind_of(path) != "keras":
        _stored_in_h5(path)
        return
    with _archive(path) as archive:
        _check_members(path, archive)
        _check_archived_weights(path, archive)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with _damage_told(path), zipfile.ZipFile(path) as archive:
        yield archive


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Report every error of the readers as a damaged file."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path}: the file is truncated or damaged ({first_line(error)}). Copy it again, or save the model again."
        ) from error


def _check_keras(path: Path, own: frozenset[str]) -> None:
    with _archive(path) as archive:
        _check_members(path, archive)
        version = _version(path, archive)
        config = _read_config(path, archive)
        stored = _check_archived_weights(path, archive)
    config.pop("compile_config", None)  # the training configuration is never loaded
    check_config(path, config, stored, version, own)


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ModelError(f"{path}: {len(members):,} members are more than a model can have. Refused.")
    name, times = Counter(member.filename for member in members).most_common(1)[0] if members else ("", 0)
    if times > 1:
        raise ModelError(f"{path}: the member {name!r} occurs {times} times. Refused.")
    for member in members:
        _check_member(path, member)
    claimed, size = sum(member.file_size for member in members), path.stat().st_size
    if claimed > MAX_RATIO * size + SLACK_BYTES:
        raise ModelError(f"{path}: its members declare {claimed:,} bytes, but the file has {size:,}. Refused.")


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise ModelError(f"{path}: the member {name!r} would be written outside the model. Refused.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelError(f"{path}: the member {name!r} is a symbolic link. Refused.")
    if member.flag_bits & ENCRYPTED:
        raise ModelError(f"{path}: the member {name!r} is encrypted; Keras cannot read it. Save the model again.")
    if member.file_size > MAX_RATIO * member.compress_size + SLACK_BYTES:
        raise ModelError(
            f"{path}: {name!r} declares {member.file_size:,} bytes but stores {member.compress_size:,}. Refused."
        )


def _version(path: Path, archive: zipfile.ZipFile) -> str:
    """The version of Keras that wrote the file; empty if the file does not have it."""
    if METADATA not in archive.namelist():
        return ""
    with archive.open(METADATA) as file:
        return str(_parsed(path, file.read(MAX_CONFIG_BYTES + 1)).get("keras_version", ""))


def _read_config(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    if CONFIG not in archive.namelist():
        raise ModelError(f"{path}: the file has no {CONFIG}, so it is not a Keras model.")
    with archive.open(CONFIG) as file:
        return _parsed(path, file.read(MAX_CONFIG_BYTES + 1))


def _parsed(path: Path, data: Any) -> dict[str, Any]:
    if not isinstance(data, (str, bytes)):
        raise ModelError(f"{path}: its config is not text.")
    text = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    if len(text) > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its config is larger than {MAX_CONFIG_BYTES:,} bytes. Refused.")
    # In memory, a value of two characters takes a hundred bytes.
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > MAX_CONFIG_VALUES:
        raise ModelError(f"{path}: its config holds more than {MAX_CONFIG_VALUES:,} values. Refused.")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its config is not JSON ({first_line(error)}). Save the model again.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: its config does not describe a model.")
    return config


def _check_archived_weights(path: Path, archive: zipfile.ZipFile) -> Stored:
    if WEIGHTS not in archive.namelist():
        raise ModelError(f"{path}: the file has no {WEIGHTS}. Other formats of weights are not supported.")
    size = archive.getinfo(WEIGHTS).file_size
    with _member(path, archive, WEIGHTS) as member:
        return stored_tensors(path, member, size)


@contextmanager
def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """Open a member for random access. To seek backwards in the file of `archive.open`, zipfile reads it again."""
    info = archive.getinfo(name)
    with archive.open(name) as member, ExitStack() as opened:
        if info.compress_type == zipfile.ZIP_STORED:
            file = opened.enter_context(path.open("rb"))
            yield cast("IO[bytes]", Window(file, _data_offset(file, info), info.file_size))
            return
        unpacked = opened.enter_context(tempfile.SpooledTemporaryFile(MAX_UNPACKED))
        shutil.copyfileobj(member, unpacked)
        unpacked.seek(0)
        yield cast("IO[bytes]", unpacked)


def _data_offset(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Give the offset of a member's data: after the local header, whose name and extra field vary in size."""
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER.size)
    name_length, extra_length = LOCAL_HEADER.unpack(header)
    return info.header_offset + LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _check_h5(path: Path, own: frozenset[str]) -> None:
    stored = _stored_in_h5(path)
    with _damage_told(path), h5py.File(path, "r") as file:
        config = _attribute(path, file, "model_config")
        version = text(_attribute(path, file, "keras_version") or "")
    if config is None:
        raise ModelError(
            f"{path}: the file has only weights. Use them with a named model (`model=NAME` "
            f"`weights={path.name}`), or save the whole model: model.save('model.keras')"
        )
    check_config(path, _parsed(path, config), stored, version, own)


def _stored_in_h5(path: Path) -> Stored:
    with _damage_told(path):
        return stored_tensors(path, path, path.stat().st_size)


def _attribute(path: Path, file: Any, name: str) -> Any:
    if name not in file.attrs:
        return None
    if file.attrs.get_id(name).get_storage_size() > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its {name} is larger than {MAX_CONFIG_BYTES:,} bytes. Refused.")
    return file.attrs[name]
