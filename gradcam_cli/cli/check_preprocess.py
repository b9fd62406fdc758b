"""`gradcam-cli check-preprocess MODEL PHOTOS...`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.common import found_inputs
from gradcam_cli.cli.console import Verbosity, download_bar, say
from gradcam_cli.cli.options import fit_option, input_size_option, labels_options, output_option
from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import InputSettings, ModelSettings, RunSettings, TargetSettings

if TYPE_CHECKING:
    from gradcam_cli.evaluation.preprocess_check import Predictions, Row
    from gradcam_cli.models.classifier import Classifier

BATCH_SIZE = RunSettings().batch_size
HEAD = f"{'PREPROCESS':<11} {'ACCURACY':>8} {'CONFIDENCE':>11} {'AGREEMENT':>10} {'CLASSES':>8} {'DISTANCE':>9}"


@click.command(
    "check-preprocess",
    epilog="""\b
Example:
  gradcam-cli check-preprocess my.keras photos/ --truth-from-folders
""",
)
@click.argument("model")
@click.argument("inputs", metavar="PHOTOS...", nargs=-1, required=True)
@click.option("--truth-from-folders", is_flag=True, help="Each picture's folder is called as its class is.")
@labels_options
@input_size_option
@output_option
@fit_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take only the first N images.")
@click.option("--json", "as_json", is_flag=True, help="An object for programs.")
@click.option("-v", "--verbose", is_flag=True, help="Let TensorFlow speak.")
def check_preprocess(model: str, truth_from_folders: bool, as_json: bool, verbose: bool, **options: Any) -> None:
    """Compare the predictions of MODEL on PHOTOS under each preprocessing, and recommend one.

    Pictures in folders that are named after their classes (--truth-from-folders) decide it at once: the right
    preprocessing has the best accuracy. Without them, the table shows confidence and agreement, which decide nothing
    by themselves, and the distance of the model's batch statistics from those of sample pictures.
    """
    options |= {"model": model, "verbose": verbose}
    settings = InputSettings(paths=options["inputs"], limit=options["limit"])
    sources = found_inputs(settings, Verbosity(verbose=verbose)).sources
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.evaluation.preprocess_check import table

        classifier = _load(options)
        predictions, truth = _predict(classifier, sources, options, with_truth=truth_from_folders)
        rows = table(predictions, truth, classifier.preprocess_scores)
    chosen, decided, why = _recommendation(classifier, predictions, truth)
    if as_json:
        record = {"preprocess": chosen, "certain": decided, "reason": why, "images": len(predictions[0].classes)}
        click.echo(json.dumps({**record, "rows": [asdict(row) for row in rows]}, indent=2, allow_nan=False))
    else:
        click.echo(_table(rows))
    verb = "use" if decided else "not certain, perhaps"
    say(f"{classifier.name}: {verb} --preprocess {chosen}: {why}")


def _load(options: Mapping[str, Any]) -> "Classifier":
    from gradcam_cli.models.request import locate_model

    names = ("model", "labels", "labels_from", "input_size", "output_name")
    request = locate_model(ModelSettings(**{name: options[name] for name in names}), download_bar)
    if request.plan:
        raise ModelError(f"{options['model']}: a plan. Check the model that it was compiled from.")
    from gradcam_cli.models import load_model

    classifier = load_model(request)
    classifier.check_inputs()
    return classifier


def _predict(
    classifier: "Classifier", sources: "Sequence[Any]", options: Mapping[str, Any], *, with_truth: bool
) -> "tuple[list[Predictions], tuple[int, ...] | None]":
    from gradcam_cli.engines.tensorflow import TensorFlowEngine
    from gradcam_cli.engines.tracing import PassSettings, trace_model
    from gradcam_cli.evaluation.preprocess_check import predict, read_pictures, truth_from_folders
    from gradcam_cli.imaging.geometry import Size
    from gradcam_cli.imaging.preprocessing import PREPROCESSINGS

    size = min(BATCH_SIZE, len(sources))
    settings = PassSettings(TargetSettings(top_k=1), size, gradients=False)
    engine = TensorFlowEngine(trace_model(classifier, "auto", settings))
    if engine.head.kind == "value":
        raise ModelError(f"{classifier.name}: its output is a value, and no class of a picture can be right or wrong.")
    height, width, channels = classifier.input_shape
    failed = lambda source, error: say(f"{source.relative!r}: {error.reason}: {error}")  # noqa: E731 - one line a file
    from gradcam_cli.runs.engine_factory import chosen_fit

    pictures = list(
        read_pictures(sources, Size(width, height), channels, chosen_fit(classifier, options["fit"]), failed)
    )
    if not pictures:
        raise UsageError("None of the pictures can be read.")
    truth = None
    if with_truth:
        truth = truth_from_folders([source for source, _ in pictures], classifier.labels, engine.head.class_count)
    pixels = [each for _, each in pictures]
    names = [name for name, preprocessing in PREPROCESSINGS.items() if preprocessing.takes(channels)]
    return [predict(pixels, name, engine) for name in names], truth


def _recommendation(
    classifier: "Classifier", predictions: "Sequence[Predictions]", truth: tuple[int, ...] | None
) -> tuple[str, bool, str]:
    """The preprocessing to use, whether it is certain, and why."""
    from gradcam_cli.evaluation.preprocess_check import decided_by_truth, decides_order

    if truth:
        best, decided = decided_by_truth(predictions, truth, classifier.preprocessing.name)
        right = next(each.right(truth) for each in predictions if each.preprocess == best)
        why = f"{right} of {len(truth)} pictures get their folder's class"
        if not decides_order(predictions, truth, best):
            why += ", and the other order of the channels, RGB or BGR, is about as good"
        return best, decided, why if decided else f"{why}, but another one is too close; give more pictures"
    if not classifier.preprocess_guessed:
        return classifier.preprocessing.name, True, classifier.preprocess_reason
    advice = "sort some pictures into folders named by class and add --truth-from-folders, which decides it"
    return classifier.preprocessing.name, False, f"{classifier.preprocess_reason}; {advice}"


def _table(rows: "Sequence[Row]") -> str:
    return "\n".join([HEAD, *(_line(row) for row in rows)])


def _line(row: "Row") -> str:
    accuracy = "-" if row.accuracy is None else f"{row.accuracy:.3f}"
    distance = "-" if row.distance is None else f"{row.distance:.3f}"
    shares = f"{row.confidence:>11.3f} {row.agreement:>10.3f} {row.classes_seen:>8}"
    return f"{row.preprocess:<11} {accuracy:>8} {shares} {distance:>9}"
