"""The queue of a run: its sources in order, those that an earlier run has finished, and what a new run replaces."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gradcam_cli.errors import Reason
from gradcam_cli.inputs.discovery import Found, Source, as_text
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.results.earlier_run import Replacement, replacement
from gradcam_cli.results.output import OutputFolder
from gradcam_cli.results.reading import read_sidecar
from gradcam_cli.results.sidecar import Record, to_json
from gradcam_cli.runs.resume import Wanted, has_failed, is_finished


@dataclass(frozen=True)
class Queue:
    """The inputs of a run, in order, those that an earlier run has finished, and counts of what was left out."""

    sources: list[Source]
    finished: frozenset[Source] = frozenset()
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> list[Source]:
        """What is to be explained."""
        return [source for source in self.sources if source not in self.finished]

    def in_line(self, folder: OutputFolder | None, explained: Iterator[Record]) -> Iterator[tuple[Record, bool]]:
        """Give the records of all sources in order, and whether an earlier run has made each of them."""
        for source in self.sources:
            if source in self.finished and folder:
                record = read_sidecar(folder.sidecar_path(source))
                # Something removed the sidecar after it was looked at: the next run explains this image.
                yield (_vanished(source) if record is None else record), record is not None
            else:
                yield next(explained), False


def queue_of(
    request: ExplainRequest, found: Found, folder: OutputFolder | None, model: ModelRequest, digest: str
) -> Queue:
    """Leave out what an earlier run has finished, or all but what it could not explain, as the request says."""
    sources, left_out = found.sources, found.left_out.as_record()
    if folder is None or request.resume == "overwrite":
        return Queue(sources, left_out=left_out)
    if request.resume == "retry-failed":
        return Queue([source for source in sources if has_failed(folder, source)], left_out=left_out)
    wanted = Wanted(digest, _model_sha256(model), verify=request.resume == "verify")
    return Queue(sources, frozenset(source for source in sources if is_finished(folder, source, wanted)), left_out)


def replaced_by(
    request: ExplainRequest, queue: Queue, folder: OutputFolder, model: ModelRequest, digest: str
) -> Replacement | None:
    """Tell what this run replaces of a run with other options; None where nothing of the kind is there."""
    known = {**asdict(request.run), "classes": request.targets.classes, "top_k": request.targets.top_k}
    if not model.plan:
        known["model"] = model.depends()["model"]
    # These change no result, or are not known before the model is loaded.
    for name in ("batch_size", "limits", "fit"):
        del known[name]
    return replacement(folder, queue.left, json.loads(to_json(known)), digest)


def _model_sha256(model: ModelRequest) -> str | None:
    """What the sidecar has to say of the model, as far as it is known before the model is loaded."""
    if model.plan:
        # A sidecar has the hash of what the plan was made from; that of the plan itself is among the options'.
        return None
    asked = model.settings.sha256
    # Of weights out of a package nothing is known yet but what was asked for.
    return model.sha256 or (asked and asked.lower())


def _vanished(source: Source) -> Record:
    message = "its sidecar was removed during the run; the same command explains the image again"
    return {
        "status": "error",
        "reason": Reason.VANISHED.value,
        "message": message,
        "input": {"path": as_text(source.relative)},
        "classes": [],
        "files": [],
    }
