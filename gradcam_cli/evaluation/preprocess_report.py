"""The recommended preprocessing of a model, from its predictions for some images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_cli.engines.plan_choice import require_openvino
from gradcam_cli.engines.protocol import Engine
from gradcam_cli.engines.selection import Downloading, load_model
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
from gradcam_cli.inputs.sources import Source
from gradcam_cli.models.request import ModelRequest, locate_model
from gradcam_cli.runs.engine_factory import chosen_fit
from gradcam_cli.settings import FitChoice, ModelSettings, RunSettings, TargetSettings

if TYPE_CHECKING:
    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.models.classifier import Classifier

HEAD = f"{'PREPROCESS':<11} {'ACCURACY':>8} {'CONFIDENCE':>11} {'AGREEMENT':>10} {'CLASSES':>8} {'DISTANCE':>9}"


@dataclass(frozen=True)
class PreprocessReport:
    """The recommended preprocessing, whether it is certain, and why; `rows` has the results of each preprocessing."""

    preprocess: str
    certain: bool
    reason: str
    images: int
    rows: tuple[Row, ...]

    def advice(self) -> str:
        """Give the recommendation and its reason in one line."""
        verb = "use" if self.certain else "not certain, possibly"
        return f"{verb} `preprocess={self.preprocess}`: {self.reason}"

    def table(self) -> str:
        """Format the results as a table, one line for each preprocessing."""
        return "\n".join([HEAD, *(_line(row) for row in self.rows)])


def open_model(settings: ModelSettings, downloading: Downloading, pictures: int) -> "tuple[Engine, Classifier | Plan]":
    """Find a model, and make an engine that gives its predictions, without gradients.

    Args:
        settings: which model.
        downloading: gives a context for a download, see `RunObserver.downloading`.
        pictures: the number of images.

    Raises:
        ModelError: the model is a plan, is refused, or cannot be loaded.
    """
    request = locate_model(settings, downloading)
    if request.plan:
        raise ModelError(f"{settings.model}: this is a plan. Check the model that it was compiled from.")
    size = min(RunSettings().batch_size, pictures)
    return _by_openvino(request, size) if request.exchange else _by_tensorflow(request, size)


def _by_openvino(request: ModelRequest, size: int) -> "tuple[Engine, Plan]":
    require_openvino()
    from gradcam_cli.engines.exchange.compiling import compile_exchange
    from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions

    plan = compile_exchange(request, differentiated=False)
    return OpenVinoEngine(plan, TargetSettings(top_k=1), PassOptions(size, gradients=False)), plan


def _by_tensorflow(request: ModelRequest, size: int) -> "tuple[Engine, Classifier]":
    classifier = load_model(request)
    # These import Keras too, after its backend was set.
    from gradcam_cli.engines.tensorflow import TensorFlowEngine
    from gradcam_cli.engines.tracing import PassSettings, trace_model

    settings = PassSettings(TargetSettings(top_k=1), size, gradients=False)
    return TensorFlowEngine(trace_model(classifier, "auto", settings)), classifier


def check_preprocess(
    engine: Engine,
    model: "Classifier | Plan",
    sources: Sequence[Source],
    failed: Callable[[Source, ImageError], None],
    *,
    fit: FitChoice = "auto",
    truth_from_folders: bool = False,
) -> PreprocessReport:
    """Compare the predictions of a model for each preprocessing, and recommend one.

    Args:
        engine: gives the model's predictions, see `open_model`.
        model: the model or plan.
        sources: the images.
        failed: receives each image that cannot be read, and the error.
        fit: how images are fitted to the model's input.
        truth_from_folders: the folder of each image is named after its class.

    Raises:
        ModelError: the model's output is a value.
        UsageError: none of the pictures can be read, or their folders do not name the classes.
    """
    predictions, truth = _predict(engine, model, sources, failed, fit, with_truth=truth_from_folders)
    rows = table(predictions, truth, model.preprocess_scores)
    return PreprocessReport(*_recommendation(model, predictions, truth), len(predictions[0].classes), tuple(rows))


def _predict(
    engine: Engine,
    model: "Classifier | Plan",
    sources: Sequence[Source],
    failed: Callable[[Source, ImageError], None],
    fit: FitChoice,
    *,
    with_truth: bool,
) -> tuple[list[Predictions], tuple[int, ...] | None]:
    if engine.head.kind == "value":
        raise ModelError(f"{model.name}: its output is a value, not classes, so preprocessings cannot be compared.")
    height, width, channels = model.input_shape
    pictures = list(read_pictures(sources, Size(width, height), channels, chosen_fit(model, fit), failed))
    if not pictures:
        raise UsageError("None of the images can be read.")
    truth = None
    if with_truth:
        truth = true_classes([source for source, _ in pictures], model.labels, engine.head.class_count)
    pixels = [each for _, each in pictures]
    names = [name for name, preprocessing in PREPROCESSINGS.items() if preprocessing.takes(channels)]
    return [predict(pixels, name, engine) for name in names], truth


def _recommendation(
    model: "Classifier | Plan", predictions: Sequence[Predictions], truth: tuple[int, ...] | None
) -> tuple[str, bool, str]:
    """Give the recommended preprocessing, whether it is certain, and the reason."""
    if truth:
        best, decided = decided_by_truth(predictions, truth, model.preprocessing.name)
        right = next(each.right(truth) for each in predictions if each.preprocess == best)
        why = f"{right} of {len(truth)} images get the class of their folder"
        if not decides_order(predictions, truth, best):
            why += ", and the other channel order (RGB or BGR) gives a similar result"
        return (
            best,
            decided,
            why if decided else f"{why}, but another preprocessing is nearly as good; give more images",
        )
    if not model.preprocess_guessed:
        return model.preprocessing.name, True, model.preprocess_reason
    advice = "to decide, put some images into folders named after their classes and use `truth_from_folders`"
    return model.preprocessing.name, False, f"{model.preprocess_reason}; {advice}"


def _line(row: Row) -> str:
    accuracy = "-" if row.accuracy is None else f"{row.accuracy:.3f}"
    distance = "-" if row.distance is None else f"{row.distance:.3f}"
    shares = f"{row.confidence:>11.3f} {row.agreement:>10.3f} {row.classes_seen:>8}"
    return f"{row.preprocess:<11} {accuracy:>8} {shares} {distance:>9}"
