"""`gradcam-cli compile`."""

from pathlib import Path
from typing import Any

import click

from gradcam_cli.cli.console import download_bar, say
from gradcam_cli.cli.options import LocalPath, model_options
from gradcam_cli.engines.selection import openvino_installed
from gradcam_cli.errors import EnvironmentStop, ModelError, UsageError
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import ModelSettings

PLAN_SUFFIX = ".plan"


@click.command(
    "compile",
    epilog="""\b
Example:
  gradcam-cli compile my.keras -o my.plan
  gradcam-cli explain photos/ -o out/ --model my.plan
""",
)
@click.argument("model")
@click.option("-o", "--out", "output", required=True, type=LocalPath(), help="The plan's file.")
@model_options
@click.option("-v", "--verbose", is_flag=True, help="Let TensorFlow speak.")
def compile_(model: str, output: Path, verbose: bool, **options: Any) -> None:
    """Compile MODEL at one layer to one file, which needs neither TensorFlow nor Keras.

    The file goes to --model in an environment with OpenVINO. For models whose target layer is followed by global
    average pooling and one dense layer.
    """
    if output.suffix != PLAN_SUFFIX:
        raise UsageError(f"{output}: a plan's name ends in {PLAN_SUFFIX}.")
    if not openvino_installed():
        raise ModelError("OpenVINO is not installed. Install it: pip install 'gradcam-cli[openvino]'")
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.models import load_model
        from gradcam_cli.models.request import locate_model

        settings = ModelSettings(model=model, inputs=options.pop("inputs_given"), **options)
        request = locate_model(settings, download_bar)
        if request.plan:
            raise ModelError(f"{model}: a plan already.")

        if request.inputs_vary:
            raise ModelError("A plan has one value for each further input: inputs that differ cannot be compiled.")
        classifier = load_model(request)
        classifier.check_inputs()
        # These import Keras too: the model's import has chosen its backend.
        from gradcam_cli.engines.compiling import compile_plan
        from gradcam_cli.engines.plan import write_plan

        plan = compile_plan(classifier, request.settings.layer)
        try:
            write_plan(plan, output)
        except OSError as error:
            raise EnvironmentStop(f"{output}: cannot be written: {error.strerror}.") from error
        say(f"{plan.name}: layer {plan.layer.path} ({plan.layer.reason}) -> {output}")
