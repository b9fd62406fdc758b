"""What a run needs of other processes that explain for it; and such processes on this machine."""

import pickle
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any, Protocol, cast

from gradcam_cli.cores import CORE_LIMIT
from gradcam_cli.errors import GradcamError
from gradcam_cli.runs.worker import Fault, Made, Opened, Sent
from gradcam_cli.subprogram import subprogram
from gradcam_cli.system import ending

SECONDS_TO_END = 2


class WorkerDied(Exception):
    """A worker ended before its work was done; the text says how."""


class RemoteWorker(Protocol):
    """A process that explains for the run."""

    opened: Opened

    def explain(self, images: Sequence[Sent]) -> Iterator[Made]:
        """Explain a group of images, in order.

        Raises:
            WorkerDied: it ended meanwhile.
            GradcamError: what the pipeline raised there.
        """

    def close(self) -> None:
        """End it; for the thread that uses it."""


class WorkerPool(Protocol):
    """Opens workers: `size` at the most; the run begins with `least` of them."""

    size: int
    least: int

    def open(self) -> RemoteWorker:
        """Start one, and wait until it has loaded the model.

        Raises:
            WorkerDied: it ended meanwhile.
            GradcamError: the model cannot be loaded.
        """

    def close(self) -> None:
        """End all workers, and release the resources that they ran on."""


def checked(message: Any) -> Any:
    """Raise what a worker sends in place of an answer.

    Raises:
        GradcamError: the run cannot go on, and why.
        RuntimeError: there is an error in the program.
    """
    if isinstance(message, GradcamError):
        raise message
    if isinstance(message, Fault):
        raise RuntimeError(f"in a worker:\n{message.text}")  # noqa: TRY004 - the text has the type of the error
    return message


class LocalPool:
    """Processes on this machine, each with its share of the cores."""

    least = 1

    def __init__(self, factory: bytes, size: int, cores: int) -> None:
        """Start nothing yet; `factory` is the pickled `EngineFactory`, `cores` how many there are for all."""
        self.size = size
        self._factory = factory
        self._share = max(1, cores // size)
        self._lock = threading.Lock()
        self._started: list[LocalWorker] = []
        self._closed = False

    def open(self) -> "LocalWorker":
        """Start one."""
        with self._lock:
            if self._closed:
                raise WorkerDied("the end of the run")
            self._started = [each for each in self._started if each.is_alive]
            worker = LocalWorker(self._share)
            self._started.append(worker)
        try:
            worker.load(self._factory)
        except BaseException:
            worker.close()
            raise
        return worker

    def close(self) -> None:
        """End all workers, also those that are loading the model."""
        with self._lock:
            self._closed = True
            for worker in self._started:
                worker.kill()


class LocalWorker:
    """See `RemoteWorker`."""

    opened: Opened

    def __init__(self, cores: int) -> None:
        """Start it with so many cores."""
        command = subprogram("gradcam_cli.runs.worker_process")
        command["env"][CORE_LIMIT] = str(cores)
        self._process = subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def load(self, factory: bytes) -> None:
        """Let it load the model; errors are those of `WorkerPool.open`."""
        self._send(factory)
        self.opened = self._receive()

    def explain(self, images: Sequence[Sent]) -> Iterator[Made]:
        """Explain a group of images."""
        self._send(pickle.dumps(images))
        while (made := self._receive()) is not None:
            yield made

    def kill(self) -> None:
        """Kill it, whatever it does; the thread that reads its answers then reads their end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it, and close its pipes."""
        self.kill()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()

    def _send(self, data: bytes) -> None:
        try:
            self._requests.write(data)
            self._requests.flush()
        except (OSError, ValueError) as error:
            raise WorkerDied(self._ended()) from error

    def _receive(self) -> Any:
        try:
            message = pickle.load(self._answers)  # noqa: S301 - the worker is as trusted as this process
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise WorkerDied(self._ended()) from error
        return checked(message)

    def _ended(self) -> str:
        """Say how it ended, and close its pipes."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        self.close()
        code = self._process.returncode
        return ending(code)
