"""The choice of the engine: TensorFlow on a GPU, else OpenVINO if it can run the model, else TensorFlow on the CPU."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradcam_cli.engines.devices import HasGpu, gpu_possible, gpu_usable
from gradcam_cli.engines.plan_choice import (
    compiled,
    forget_plans,
    openvino_installed,
    plan_at_hand,
    require_openvino,
    serving,
    wants_plan,
)
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import DamagedPlanError, ModelError, first_line
from gradcam_cli.models import keras_on_tensorflow
from gradcam_cli.settings import EngineSettings, ModelSettings

if TYPE_CHECKING:
    from gradcam_cli.engines.network_cache import NetworkCache
    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.engines.protocol import Engine, RandomisedEngine
    from gradcam_cli.models.classifier import Classifier
    from gradcam_cli.models.request import ModelRequest


# A function that shows a download. Its arguments are the file's name and its size in bytes, its result is a context.
# The value of the context is called with the size of each chunk.
Downloading = Callable[[str, int], AbstractContextManager[Callable[[int], Any]]]
# For at least this number of images, passes that are 8 % faster save more than the two seconds of preparation.
LONG_RUN = 1000


class Engines:
    """Finds models and opens engines for them. Tests use a subclass with their own networks."""

    def locate(
        self, settings: ModelSettings, downloading: Downloading, *, cache: bool = True, need_weights: bool = True
    ) -> "ModelRequest":
        """Find the files of a model. With `cache`, the preflight is postponed if the cache has a plan.

        Raises:
            ModelError: there is no such model, or its weights are not available.
        """
        from gradcam_cli.models.request import locate_model

        if not cache:
            return locate_model(settings, downloading, need_weights=need_weights)
        from gradcam_cli.engines.cache import has_plan

        return locate_model(settings, downloading, need_weights=need_weights, may_wait=has_plan)

    def open(self, request: "ModelRequest", choice: EngineSettings, work: Work) -> "tuple[Engine, Classifier | Plan]":
        """Make the engine, and give the engine and the model.

        Raises:
            ModelError: the requested engine cannot explain this model.
        """
        return self.of_model(request, choice).open(work)

    def of_model(self, request: "ModelRequest", choice: EngineSettings) -> "ModelEngines":
        """Give an object that opens any number of engines of one model; the model is loaded only once."""
        return ModelEngines(request, choice)


def loading_text(request: "ModelRequest", choice: EngineSettings) -> str:
    """Make the message about loading: it names the library, whose import takes most of the time, and the model."""
    library = "OpenVINO" if opens_without_tensorflow(request, choice) else "TensorFlow"
    return f"loading {library} and the model {request.name}"


def opens_without_tensorflow(request: "ModelRequest", choice: EngineSettings) -> bool:
    """Whether an engine will probably open without TensorFlow and Keras, by a plan. No plan is read."""
    if request.plan or request.exchange:
        return True
    if choice.engine == "tensorflow" or not choice.cache or request.inputs_vary or not openvino_installed():
        return False
    if choice.engine == "auto" and choice.precision == "float32" and gpu_possible():
        return False
    from gradcam_cli.engines.cache import has_plan

    return all(has_plan(each) for each in _by_layer(request))


def load_model(request: "ModelRequest") -> "Classifier":
    """Load a model with its weights, and check that its additional inputs have values.

    Raises:
        ModelError: the model is refused or cannot be loaded, or an additional input has no value.
    """
    from gradcam_cli import models

    classifier = models.load_model(request)
    classifier.check_inputs()
    return classifier


class ModelEngines:
    """Opens engines of one model. The model is loaded only once, when the first engine needs it.

    Args:
        request: the model.
        choice: which engine runs it.
        has_gpu: whether TensorFlow can use a GPU, which the engine `auto` prefers.
        load: loads the model.
    """

    def __init__(
        self,
        request: "ModelRequest",
        choice: EngineSettings,
        *,
        has_gpu: HasGpu = gpu_usable,
        load: "Callable[[ModelRequest], Classifier]" = load_model,
    ) -> None:
        """Store the arguments; nothing is loaded yet."""
        self._request = request
        self._choice = choice
        self._has_gpu = has_gpu
        self._load = load
        self._loaded: Classifier | None = None

    def open(self, work: Work, layer: str | None = None) -> "tuple[Engine, Classifier | Plan]":
        """Make an engine for the layer or layers of the request, or for another `layer`; give the engine and the model.

        Raises:
            ModelError: the requested engine cannot explain this model, or the hash of its weights is wrong.
        """
        request = self._at(layer)
        engine, model = self._open(request, work, lambda: self._classifier(request))
        wanted = request.settings.sha256
        # The hash of a file was checked before loading. The hash of weights in a package is known only now.
        if wanted and request.sha256 is None and wanted.lower() != model.sha256:
            raise ModelError(f"{model.name}: the SHA-256 hash of its weights is {model.sha256}, not the requested one.")
        return engine, model

    def open_larger(self, work: Work, layer: str, size: tuple[int, int]) -> "Engine":
        """Make an engine of the same network and weights for another input size (height, width).

        Raises:
            ModelError: the network accepts only one input size.
        """
        request = self._at(layer)
        larger = replace(request, settings=replace(request.settings, input_size=size))
        if request.exchange:
            return self._open(larger, work, lambda: self._classifier(request))[0]

        def resized() -> "Classifier":
            from gradcam_cli.models.resizing import at_size

            return at_size(self._classifier(request), request, size)

        return self._open(larger, work, resized)[0]

    def open_randomised(self, work: Work, layer: str, batch_size: int) -> "Iterator[RandomisedEngine]":
        """Make engines with more and more permuted weights, for the sanity check; the loaded model is not changed.

        Raises:
            ModelError: the model is a plan, or has no weights.
        """
        if self._request.plan or self._request.exchange:
            what = "a plan" if self._request.plan else "a model in an exchange format"
            raise ModelError(f"{self._request.name}: the weights of {what} cannot be permuted.")
        from gradcam_cli.engines.randomised import randomised_engines
        from gradcam_cli.engines.tracing import PassSettings

        streams = self._prepare(work)
        classifier = self._classifier(self._request)
        yield from randomised_engines(classifier, layer, PassSettings(work.targets, batch_size), streams=streams)

    def _at(self, layer: str | None) -> "ModelRequest":
        if layer is None:
            return self._request
        return replace(self._request, settings=replace(self._request.settings, layer=layer))

    def _open(
        self, request: "ModelRequest", work: Work, classifier_of: "Callable[[], Classifier]"
    ) -> "tuple[Engine, Classifier | Plan]":
        _refuse_impossible(request, self._choice)
        layers = _by_layer(request)
        try:
            return self._open_layers(request, layers, work, classifier_of)
        except DamagedPlanError:
            # The weights of a plan in the cache are read last, so damage is found late. The removed plan is made again.
            forget_plans(layers)
            return self._open_layers(request, layers, work, classifier_of)

    def _open_layers(
        self,
        request: "ModelRequest",
        layers: "list[ModelRequest]",
        work: Work,
        classifier_of: "Callable[[], Classifier]",
    ) -> "tuple[Engine, Classifier | Plan]":
        choice = self._choice
        at_hand = [plan_at_hand(each, choice, self._has_gpu, work) for each in layers]
        needed = bool(choice.engine == "openvino" or request.plan or request.exchange)
        ready = serving(at_hand, work, needed=needed)
        if not ready.plans:
            streams = self._prepare(work)
            classifier = classifier_of()
            if wants_plan(request, choice, self._has_gpu):
                ready = compiled(layers, classifier, choice)
                ready = serving(ready.plans, work, needed=needed) if ready.plans else ready
            if not ready.plans:
                if choice.precision != "float32":
                    raise ModelError(
                        f"`precision={choice.precision}` needs the engine openvino, which is not available here."
                    )
                return _tensorflow(classifier, layers, work, streams, ready.reason), classifier
        return _openvino(ready.plans, layers, choice, work), ready.plans[0]

    def _prepare(self, work: Work) -> int:
        """Run the preflight of the model, and give the number of streams of TensorFlow."""
        from gradcam_cli.models.request import checked

        # The preflight was postponed if there was a plan. Libraries are imported only after the preflight.
        self._request = checked(self._request)
        with keras_on_tensorflow():
            from gradcam_cli.engines.tensorflow import configure_threads

        return configure_threads(work.batches, self._has_gpu)

    def _classifier(self, request: "ModelRequest") -> "Classifier":
        if self._loaded is None:
            self._loaded = self._load(replace(request, is_checked=self._request.is_checked))
        return self._loaded


def _refuse_impossible(request: "ModelRequest", choice: EngineSettings) -> None:
    if choice.engine == "openvino" or request.plan or request.exchange:
        require_openvino()
    if request.settings.layers and request.plan:
        raise ModelError(
            f"{request.plan}: a plan is compiled for one layer. Use `layers` with the model that it was compiled from."
        )
    if request.inputs_vary and choice.engine == "openvino":
        raise ModelError("Additional inputs that differ between images need `engine=tensorflow`.")
    if request.plan and (request.inputs or request.settings.image_input):
        raise ModelError(
            f"{request.plan}: a plan contains the values of the additional inputs. To use other values, compile the "
            "model again."
        )
    if request.exchange and choice.engine == "tensorflow":
        raise ModelError(f"{request.name}: a model in this format needs `engine=openvino`.")
    if request.plan and choice.engine == "tensorflow":
        raise ModelError(f"{request.plan}: a plan needs `engine=openvino`.")


def _by_layer(request: "ModelRequest") -> "list[ModelRequest]":
    """Give one request for each layer whose maps are fused, or the request itself."""
    settings = request.settings
    if not settings.layers:
        return [request]
    return [replace(request, settings=replace(settings, layer=layer, layers=())) for layer in settings.layers]


def _openvino(
    plans: "Sequence[Plan]", layers: "Sequence[ModelRequest]", choice: EngineSettings, work: Work
) -> "Engine":
    from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
    from gradcam_cli.engines.self_check import check_again
    from gradcam_cli.engines.streams import streams_for

    streams = streams_for(batches=work.batches)
    options = PassOptions(
        batch_size=work.even_batch_size(streams),
        streams=streams,
        precision=choice.precision,
        score=work.options.score,
        gradients=work.differentiates,
    )

    def at(plan: "Plan", request: "ModelRequest", others: "tuple[Engine, ...]" = ()) -> OpenVinoEngine:
        kept = _kept_networks(request, choice, work)
        try:
            check_again(plan)
            return OpenVinoEngine(plan, work.targets, replace(options, kept=kept), others=others)
        except RuntimeError as error:
            # OpenVINO raises this if the hashes are valid, but the network is invalid or differs from its description.
            reason = f"OpenVINO cannot use the network of this plan ({first_line(error)})"
            raise ModelError(f"{plan.name}: {reason}. Compile the model again.") from error

    first, *others = zip(plans, layers, strict=True)
    return at(*first, tuple(at(*other) for other in others))


def _kept_networks(request: "ModelRequest", choice: EngineSettings, work: Work) -> "NetworkCache | None":
    """Give the cache of compiled networks if the run has one image: compiling would take most of its time."""
    if not choice.cache or work.image_count > 1:
        return None
    from gradcam_cli.engines.cache import cached_path
    from gradcam_cli.engines.network_cache import NetworkCache

    return NetworkCache(cached_path(request))


def _tensorflow(
    classifier: "Classifier", layers: "list[ModelRequest]", work: Work, streams: int, reason: str
) -> "Engine":
    from gradcam_cli.engines.tensorflow import TensorFlowEngine
    from gradcam_cli.engines.tracing import PassSettings, trace_model

    settings = PassSettings(
        work.targets,
        work.even_batch_size(streams),
        gradients=work.differentiates,
        score=work.options.score,
        frozen=work.image_count >= LONG_RUN,
    )

    def at(layer: str, others: "tuple[Engine, ...]" = ()) -> TensorFlowEngine:
        traced = trace_model(classifier, layer, settings)
        return TensorFlowEngine(traced, streams=streams, others=others, reason=reason)

    first, *others = (request.settings.layer for request in layers)
    return at(first, tuple(at(layer) for layer in others))
