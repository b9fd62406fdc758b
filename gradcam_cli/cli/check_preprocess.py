"""`gradcam-cli check-preprocess MODEL PHOTOS...`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.command import argument, command, option
from gradcam_cli.cli.console import download_bar, say
from gradcam_cli.cli.options import examples, list_option, setting_options, verbose_option
from gradcam_cli.cli.wording import as_options
from gradcam_cli.errors import ImageError
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.settings import InputSettings, ModelSettings

if TYPE_CHECKING:
    from gradcam_cli.inputs.sources import Source
    from gradcam_cli.settings import FitChoice


@command("check-preprocess", epilog=examples("gradcam-cli check-preprocess my.keras photos/ --truth-from-folders"))
@argument("model")
@argument("inputs", metavar="PHOTOS...", nargs=-1, required=True)
@option("--truth-from-folders", group="inputs", is_flag=True, help="The folder of each image is named after its class.")
@setting_options(ModelSettings, "labels", "labels_from", "input_size", "output_name")
@setting_options(ExplainRequest, "fit")
@setting_options(InputSettings, "limit")
@list_option("Print a JSON object.")
@verbose_option
def check_preprocess(
    inputs: tuple[str, ...],
    truth_from_folders: bool,
    fit: "FitChoice",
    limit: int | None,
    as_json: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Compare the predictions of MODEL on PHOTOS for each preprocessing, and recommend one.

    Give images in folders that are named after their classes, and --truth-from-folders: the right preprocessing has
    the best accuracy. Without them, the table shows three weaker signs: the confidence, the agreement between the
    preprocessings, and the distance between the model's batch statistics and those of sample images.
    """
    from gradcam_cli.inputs.finding import find_pictures

    sources = find_pictures(InputSettings(paths=inputs, limit=limit), say, keep_omissions=verbose)
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.evaluation import preprocess_report

        engine, found = preprocess_report.open_model(ModelSettings(**options), download_bar, len(sources))
        report = preprocess_report.check_preprocess(
            engine, found, sources, _say_failed, fit=fit, truth_from_folders=truth_from_folders
        )
    record = asdict(report) | {"reason": as_options(report.reason)}
    click.echo(json.dumps(record, indent=2, allow_nan=False) if as_json else report.table())
    say(f"{found.name}: {report.advice()}")


def _say_failed(source: "Source", error: ImageError) -> None:
    say(f"{source.relative!r}: {error.reason}: {error}")
