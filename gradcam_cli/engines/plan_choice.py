"""The choice of the plan for a model with OpenVINO: a given plan, a plan from the cache, or a new one."""

from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gradcam_cli.engines.devices import HasGpu
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import ModelError
from gradcam_cli.extras import install_hint
from gradcam_cli.settings import EngineSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.models.classifier import Classifier
    from gradcam_cli.models.request import ModelRequest


def openvino_installed() -> bool:
    """Whether the extra `gradcam-cli[openvino]` is installed."""
    return find_spec("openvino") is not None


def require_openvino() -> None:
    """Raise an error if OpenVINO is not installed.

    Raises:
        ModelError: OpenVINO is not installed.
    """
    if not openvino_installed():
        raise ModelError(f"OpenVINO is not installed. Install it: {install_hint('openvino')}")


def wants_plan(request: "ModelRequest", choice: EngineSettings, has_gpu: HasGpu) -> bool:
    """Whether a plan is preferred and, as far as is known without loading the model, possible."""
    if choice.engine == "tensorflow" or request.inputs_vary or not openvino_installed():
        return False
    return _needs_plan(choice) or not has_gpu()


def _needs_plan(choice: EngineSettings) -> bool:
    """Whether the request can be served only by a plan."""
    return choice.engine == "openvino" or choice.precision != "float32"


def plan_at_hand(request: "ModelRequest", choice: EngineSettings, has_gpu: HasGpu, work: Work) -> "Plan | None":
    """Give the given plan or one from the cache, which need neither TensorFlow nor Keras; None if there is none."""
    if request.plan:
        return _given_plan(request, request.plan)
    if request.exchange:
        return _exchange_plan(request, choice, work)
    if not choice.cache or not wants_plan(request, choice, has_gpu):
        return None
    from gradcam_cli.engines.cache import cached_plan

    return cached_plan(request)


def forget_plans(layers: "Sequence[ModelRequest]") -> None:
    """Remove the plans of a model from the cache."""
    from gradcam_cli.engines.cache import cached_path, remove

    for request in layers:
        remove(cached_path(request))


def _exchange_plan(request: "ModelRequest", choice: EngineSettings, work: Work) -> "Plan":
    """Give the plan of a model in an exchange format: from the cache, or compiled now and stored."""
    from gradcam_cli.engines.cache import cached_plan, keep_plan

    plan = cached_plan(request) if choice.cache else None
    if plan is None:
        from gradcam_cli.engines.exchange.compiling import compile_exchange

        plan = compile_exchange(request, differentiated=work.differentiates)
        # A plan that was not checked is used only in this run.
        if choice.cache and work.differentiates:
            keep_plan(request, plan)
    return plan


def _given_plan(request: "ModelRequest", path: "Path") -> "Plan":
    """Read a plan that was given as the model; its layer and input size are fixed."""
    from gradcam_cli.engines.plan import read_plan
    from gradcam_cli.imaging.preprocessing import ASKED_FOR, PREPROCESSINGS
    from gradcam_cli.models.request import open_source

    settings = request.settings
    with open_source(path, request) as file:
        plan = read_plan(file)
    if settings.layer not in {"auto", plan.layer.path}:
        raise ModelError(
            f"{path}: the plan was compiled for the layer '{plan.layer.path}'. To use another layer, "
            "compile the model again."
        )
    if settings.input_size not in {None, plan.input_shape[:2]}:
        raise ModelError(
            f"{path}: the plan was compiled for {plan.input_shape[0]}x{plan.input_shape[1]} images. To "
            "use another size, compile the model again."
        )
    if settings.output_kind != "auto":
        raise ModelError(
            f"{path}: the plan was compiled with another kind of output. Compile the model again with `output_kind`."
        )
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


@dataclass(frozen=True)
class Ready:
    """A plan for each layer; or no plans, and possibly the `reason`."""

    plans: "tuple[Plan, ...]" = ()
    reason: str = ""


def serving(plans: "Sequence[Plan | None]", work: Work, *, needed: bool) -> Ready:
    """Give the plans if there is one for each layer and the methods can use them.

    Raises:
        ModelError: the methods cannot use the plans, and a plan is `needed`.
    """
    found = tuple(plan for plan in plans if plan)
    if len(found) < len(plans):
        return Ready()
    needs = [method.name for method in work.methods if method.derives_pooled and work.options.score == "logit"]
    if not needs or all(plan.head.linearity != "pooled" for plan in found):
        return Ready(found)
    reason = f"`method={needs[0]}` needs third derivatives of this model's head: use `engine=tensorflow`."
    if needed:
        raise ModelError(reason)
    return Ready(reason=reason)


def compiled(layers: "list[ModelRequest]", classifier: "Classifier", choice: EngineSettings) -> Ready:
    """Compile and store a plan for each layer; give the reason if this is impossible for one of them."""
    plans = []
    for request in layers:
        plan = _compiled_at(request, classifier, choice)
        if isinstance(plan, str):
            return Ready(reason=plan)
        plans.append(plan)
    return Ready(tuple(plans))


def _compiled_at(request: "ModelRequest", classifier: "Classifier", choice: EngineSettings) -> "Plan | str":
    """Compile and store a plan for one layer; give the reason if this is impossible."""
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
    """Store the names of a model's layers for shell completion."""
    from gradcam_cli.engines.layer_names import remember_layers

    if choice.cache and request.network is None:
        remember_layers(request.settings.model, names)
