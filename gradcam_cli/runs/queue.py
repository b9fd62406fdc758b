"""The queue of a run: its sources in order, the finished ones, and the results that the run replaces."""

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
    """The inputs of a run with the flag `flag`; each input has one flag, a byte 0 or 1."""

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
    """The inputs of a run, in order, and the counts of the files that were left out.

    `finished` has a byte for each input: 1 if an earlier run has finished it, otherwise 0.
    """

    sources: SourceList
    finished: bytes
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> SourceList:
        """The inputs to explain."""
        return Flagged(self.sources, self.finished, 0)

    def in_line(self, folder: RunFolder | None, explained: Iterator[Record]) -> Iterator[tuple[Record, bool]]:
        """Give the records of all sources in order, each with whether it is from an earlier run."""
        finished = Flagged(self.sources, self.finished, 1)
        reading: AbstractContextManager[Iterator[Record | None]] = nullcontext(iter(()))
        if folder:
            reading = _each(finished, folder.read_sidecar, folder.calls_at_once)
        with reading as records:
            for source, is_finished in zip(self.sources, self.finished, strict=True):
                if is_finished and folder:
                    record = next(records)
                    # The sidecar was removed after it was checked; the next run explains this image.
                    yield (_vanished(source) if record is None else record), record is not None
                else:
                    yield next(explained), False


def queue_of(
    request: ExplainRequest, found: Found, folder: RunFolder | None, model: ModelRequest, digest: str
) -> Queue:
    """Skip the finished inputs, or all except the failed ones, according to the request."""
    sources, left_out = found.sources, found.left_out.as_record()
    if folder is None or request.resume == "overwrite":
        return Queue(sources, bytes(len(sources)), left_out)
    if request.resume == "retry-failed":
        failed = Flagged(sources, _flags(found, folder, lambda source: has_failed(folder, source)), 1)
        return Queue(failed, bytes(len(failed)), left_out)
    wanted = Wanted(digest, _model_sha256(model), verify=request.resume == "verify")
    return Queue(sources, _flags(found, folder, lambda source: is_finished(folder, source, wanted)), left_out)


def _flags(found: Found, folder: RunFolder, fits: Callable[[Source], bool]) -> bytes:
    """Test each source; if each needs a request to a store, many requests run at the same time."""
    at_once = FETCHES if found.sources.have_objects else folder.calls_at_once
    with _each(found.sources, fits, at_once) as answers:
        return bytes(answers)


@contextmanager
def _each(sources: Iterable[Source], work: Callable[[Source], Result], at_once: int) -> Iterator[Iterator[Result]]:
    """Give the result of `work` for each source, in order, computed ahead by threads."""
    if at_once == 1:
        yield map(work, sources)
        return
    with workers(at_once) as pool:
        yield in_order(pool, work, sources, 2 * at_once)


def replaced_by(
    request: ExplainRequest, queue: Queue, folder: RunFolder, model: ModelRequest, digest: str
) -> Replacement | None:
    """Describe the results of a run with other options that this run replaces; None if there are none."""
    known = {**asdict(request.run), "classes": request.targets.classes, "top_k": request.targets.top_k}
    if not model.plan:
        known["model"] = model.depends()["model"]
    # These options do not change results, or are unknown before the model is loaded.
    for name in ("batch_size", "limits", "fit"):
        del known[name]
    asked = {"fit": request.fit, "layer": request.model.layer, "preprocess": request.model.preprocess}
    known |= {name: value for name, value in asked.items() if value != "auto"}
    return replacement(folder, queue.left, json.loads(to_json(known)), digest)


def _model_sha256(model: ModelRequest) -> str | None:
    """Give the hash of the model that a sidecar must have, if it is known before the model is loaded."""
    if model.plan:
        # A sidecar has the hash of the model that the plan was compiled from; the hash of the plan is part of the
        # options.
        return None
    asked = model.settings.sha256
    # For weights in a package only the requested hash is known at this point.
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
