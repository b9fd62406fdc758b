"""What `--model` asks for, checked as far as it can be without importing Keras."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.labels import Labels, read_labels
from gradcam_cli.models.named import NamedModel, find_named
from gradcam_cli.models.weights import ensure_weights
from gradcam_cli.settings import ModelSettings

FILE_SUFFIXES = (".keras", ".h5", ".hdf5")
WEIGHTS_SUFFIXES = (".weights.h5", ".h5", ".keras")


@dataclass(frozen=True)
class ModelRequest:
    """A model that is there: `named` with its `weights` (None: in a package, or not needed), or a whole `file`."""

    settings: ModelSettings
    named: NamedModel | None
    file: Path | None
    weights: Path | None
    labels: Labels | None


def locate_model(
    settings: ModelSettings, show: Callable[[str, int], Any], *, need_weights: bool = True
) -> ModelRequest:
    """Find the files a model is made of, downloading ImageNet weights where they are wanted and missing.

    Args:
        settings: the model's part of the options.
        show: progress of a download, see `ensure_weights`.
        need_weights: False where only the network's shape matters.

    Raises:
        ModelError: there is no such model, file of weights or labels, or the weights cannot be had.
    """
    labels = read_labels(settings.labels) if settings.labels else None
    if _is_file(settings.model):
        if settings.weights:
            raise ModelError("--weights goes with a named model; a model file brings its own.")
        return ModelRequest(settings, None, _model_file(settings.model), None, labels)
    named = find_named(settings.model)
    if settings.weights:
        return ModelRequest(settings, named, None, _weights_file(settings.weights), labels)
    wanted = need_weights and named.weights is not None
    return ModelRequest(settings, named, None, ensure_weights(named, show) if wanted else None, labels)


def _is_file(model: str) -> bool:
    return Path(model).suffix.lower() in FILE_SUFFIXES or os.sep in model or Path(model).exists()


def _model_file(model: str) -> Path:
    path = Path(model)
    if not path.exists():
        raise ModelError(f"{path}: there is no such model file.")
    if not path.is_file():
        raise ModelError(f"{path}: not a regular file. Save the model as one: model.save('model.keras')")
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise ModelError(f"{path}: a model file is one of {', '.join(FILE_SUFFIXES)}.")
    return path


def _weights_file(path: Path) -> Path:
    if not path.name.lower().endswith(WEIGHTS_SUFFIXES):
        raise ModelError(f"{path}: weights are read from {', '.join(WEIGHTS_SUFFIXES)} files.")
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file of weights.")
    return path
