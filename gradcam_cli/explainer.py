"""The Python API: explain images in a notebook, a test or a worker process."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from gradcam_cli.cores import available_cores
from gradcam_cli.engines.protocol import Engine
from gradcam_cli.engines.selection import Engines, ModelEngines
from gradcam_cli.errors import UsageError
from gradcam_cli.explanation import Explanation
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.pictures import source_of
from gradcam_cli.methods import METHODS, Method
from gradcam_cli.methods.custom import custom_method
from gradcam_cli.methods.method_runner import chosen_method
from gradcam_cli.options import ExplainOptions, RunOptions, StrPath, explain_request, target_settings
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.results.run import Run
from gradcam_cli.runs.engine_factory import EngineFactory, run_card
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.runs.job import Job
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.runs.pipeline import explained_images
from gradcam_cli.settings import (
    EngineName,
    EngineSettings,
    FitChoice,
    ModelSettings,
    Precision,
    RunSettings,
    TargetSettings,
)

if TYPE_CHECKING:
    from gradcam_cli.models.request import ModelRequest

# The number of engines that are kept: one for each recently used choice of classes and batch size.
MOST_ENGINES = 4


class Explainer:
    """Explains images with one model, target layer and method.

    The model is loaded when the first image is explained, or when an attribute of the model is read.

    Args:
        model: a name such as `resnet50` (see `gradcam-cli models`), the path of a .keras, .h5 or .plan file, or a
            `keras.Model` in memory. A model in memory is not changed. You can continue to train it; later explanations
            use its current weights.
        layer: the target layer's name or path; `auto` takes the last one whose output is a map.
        method: a method's name (see `gradcam-cli methods`), or a function that takes activations (N, h, w, K) float32
        and gradients (N, h, w, K) float32 and returns maps (N, h, w).
        labels: class names, or the path of a file of class names.
        preprocess: the preprocessing of the pixels; `auto` determines it from the model.
        fit: how an image is fitted to the input size: `squash`, `crop` or `pad`; `auto` is `crop` for models of
        Teachable Machine, otherwise `squash`.
        engine: `tensorflow`, `openvino`, or `auto`.
        precision: floating-point format of the forward pass.
        batch_size: maximum number of images in one forward pass.
        observer: receives notes and warnings about the model.
        options: see `ExplainOptions`.

    Raises:
        UsageError: an argument has a wrong value.
        ModelError: the model is refused, cannot be loaded, or has no such layer. Raised when the model is loaded.

    Example:
        >>> explainer = Explainer("pets.keras", method="gradcam")  # doctest: +SKIP
        >>> for explanation in explainer.explain(["cat.jpg", "dog.jpg"], top_k=2):  # doctest: +SKIP
        ...     print(explanation.best.label, explanation.best.probability)
    """

    def __init__(
        self,
        model: Any = "resnet50",
        *,
        layer: str = "auto",
        method: Any = "gradcam++",
        labels: StrPath | Sequence[str] | None = None,
        preprocess: str = "auto",
        fit: FitChoice = "auto",
        engine: EngineName = "auto",
        precision: Precision = "float32",
        batch_size: int = 16,
        observer: RunObserver | None = None,
        engines: Engines | None = None,
        **options: Unpack[ExplainOptions],
    ) -> None:
        """Check the arguments, without loading the model."""
        self._model = model
        own = {"layer": layer, "method": method, "labels": labels, "preprocess": preprocess, "fit": fit}
        run = {"engine": engine, "precision": precision, "batch_size": batch_size}
        self._options: dict[str, Any] = {**own, **run, **options}
        self._methods = _methods_for(method)
        named = {"model": _name_of(model), "method": _method_name(method, self._methods)}
        self._request = explain_request(options=self._options | named)
        chosen_method(self._request.run.method, self._request.run.method_options, self._methods)
        self._observer = observer or RunObserver()
        self._given_engines = engines
        self._engines = engines or _engines_for(model)
        self._open: OrderedDict[tuple[TargetSettings, int], _Opened] = OrderedDict()

    def explain(
        self, images: Iterable[Any], *, classes: Iterable[str | int] = (), top_k: int | None = None
    ) -> Iterator[Explanation]:
        """Explain images in batches, lazily and in order.

        Args:
            images: paths, bytes, PIL images, or uint8 arrays (H, W, 3) RGB, (H, W) grey, (H, W, 4) RGBA.
            classes: names, indices or WordNet ids of classes to explain.
            top_k: number of the most probable classes to explain. The default is 1, or 0 if `classes` are named.

        Yields:
            One explanation for each image. An image that cannot be read has an explanation with an `error`.

        Raises:
            UsageError: an item is not an image, such as an array of floats.
            ModelError: the model cannot be loaded or explained, or has no such class.
        """
        targets = target_settings(classes, top_k)
        known = len(images) if isinstance(images, Sized) else None
        size = self._request.run.batch_size
        opened = self._opened(targets, size if known is None else _rounded(min(known, size)))
        sources = (source_of(image, number) for image, number in zip(images, count(), strict=False))
        with closing(explained_images(sources, opened.job, opened.engine)) as found:
            for image in found:
                yield Explanation(image, opened.job)

    def explain_one(self, image: Any, *, classes: Iterable[str | int] = (), top_k: int | None = None) -> Explanation:
        """Explain one image; see `explain` for the arguments."""
        (found,) = self.explain([image], classes=classes, top_k=top_k)
        return found

    @property
    def layer(self) -> str:
        """Path of the target layer."""
        return self._any().engine.layer.path

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index; empty if they are unknown."""
        return tuple(label.name for label in self._any().job.labels.entries)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's input."""
        return self._any().engine.input_size

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return self._any().engine.head.class_count

    def close(self) -> None:
        """Release the loaded model; the next image loads it again."""
        self._open.clear()
        self._engines = self._given_engines or _engines_for(self._model)

    def __enter__(self) -> Self:
        """Give the explainer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the loaded model."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the arguments; the other process loads the model again."""
        return _made_again, (self._model, self._options, self._given_engines)

    def _any(self) -> "_Opened":
        """Give the engine that was used last, or open a new one."""
        if self._open and not self._is_outdated():
            return next(reversed(self._open.values()))
        return self._opened(TargetSettings(), 1)

    def _opened(self, targets: TargetSettings, batch_size: int) -> "_Opened":
        if self._is_outdated():
            self._open.clear()
        key = targets, batch_size
        if key not in self._open:
            self._open[key] = self._made(targets, batch_size)
            while len(self._open) > MOST_ENGINES:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]

    def _made(self, targets: TargetSettings, batch_size: int) -> "_Opened":
        request = replace(self._request, targets=targets)
        model = self._engines.locate(request.model, self._observer.downloading, cache=request.engine.cache)
        # With many full batches, several passes run at the same time.
        image_count = batch_size if batch_size < request.run.batch_size else 2 * batch_size * available_cores()
        factory = EngineFactory(
            request=request,
            model=model,
            engines=self._engines,
            image_count=image_count,
            run=run_card(request, model),
            overlays=True,
            decode=decode,
            observer=self._observer,
            methods=self._methods,
        )
        engine, job = factory.open(batch_size, again=bool(self._open))
        return _Opened(engine, job, self._weights())

    def _is_outdated(self) -> bool:
        """Whether the weights of a model in memory have changed since it was opened."""
        return any(opened.weights != self._weights() for opened in list(self._open.values())[:1])

    def _weights(self) -> int | None:
        return self._engines.fingerprint() if isinstance(self._engines, _InMemory) else None


@dataclass(frozen=True)
class _Opened:
    engine: Engine
    job: Job
    weights: int | None


class _Kept(Engines):
    """Loads a model once for all its engines."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._models: dict[str | None, ModelEngines] = {}

    def of_model(self, request: "ModelRequest", choice: EngineSettings) -> ModelEngines:
        """Give what opens the engines of a model: the same for the same weights."""
        if request.sha256 not in self._models:
            self._models = {request.sha256: super().of_model(request, choice)}
        return self._models[request.sha256]


class _InMemory(_Kept):
    """Explains a `keras.Model` in memory."""

    def __init__(self, network: Any) -> None:
        """Take the network."""
        super().__init__()
        self._network = network

    def locate(self, settings: Any, downloading: Any, *, cache: bool = True, need_weights: bool = True) -> Any:
        """Give a request for the network; the name in the settings is ignored."""
        from gradcam_cli.models.in_memory import request_for

        del downloading, cache, need_weights
        return request_for(self._network, settings)

    def of_model(self, request: "ModelRequest", choice: EngineSettings) -> ModelEngines:
        """Use TensorFlow unless another engine is requested; no plan of the network is stored."""
        by_default = choice.engine == "auto" and choice.precision == "float32"
        engine: EngineName = "tensorflow" if by_default else choice.engine
        return super().of_model(request, replace(choice, engine=engine, cache=False))

    def fingerprint(self) -> int:
        """Give a number that changes with the weights."""
        from gradcam_cli.models.in_memory import fingerprint

        return fingerprint(self._network)


def explain_folder(
    paths: ExplainRequest | StrPath | Iterable[StrPath],
    output: StrPath | None = None,
    *,
    observer: RunObserver | None = None,
    engines: Engines | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Explain files and folders and write the results to an output folder, as `gradcam-cli explain` does.

    Images that an earlier run with the same options has finished are skipped. An image that fails has a record with the
    status `error`; it does not stop the run.

    Args:
        paths: a file, a folder, several files and folders, or an `ExplainRequest`.
        output: the folder for overlays and sidecars. None: no files are written, and only the observer receives the
        records.
        observer: receives progress, notes and the record of each image.
        engines: finds the model and opens its engine; a test passes its own.
        options: see `RunOptions`.

    Returns:
        The run: counts, exit status, and its records, read from the folder.

    Raises:
        UsageError: there are no images, an option does not exist, or the output folder cannot be written.
        ModelError: the model is refused, cannot be loaded, or has no such layer or class.
        EnvironmentStop: the machine stopped the run; finished results stay valid.

    Example:
        >>> run = explain_folder("photos", "out", model="efficientnetlite0", top_k=2)  # doctest: +SKIP
        >>> run.counts["done"], run.exit_status  # doctest: +SKIP
        (40, 0)
    """
    if isinstance(paths, ExplainRequest):
        if output is not None or options:
            raise UsageError("A request contains all options. Do not give `output` or other options with it.")
        return run_explain(paths, observer, engines=engines)
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    model, method = options.get("model", ModelSettings().model), options.get("method", RunSettings().method)
    methods = _methods_for(method)
    named = {"model": _name_of(model), "method": _method_name(method, methods)}
    request = explain_request(several, output, {**options, **named})
    return run_explain(request, observer, engines=engines or _engines_for(model), methods=methods)


def _engines_for(model: Any) -> Engines:
    return _Kept() if isinstance(model, (str, os.PathLike)) else _InMemory(model)


def _methods_for(method: Any) -> Mapping[str, Method]:
    """Give all methods, or the one method that is made from a function."""
    if not callable(method):
        return METHODS
    own = custom_method(method)
    return {own.name: own}


def _method_name(method: Any, methods: Mapping[str, Method]) -> str:
    return next(iter(methods)) if callable(method) else str(method)


def _made_again(model: Any, options: dict[str, Any], engines: Engines | None) -> Explainer:
    return Explainer(model, engines=engines, **options)


def _name_of(model: Any) -> str:
    return os.fsdecode(model) if isinstance(model, (str, os.PathLike)) else str(getattr(model, "name", "model"))


def _rounded(number: int) -> int:
    """Round up to a power of two, so that few different engines are needed."""
    return 1 << max(0, number - 1).bit_length()
