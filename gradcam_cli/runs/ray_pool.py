"""Workers that are actors of a Ray cluster. Each actor loads the model once.

The run starts a new actor if one crashes, as it does with local processes. The retries of Ray are not used.
"""

import contextlib
import logging
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gradcam_cli.cores import CORE_LIMIT, available_cores
from gradcam_cli.errors import EnvironmentStop, UsageError, first_line
from gradcam_cli.extras import install_hint
from gradcam_cli.runs.worker import Made, Opened, Sent, Worker, reported
from gradcam_cli.runs.worker_pool import WorkerDied, checked
from gradcam_cli.settings import PoolSettings
from gradcam_cli.system import INTERRUPT, TERMINATE

try:
    import ray
    from ray.exceptions import RayError
except ImportError:  # without the extra
    ray = None  # type: ignore[assignment]

LOCAL: Final = "local"
# The object store of each node holds records and files in transit; groups are small.
STORE_BYTES: Final = 128 * 2**20


class RayPool:
    """Actors of a cluster; see `WorkerPool`."""

    def __init__(self, factory: bytes, settings: PoolSettings, images: int) -> None:
        """Connect to the cluster, or start one; an existing connection is used and kept.

        Raises:
            UsageError: Ray is not installed.
            EnvironmentStop: there is no such cluster, or none of its nodes has enough resources for an actor.
        """
        if ray is None:
            raise UsageError(f"`ray` needs the library ray: {install_hint('ray')}")
        self._factory = factory
        self._settings = settings
        self._owned = not ray.is_initialized()
        self._lock = threading.Lock()
        self._actors: list[Any] = []
        self._closed = False
        if self._owned:
            _connect(settings.ray or LOCAL)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        room = int(resources.get("CPU", 0)) // settings.ray_cpus
        self.size = max(1, min(settings.workers or room, images))
        self.least = min(settings.ray_min, self.size)

    def open(self) -> "RayWorker":
        """Start an actor; wait until the cluster has the resources."""
        settings = self._settings
        with self._lock:
            if self._closed:
                raise WorkerDied("the end of the run")
            actors = ray.remote(num_cpus=settings.ray_cpus, num_gpus=settings.ray_gpus, max_restarts=0)(_Actor)
            actor = actors.remote(settings.ray_cpus)
            self._actors.append(actor)
        return RayWorker(actor, self._factory)

    def close(self) -> None:
        """End all actors, and the cluster if it was started here."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for actor in self._actors:
                with contextlib.suppress(RayError):
                    ray.kill(actor)
            if self._owned:
                ray.shutdown()


class RayWorker:
    """See `RemoteWorker`."""

    def __init__(self, actor: Any, factory: bytes) -> None:
        """Let the actor load the model."""
        self._actor = actor
        self.opened: Opened = _answer(actor.load.remote(factory))

    def explain(self, images: Sequence[Sent]) -> Iterator[Made]:
        """Explain a group of images; the results are given as they are made."""
        answers = self._actor.explain.options(num_returns="streaming").remote(pickle.dumps(images))
        while True:
            try:
                answer = next(answers)
            except StopIteration:
                return
            except RayError as error:
                raise WorkerDied(type(error).__name__) from error
            yield _answer(answer)

    def close(self) -> None:
        """End the actor."""
        with contextlib.suppress(RayError):
            ray.kill(self._actor)


class _Actor:
    """The worker in a process of the cluster. Its results are pickled with classes that the run has too."""

    def __init__(self, cores: int) -> None:
        # The actor has its own process.
        os.environ[CORE_LIMIT] = str(cores)
        self._worker: Worker | None = None

    def load(self, factory: bytes) -> bytes:
        """Load the model."""
        try:
            self._worker = Worker(pickle.loads(factory))  # noqa: S301 - the run wrote it
            return pickle.dumps(self._worker.opened)
        except Exception as error:  # noqa: BLE001 - the run reports it
            return pickle.dumps(reported(error))

    def explain(self, images: bytes) -> Iterator[bytes]:
        """Explain a group of images."""
        assert self._worker is not None  # noqa: S101 - the run loads the model first
        try:
            for made in self._worker.explain(pickle.loads(images)):  # noqa: S301 - as above
                yield pickle.dumps(made)
        except Exception as error:  # noqa: BLE001 - as above
            yield pickle.dumps(reported(error))


def _answer(reference: Any) -> Any:
    try:
        return checked(pickle.loads(ray.get(reference)))  # noqa: S301 - actors are as trusted as this process
    except RayError as error:
        raise WorkerDied(type(error).__name__) from error


def _connect(address: str) -> None:
    """Connect without Ray's telemetry, log lines and signal handlers."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    cluster: dict[str, Any] = {
        "num_cpus": available_cores(),
        "object_store_memory": STORE_BYTES,
    }
    with _signals_kept(), _environment(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"):
        try:
            if address == LOCAL:
                ray.init(address=LOCAL, include_dashboard=False, **cluster, **quiet)
            else:
                ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise EnvironmentStop(f"ray={address}: there is no such cluster: {first_line(error)}") from error


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the signal handlers: those of Ray would end the process before `run.json` is written."""
    numbers = (INTERRUPT, TERMINATE)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
