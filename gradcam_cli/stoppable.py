"""An engine that can be stopped between two passes, so that Ctrl-C does not wait for the rest of a long batch."""

from threading import Event
from typing import Any, cast

from gradcam_cli.network import Engine

# Everything that runs the network; a method with many copies or masks calls these many times for one batch.
PASSES = frozenset({"explain", "class_gradients", "ablation_drops"})


class Stopped(BaseException):
    """The run ends, and nobody waits for this batch any more. No handler of errors may keep it."""


class _Stoppable:
    def __init__(self, engine: Engine, stop: Event) -> None:
        self._engine = engine
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        if name in PASSES and self._stop.is_set():
            raise Stopped
        value = getattr(self._engine, name)
        if name == "others":
            return tuple(stoppable(other, self._stop) for other in value)
        return value


def stoppable(engine: Engine, stop: Event) -> Engine:
    """Wrap an engine: once `stop` is set, its next pass raises `Stopped`."""
    return cast("Engine", _Stoppable(engine, stop))
