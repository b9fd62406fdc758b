"""Which preprocessing a model wants, judged by its predictions for some pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import PassSettings, trace_model
from gradcam_cli.errors import ImageError, ModelError, UsageError
from gradcam_cli.evaluation.preprocess_check import (
    Predictions,
    Row,
    decided_by_truth,
    decides_order,
    predict,
    read_pictures,
    table,
)
from gradcam_cli.evaluation.preprocess_check import (
    truth_from_folders as true_classes,
)
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.inputs.discovery import Source
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.runs.engine_factory import chosen_fit
from gradcam_cli.settings import FitChoice, RunSettings, TargetSettings

HEAD = f"{'PREPROCESS':<11} {'ACCURACY':>8} {'CONFIDENCE':>11} {'AGREEMENT':>10} {'CLASSES':>8} {'DISTANCE':>9}"


@dataclass(frozen=True)
class PreprocessReport:
    """The preprocessing to use, whether that is certain, and why; the figures of each are in `rows`."""

    preprocess: str
    certain: bool
    reason: str
    images: int
    rows: tuple[Row, ...]

    def advice(self) -> str:
        """Say in one line which preprocessing to use, and why."""
        verb = "use" if self.certain else "not certain, perhaps"
        return f"{verb} `preprocess={self.preprocess}`: {self.reason}"

    def table(self) -> str:
        """The figures for people, one line for each preprocessing."""
        return "\n".join([HEAD, *(_line(row) for row in self.rows)])


def check_preprocess(
    classifier: Classifier,
    sources: Sequence[Source],
    failed: Callable[[Source, ImageError], None],
    *,
    fit: FitChoice = "auto",
    truth_from_folders: bool = False,
) -> PreprocessReport:
    """Compare the predictions of a model under each preprocessing, and recommend one.

    Args:
        classifier: the model.
        sources: the pictures.
        failed: receives each picture that cannot be read, and why.
        fit: how pictures are laid into the model's input.
        truth_from_folders: each picture's folder is called as its class is.

    Raises:
        ModelError: the model's output is a value.
        UsageError: none of the pictures can be read, or their folders do not name the classes.
    """
    predictions, truth = _predict(classifier, sources, failed, fit, with_truth=truth_from_folders)
    rows = table(predictions, truth, classifier.preprocess_scores)
    return PreprocessReport(*_recommendation(classifier, predictions, truth), len(predictions[0].classes), tuple(rows))


def _predict(
    classifier: Classifier,
    sources: Sequence[Source],
    failed: Callable[[Source, ImageError], None],
    fit: FitChoice,
    *,
    with_truth: bool,
) -> tuple[list[Predictions], tuple[int, ...] | None]:
    size = min(RunSettings().batch_size, len(sources))
    settings = PassSettings(TargetSettings(top_k=1), size, gradients=False)
    engine = TensorFlowEngine(trace_model(classifier, "auto", settings))
    if engine.head.kind == "value":
        raise ModelError(f"{classifier.name}: its output is a value, and no class of a picture can be right or wrong.")
    height, width, channels = classifier.input_shape
    pictures = list(read_pictures(sources, Size(width, height), channels, chosen_fit(classifier, fit), failed))
    if not pictures:
        raise UsageError("None of the pictures can be read.")
    truth = None
    if with_truth:
        truth = true_classes([source for source, _ in pictures], classifier.labels, engine.head.class_count)
    pixels = [each for _, each in pictures]
    names = [name for name, preprocessing in PREPROCESSINGS.items() if preprocessing.takes(channels)]
    return [predict(pixels, name, engine) for name in names], truth


def _recommendation(
    classifier: Classifier, predictions: Sequence[Predictions], truth: tuple[int, ...] | None
) -> tuple[str, bool, str]:
    """The preprocessing to use, whether it is certain, and why."""
    if truth:
        best, decided = decided_by_truth(predictions, truth, classifier.preprocessing.name)
        right = next(each.right(truth) for each in predictions if each.preprocess == best)
        why = f"{right} of {len(truth)} pictures get their folder's class"
        if not decides_order(predictions, truth, best):
            why += ", and the other order of the channels, RGB or BGR, is about as good"
        return best, decided, why if decided else f"{why}, but another one is too close; give more pictures"
    if not classifier.preprocess_guessed:
        return classifier.preprocessing.name, True, classifier.preprocess_reason
    advice = "sort some pictures into folders named by class and add `truth_from_folders`, which decides it"
    return classifier.preprocessing.name, False, f"{classifier.preprocess_reason}; {advice}"


def _line(row: Row) -> str:
    accuracy = "-" if row.accuracy is None else f"{row.accuracy:.3f}"
    distance = "-" if row.distance is None else f"{row.distance:.3f}"
    shares = f"{row.confidence:>11.3f} {row.agreement:>10.3f} {row.classes_seen:>8}"
    return f"{row.preprocess:<11} {accuracy:>8} {shares} {distance:>9}"
