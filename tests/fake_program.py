"""The command line with the fake engine, as a program: python fake_program.py explain photos -o out."""

import os
import time

import numpy as np
from fakes import FakeEngine, FakeEngines
from numpy.typing import NDArray

from gradcam_cli import cli
from gradcam_cli.engines.protocol import NO_EXTRAS, Extras, Floats, Forward


class SlowEngine(FakeEngine):
    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        time.sleep(float(os.environ.get("SECONDS_A_PASS", "0")))
        return super().explain(inputs, targets, extras)


if __name__ == "__main__":
    cli.main(FakeEngines(SlowEngine))
