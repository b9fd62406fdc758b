"""Compile a model file to a plan file."""

from pathlib import Path

from gradcam_cli.engines.plan import SUFFIX, Plan, write_plan
from gradcam_cli.engines.plan_choice import require_openvino
from gradcam_cli.engines.selection import Downloading
from gradcam_cli.errors import EnvironmentStop, ModelError, UsageError
from gradcam_cli.models.request import ModelRequest, locate_model
from gradcam_cli.settings import ModelSettings


def compile_file(settings: ModelSettings, output: Path, downloading: Downloading) -> Plan:
    """Compile a model for one target layer to one file, which needs neither TensorFlow nor Keras.

    Args:
        settings: the model and its layer.
        output: the plan file; its name must end in `.plan`.
        downloading: gives a context for a download, see `RunObserver.downloading`.

    Raises:
        UsageError: the file name does not end in `.plan`.
        ModelError: OpenVINO is not installed, or the model cannot be loaded or compiled.
        EnvironmentStop: the file cannot be written.
    """
    if output.suffix != SUFFIX:
        raise UsageError(f"{output}: the name of a plan must end in {SUFFIX}.")
    require_openvino()
    request = locate_model(settings, downloading)
    if request.plan:
        raise ModelError(f"{settings.model}: this is a plan already. Give the model that it was compiled from.")
    if request.inputs_vary:
        raise ModelError(
            "A plan contains one value for each additional input. Values that differ between images "
            "cannot be compiled; use the model itself."
        )
    plan = _compiled(request)
    try:
        write_plan(plan, output)
    except OSError as error:
        raise EnvironmentStop(f"{output}: the file cannot be written: {error.strerror}.") from error
    return plan


def _compiled(request: ModelRequest) -> Plan:
    if request.exchange:
        from gradcam_cli.engines.exchange.compiling import compile_exchange

        return compile_exchange(request)
    from gradcam_cli.models import load_model

    classifier = load_model(request)
    classifier.check_inputs()
    # This imports Keras too, after its backend was set.
    from gradcam_cli.engines.compiling import compile_plan

    return compile_plan(classifier, request.settings.layer)
