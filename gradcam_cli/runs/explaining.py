"""Explain the sources of a run or of a worker, and give their records."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from importlib import import_module
from itertools import islice
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from gradcam_cli.engines.protocol import Engine
from gradcam_cli.errors import STAYS, EnvironmentStop
from gradcam_cli.inputs.photo import Decode
from gradcam_cli.inputs.sources import SourceList
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.engine_factory import EngineFactory
from gradcam_cli.runs.job import Job, Sink, decode_here
from gradcam_cli.runs.run_record import origin_of_job
from gradcam_cli.runs.threads import available_threads

if TYPE_CHECKING:
    from gradcam_cli.inputs.subprocess_decoder import Decoders

# Opens a given number of decoder processes.
OpenDecoders = Callable[[int], "AbstractContextManager[Decoders]"]
# The module that decodes, paints and writes. Its import, with OpenCV and Pillow, takes about as long as opening a plan.
PIPELINE = "gradcam_cli.runs.pipeline"


class Explaining(Protocol):
    """Explains sources, in this process or in several other processes."""

    def open(self) -> Record:
        """Load the model, and give the origin of the results; see `origin_of_job`.

        Raises:
            ModelError: the model cannot be explained with these options.
        """

    def records(self, left: SourceList, sink: Sink) -> Generator[Record]:
        """Explain every source in order: write its files, then yield its record.

        Raises:
            EnvironmentStop: the machine stopped the run; finished results stay valid.
        """


class InProcess:
    """Explains in threads of this process; for a folder in the network, `calls_at_once` threads paint and write."""

    def __init__(self, factory: EngineFactory, calls_at_once: int = 1) -> None:
        """Store the arguments; nothing is loaded yet."""
        self._factory = factory
        self._calls_at_once = calls_at_once
        self._opened: tuple[Engine, Job] | None = None

    @property
    def job(self) -> Job:
        """The job, which is the same for all images."""
        return self._engine_and_job()[1]

    def open(self) -> Record:
        """Load the model; if there is not enough memory, use half the batch size."""
        factory = self._factory
        # With TensorFlow, this saves no time: its import takes much longer, and includes many of the same modules.
        with imported_meanwhile(PIPELINE) if factory.is_without_tensorflow else nullcontext():
            return origin_of_job(factory.request, self.job)

    def records(self, left: SourceList, sink: Sink) -> Generator[Record]:
        """Explain; if there is not enough memory, continue once with half the batch size."""
        engine, job = self._engine_and_job()
        from gradcam_cli.runs import pipeline

        done = 0
        try:
            with closing(pipeline.explain_sources(left, job, engine, sink, self._calls_at_once)) as records:
                for record in records:
                    done += 1
                    yield record
        except MemoryError:
            half = engine.batch_size // 2
        else:
            return
        if half == 0:
            raise EnvironmentStop(f"There is not enough memory even for one image. {STAYS}")
        self._factory.observer.warn(
            f"There is not enough memory for batches of {engine.batch_size}; continuing with batches of {half}."
        )
        engine, job = self._opened = self._factory.open(half, again=True)
        rest = islice(left, done, None)
        try:
            with closing(pipeline.explain_sources(rest, job, engine, sink, self._calls_at_once)) as records:
                yield from records
        except MemoryError as error:
            raise EnvironmentStop(
                f"There is not enough memory for batches of {engine.batch_size} either. Use a smaller `batch_size`. "
                f"{STAYS}"
            ) from error

    def _engine_and_job(self) -> tuple[Engine, Job]:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> tuple[Engine, Job]:
        try:
            return self._factory.open()
        except MemoryError:
            size = self._factory.request.run.batch_size
            half = max(1, size // 2)
            self._factory.observer.warn(f"There is not enough memory for batches of {size}; trying batches of {half}.")
            return self._factory.open(half)


@contextmanager
def imported_meanwhile(name: str) -> Iterator[None]:
    """Import a module in another thread while the block runs."""
    thread = Thread(target=_import, args=(name,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _import(name: str) -> None:
    # An error is raised again by the import statement that needs the module.
    with suppress(Exception):
        import_module(name)


@contextmanager
def decoder(*, isolated: bool, decoders: OpenDecoders | None = None) -> Iterator[Decode]:
    """Give the function that decodes: in this process, or if `isolated`, in processes that `decoders` opens."""
    if not isolated:
        yield decode_here
        return
    from gradcam_cli.inputs import subprocess_decoder

    with (decoders or subprocess_decoder.decoders)(available_threads()) as pool:
        yield pool.decode
