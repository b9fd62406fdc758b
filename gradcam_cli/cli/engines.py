"""Which engine explains: the plan of a model under OpenVINO where it can be had, else TensorFlow."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gradcam_cli.errors import ModelError
from gradcam_cli.settings import Precision, TargetSettings

if TYPE_CHECKING:
    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.methods import Method
    from gradcam_cli.models.classifier import Classifier
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.network import Engine


@dataclass(frozen=True)
class EngineChoice:
    """What `--engine`, `--precision` and `--no-cache` say."""

    engine: str = "auto"
    precision: Precision = "float32"
    cache: bool = True


@dataclass(frozen=True)
class Work:
    """What an engine is made for."""

    targets: TargetSettings
    method: "Method"
    images: int
    batch_size: int


def open_engine(request: "ModelRequest", choice: EngineChoice, work: Work) -> "tuple[Engine, Classifier | Plan]":
    """Make the engine, and give it with what is known of the model.

    Raises:
        ModelError: the engine that was asked for cannot explain this model.
    """
    if request.plan or choice.engine != "tensorflow":
        plan = _plan(request, choice)
        if plan is not None:
            return _openvino(plan, choice, work), plan
    if choice.precision != "float32":
        raise ModelError(f"--precision {choice.precision} needs the engine openvino, which cannot be used here.")
    return _tensorflow(request, work)


def openvino_installed() -> bool:
    """Whether the extra `gradcam-cli[openvino]` is there."""
    return find_spec("openvino") is not None


def _plan(request: "ModelRequest", choice: EngineChoice) -> "Plan | None":
    if not openvino_installed():
        if choice.engine == "openvino" or request.plan:
            raise ModelError("OpenVINO is not installed. Install it: pip install 'gradcam-cli[openvino]'")
        return None
    if request.plan:
        if choice.engine == "tensorflow":
            raise ModelError(f"{request.plan}: a plan is for the engine openvino.")
        return _given_plan(request)
    from gradcam_cli.engines.cache import cached_plan, keep_plan

    plan = cached_plan(request) if choice.cache else None
    if plan is None:
        plan = compiled_plan(request, required=choice.engine == "openvino" or choice.precision != "float32")
        if plan is not None and choice.cache:
            keep_plan(request, plan)
    return plan


def _given_plan(request: "ModelRequest") -> "Plan":
    """Read a plan that was named as the model; its layer and input are what they were compiled for."""
    from gradcam_cli.engines.plan import read_plan
    from gradcam_cli.preprocessing import PREPROCESSINGS

    settings = request.settings
    plan = read_plan(request.plan) if request.plan else None
    if plan is None:
        raise ModelError("No plan was given.")
    if settings.layer not in {"auto", plan.layer.path}:
        raise ModelError(f"{request.plan}: compiled for the layer '{plan.layer.path}'. Compile the model for another.")
    if settings.input_size not in {None, plan.input_shape[:2]}:
        raise ModelError(f"{request.plan}: compiled for {plan.input_shape[0]}x{plan.input_shape[1]} pictures.")
    if settings.preprocess != "auto":
        plan = replace(plan, preprocessing=PREPROCESSINGS[settings.preprocess], preprocess_guessed=False)
    return replace(plan, labels=request.labels) if request.labels else plan


def compiled_plan(request: "ModelRequest", *, required: bool) -> "Plan | None":
    """Load the model with Keras and compile it; None where that is impossible and not required."""
    from gradcam_cli.engines.compiling import NotCompilableError, compile_plan
    from gradcam_cli.models.loading import load_classifier

    try:
        return compile_plan(load_classifier(request), request.settings.layer)
    except NotCompilableError:
        if required:
            raise
        return None


def _openvino(plan: "Plan", choice: EngineChoice, work: Work) -> "Engine":
    from gradcam_cli.engines.openvino import OpenVinoEngine
    from gradcam_cli.engines.streams import streams_for
    from gradcam_cli.pipeline import even_batch_size

    streams = streams_for(batches=-(-work.images // work.batch_size))
    size = even_batch_size(work.images, work.batch_size, streams)
    return OpenVinoEngine(plan, work.targets, batch_size=size, streams=streams, precision=choice.precision)


def _tensorflow(request: "ModelRequest", work: Work) -> "tuple[Engine, Classifier]":
    from gradcam_cli.engines.tensorflow import TensorFlowEngine, configure_threads
    from gradcam_cli.methods import Needs
    from gradcam_cli.models.loading import load_classifier
    from gradcam_cli.pipeline import even_batch_size

    streams = configure_threads(batches=-(-work.images // work.batch_size))
    classifier = load_classifier(request)
    engine = TensorFlowEngine(
        classifier,
        request.settings.layer,
        work.targets,
        batch_size=even_batch_size(work.images, work.batch_size, streams),
        gradients=work.method.needs is Needs.GRADIENTS,
        streams=streams,
    )
    return engine, classifier
