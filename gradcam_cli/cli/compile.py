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
@out_option("The plan's file.", required=True, kind=LocalPath)
@model_options()
@verbose_option
def compile_(model: str, output: Path, verbose: bool, **options: Any) -> None:
    """Compile MODEL at one layer to one file, which needs neither TensorFlow nor Keras.

    Give the file to --model where OpenVINO is installed. A model that OpenVINO cannot convert, or whose gradient it
    cannot compute, is refused.
    """
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.engines.compile_file import compile_file

        plan = compile_file(ModelSettings(model=model, **options), output, download_bar)
        say(f"{plan.name}: layer {plan.layer.path} ({plan.layer.reason}) -> {output}")
