"""The command line with the fake engine, as a program: python fake_program.py explain photos -o out."""

import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from fakes import FakeEngine
from numpy.typing import NDArray
from test_pipeline import CARD, LABELS

from gradcam_cli import cli
from gradcam_cli.cli import explain_run
from gradcam_cli.engines.protocol import NO_EXTRAS, Extras, Floats, Forward
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.results.sidecar import RunCard
from gradcam_cli.runs.job import Job
from gradcam_cli.settings import ModelSettings


class SlowEngine(FakeEngine):
    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        time.sleep(float(os.environ.get("SECONDS_A_PASS", "0")))
        return super().explain(inputs, targets, extras)


def locate_fake(options: Any, layer: str) -> ModelRequest:
    settings = ModelSettings(layer=layer, preprocess=options["preprocess"])
    return ModelRequest(settings, None, Path("fake.keras"), None, None, CARD.sha256)


def open_fake(opening: explain_run.Opening, batch_size: int | None = None, *, again: bool = False) -> Any:
    settings = explain_run._run_settings(opening.options)
    engine = SlowEngine(batch_size=batch_size or 2)
    run = RunCard(opening.options_sha256, {"fake": "1"})
    return engine, Job(
        settings, PREPROCESSINGS["tf"], LABELS, CARD, run, several_targets=False, overlays=opening.overlays
    )


if __name__ == "__main__":
    with (
        mock.patch.object(explain_run.Opening, "open", open_fake),
        mock.patch.object(explain_run, "locate", locate_fake),
    ):
        cli.main()
