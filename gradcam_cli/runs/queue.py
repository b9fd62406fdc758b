"""The queue of a run: its sources in order, those that an earlier run has finished, and what a new run replaces."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from gradcam_cli.errors import Reason
from gradcam_cli.inputs.discovery import Found, as_text
from gradcam_cli.inputs.sources import Source, SourceList
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.results.earlier_run import Replacement, replacement
from gradcam_cli.results.run_folder import RunFolder
from gradcam_cli.results.sidecar import Record, to_json
from gradcam_cli.runs.fetching import FETCHES
from gradcam_cli.runs.resume import Wanted, has_failed, is_finished
from gradcam_cli.runs.threads import in_order, workers

Result = TypeVar("Result")


@dataclass(frozen=True)
class Flagged:
    """Those of a run's inputs whose flag is `flag`; there is one flag, a byte of 0 or 1, for each input."""

    sources: SourceList
    flags: bytes
    flag: int

    def __len__(self) -> int:
        """How many there are."""
        return self.flags.count(self.flag)

    def __iter__(self) -> Iterator[Source]:
        """Give them in order."""
        return (source for source, flag in zip(self.sources, self.flags, strict=True) if flag == self.flag)


@dataclass(frozen=True)
class Queue:
    """The inputs of a run, in order, and counts of what was left out.

    `finished` has a byte for each input: 1 where an earlier run has finished it, else 0.
    """

    sources: SourceList
    finished: bytes
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> SourceList:
        """What is to be explained."""
        return Flagged(self.sources, self.finished, 0)

    def in_line(self, folder: RunFolder | None, explained: Iterator[Record]) -> Iterator[tuple[Record, bool]]:
        """Give the records of all sources in order, and whether an earlier run has made each of them."""
        finished = Flagged(self.sources, self.finished, 1)
        reading: AbstractContextManager[Iterator[Record | None]] = nullcontext(iter(()))
        if folder:
            reading = _each(finished, folder.read_sidecar, folder.calls_at_once)
        with reading as records:
            for source, is_finished in zip(self.sources, self.finished, strict=True):
                if is_finished and folder:
                    record = next(records)
                    # Something removed the sidecar after it was looked at: the next run explains this image.
                    yield (_vanished(source) if record is None else record), record is not None
                else:
                    yield next(explained), False


def queue_of(
    request: ExplainRequest, found: Found, folder: RunFolder | None, model: ModelRequest, digest: str
) -> Queue:
    """Leave out what an earlier run has finished, or all but what it could not explain, as the request says."""
    sources, left_out = found.sources, found.left_out.as_record()
    if folder is None or request.resume == "overwrite":
        return Queue(sources, bytes(len(sources)), left_out)
    if request.resume == "retry-failed":
        failed = Flagged(sources, _flags(found, folder, lambda source: has_failed(folder, source)), 1)
        return Queue(failed, bytes(len(failed)), left_out)
    wanted = Wanted(digest, _model_sha256(model), verify=request.resume == "verify")
    return Queue(sources, _flags(found, folder, lambda source: is_finished(folder, source, wanted)), left_out)


def _flags(found: Found, folder: RunFolder, fits: Callable[[Source], bool]) -> bytes:
    """Say of each source whether it fits; where each of them needs a request, many requests run at the same time."""
    at_once = FETCHES if found.sources.have_objects else folder.calls_at_once
    with _each(found.sources, fits, at_once) as answers:
        return bytes(answers)


@contextmanager
def _each(sources: Iterable[Source], work: Callable[[Source], Result], at_once: int) -> Iterator[Iterator[Result]]:
    """Give what `work` gives for each source, in order, computed ahead by so many threads."""
    if at_once == 1:
        yield map(work, sources)
        return
    with workers(at_once) as pool:
        yield in_order(pool, work, sources, 2 * at_once)


def replaced_by(
    request: ExplainRequest, queue: Queue, folder: RunFolder, model: ModelRequest, digest: str
) -> Replacement | None:
    """Tell what this run replaces of a run with other options; None where nothing of the kind is there."""
    known = {**asdict(request.run), "classes": request.targets.classes, "top_k": request.targets.top_k}
    if not model.plan:
        known["model"] = model.depends()["model"]
    # These change no result, or are not known before the model is loaded.
    for name in ("batch_size", "limits", "fit"):
        del known[name]
    asked = {"fit": request.fit, "layer": request.model.layer, "preprocess": request.model.preprocess}
    known |= {name: value for name, value in asked.items() if value != "auto"}
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
    message = "its sidecar was removed during the run; run the same command to explain the image again"
    return {
        "status": "error",
        "reason": Reason.VANISHED.value,
        "message": message,
        "input": {"path": as_text(source.relative)},
        "classes": [],
        "files": [],
    }
