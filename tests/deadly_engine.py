"""Fake engines for workers, in a module that a worker can import: it has the folder of tests on its path."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from fakes import FakeEngine, FakeEngines

from gradcam_cli.errors import ModelError


@dataclass
class DeadlyEngine(FakeEngine):
    """Ends its process where a batch has a white picture."""

    def explain(self, inputs: Any, *args: Any, **options: Any) -> Any:
        if (inputs.reshape(len(inputs), -1).min(axis=1) > 0.99).any():
            os._exit(9)
        return super().explain(inputs, *args, **options)


@dataclass
class SlowEngine(FakeEngine):
    """Takes a fifth of a second a batch."""

    def explain(self, inputs: Any, *args: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return super().explain(inputs, *args, **options)


@dataclass
class DeadlyEngines(FakeEngines):
    kind: type[FakeEngine] = DeadlyEngine


@dataclass
class SlowEngines(FakeEngines):
    kind: type[FakeEngine] = SlowEngine


@dataclass
class RefusingEngines(FakeEngines):
    def open(self, *_: Any) -> Any:
        raise ModelError("the model is refused")


@dataclass
class EndingEngines(FakeEngines):
    """Ends its process while the model is loaded."""

    parent: int = field(default_factory=os.getpid)

    def open(self, *args: Any) -> Any:
        if os.getpid() != self.parent:
            os._exit(7)
        return super().open(*args)
