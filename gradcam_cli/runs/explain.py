"""One run of `explain`: check the inputs, the output folder and the model, in this order, then explain the images.

The command line and the Python API call it.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gradcam_cli.engines.selection import Engines
from gradcam_cli.errors import EnvironmentStop, UsageError
from gradcam_cli.inputs.discovery import Found
from gradcam_cli.inputs.fetched_model import fetched, is_remote
from gradcam_cli.inputs.finding import find_inputs
from gradcam_cli.inputs.shards import Shard, shard_of
from gradcam_cli.inputs.sources import Source, SourceList
from gradcam_cli.methods import METHODS, Method
from gradcam_cli.methods.method_runner import chosen_method
from gradcam_cli.models.named import NAMED_MODELS
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.models.weights import weights_at_hand
from gradcam_cli.requests import WITHOUT_OVERLAYS, ExplainRequest
from gradcam_cli.results.earlier_run import MOST_CHANGES, record_before
from gradcam_cli.results.folders import run_folder
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.results.output import Names
from gradcam_cli.results.run import Run
from gradcam_cli.results.run_folder import RunFolder
from gradcam_cli.results.sidecar import Record, RunCard
from gradcam_cli.runs.engine_factory import EngineFactory, run_card
from gradcam_cli.runs.explaining import Explaining, InProcess, OpenDecoders, decoder
from gradcam_cli.runs.job import Sink
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.runs.queue import Queue, queue_of, replaced_by
from gradcam_cli.runs.run_record import origin_before, run_record
from gradcam_cli.runs.tally import Tally
from gradcam_cli.storage import Stores
from gradcam_cli.text import counted
from gradcam_cli.urls import Url


def run_explain(
    request: ExplainRequest,
    observer: RunObserver | None = None,
    *,
    engines: Engines | None = None,
    sink: Sink | None = None,
    isolated: OpenDecoders | None = None,
    methods: Mapping[str, Method] = METHODS,
) -> Run:
    """Explain the images of a request, and write the results to its output folder.

    Images that an earlier run with the same options has finished are skipped. An image that fails has a record of
    status `error`; it does not stop the run.

    Args:
        request: all options of the run.
        observer: receives progress and records; see `RunObserver`.
        engines: finds the model and opens its engine.
        sink: receives the files of each image if the request has no output folder.
        isolated: opens the decoder processes if the request has `isolate_decoder`; None for the package's own.
        methods: the methods that the request may name: those of the package, or one of the user.

    Raises:
        UsageError: there are no images, or the output folder is in use or cannot be written.
        ModelError: the model is refused, cannot be loaded, or has no such layer or class.
        EnvironmentStop: the machine stopped the run. Finished results stay valid.
        KeyboardInterrupt: the run was interrupted, after `run.json` was written. The same request continues it.
    """
    observer, engines = observer or RunObserver(), engines or Engines()
    chosen_method(request.run.method, request.run.method_options, methods)
    shard = _shard(request)
    stores = Stores()
    omissions = observer.wants_omissions
    found = find_inputs(
        request.inputs, observer.found, request.output, keep_omissions=omissions, shard=shard, stores=stores
    )
    held = _folder(request, request.output, stores).held() if request.output else nullcontext()
    fetching = fetched(request.model, stores, observer.downloading)
    decoding = decoder(isolated=request.isolate_decoder, decoders=isolated)
    with held as folder, fetching as settings, decoding as decode_one:
        request = replace(request, model=settings)
        if isinstance(folder, LocalFolder):
            folder.refuse_same_names(found.sources)
        for note in folder.notes if folder else ():
            observer.note(note)
        model = engines.locate(request.model, observer.downloading, cache=request.engine.cache)
        card = run_card(request, model)
        queue = queue_of(request, found, folder, model, card.options_sha256)
        if folder:
            _note_replacement(request, queue, folder, model, card.options_sha256, observer)
        finished = _finished(request, queue, folder, card, observer)
        if finished is not None:
            return finished
        overlays = (folder is not None or sink is not None) and request.format not in WITHOUT_OVERLAYS
        factory = EngineFactory(
            request, model, engines, len(found.sources), card, overlays, decode_one, observer, methods
        )
        explaining = _explaining(factory, len(queue.left), folder.calls_at_once if folder else 1)
        return _Execution(request, observer, explaining, queue, folder).execute(folder or sink or NoFiles())


def _explaining(factory: EngineFactory, images: int, calls_at_once: int) -> Explaining:
    """Explain in other processes if the request has `ray`, or several workers and images; else in this process."""
    settings = factory.request.pool
    if settings.ray is None and min(settings.workers or 1, images) < 2:
        return InProcess(factory, calls_at_once)
    from gradcam_cli.runs.pooled import Pooled, pool_of

    pool = pool_of(factory, images)
    return Pooled(factory, pool, calls_at_once)


@dataclass(frozen=True)
class Preview:
    """The preview of a run: the sources to explain, the places of their sidecars, and the number of finished images."""

    left: SourceList
    done_before: int
    folder: RunFolder

    @property
    def pictures(self) -> Iterator[Source]:
        """Give the images that would be explained."""
        return (source for source in self.left if source.errno is None)

    @property
    def unlisted(self) -> list[str]:
        """Give one line for each folder that cannot be listed."""
        folders = [(source.path, source.errno) for source in self.left if source.errno is not None]
        return [f"{path!r}: the folder cannot be listed: {os.strerror(errno)}" for path, errno in folders]

    def summary(self) -> str:
        """Summarise the preview in one line."""
        were = "was" if self.done_before == 1 else "were"
        others = f", {self.done_before} {were} done before" if self.done_before else ""
        return f"{counted(sum(1 for _ in self.pictures), 'image')} would be explained{others}; nothing was written."

    def where(self, source: Source) -> str:
        """Give the path or URL of a source's sidecar, or the folder of the part files."""
        return self.folder.where(source)


def preview(request: ExplainRequest, observer: RunObserver | None = None, *, engines: Engines | None = None) -> Preview:
    """Give the images that a run would explain, without finished ones; nothing is written or downloaded.

    Raises:
        UsageError: there are no images, or their list cannot be read.
        ModelError: there is no such model.
    """
    observer, engines = observer or RunObserver(), engines or Engines()
    chosen_method(request.run.method, request.run.method_options, METHODS)
    shard = _shard(request)
    found = find_inputs(
        request.inputs, observer.found, request.output, keep_omissions=observer.wants_omissions, shard=shard
    )
    with closing(_folder(request, request.output or Path())) as folder:
        left = _left(request, found, folder, observer, engines) if request.output else found.sources
        return Preview(left, len(found.sources) - len(left), folder)


class NoFiles:
    """A sink that writes no files, for runs that only give records."""

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Do nothing."""


class WrittenSink:
    """Passes files to another sink, and keeps the written records until they are reported.

    When a run is interrupted, some images may be written but not reported.
    """

    def __init__(self, sink: Sink) -> None:
        """Store the sink that writes the files."""
        self._sink = sink
        self._written: dict[str, Record] = {}

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write one image, then keep its record."""
        self._sink.write_image(names, files, dict(record))
        self._written[record["input"]["path"]] = record

    def reported(self, record: Record) -> None:
        """Forget a record that was reported."""
        # Other threads write at the same time, so this must not iterate over all records.
        path = record["input"]["path"]
        if self._written.get(path) is record:
            del self._written[path]

    def unreported(self) -> list[Record]:
        """Give the records that were written but not reported, in the order of their names."""
        return [self._written[key] for key in sorted(self._written)]


@dataclass(frozen=True)
class _Execution:
    """The loop of a run: it counts and reports the records in order, and writes `run.json` at the end."""

    request: ExplainRequest
    observer: RunObserver
    explaining: Explaining
    queue: Queue
    folder: RunFolder | None

    def execute(self, sink: Sink) -> Run:
        """Explain the remaining images; an interruption is raised again after `run.json` was written."""
        origin = self.explaining.open()
        written = WrittenSink(sink)
        tally = Tally(asked=len(self.queue.sources))
        self.observer.started(tally.asked)
        try:
            try:
                tally.stopped = self._report_all(self.explaining.records(self.queue.left, written), written, tally)
            finally:
                self._report_rest(written, tally)
        except (KeyboardInterrupt, BrokenPipeError):
            self._finish(tally, origin, interrupted=True)
            raise
        return _run(self.folder, tally, self._finish(tally, origin, interrupted=False))

    def _finish(self, tally: Tally, origin: Record, *, interrupted: bool) -> Record:
        record: Record = {}
        if self.folder:
            before = record_before(self.folder)
            record = run_record(self.request, self.queue, tally, origin, before, interrupted=interrupted)
            self.folder.write_run(record)
        self.observer.finished(tally, interrupted=interrupted)
        return record

    def _report_all(self, records: Generator[Record], written: WrittenSink, tally: Tally) -> bool:
        """Report the records in order; True if the run stops because too many images failed."""
        failures = 0
        with closing(records) as explained:
            for record, before in self.queue.in_line(self.folder, explained):
                tally.add(record, before=before)
                self.observer.record(record, before=before)
                written.reported(record)
                self._settle(record)
                failures += record["status"] == "error"
                if failures == self.request.max_failures:
                    return True
        return False

    def _report_rest(self, written: WrittenSink, tally: Tally) -> None:
        """Report the images that were written while the run ended, or only count them if stdout was closed."""
        for record in written.unreported():
            if record is not tally.last:
                tally.add(record)
                with suppress(BrokenPipeError, EnvironmentStop):
                    self._settle(record)
                    self.observer.record(record, before=False)

    def _settle(self, record: Record) -> None:
        if self.folder:
            self.folder.settle(record)


def _left(
    request: ExplainRequest, found: Found, folder: RunFolder, observer: RunObserver, engines: Engines
) -> SourceList:
    if not folder.exists:
        return found.sources
    named = NAMED_MODELS.get(request.model.model.lower())
    missing = named and not request.model.weights and not weights_at_hand(named)
    if missing or is_remote(request.model):
        # Without these weights no image can be finished, and a preview must not download them.
        return found.sources
    model = engines.locate(request.model, observer.downloading, cache=request.engine.cache)
    return queue_of(request, found, folder, model, run_card(request, model).options_sha256).left


def _note_replacement(
    request: ExplainRequest,
    queue: Queue,
    folder: RunFolder,
    model: ModelRequest,
    digest: str,
    observer: RunObserver,
) -> None:
    """Report which results of a run with other options are replaced in the folder."""
    found = replaced_by(request, queue, folder, model, digest)
    if found is None:
        return
    if not found.is_of_last:
        sidecars = f"{counted(found.replaced, 'sidecar')} of an earlier run with other options"
        observer.note(f"{folder.root}: {sidecars} will be replaced.")
        return
    changes = (
        "; ".join(found.changes[:MOST_CHANGES]) or "the model, its layer, fit, preprocessing or versions are different"
    )
    observer.note(f"{folder.root}: an earlier run in this folder had other options ({changes}).")
    stays = f"; {counted(found.others, 'other')} stay as they are" if found.others else ""
    observer.note(f"{folder.root}: {counted(found.replaced, 'sidecar')} will be replaced{stays}.")


def _shard(request: ExplainRequest) -> Shard | None:
    shard = shard_of(request.shard)
    if shard and request.resume == "retry-failed":
        # The record of the shard would count only the repeated images, and the merged run too few images.
        raise UsageError("`retry_failed` cannot be used with `shard`: a shard always tries failed images again.")
    return shard


def _folder(request: ExplainRequest, output: Path | Url, stores: Stores | None = None) -> RunFolder:
    return run_folder(output, _shard(request), stores, request.format, request.images_per_file)


def _is_known(folder: RunFolder, card: RunCard) -> bool:
    """Whether the folder has the record of an earlier run; for a shard, of one with the same options and model."""
    if folder.shard is None:
        return folder.has_run_record
    before = record_before(folder)
    return before is not None and before["options_sha256"] == card.options_sha256


def _finished(
    request: ExplainRequest, queue: Queue, folder: RunFolder | None, card: RunCard, observer: RunObserver
) -> Run | None:
    """Give the result if no image remains, without loading the model; None if there are images to explain."""
    shard = shard_of(request.shard)
    if not len(queue.sources) and not shard:
        observer.warn("There is nothing to do: no image failed in the earlier run.")
        return _run(folder, Tally())
    if not len(queue.sources):
        observer.note(f"Shard {shard} has no images: there is nothing to explain.")
    if len(queue.left) or (len(queue.sources) and not (folder and _is_known(folder, card))):
        return None
    return _tell_finished(request, queue, folder, card, observer)


def _tell_finished(
    request: ExplainRequest, queue: Queue, folder: RunFolder | None, card: RunCard, observer: RunObserver
) -> Run:
    """Report the records of a run without remaining images.

    The record of a shard is written again, because `merge` needs it.
    """
    tally = Tally(asked=len(queue.sources))
    observer.started(tally.asked)
    for record, before in queue.in_line(folder, iter(())):
        tally.add(record, before=before)
        observer.record(record, before=before)
    if folder and folder.shard:
        earlier = record_before(folder)
        origin = origin_before(request, card, earlier)
        folder.write_run(run_record(request, queue, tally, origin, earlier, interrupted=False))
    observer.finished(tally, interrupted=False)
    return _run(folder, tally)


def _run(folder: RunFolder | None, tally: Tally, record: Record | None = None) -> Run:
    if record is None:
        record = (folder.read_record(folder.run_record) if folder else None) or {}
    return Run(folder.root if folder else None, tally.as_record(), tally.exit_code, record)
