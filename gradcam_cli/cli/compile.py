"""`gradcam-cli compile`."""

from pathlib import Path
from typing import Any

from gradcam_cli.cli.command import argument, command
from gradcam_cli.cli.console import download_bar, say
from gradcam_cli.cli.options import LocalPath, examples, model_options, out_option, verbose_option
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import ModelSettings


@command(
    "compile",
    epilog=examples(
        "gradcam-cli compile my.keras -o my.plan",
        "gradcam-cli explain photos/ -o out/ --model my.plan",
        head="Example",
    ),
)
@argument("model")
@out_option("Plan file to write.", required=True, kind=LocalPath)
@model_options()
@verbose_option
def compile_(model: str, output: Path, verbose: bool, **options: Any) -> None:
    """Compile MODEL for one target layer to one file, which runs without TensorFlow and Keras.

    Use the file as --model; this needs OpenVINO. A model is refused if OpenVINO cannot convert it, or cannot compute
    its gradient.
    """
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.engines.compile_file import compile_file

        plan = compile_file(ModelSettings(model=model, **options), output, download_bar)
        say(f"{plan.name}: layer {plan.layer.path} ({plan.layer.reason}) -> {output}")
