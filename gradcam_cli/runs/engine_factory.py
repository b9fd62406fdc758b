"""Make the engine and the job of a run from its request."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradcam_cli.engines.protocol import Engine, map_layer
from gradcam_cli.engines.selection import Engines, loading_text, opens_without_tensorflow
from gradcam_cli.engines.work import Work
from gradcam_cli.extras import install_hint
from gradcam_cli.imaging.lettering import Lettering, lettering_of
from gradcam_cli.inputs.other_inputs import ExtrasReader
from gradcam_cli.inputs.photo import Decode
from gradcam_cli.labels.class_labels import Labels
from gradcam_cli.methods import METHODS, Method
from gradcam_cli.methods.method_runner import check_method
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.results.sidecar import GivenCard, ModelCard, RunCard
from gradcam_cli.runs.job import ExtrasOf, Job, no_extras, unheard
from gradcam_cli.runs.observer import OpenedModel, RunObserver
from gradcam_cli.settings import FitChoice, FitMode, RunSettings, Score
from gradcam_cli.text import counted
from gradcam_cli.versions import version_of_packaged_weights, versions

if TYPE_CHECKING:
    from gradcam_cli.engines.plan import Plan
    from gradcam_cli.models.classifier import Classifier


@dataclass(frozen=True)
class EngineFactory:
    """Makes the engine and the job of a run, and again with smaller batches if there is not enough memory.

    `methods` are the methods that the request may name. `image_count` is the number of images to explain. `run` is the
    part of the records about the run. With `overlays` the job paints overlays.
    """

    request: ExplainRequest
    model: ModelRequest
    engines: Engines
    image_count: int
    run: RunCard
    overlays: bool
    decode: Decode
    observer: RunObserver
    methods: Mapping[str, Method] = field(default_factory=lambda: METHODS)

    def open(self, batch_size: int | None = None, *, again: bool = False) -> tuple[Engine, Job]:
        """Make the engine and the job; the observer is informed, unless it is made `again`.

        Raises:
            ModelError: the model cannot be explained with these options.
        """
        request, settings = self.request, self.request.run
        method = self.methods[settings.method]
        size = batch_size or settings.batch_size
        work = Work(request.targets, (method,), settings.method_options, self.image_count, size)
        if self._writes and settings.overlay.font:
            # A file that is not a font is refused before the model is loaded.
            lettering_of((), settings.overlay.font)
        with self.observer.busy(self.loading):
            engine, model = self.engines.open(self.model, request.engine, work)
        settings = replace(settings, fit=chosen_fit(model, request.fit))
        engines = (engine, *engine.others)
        for each in engines:
            check_method(method, each, settings.method_options)
        opened = OpenedModel(
            card=model_card(model, engine, settings.fit, self.model),
            notes=tuple(model.notes),
            warnings=tuple(model.warnings),
            layers=tuple(each.layer.path for each in engines) if engine.others else (),
            derivatives=_derivatives(method, engines, settings.method_options.score),
            several_targets=engine.target_count > 1,
            engine_reason=engine.reason,
        )
        if not again:
            self.observer.opened(opened)
        lettering = lettering_of(_names(model.labels), settings.overlay.font) if self._writes else Lettering()
        if self._writes and not again and (note := _unwritable(model.labels, lettering, settings.overlay.font)):
            self.observer.note(note)
        return engine, self._job(opened, settings, model, lettering)

    @property
    def loading(self) -> str:
        """What is loaded before the first image, see `loading_text`."""
        return loading_text(self.model, self.request.engine)

    @property
    def is_without_tensorflow(self) -> bool:
        """Whether the engine will probably open without TensorFlow."""
        return opens_without_tensorflow(self.model, self.request.engine)

    @property
    def _writes(self) -> bool:
        return self.overlays and self.request.run.overlay.caption

    def _job(self, opened: OpenedModel, settings: RunSettings, model: "Classifier | Plan", lettering: Lettering) -> Job:
        return Job(
            settings=settings,
            preprocessing=model.preprocessing,
            labels=model.labels,
            model=opened.card,
            run=self.run,
            several_targets=opened.several_targets,
            overlays=self.overlays,
            channels=model.input_shape[2],
            asked_classes=len(self.request.targets.classes),
            derivatives=opened.derivatives,
            layers=opened.layers,
            decode=self.decode,
            methods=self.methods,
            extras=extras_of(model, self.decode, settings),
            lettering=lettering,
            # Decoders in other processes do not print to this process.
            listen=unheard if self.request.isolate_decoder else self.observer.listen,
        )


def run_card(request: ExplainRequest, model: ModelRequest) -> RunCard:
    """Give the part of the records about the run: the hash of its options and model, and the installed versions."""
    known = versions()
    return RunCard(request.digest(model.depends(), known | version_of_packaged_weights()), known)


def _names(labels: Labels) -> Iterator[str]:
    return (label.name for label in labels.entries)


def _unwritable(labels: Labels, lettering: Lettering, font: Path | None) -> str | None:
    """Describe the labels that the fonts cannot write; None if they can write all."""
    names = [name for name in _names(labels) if not lettering.writes(name)]
    if not names:
        return None
    where = f"{font} does not have" if font else "no installed font has"
    other = "Give another `font`." if font else f"Give a `font`, or install fonts: {install_hint('fonts')}"
    return (
        f"captions: {where} all characters of {counted(len(names), 'label')}, such as '{names[0]}': their captions "
        f"show the index of the class instead. {other}"
    )


def chosen_fit(model: "Classifier | Plan", asked: FitChoice) -> FitMode:
    """Choose the fit of images: the requested one, or the fit of the model's training."""
    return model.fit if asked == "auto" else asked


def model_card(model: "Classifier | Plan", engine: Engine, fit: str, request: ModelRequest) -> ModelCard:
    """Give the part of the records about the model."""
    return ModelCard(
        name=model.name,
        sha256=model.sha256,
        layer=engine.layer.path,
        layer_reason=engine.layer.reason,
        engine=engine.name,
        precision=engine.precision,
        preprocess=model.preprocessing.name,
        preprocess_guessed=model.preprocess_guessed,
        fit=fit,
        input_size=engine.input_size,
        preprocess_reason=model.preprocess_reason,
        preprocess_scores=model.preprocess_scores,
        image_input=request.settings.image_input,
        custom_objects=request.custom.sha256 if request.custom else None,
        inputs=tuple(GivenCard(given.name or None, given.shown, given.digest) for given in request.inputs),
        output_kind=engine.head.kind,
        output_reason=engine.head.reason,
        output_assumed=engine.head.assumed,
        geometry=map_layer(engine).geometry,
        layer_notes=tuple(dict.fromkeys(note for each in (engine, *engine.others) for note in each.layer.notes)),
    )


def extras_of(model: "Classifier | Plan", decode: Decode, settings: RunSettings) -> ExtrasOf:
    """Give the function that reads each image's values for the network's additional inputs."""
    others = getattr(model, "varying", ())
    if not others:
        return no_extras
    return ExtrasReader(others, decode, model.preprocessing, settings.fit, settings.limits, settings.sample_range)


def _derivatives(method: Method, engines: Iterable[Engine], score: Score) -> str | None:
    """Give the sidecar's text about the derivatives in alpha; None for methods without alpha."""
    if not method.assumes_linearity:
        return None
    exact = all(method.is_exact(engine.head.linearity, score) for engine in engines)
    return "exact" if exact else "approximation"
