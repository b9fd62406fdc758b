"""Explaining in other processes: one thread for each worker sends images to it and writes its results.

Only the run writes to the output folder, so a worker that crashes leaves no incomplete files there.
"""

import pickle
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Final

from gradcam_cli.cores import available_cores
from gradcam_cli.errors import STAYS, EnvironmentStop, ImageError, Reason, UsageError
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.files import modified_ns
from gradcam_cli.inputs.sources import Source, SourceList
from gradcam_cli.results.output import Names
from gradcam_cli.results.sidecar import InputCard, Record, input_record
from gradcam_cli.runs.engine_factory import EngineFactory
from gradcam_cli.runs.job import Sink
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.runs.task_line import MOST_CRASHES, Task, TaskLine
from gradcam_cli.runs.threads import in_order, workers
from gradcam_cli.runs.worker import Made, Opened, Sent
from gradcam_cli.runs.worker_pool import LocalPool, RemoteWorker, WorkerDied, WorkerPool
from gradcam_cli.settings import Limits
from gradcam_cli.text import counted

# Number of images in a group for a worker: a few batches, but few enough that the last groups end at about the same
# time.
MOST_IMAGES: Final = 64
GROUPS_AHEAD: Final = 4
# Number of images that wait to be written, for each thread that writes.
WAITING: Final = 2
SECONDS_TO_JOIN: Final = 10
# Seconds to wait before a worker is started again, multiplied by the number of attempts.
PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0


def pool_of(factory: EngineFactory, images: int) -> WorkerPool:
    """Give the pool of workers of a request.

    Raises:
        UsageError: the model or the method cannot be sent to a worker, or there is no such cluster.
    """
    settings = factory.request.pool
    sent = _pickled(factory)
    if settings.ray is None:
        return LocalPool(sent, min(settings.workers or 1, images), available_cores())
    from gradcam_cli.runs.ray_pool import RayPool

    return RayPool(sent, settings, images)


def _pickled(factory: EngineFactory) -> bytes:
    try:
        return pickle.dumps(replace(factory, decode=decode, observer=RunObserver()))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"`workers` and `ray` need a model and a method that can be sent to other processes: {error}. Save the "
            "model to a file, and put the method in a module."
        ) from error


class Pooled:
    """Explains in the workers of a pool; see `Explaining`."""

    def __init__(self, factory: EngineFactory, pool: WorkerPool, calls_at_once: int = 1) -> None:
        """Start nothing yet; `calls_at_once` files of each worker are written at a time."""
        self._factory = factory
        self._pool = pool
        self._calls_at_once = calls_at_once
        self._first: RemoteWorker | None = None
        self._opened: Opened | None = None
        # The threads whose workers are alive; the methods of a set need no lock.
        self._working: set[threading.Thread] = set()
        self._ending = threading.Event()

    def open(self) -> Record:
        """Start the first worker alone: the others use the plan that it compiles."""
        observer = self._factory.observer
        try:
            with observer.busy(self._factory.loading):
                self._first = self._new_worker()
            self._opened = opened = self._first.opened
            observer.opened(opened.model)
        except BaseException:
            if self._first:
                self._first.close()
            self._pool.close()
            raise
        for note in opened.notes:
            observer.note(note)
        return opened.origin

    def records(self, left: SourceList, sink: Sink) -> Generator[Record]:
        """Explain every source; see `Explaining`."""
        size = max(1, min(MOST_IMAGES, -(-len(left) // (GROUPS_AHEAD * self._pool.size))))
        line = TaskLine(left, size, GROUPS_AHEAD * self._pool.size, self._pool.least)
        threads = [
            threading.Thread(target=self._serve, args=(line, sink, self._first if i == 0 else None), daemon=True)
            for i in range(self._pool.size)
        ]
        try:
            for thread in threads:
                thread.start()
            yield from line.records()
        finally:
            line.close()
            self._ending.set()
            self._pool.close()
            for thread in threads:
                thread.join(SECONDS_TO_JOIN)

    def _serve(self, line: TaskLine, sink: Sink, worker: RemoteWorker | None) -> None:
        """Run the thread of one worker and of the workers that replace it."""
        try:
            with workers(self._calls_at_once) as writers:
                worker = worker or self._new_worker()
                self._working.add(threading.current_thread())
                line.join()
                while (task := line.take()) is not None:
                    worker = self._explain(task, line, sink, worker, writers)
        except BaseException as error:  # noqa: BLE001 - the thread of the run raises it
            if not line.is_closed:
                line.stop(error)
        finally:
            self._working.discard(threading.current_thread())
            if worker:
                worker.close()

    def _explain(
        self, task: Task, line: TaskLine, sink: Sink, worker: RemoteWorker, writers: ThreadPoolExecutor
    ) -> RemoteWorker:
        """Explain a group, and give the worker for the next one."""
        deaths: list[WorkerDied] = []
        made = _until_death(task.sources, worker, self._factory.request.run.limits, deaths)
        for record in in_order(writers, lambda each: self._written(*each, sink), made, WAITING * self._calls_at_once):
            line.add(task, record)
        if not deaths:
            line.finish(task)
            return worker
        self._working.discard(threading.current_thread())
        worker.close()
        if line.is_closed:
            raise deaths[0]
        if alone := line.crashed(task):
            line.add(alone, self._crashed(alone.sources[0], str(deaths[0]), sink))
            line.finish(alone)
        worker = self._new_worker()
        self._working.add(threading.current_thread())
        return worker

    def _written(self, source: Source, made: Made, sink: Sink) -> Record:
        """Write an image; if that fails for this image only, record the reason."""
        assert self._opened is not None  # noqa: S101 - `open` comes first
        if made.files is None:
            return made.record
        names = Names(source, several=self._opened.model.several_targets)
        try:
            sink.write_image(names, made.files, made.record)
        except ImageError as error:
            return self._unwritten(names, made.record["input"], error, sink)
        return made.record

    def _unwritten(self, names: Names, card: Record, error: ImageError, sink: Sink) -> Record:
        """Record a failure, also in a sidecar if it can be written."""
        assert self._opened is not None  # noqa: S101 - as above
        failure = {**self._opened.failure, "input": card, "reason": error.reason.value, "message": as_text(str(error))}
        if error.reason is not Reason.OUTPUT_NOT_OURS:
            with suppress(ImageError):
                sink.write_image(names, {}, failure)
        return failure

    def _crashed(self, source: Source, how: str, sink: Sink) -> Record:
        """Record an image that has crashed several workers."""
        card = InputCard(source.relative, mtime_ns=modified_ns(source.path) if source.is_file else None)
        message = f"processes crashed while they explained only this image; the last one by {how}"
        error = ImageError(Reason.CRASHED, message)
        return self._unwritten(Names(source, several=False), input_record(card), error, sink)

    def _new_worker(self) -> RemoteWorker:
        """Start a worker; if it crashes while it loads the model, start it again as long as other workers live.

        A cluster needs some seconds to detect a lost node, and may place actors on it until then.

        Raises:
            EnvironmentStop: all attempts failed.
            WorkerDied: the run has ended meanwhile.
        """
        for attempt in count(1):
            try:
                return self._pool.open()
            except WorkerDied as death:
                how = str(death)
            if attempt >= MOST_CRASHES and not self._working:
                break
            if self._ending.wait(min(attempt * PAUSE, LONGEST_PAUSE)):
                raise WorkerDied(how)
        raise EnvironmentStop(
            f"{counted(attempt, 'worker')} crashed while they loaded the model, the last one by {how}. "
            "There may not be enough memory; use fewer `workers`. "
            f"{STAYS}"
        )


def _until_death(
    sources: Sequence[Source], worker: RemoteWorker, limits: Limits, deaths: list[WorkerDied]
) -> Iterator[tuple[Source, Made]]:
    """Give the results of a worker until it ends; results before a crash are written too."""
    try:
        yield from zip(sources, worker.explain([Sent.of(_with_content(each, limits)) for each in sources]), strict=True)
    except WorkerDied as death:
        deaths.append(death)


def _with_content(source: Source, limits: Limits) -> Source:
    """Read stdin for a worker, which has another stdin; at most one byte more than the limit."""
    if not source.is_stdin:
        return source
    return replace(source, path="", content=sys.stdin.buffer.read(limits.max_file_bytes + 1))
