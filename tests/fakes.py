"""An engine of numpy alone, so that the pipeline and the command line are tested without TensorFlow."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward, Head, TargetLayer, probabilities_of
from gradcam_cli.engines.selection import Engines
from gradcam_cli.engines.work import Work
from gradcam_cli.evaluation.images import Study
from gradcam_cli.evaluation.sanity import Stage
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.inputs.sources import Source
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.requests import StudySettings
from gradcam_cli.results.output import OutputFolder
from gradcam_cli.results.sidecar import ModelCard, Record, RunCard, schema_text, to_json
from gradcam_cli.runs.job import Job
from gradcam_cli.runs.pipeline import explain_sources
from gradcam_cli.settings import EngineSettings, ModelSettings, RunSettings

CHANNELS = 6
CLASSES = 5
LABELS = Labels(tuple(Label(f"class {i}", f"n0000000{i}") for i in range(CLASSES)))


@dataclass
class FakeEngine:
    """A network with a GAP -> Dense head: its activations are the block means of relu(x) and relu(-x)."""

    batch_size: int = 4
    targets: Sequence[int] = ()
    top_k: int = 1
    side: int = 8
    cells: int = 4
    calls: list[int] = field(default_factory=list)
    nan_above: float = np.inf
    streams: int = 1
    name: str = "fake"
    reason: str = ""
    precision: str = "float32"
    others: "tuple[Engine, ...]" = ()

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        self.kernel = rng.normal(size=(CHANNELS, CLASSES)).astype(np.float32)
        self.input_size = (self.side, self.side)
        self.black = np.full(3, -1, np.float32)
        self.layer = TargetLayer("last", "auto: a fake", self.cells, self.cells, CHANNELS)
        self.head = Head("softmax", CLASSES, self.kernel)
        self.target_count = self.top_k + len(self.targets)

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        self.calls.append(len(inputs))
        n, block = len(inputs), self.side // self.cells
        both = np.concatenate([np.maximum(inputs, 0), np.maximum(-inputs, 0)], axis=3)
        activations = both.reshape(n, self.cells, block, self.cells, block, CHANNELS).mean(axis=(2, 4))
        logits = activations.mean(axis=(1, 2)) @ self.kernel
        logits[inputs.mean(axis=(1, 2, 3)) > self.nan_above] = np.nan
        top = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        asked = np.tile(np.asarray(self.targets, np.intp), (n, 1))
        chosen = np.concatenate([top, asked], axis=1) if targets is None else targets
        slopes = self.kernel[:, chosen].transpose(1, 2, 0) / self.cells**2
        shape = (*slopes.shape[:2], self.cells, self.cells, CHANNELS)
        return Forward(inputs, activations, logits, chosen, np.broadcast_to(slopes[:, :, None, None, :], shape))

    def probabilities(self, inputs: Floats, extras: Extras = NO_EXTRAS) -> Floats:
        return probabilities_of(self.head, self.explain(inputs, extras=extras))

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        slopes = self.kernel[:, classes].T / self.cells**2
        return np.broadcast_to(slopes[:, None, None, :], forward.activations.shape)

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        none = np.zeros((*forward.targets.shape, CHANNELS), np.float32)
        return none, none

    def ablation_drops(self, forward: Forward) -> Floats:
        drops = self.head.dense_drops(forward.activations, forward.targets)
        assert drops is not None
        return drops


@dataclass(frozen=True)
class FakeModel:
    """What is known of the fake network besides its engine."""

    name: str = "fake"
    sha256: str = "0" * 64
    preprocessing: Any = PREPROCESSINGS["tf"]
    preprocess_guessed: bool = False
    preprocess_reason: str = "fake"
    preprocess_scores: Any = None
    fit: str = "squash"
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: Labels = LABELS
    input_shape: tuple[int, int, int] = (8, 8, 3)


@dataclass
class FakeEngines(Engines):
    """Finds one fake model, whatever is asked for, and opens the fake engine: what a run is given in a test."""

    kind: type[FakeEngine] = FakeEngine
    opened: list[FakeEngine] = field(default_factory=list)

    def locate(
        self, settings: ModelSettings, downloading: Any, *, cache: bool = True, need_weights: bool = True
    ) -> ModelRequest:
        del downloading, cache, need_weights
        return ModelRequest(settings, None, Path("fake.keras"), None, None, FakeModel.sha256)

    def open(self, request: ModelRequest, choice: EngineSettings, work: Work) -> Any:
        del request, choice
        asked = [LABELS.find(name, CLASSES) for name in work.targets.classes]
        size = min(work.batch_size, work.image_count)
        self.opened.append(self.kind(batch_size=size, targets=asked, top_k=work.targets.top_k))
        return self.opened[-1], FakeModel()


CARD = ModelCard("fake", "0" * 64, "last", "auto: a fake", "fake", "float32", "tf", False, "squash", (8, 8))


def job(**settings: Any) -> Job:
    return Job(
        settings=RunSettings(**settings),
        preprocessing=PREPROCESSINGS["tf"],
        labels=LABELS,
        model=CARD,
        run=RunCard("0" * 64, {"fake": "1"}),
        several_targets=False,
    )


def explained(root: Path, items: list[Source], engine: FakeEngine, the_job: Job | None = None) -> list[Record]:
    folder = OutputFolder(root / "out")
    folder.prepare()
    records = list(explain_sources(items, the_job or job(), engine, folder))
    folder.release()
    for record in records:
        jsonschema.validate(json.loads(to_json(record)), json.loads(schema_text()))
    return records


PAIR = ("gradcam", "gradcam++")


ALL_STEPS = ("drop", "adcc", "deletion", "insertion")


HEAD, EVERYTHING = Stage(1, 9, "head"), Stage(9, 9, "stem")


def study(methods: tuple[str, ...] = PAIR, fit: Any = "squash", boxes: Any = None, **settings: Any) -> Study:
    the_job = Job(
        RunSettings(fit=fit),
        PREPROCESSINGS["tf"],
        LABELS,
        CARD,
        RunCard("", {"fake": "1"}),
        several_targets=False,
        overlays=False,
    )
    return Study(StudySettings(methods, **{"metrics": ALL_STEPS, "steps": 4, **settings}), the_job, boxes or {})


@dataclass
class OtherEngine(FakeEngine):
    """The fake network with another head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kernel = self.kernel[::-1].copy()
        self.head = replace(self.head, weights=self.kernel)
