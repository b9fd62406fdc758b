"""A built-in picture explained with the embedded model, and compared with a stored result."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradcam_cli.engines.selection import Engines
from gradcam_cli.errors import GradcamError, first_line
from gradcam_cli.explainer import Explainer
from gradcam_cli.explanation import ClassExplanation
from gradcam_cli.models.named import LITE0
from gradcam_cli.package_data import FOLDER, data_text
from gradcam_cli.settings import EngineName

PICTURE = FOLDER / "doctor.jpg"
METHOD = "gradcam"
# Engines round in different ways, and versions of the JPEG decoder differ by one level of colour.
PROBABILITY_TOLERANCE = 0.02
LEAST_CORRELATION = 0.995


@dataclass(frozen=True)
class Check:
    """One engine's explanation of the picture: its probability, and the correlation of its map with the stored one.

    `message` says what is wrong; empty where the check passed.
    """

    engine: str
    label: str | None
    probability: float | None
    expected_probability: float
    correlation: float | None
    seconds: float
    message: str

    @property
    def passed(self) -> bool:
        """Whether the engine explains as it should."""
        return not self.message

    def as_record(self) -> dict[str, Any]:
        """Give all of it, for JSON."""
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True)
class Known:
    """The stored result: the most probable class, its probability, and its map (h, w)."""

    label: str
    probability: float
    map: list[list[float]]


def known_result() -> Known:
    """Read the stored result."""
    return Known(**json.loads(data_text("doctor.json")))


def check_engine(engine: EngineName, engines: Engines | None = None) -> Check:
    """Explain the picture with an engine, and compare; an error of the program becomes the check's message.

    Args:
        engine: which one.
        engines: opens it; a test passes in engines of its own.
    """
    known, started = known_result(), time.monotonic()
    try:
        explainer = Explainer(LITE0, method=METHOD, engine=engine, batch_size=1, engines=engines)
        best = explainer.explain_one(PICTURE).best
    except (GradcamError, ImportError, RuntimeError) as error:
        seconds = round(time.monotonic() - started, 2)
        return Check(engine, None, None, known.probability, None, seconds, first_line(error))
    seconds = round(time.monotonic() - started, 2)
    correlation = _correlation(best, known)
    return Check(
        engine,
        best.label,
        round(float(best.probability or 0), 4),
        known.probability,
        None if correlation is None else round(correlation, 4),
        seconds,
        _what_is_wrong(best, known, correlation),
    )


def _what_is_wrong(best: ClassExplanation, known: Known, correlation: float | None) -> str:
    if best.label != known.label:
        return f"the class is {best.label}, not {known.label}"
    if best.probability is None or abs(best.probability - known.probability) > PROBABILITY_TOLERANCE:
        return f"the probability is {best.probability}, not {known.probability}"
    if correlation is None or correlation < LEAST_CORRELATION:
        return f"the map's correlation with the stored one is {correlation}, below {LEAST_CORRELATION}"
    return ""


def _correlation(best: ClassExplanation, known: Known) -> float | None:
    """Give the correlation of two maps; None where their shapes differ, or one is flat."""
    stored = np.asarray(known.map, np.float64)
    if best.map.shape != stored.shape or not (best.map.std() and stored.std()):
        return None
    return float(np.corrcoef(best.map.ravel(), stored.ravel())[0, 1])
