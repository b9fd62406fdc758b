"""The engines of one evaluation. They share one model, which is loaded once."""

from collections.abc import Iterator
from dataclasses import replace

from gradcam_cli.engines.protocol import Engine, RandomisedEngine
from gradcam_cli.engines.selection import Engines, loading_text
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import check_method
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.requests import EvaluateRequest
from gradcam_cli.results.sidecar import RunCard
from gradcam_cli.runs.engine_factory import chosen_fit, extras_of, model_card
from gradcam_cli.runs.job import Job
from gradcam_cli.runs.observer import OpenedModel, RunObserver
from gradcam_cli.settings import MethodOptions, RunSettings, TargetSettings
from gradcam_cli.versions import versions


class StudyEngines:
    """Opens the engines of an evaluation.

    Args:
        request: the evaluation.
        images: how many images are measured.
        observer: receives downloads, and the choices for each layer.
        engines: finds the model and opens its engines.

    Raises:
        ModelError: there is no such model, or its plan cannot be used for this evaluation.
        UsageError: the model's inputs cannot be used for this evaluation.
    """

    def __init__(
        self, request: EvaluateRequest, images: int, observer: RunObserver, engines: Engines | None = None
    ) -> None:
        """Find the model, and load nothing yet."""
        engines = engines or Engines()
        self._request = request
        self._images = images
        self._observer = observer
        settings = replace(request.model, layer=request.layers[0])
        self._model = engines.locate(settings, observer.downloading, cache=request.engine.cache)
        _check(request, self._model)
        self._opened = engines.of_model(self._model, request.engine)

    def open(self, layer: str) -> tuple[Engine, Job]:
        """Make the engine and the job of one layer; the observer receives the choices.

        Raises:
            ModelError: the layer cannot be explained, or the model has no probabilities.
        """
        request = self._request
        model_at = replace(self._model, settings=replace(self._model.settings, layer=layer))
        with self._observer.busy(loading_text(model_at, request.engine)):
            engine, model = self._opened.open(self._work(), layer)
        if not engine.head.has_probabilities:
            raise ModelError(
                f"{model.name}: evaluate measures changes of a probability, but this model's output is "
                f"{engine.head.reason}. If it contains logits, use `output_kind=softmax-logits` or sigmoid-logits."
            )
        for name in request.study.methods:
            check_method(METHODS[name], engine)
        fit = chosen_fit(model, request.fit)
        card = model_card(model, engine, fit, self._model)
        opened = OpenedModel(card, tuple(model.notes), tuple(model.warnings), engine_reason=engine.reason)
        self._observer.opened(opened)
        settings = RunSettings(fit=fit, batch_size=request.batch_size, sample_range=request.sample_range)
        job = Job(
            settings=settings,
            preprocessing=model.preprocessing,
            labels=model.labels,
            model=card,
            run=RunCard("", versions()),
            several_targets=False,
            overlays=False,
            channels=model.input_shape[2],
            extras=extras_of(model, decode, settings),
            listen=self._observer.listen,
        )
        return engine, job

    def open_larger(self, layer: str, engine: Engine, grid: tuple[int, int]) -> Engine:
        """Make an engine for collages of (rows, columns) images, each with the input size of `engine`.

        Raises:
            ModelError: the network accepts only one input size.
        """
        size = engine.input_size[0] * grid[0], engine.input_size[1] * grid[1]
        cells = grid[0] * grid[1]
        work = replace(self._work(), targets=TargetSettings(top_k=cells), image_count=max(1, self._images // cells))
        try:
            return self._opened.open_larger(work, layer, size)
        except ModelError as error:
            raise ModelError(
                f"`grid={grid[0]}x{grid[1]}` needs the same network at {size[0]}x{size[1]} pixels, which "
                "this network does not accept. Use a named model "
                f"with global pooling, or a file without a fixed input size. ({error})"
            ) from error

    def open_randomised(self, layer: str, engine: Engine) -> Iterator[RandomisedEngine]:
        """Make engines with an increasing share of permuted weights, with the batch size of `engine`."""
        return self._opened.open_randomised(self._work(), layer, engine.batch_size)

    def _work(self) -> Work:
        methods = tuple(METHODS[name] for name in self._request.study.methods)
        return Work(TargetSettings(top_k=1), methods, MethodOptions(), self._images, self._request.batch_size)


def _check(request: EvaluateRequest, model: ModelRequest) -> None:
    """Refuse measures that this kind of model does not support."""
    grid = request.study.grid
    if model.inputs_vary and grid:
        raise UsageError("`grid` combines several images, so additional inputs must not differ between images.")
    sanity = "sanity" in request.study.metrics
    if model.plan and sanity:
        raise ModelError(
            f"{model.plan}: the weights of a plan cannot be permuted. Use the model that it was compiled from."
        )
    if model.exchange and sanity:
        raise ModelError(
            f"{model.name}: the metric 'sanity' permutes weights, which is not possible for a model in "
            "this format. Remove it from `metrics`."
        )
    if model.plan and grid:
        raise ModelError(
            f"{model.plan}: `grid={grid[0]}x{grid[1]}` needs the same network with a larger input, but "
            "a plan has one size. Use the model that it was compiled from."
        )
