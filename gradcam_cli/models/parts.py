"""The files of a model: one file, or an architecture (JSON) and its weights in the same folder."""

import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradcam_cli.errors import ModelError
from gradcam_cli.models.recognise import CONFIG, WEIGHTS, Kind, kind_of

# Words in file names that name the part, not the model.
PART_WORDS = r"weights?|models?|config|architecture|arch|structure|json"
# The largest number of files that are read if the names do not decide.
MAX_TRIED = 8
CONFIG_ATTRIBUTE = b"model_config"


@dataclass(frozen=True)
class Parts:
    """The file of a model or of its `weights`; `architecture` is a JSON file if the architecture is a separate file."""

    weights: Path
    kind: Kind
    architecture: Path | None = None
    note: str | None = None


def parts_of(path: Path, weights: Path | None) -> Parts:
    """Find the files that belong to a model file or folder.

    Raises:
        ModelError: it is not a model, or one of its files is missing.
    """
    kind = kind_of(path)
    if kind == "architecture":
        architecture = path / CONFIG if path.is_dir() else path
        if weights is None and path.is_dir():
            return Parts(path / WEIGHTS, "architecture", architecture)
        found, note = (weights, None) if weights else _weights_beside(path)
        if kind_of(found) not in {"hdf5", "keras"}:
            raise ModelError(f"{found}: this is not a weights file (.h5, .weights.h5 or .keras).")
        return Parts(found, "architecture", architecture, note)
    if kind == "openvino":
        return Parts(_binary_of(path, weights), kind, path)
    if weights:
        raise ModelError(
            "`weights` is for a named model or an architecture (JSON), but this model file contains its weights."
        )
    if kind == "hdf5" and not _has_config(path):
        return _with_architecture_beside(path)
    return Parts(path, kind)


def _binary_of(path: Path, weights: Path | None) -> Path:
    """Find the weights of a network in the OpenVINO format: the file of the same name with the suffix .bin."""
    found = weights or path.with_suffix(".bin")
    if not found.is_file():
        raise ModelError(f"{path}: its weights, {found.name}, are not in the same folder. Copy both files.")
    return found


def _has_config(path: Path) -> bool:
    """Whether an HDF5 file has the attribute of a whole model. HDF5 is not parsed; the bytes are searched."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(CONFIG_ATTRIBUTE) >= 0


def _with_architecture_beside(path: Path) -> Parts:
    found = [other for other in _neighbours(path) if other.suffix.lower() == ".json" and _is(other, {"architecture"})]
    chosen = _own_of(found, path, lambda architecture: _fits(architecture, path))
    if chosen:
        note = f"the file has only weights; the architecture is {chosen.name} in the same folder"
        return Parts(path, "architecture", chosen, note)
    if found:
        raise ModelError(
            f"{path}: the file has only weights. Give their architecture with `model=JSON` `weights=FILE`; found: "
            f"{_listed(found)}"
        )
    raise ModelError(
        f"{path}: the file has only weights. Give the architecture, which model.to_json() writes: "
        f"`model=model.json` `weights={path}` (a model.json in the same folder is found automatically). For "
        f"a named model: `model=NAME` `weights={path}`. Or save the whole model: model.save('model.keras')"
    )


def _weights_beside(path: Path) -> tuple[Path, str]:
    """Find the weights of an architecture. A file that contains a whole model is ignored: it may be another model."""
    files = [other for other in _neighbours(path) if _is(other, {"hdf5"})]
    whole = [other for other in files if _has_config(other)]
    found = [other for other in files if other not in whole]
    chosen = _own_of(found, path, lambda weights: _fits(path, weights))
    models = f" Complete models in the same folder: {_listed(whole)}" if whole else ""
    if chosen:
        return chosen, f"the file has only the architecture; its weights are {chosen.name} in the same folder.{models}"
    if found:
        raise ModelError(
            f"{path}: the file has only the architecture. Give its weights with `weights=FILE`; found: "
            f"{_listed(found)}.{models}"
        )
    raise ModelError(
        f"{path}: the file has only the architecture, without weights. Give its weights: "
        f"`weights=FILE.weights.h5`.{models}"
    )


def _own_of(found: list[Path], path: Path, fits: Callable[[Path], bool]) -> Path | None:
    """Choose among the files of the same name, or else all: the only one, or the only one that fits; else None."""
    alike = [other for other in found if _stem(other) == _stem(path)] or found
    if len(alike) > 1:
        alike = [other for other in alike[:MAX_TRIED] if fits(other)]
    return alike[0] if len(alike) == 1 else None


def _fits(architecture: Path, weights: Path) -> bool:
    from gradcam_cli.models.safety.preflight_subprocess import check_in_subprocess

    try:
        check_in_subprocess("fit", weights, architecture=architecture)
    except ModelError:
        return False
    return True


def _listed(paths: list[Path]) -> str:
    return ", ".join(str(each) for each in paths)


def _neighbours(path: Path) -> list[Path]:
    return sorted(other for other in path.parent.iterdir() if other != path and other.is_file())


def _is(path: Path, kinds: set[str]) -> bool:
    try:
        return kind_of(path) in kinds
    except ModelError:
        return False


def _stem(path: Path) -> str:
    """The name without its suffixes and without the words that name the part."""
    name = path.name.lower()
    name = re.sub(r"\.(h5|hdf5|hdf|he5|json|weights)$", "", name)
    words = re.split(r"[._\- ]+", re.sub(PART_WORDS, " ", name))
    return " ".join(word for word in words if word)
