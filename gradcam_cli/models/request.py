"""The model that the `model` setting names, checked as far as possible without importing Keras."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.inputs.other_inputs import GivenInput, read_inputs
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.labels.files import beside, folder_labels, named_after, read_labels
from gradcam_cli.models.custom_objects import CustomObjects, read_custom_objects
from gradcam_cli.models.named import NAMED_MODELS, NamedModel, find_named
from gradcam_cli.models.parts import Parts, parts_of
from gradcam_cli.models.recognise import SUFFIXES, kind_of
from gradcam_cli.models.safety.held_file import HashedFile, hash_file, held
from gradcam_cli.models.weights import ensure_weights
from gradcam_cli.settings import ModelSettings
from gradcam_cli.urls import Url, refuse_url

FILE_SUFFIXES = (".keras", ".h5", ".hdf5", ".onnx", ".xml")
PLAN_SUFFIX = ".plan"
Exchange = Literal["onnx", "openvino"]
EXCHANGES = ("onnx", "openvino")


@dataclass(frozen=True)
class ModelRequest:
    """A model that exists: `named` with its `weights` (None: in a package, or not needed), or a whole `file`.

    `sha256` is the hash of the file or of the weights. `plan` is a compiled model.
    `source` is the hashed file or weights: the checked and loaded bytes must be the same.
    `is_checked` is False until a file has passed the preflight: see `checked`.
    `labels` are the requested labels. `labels_beside` were found in the model's folder under a usual name, and are used
    only if there is one for each class. `inputs` are the values of a network's inputs other than the image.
    `architecture` is a JSON file if the `source` has only weights; `note` says how the two files were found.
    `network` is a `keras.Model` in memory: then there is no file, and nothing is checked.
    `exchange` is the format of a file that another framework wrote. `beside` are the files of its weights. `scopes` are
    the modules of PyTorch that contain the nodes of its tensors: see `models.safety.onnx_file`.
    """

    settings: ModelSettings
    named: NamedModel | None
    file: Path | None
    weights: Path | None
    labels: Labels | None
    sha256: str | None
    plan: Path | None = None
    labels_beside: tuple[Labels, ...] = ()
    source: HashedFile | None = None
    is_checked: bool = False
    inputs: tuple[GivenInput, ...] = ()
    architecture: HashedFile | None = None
    note: str | None = None
    custom: CustomObjects | None = None
    network: Any = None
    exchange: Exchange | None = None
    beside: tuple[HashedFile, ...] = ()
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the model in records."""
        if self.network is not None:
            return str(self.network.name)
        return self.named.name if self.named else (self.file or self.plan or Path()).name

    @property
    def inputs_vary(self) -> bool:
        """Whether an input other than the image has different values for different images."""
        return any(given.constant is None for given in self.inputs)

    def depends(self) -> dict[str, Any]:
        """Give everything that the results depend on and that is known before the model is loaded."""
        settings = self.settings
        return {
            "model": self.name,
            "sha256": self.sha256,
            "layer": settings.layer,
            "layers": settings.layers,
            "token_grid": settings.token_grid,
            "input_size": settings.input_size,
            "output": settings.output_name,
            "output_kind": settings.output_kind,
            "preprocess": settings.preprocess,
            "labels": [(label.name, label.wnid) for label in self.labels.entries] if self.labels else None,
            "custom_objects": self.custom.sha256 if self.custom else None,
            "architecture": self.architecture.sha256 if self.architecture else None,
            "beside": [file.sha256 for file in self.beside],
            "inputs": [(given.name, given.digest) for given in self.inputs],
            "image_input": settings.image_input,
            "labels_beside": [[(label.name, label.wnid) for label in found.entries] for found in self.labels_beside],
        }


def locate_model(
    settings: ModelSettings,
    show: Callable[[str, int], Any],
    *,
    need_weights: bool = True,
    may_wait: Callable[[ModelRequest], bool] = lambda _: False,
) -> ModelRequest:
    """Find the files of a model, and download ImageNet weights if they are needed and missing.

    Args:
        settings: the model's part of the options.
        show: shows the progress of a download, see `ensure_weights`.
        need_weights: False if only the shape of the network is needed.
        may_wait: whether the preflight of this model may be done later, when Keras loads it. A cached plan may make
            both unnecessary.

    Raises:
        ModelError: the model or a file of weights or labels does not exist, or the weights cannot be downloaded.
        UsageError: settings contradict each other, or a value for an input cannot be read.
    """
    labels = asked_labels(settings)
    if not _is_file(settings.model) and (settings.inputs or settings.pairs or settings.image_input):
        raise UsageError(f"{settings.model}: a named model has only one input, the image.")
    if _is_file(settings.model):
        path = _model_file(settings.model)
        parts = parts_of(path, _local(settings.weights))
        if parts.kind in EXCHANGES:
            return _exchanged(settings, path, parts, labels)
        labels = labels or named_after(path)
        found = () if labels else beside(path)
        inputs = read_inputs(settings)
        source = _hashed(parts.weights, settings)
        if parts.kind == "plan":
            return ModelRequest(settings, None, None, None, labels, source.sha256, path, found, source, inputs=inputs)
        request = ModelRequest(
            settings, None, path, None, labels, source.sha256, None, found, source,
            inputs=inputs,
            architecture=hash_file(parts.architecture) if parts.architecture else None,
            note=parts.note,
            custom=_custom(settings),
        )  # fmt: skip
        return request if may_wait(request) else checked(request)
    named = find_named(settings.model)
    weights, hashed = None, None
    given = _local(settings.weights)
    if given:
        weights = _weights_file(given)
        hashed = _hashed(weights, settings)
        _check("weights", hashed)
    elif need_weights and named.weights is not None:
        weights = ensure_weights(named, show)
        hashed = _hashed(weights, settings)
    digest = hashed.sha256 if hashed else None
    return ModelRequest(settings, named, None, weights, labels, digest, source=hashed, is_checked=True)


def _exchanged(settings: ModelSettings, path: Path, parts: Parts, labels: Labels | None) -> ModelRequest:
    """Check a model that another framework wrote, and hash its files. Nothing in it is executed."""
    if settings.inputs or settings.pairs or settings.image_input or settings.custom_objects:
        raise UsageError(
            f"{path}: `inputs`, `pairs`, `image_input` and `custom_objects` are for Keras models. A model in this "
            "format has only one input, the image."
        )
    from gradcam_cli.models.safety.onnx_file import check_onnx
    from gradcam_cli.models.safety.openvino_file import check_openvino

    source = _hashed(path, settings)
    scopes: Mapping[str, tuple[str, ...]] = {}
    if parts.kind == "onnx":
        file = check_onnx(path)
        weights, scopes = [path.parent / name for name in file.external], file.scopes
    else:
        check_openvino(path, parts.weights)
        weights = [parts.weights]
    labels = labels or named_after(path)
    return ModelRequest(
        settings, None, path, None, labels, source.sha256, None, () if labels else beside(path), source,
        is_checked=True,
        exchange="onnx" if parts.kind == "onnx" else "openvino",
        beside=tuple(map(hash_file, weights)),
        scopes=scopes,
    )  # fmt: skip


def checked(request: ModelRequest) -> ModelRequest:
    """Run the preflight on a model file unless it has passed. This must be done before Keras loads the file.

    Raises:
        ModelError: the file is refused, or has changed since it was hashed.
    """
    if request.file is None or request.source is None or request.is_checked:
        return request
    if request.architecture:
        _check("parts", request.source, request.architecture, request.custom)
    else:
        _check("model", request.source, custom=request.custom)
    return replace(request, is_checked=True)


@contextmanager
def open_source(path: Path, request: ModelRequest) -> Iterator[Path]:
    """Give a path under which Keras reads the hashed and checked bytes of the file at `path`.

    Raises:
        ModelError: the file has changed since it was hashed, or changes while it is read.
    """
    if request.source is None:
        yield path
        return
    suffix = SUFFIXES["keras" if kind_of(request.source.path) == "keras" else "hdf5"]
    with held(request.source, None if path.suffix == suffix or request.plan else f"{path.stem}{suffix}") as opened:
        yield opened.link


def _custom(settings: ModelSettings) -> CustomObjects | None:
    if settings.trust_code != (settings.custom_objects is not None):
        raise UsageError("`custom_objects=FILE.py` runs code, and `trust_code` allows it. Use both or neither.")
    return read_custom_objects(settings.custom_objects) if settings.custom_objects else None


def _check(
    kind: Literal["model", "weights", "parts"],
    file: HashedFile,
    architecture: HashedFile | None = None,
    custom: CustomObjects | None = None,
) -> None:
    from gradcam_cli.models.safety.preflight_subprocess import check_in_subprocess

    own = custom.names if custom else frozenset()
    with held(file) as opened:
        if architecture is None:
            check_in_subprocess(kind, opened.link, descriptors=(opened.descriptor,), own=own)
            return
        with held(architecture) as beside_it:
            descriptors = (opened.descriptor, beside_it.descriptor)
            check_in_subprocess(kind, opened.link, descriptors=descriptors, architecture=beside_it.link, own=own)


def asked_labels(settings: ModelSettings) -> Labels | None:
    """Read the requested labels; None if none were requested.

    Raises:
        UsageError: both `labels` and `labels_from` were given.
        ModelError: the labels cannot be read.
    """
    if settings.labels and settings.labels_from:
        raise UsageError("`labels` and `labels_from` both give the class names. Use only one of them.")
    if settings.labels_from:
        return folder_labels(settings.labels_from)
    if isinstance(settings.labels, tuple):
        return Labels(tuple(Label(name) for name in settings.labels))
    labels = _local(settings.labels)
    return read_labels(labels) if labels else None


def _local(given: Path | Url | None) -> Path | None:
    """Give a local path. Runs that accept URLs have already downloaded them."""
    if isinstance(given, Url):
        refuse_url(given.text)
        return None
    return given


def _hashed(path: Path, settings: ModelSettings) -> HashedFile:
    file = hash_file(path)
    if settings.sha256 and settings.sha256.lower() != file.sha256:
        raise ModelError(f"{path}: its sha256 is {file.sha256}, not the requested one. Nothing of it was loaded.")
    return file


def _is_file(model: str) -> bool:
    if model.lower() in NAMED_MODELS:
        return False
    return Path(model).suffix.lower() in (*FILE_SUFFIXES, PLAN_SUFFIX) or os.sep in model or Path(model).exists()


def _model_file(model: str) -> Path:
    if re.match(r"[a-z][a-z0-9+.-]*://", model, re.IGNORECASE):
        raise ModelError(f"{model}: a model must be a local file. Download it first, from a source that you trust.")
    path = Path(model)
    if not path.exists():
        raise ModelError(f"{path}: there is no such model file.")
    if not path.is_dir() and not path.is_file():
        raise ModelError(f"{path}: not a regular file.")
    return path


def _weights_file(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such weights file.")
    if kind_of(path) not in {"hdf5", "keras"}:
        raise ModelError(f"{path}: this is not a weights file (.h5, .weights.h5 or .keras).")
    return path
