"""An engine with something done before each of its passes: stop the run, or count what goes through the network."""

from collections.abc import Callable
from threading import Event
from typing import Any, cast

from gradcam_cli.engines.protocol import Engine

# Everything that runs the network; a method with many copies or masks calls these many times for one batch.
PASSES = frozenset({"explain", "probabilities", "class_gradients", "ablation_drops"})
# Those that start from inputs.
FORWARD = frozenset({"explain", "probabilities"})


class Stopped(BaseException):
    """The run ends, and nobody waits for this batch any more. No handler of errors may keep it."""


class _Watched:
    def __init__(self, engine: Engine, before: Callable[[str, Any], None]) -> None:
        self._engine = engine
        self._before = before

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._engine, name)
        if name == "others":
            return tuple(watched(other, self._before) for other in value)
        if name not in PASSES:
            return value

        def run(first: Any, *args: Any, **options: Any) -> Any:
            self._before(name, first)
            return value(first, *args, **options)

        return run


def watched(engine: Engine, before: Callable[[str, Any], None]) -> Engine:
    """Wrap an engine: `before` is called with the name and the first argument of each of its passes."""
    return cast("Engine", _Watched(engine, before))


def stoppable(engine: Engine, stop: Event) -> Engine:
    """Wrap an engine: once `stop` is set, its next pass raises `Stopped`."""

    def check(_name: str, _first: Any) -> None:
        if stop.is_set():
            raise Stopped

    return watched(engine, check)


def counting(engine: Engine, count: Callable[[int], None]) -> Engine:
    """Wrap an engine: `count` is called with the number of inputs of each forward pass."""

    def before(name: str, first: Any) -> None:
        if name in FORWARD:
            count(len(first))

    return watched(engine, before)
