"""Recognise a model file by its content: names are often wrong, and many files are models of other programs."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final, Literal

from gradcam_cli.errors import ModelError

Kind = Literal["keras", "hdf5", "plan", "architecture", "onnx", "openvino"]
SUFFIXES: Final[dict[Kind, str]] = {
    "keras": ".keras",
    "hdf5": ".h5",
    "plan": ".plan",
    "architecture": ".json",
    "onnx": ".onnx",
    "openvino": ".xml",
}

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
HEAD_BYTES = 4096
MAX_MEMBERS = 1000
MAX_JSON_BYTES = 64 * 2**20
CONFIG, WEIGHTS, PLAN = "config.json", "model.weights.h5", "plan.json"

SAVE = "model.save('model.keras')"
TF_KERAS = (
    "  With the TensorFlow that wrote it (or pip install tf_keras):\n"
    "    import tf_keras\n"
    "    tf_keras.models.load_model({path!r}).save('model.h5')\n"
    "  and then: `model=model.h5`"
)
NO_WAY_BACK = f"Its layers cannot be recovered. Use the original Keras model, saved with {SAVE}"
REBUILD = (
    "Build the same architecture in Keras, copy the weights layer by layer (a Conv2D kernel is transposed from"
    f" (out, in, h, w) to (h, w, in, out), a Dense kernel from (out, in) to (in, out)), and {SAVE}"
)
TORCH = (
    "a PyTorch file. Export the model to ONNX in the original program, with a batch of preprocessed images: "
    "torch.onnx.export(model.eval(), (images,), 'model.onnx')"
)
SAVED_MODEL_GRAPH = f"a TensorFlow SavedModel without Keras layers, as model.export() writes it. {NO_WAY_BACK}."


def kind_of(path: Path) -> Kind:
    """Recognise the kind of a model file or folder.

    Raises:
        ModelError: it cannot be loaded. The message says what it is and how to convert it.
    """
    if path.is_dir():
        return _folder_kind(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            tail = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: the file cannot be read: {error.strerror}.") from error
    if not head:
        raise ModelError(f"{path}: the file is empty.")
    if head.startswith(HDF5_MAGIC):
        return "hdf5"
    if head.startswith(b"PK"):
        return _zip_kind(path)
    if head.lstrip().startswith((b"{", b'"{', b"\xef\xbb\xbf{")):
        return _json_kind(path)
    if _is_onnx(path, head):
        return "onnx"
    if head.lstrip().startswith(b"<?xml") and b"<net " in head:
        return "openvino"
    raise ModelError(f"{path}: {_other(path, head, tail)}")


def _is_onnx(path: Path, head: bytes) -> bool:
    """Whether a protobuf message begins like an ONNX model: with its version and the name of the producer."""
    named = path.suffix.lower() == ".onnx" and not head.lstrip().startswith((b"<", b"version https://git-lfs"))
    return named or (head[:1] == b"\x08" and (b"onnx" in head[:256] or b"pytorch" in head[:64]))


def _folder_kind(path: Path) -> Kind:
    names = {entry.name for entry in path.iterdir()}
    if {CONFIG, WEIGHTS} <= names:
        return "architecture"
    if not names:
        raise ModelError(f"{path}: the folder is empty.")
    if "saved_model.pb" in names or "saved_model.pbtxt" in names:
        if "keras_metadata.pb" in names:
            raise ModelError(
                f"{path}: this folder is a Keras 2 model in the SavedModel format.\n{TF_KERAS.format(path=str(path))}"
            )
        raise ModelError(f"{path}: {SAVED_MODEL_GRAPH}")
    inside = sorted(name for name in names if _is_model(path / name))
    if "model.json" in names and any(name.endswith(".bin") for name in names):
        raise ModelError(f"{path}: {_tfjs(path / 'model.json')}")
    if inside:
        listed = ", ".join(str(path / name) for name in inside[:6])
        raise ModelError(f"{path}: this is a folder. Give the model in it: {listed}")
    if any(name.endswith(".index") for name in names) or "checkpoint" in names:
        raise ModelError(f"{path}: this folder has a TensorFlow checkpoint: {_checkpoint()}")
    raise ModelError(f"{path}: this is a folder without a model. Give a model file.")


def _is_model(path: Path) -> bool:
    try:
        return path.is_file() and kind_of(path) in SUFFIXES
    except ModelError:
        return False


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ModelError(
            f"{path}: the file is truncated or damaged ({error}). Copy it again, or save the model again."
        ) from error
    if PLAN in names:
        return "plan"
    if CONFIG in names or WEIGHTS in names or len(names) > MAX_MEMBERS:
        return "keras"
    if any(name.endswith("data.pkl") for name in names):
        raise ModelError(f"{path}: {TORCH}.")
    inside = [name for name in names if name.lower().endswith((".h5", ".hdf5", ".keras", "saved_model.pb"))]
    if inside:
        raise ModelError(f"{path}: this is a zip archive. Unpack it and give the model in it: {inside[0]}")
    if names and all(name.endswith(".npy") for name in names):
        raise ModelError(f"{path}: this file has only arrays of weights (.npz), without an architecture. {REBUILD}.")
    # The preflight reads the file carefully and reports what is wrong with it.
    return "keras"


def _json_kind(path: Path) -> Kind:
    content = read_json(path)
    if isinstance(content, str):
        # The text of to_json was written a second time by json.dump.
        content = _parsed(path, content)
    if isinstance(content, dict):
        if "modelTopology" in content or "weightsManifest" in content:
            raise ModelError(f"{path}: {_tfjs(path)}")
        if isinstance(content.get("class_name"), str) and "config" in content:
            return "architecture"
    raise ModelError(f"{path}: this JSON file is not the architecture of a Keras model. model.to_json() writes one.")


def read_json(path: Path) -> Any:
    """Parse a JSON file of moderate size.

    Raises:
        ModelError: the file is too large or is not JSON.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{path}: a JSON file of more than {MAX_JSON_BYTES:,} bytes. Refused.")
    return _parsed(path, path.read_bytes().decode("utf-8-sig", "replace"))


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: this is not valid JSON ({error}). Save the model again.") from error


def _tfjs(path: Path) -> str:
    return (
        "a model of TensorFlow.js. Convert a layers model back:\n"
        "    pip install tensorflowjs\n"
        "    tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras"
        f" {path} model.h5\n"
        "  and then: `model=model.h5`. A graph model has no layers: use the original model."
    )


def _checkpoint() -> str:
    return (
        "weights without an architecture. In the original program:\n"
        f"    model.load_weights('NAME')   # without .index or .data-...\n    {SAVE}"
    )


# Files of other programs, by their first bytes.
BEGINNINGS: Final = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the model itself. Run: git lfs pull"),
    (b"\x1f\x8b", "compressed by gzip. Unpack it first: tar xzf, or gunzip"),
    (b"BZh", "compressed by bzip2. Unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive. Unpack it first"),
    (b"Rar!", "a RAR archive. Unpack it first"),
    (b"\xfd7zXZ", "compressed by xz. Unpack it first"),
    (b"\x93NUMPY", f"a NumPy array without an architecture. {REBUILD}"),
    (b"model_checkpoint_path", f"the index of a TensorFlow checkpoint: {_checkpoint()}"),
)
UNKNOWN = f"the kind of this file is unknown: it is not HDF5, a zip archive, JSON or ONNX. Save the model with {SAVE}"
LEVELDB_TAIL = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"


PICKLE_VERSIONS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _other(path: Path, head: bytes, tail: bytes) -> str:
    """Describe a file that is not a Keras model, and what to do."""
    name = path.name.lower()
    start = head.lstrip()[:64].lower()
    torch = name.endswith((".pt", ".pth", ".ckpt", ".bin"))
    known = [
        *((head.startswith(beginning), told) for beginning, told in BEGINNINGS),
        (
            start.startswith((b"<!doctype", b"<html", b"<?xml")),
            "a web page, not a model: the download went wrong. Download the file again",
        ),
        (head[4:8] == b"TFL3", f"a TensorFlow Lite model. {NO_WAY_BACK}."),
        (head.startswith(PICKLE_VERSIONS) and torch, f"{TORCH}."),
        (
            head.startswith(PICKLE_VERSIONS) or name.endswith((".pkl", ".pickle", ".joblib")),
            f"a pickle, which can run code and is therefore never read. In the original program: {SAVE}",
        ),
        (
            tail == LEVELDB_TAIL or re.search(r"\.data-\d+-of-\d+$", name) is not None,
            f"part of a TensorFlow checkpoint: {_checkpoint()}",
        ),
        (
            name == "saved_model.pb",
            f"the graph of a SavedModel. Give its folder to read how to convert it: `model={path.parent}`",
        ),
        (name.endswith((".pb", ".pbtxt")), f"a frozen TensorFlow graph. {NO_WAY_BACK}."),
    ]
    return next((told for is_it, told in known if is_it), UNKNOWN)
