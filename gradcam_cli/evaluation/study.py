"""The layers of an evaluation, each with its engine and an engine for collages."""

from dataclasses import dataclass
from pathlib import Path

from gradcam_cli.engines.protocol import Engine
from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.ground_truth import Boxes, read_boxes
from gradcam_cli.evaluation.images import Study
from gradcam_cli.inputs.sources import Source
from gradcam_cli.requests import EvaluateRequest
from gradcam_cli.runs.study_engines import StudyEngines


@dataclass(frozen=True)
class LayerStudy:
    """One layer with its engines; `asked` is the layer as it was given."""

    asked: str
    study: Study
    engine: Engine
    grid_engine: Engine | None

    @property
    def layer(self) -> str:
        """The layer's path."""
        return self.engine.layer.path


def open_layers(request: EvaluateRequest, engines: StudyEngines, boxes: dict[str, Boxes]) -> list[LayerStudy]:
    """Make every engine before the first image, so that a wrong layer is reported early.

    Raises:
        ModelError: a layer cannot be explained, or the network does not accept the size of collages.
        UsageError: two of the layers are the same.
    """
    layers: list[LayerStudy] = []
    for asked in dict.fromkeys(request.layers):
        engine, job = engines.open(asked)
        if any(other.layer == engine.layer.path for other in layers):
            raise UsageError(f"`layer={asked}` is {engine.layer.path}, which is already one of the layers.")
        grid = request.study.grid
        larger = engines.open_larger(asked, engine, grid) if grid else None
        layers.append(LayerStudy(asked, Study(request.study, job, boxes), engine, larger))
    return layers


def boxes_of(path: Path | None, sources: list[Source]) -> dict[str, Boxes]:
    """Read the boxes of objects, by the path of their image in the input folder.

    Raises:
        UsageError: the file cannot be read, or none of its boxes belongs to an image.
    """
    if path is None:
        return {}
    boxes = read_boxes(path)
    if not boxes.keys() & {source.relative for source in sources}:
        raise UsageError(
            f"{path}: no box belongs to these images. Its column 'file' must be the path in the input folder, such as "
            f"{sources[0].relative}."
        )
    return boxes
