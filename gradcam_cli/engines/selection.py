"""Which engine explains: TensorFlow on a GPU, else the plan of a model under OpenVINO where it can be had.

TensorFlow on the CPU serves all other models.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gradcam_cli.engines.devices import HasGpu, gpu_usable
from gradcam_cli.errors import ModelError
from gradcam_cli.extras import install_hint
from gradcam_cli.models import keras_on_tensorflow
from gradcam_cli.settings import EngineSettings, MethodOptions, ModelSettings, TargetSettings

if TYPE_CHECKING:
    from pathlib import Path

    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.engines.protocol import Engine, RandomisedEngine
    from gradcam_cli.methods import Method
    from gradcam_cli.models.classifier import Classifier
    from gradcam_cli.models.request import ModelRequest


# Shows a download: called with a file's name and size, gives a context whose value takes the size of each chunk.
Downloading = Callable[[str, int], AbstractContextManager[Callable[[int], Any]]]
# From so many images on, a pass that is a twelfth quicker has made up for two seconds of preparation.
LONG_RUN = 1000


@dataclass(frozen=True)
class Work:
    """What an engine is made for."""

    targets: TargetSettings
    methods: "tuple[Method, ...]"
    options: MethodOptions
    image_count: int
    batch_size: int

    @property
    def batches(self) -> int:
        """Batches of images at the least."""
        return -(-self.image_count // self.batch_size)

    def even_batch_size(self, streams: int) -> int:
        """Choose the batch size: of the masked pictures, where a method makes many of each image."""
        from gradcam_cli.engines.streams import even_batch_size

        masked = any(method.masks_inputs for method in self.methods)
        each = self.options.max_channels if masked else 1
        return even_batch_size(self.image_count * each, self.batch_size, streams)


class Engines:
    """Finds models and opens engines for them. A test passes in a subclass with networks of its own."""

    def locate(
        self, settings: ModelSettings, downloading: Downloading, *, cache: bool = True, need_weights: bool = True
    ) -> "ModelRequest":
        """Find the files that a model is made of; with the `cache`, the preflight may wait where a plan is kept.

        Raises:
            ModelError: there is no such model, or its weights cannot be had.
        """
        from gradcam_cli.models.request import locate_model

        if not cache:
            return locate_model(settings, downloading, need_weights=need_weights)
        from gradcam_cli.engines.cache import has_plan

        return locate_model(settings, downloading, need_weights=need_weights, may_wait=has_plan)

    def open(self, request: "ModelRequest", choice: EngineSettings, work: Work) -> "tuple[Engine, Classifier | Plan]":
        """Make the engine, and give it with what is known of the model.

        Raises:
            ModelError: the engine that was asked for cannot explain this model.
        """
        return self.of_model(request, choice).open(work)

    def of_model(self, request: "ModelRequest", choice: EngineSettings) -> "ModelEngines":
        """Give what opens any number of engines of one model, which is loaded only once."""
        return ModelEngines(request, choice)


def load_model(request: "ModelRequest") -> "Classifier":
    """Load a model with its weights, and check that its further inputs have values.

    Raises:
        ModelError: the model is refused or cannot be loaded, or an input has no value.
    """
    from gradcam_cli import models

    classifier = models.load_model(request)
    classifier.check_inputs()
    return classifier


class ModelEngines:
    """Opens engines of one model, which is loaded when the first of them needs it, and only once.

    Args:
        request: the model.
        choice: which engine runs it.
        has_gpu: tells whether TensorFlow can use a GPU, which the engine `auto` prefers.
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
        """Load nothing yet."""
        self._request = request
        self._choice = choice
        self._has_gpu = has_gpu
        self._load = load
        self._loaded: Classifier | None = None

    def open(self, work: Work, layer: str | None = None) -> "tuple[Engine, Classifier | Plan]":
        """Make an engine for the layer or layers of the request, or for another `layer`; and tell what is known.

        Raises:
            ModelError: the engine that was asked for cannot explain this model, or its weights are not the ones asked
                for.
        """
        request = self._at(layer)
        engine, model = self._open(request, work, lambda: self._classifier(request))
        wanted = request.settings.sha256
        # Files were compared before they were loaded; weights out of a package could not be.
        if wanted and request.sha256 is None and wanted.lower() != model.sha256:
            raise ModelError(f"{model.name}: the sha256 of its weights is {model.sha256}, not the one asked for.")
        return engine, model

    def open_larger(self, work: Work, layer: str, size: tuple[int, int]) -> "Engine":
        """Make an engine of the same network and weights for pictures of another size (height, width).

        Raises:
            ModelError: the network takes pictures of one size only.
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
        """Make engines with more and more of the weights randomised; the loaded model keeps its own.

        Raises:
            ModelError: the model is a plan, or has no weights.
        """
        if self._request.plan or self._request.exchange:
            what = "a plan" if self._request.plan else "a model in an exchange format"
            raise ModelError(f"{self._request.name}: the weights of {what} cannot be randomised.")
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
        choice = self._choice
        _refuse_impossible(request, choice)
        layers = _by_layer(request)
        at_hand = [_plan_at_hand(each, choice, self._has_gpu, work) for each in layers]
        needed = bool(choice.engine == "openvino" or request.plan or request.exchange)
        ready = _serving(at_hand, work, needed=needed)
        if not ready.plans:
            streams = self._prepare(work)
            classifier = classifier_of()
            if _wants_plan(request, choice, self._has_gpu):
                ready = _compiled(layers, classifier, choice)
                ready = _serving(ready.plans, work, needed=needed) if ready.plans else ready
            if not ready.plans:
                if choice.precision != "float32":
                    raise ModelError(
                        f"`precision={choice.precision}` needs the engine openvino, which cannot be used here."
                    )
                return _tensorflow(classifier, layers, work, streams, ready.reason), classifier
        return _openvino(ready.plans, choice, work), ready.plans[0]

    def _prepare(self, work: Work) -> int:
        """Put the model through the preflight, and give the number of streams of TensorFlow."""
        from gradcam_cli.models.request import checked

        # A file whose plan was not usable after all has not passed it. No library is imported before it has.
        self._request = checked(self._request)
        with keras_on_tensorflow():
            from gradcam_cli.engines.tensorflow import configure_threads

        return configure_threads(work.batches, self._has_gpu)

    def _classifier(self, request: "ModelRequest") -> "Classifier":
        if self._loaded is None:
            self._loaded = self._load(replace(request, is_checked=self._request.is_checked))
        return self._loaded


def openvino_installed() -> bool:
    """Whether the extra `gradcam-cli[openvino]` is there."""
    return find_spec("openvino") is not None


def require_openvino() -> None:
    """Refuse to go on without OpenVINO.

    Raises:
        ModelError: it is not installed.
    """
    if not openvino_installed():
        raise ModelError(f"OpenVINO is not installed. Install it: {install_hint('openvino')}")


def _refuse_impossible(request: "ModelRequest", choice: EngineSettings) -> None:
    if choice.engine == "openvino" or request.plan or request.exchange:
        require_openvino()
    if request.settings.layers and request.plan:
        raise ModelError(f"{request.plan}: a plan is compiled for one layer. Give `layers` the model it came from.")
    if request.inputs_vary and choice.engine == "openvino":
        raise ModelError("Inputs that differ from picture to picture need the engine tensorflow.")
    if request.plan and (request.inputs or request.settings.image_input):
        raise ModelError(
            f"{request.plan}: a plan has the values of further inputs in it. Compile the model with others."
        )
    if request.exchange and choice.engine == "tensorflow":
        raise ModelError(f"{request.name}: a model in this format is for the engine openvino.")
    if request.plan and choice.engine == "tensorflow":
        raise ModelError(f"{request.plan}: a plan is for the engine openvino.")


def _wants_plan(request: "ModelRequest", choice: EngineSettings, has_gpu: HasGpu) -> bool:
    """Whether a plan could serve, as far as it is known without the model, and is preferred."""
    if choice.engine == "tensorflow" or request.inputs_vary or not openvino_installed():
        return False
    return _needs_plan(choice) or not has_gpu()


def _needs_plan(choice: EngineSettings) -> bool:
    """Whether nothing but a plan does what was asked for."""
    return choice.engine == "openvino" or choice.precision != "float32"


def _plan_at_hand(request: "ModelRequest", choice: EngineSettings, has_gpu: HasGpu, work: Work) -> "Plan | None":
    """The plan that was given, or one from the cache: what needs neither TensorFlow nor Keras."""
    if request.plan:
        return _given_plan(request, request.plan)
    if request.exchange:
        return _exchange_plan(request, choice, work)
    if not choice.cache or not _wants_plan(request, choice, has_gpu):
        return None
    from gradcam_cli.engines.cache import cached_plan

    return cached_plan(request)


def _exchange_plan(request: "ModelRequest", choice: EngineSettings, work: Work) -> "Plan":
    """Take the plan of a model that another framework wrote: from the cache, else made now and kept."""
    from gradcam_cli.engines.cache import cached_plan, keep_plan

    plan = cached_plan(request) if choice.cache else None
    if plan is None:
        from gradcam_cli.engines.exchange.compiling import compile_exchange

        differentiated = any(method.differentiates for method in work.methods)
        plan = compile_exchange(request, differentiated=differentiated)
        # A plan that was not checked serves this run alone.
        if choice.cache and differentiated:
            keep_plan(request, plan)
    return plan


def _given_plan(request: "ModelRequest", path: "Path") -> "Plan":
    """Read a plan that was named as the model; its layer and input are what they were compiled for."""
    from gradcam_cli.engines.plan import read_plan
    from gradcam_cli.imaging.preprocessing import ASKED_FOR, PREPROCESSINGS
    from gradcam_cli.models.request import open_source

    settings = request.settings
    with open_source(path, request) as file:
        plan = read_plan(file)
    if settings.layer not in {"auto", plan.layer.path}:
        raise ModelError(f"{path}: compiled for the layer '{plan.layer.path}'. Compile the model for another.")
    if settings.input_size not in {None, plan.input_shape[:2]}:
        raise ModelError(f"{path}: compiled for {plan.input_shape[0]}x{plan.input_shape[1]} pictures.")
    if settings.output_kind != "auto":
        raise ModelError(f"{path}: what its output is was settled when it was compiled. Compile the model again.")
    if settings.preprocess != "auto":
        plan = replace(
            plan,
            preprocessing=PREPROCESSINGS[settings.preprocess],
            preprocess_guessed=False,
            preprocess_reason=ASKED_FOR,
        )
    if request.labels:
        return replace(plan, labels=request.labels)
    if len(plan.labels):
        return plan
    from gradcam_cli.labels.files import choose_beside

    found, notes = choose_beside(request.labels_beside, plan.head.class_count)
    return replace(plan, labels=found, notes=(*plan.notes, *notes))


def _by_layer(request: "ModelRequest") -> "list[ModelRequest]":
    """One request for each layer whose maps are fused, or the request itself."""
    settings = request.settings
    if not settings.layers:
        return [request]
    return [replace(request, settings=replace(settings, layer=layer, layers=())) for layer in settings.layers]


@dataclass(frozen=True)
class _Ready:
    """A plan for each layer; or none, and the `reason` why they do not serve, where there is more to say of it."""

    plans: "tuple[Plan, ...]" = ()
    reason: str = ""


def _serving(plans: "Sequence[Plan | None]", work: Work, *, needed: bool) -> _Ready:
    """Take the plans where there is one for each layer, and they do what the methods ask for.

    Raises:
        ModelError: they do not, and a plan is `needed`.
    """
    found = tuple(plan for plan in plans if plan)
    if len(found) < len(plans):
        return _Ready()
    needs = [method.name for method in work.methods if method.derives_pooled and work.options.score == "logit"]
    if not needs or all(plan.head.linearity != "pooled" for plan in found):
        return _Ready(found)
    reason = f"`method={needs[0]}` takes third derivatives of this model's head: they need the engine tensorflow."
    if needed:
        raise ModelError(reason)
    return _Ready(reason=reason)


def _compiled(layers: "list[ModelRequest]", classifier: "Classifier", choice: EngineSettings) -> _Ready:
    """Compile and keep a plan for each layer; give the reason where it is impossible for one of them."""
    plans = []
    for request in layers:
        plan = _compiled_at(request, classifier, choice)
        if isinstance(plan, str):
            return _Ready(reason=plan)
        plans.append(plan)
    return _Ready(tuple(plans))


def _compiled_at(request: "ModelRequest", classifier: "Classifier", choice: EngineSettings) -> "Plan | str":
    """Compile and keep a plan for one layer; give the reason where it is impossible."""
    from gradcam_cli.engines.cache import cached_plan, keep_plan, remember_unfit, unfit_reason
    from gradcam_cli.engines.compiling import NotCompilableError, compile_plan

    needed = _needs_plan(choice)
    known = unfit_reason(request) if choice.cache and not needed else None
    if known is not None:
        return known
    kept = cached_plan(request) if choice.cache else None
    if kept:
        return kept
    try:
        plan = compile_plan(classifier, request.settings.layer, partial(_keep_layers, request, choice))
    except NotCompilableError as error:
        if needed:
            raise
        if choice.cache and error.lasting:
            remember_unfit(request, classifier.name, error.reason)
        return error.reason
    if choice.cache:
        keep_plan(request, plan)
    return plan


def _keep_layers(request: "ModelRequest", choice: EngineSettings, names: list[str]) -> None:
    """Keep the names of a model's layers for the completion of a shell."""
    from gradcam_cli.engines.layer_names import remember_layers

    if choice.cache and request.network is None:
        remember_layers(request.settings.model, names)


def _openvino(plans: "Sequence[Plan]", choice: EngineSettings, work: Work) -> "Engine":
    from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
    from gradcam_cli.engines.self_check import check_again
    from gradcam_cli.engines.streams import streams_for

    streams = streams_for(batches=work.batches)
    options = PassOptions(
        batch_size=work.even_batch_size(streams),
        streams=streams,
        precision=choice.precision,
        score=work.options.score,
        gradients=any(method.differentiates for method in work.methods),
    )

    def at(plan: "Plan", others: "tuple[Engine, ...]" = ()) -> OpenVinoEngine:
        check_again(plan)
        return OpenVinoEngine(plan, work.targets, options, others=others)

    first, *others = plans
    return at(first, tuple(at(plan) for plan in others))


def _tensorflow(
    classifier: "Classifier", layers: "list[ModelRequest]", work: Work, streams: int, reason: str
) -> "Engine":
    from gradcam_cli.engines.tensorflow import TensorFlowEngine
    from gradcam_cli.engines.tracing import PassSettings, trace_model

    settings = PassSettings(
        work.targets,
        work.even_batch_size(streams),
        gradients=any(method.differentiates for method in work.methods),
        score=work.options.score,
        frozen=work.image_count >= LONG_RUN,
    )

    def at(layer: str, others: "tuple[Engine, ...]" = ()) -> TensorFlowEngine:
        traced = trace_model(classifier, layer, settings)
        return TensorFlowEngine(traced, streams=streams, others=others, reason=reason)

    first, *others = (request.settings.layer for request in layers)
    return at(first, tuple(at(layer) for layer in others))
