"""The options of `evaluate` as a frozen dataclass."""

from dataclasses import dataclass

from gradcam_cli.evaluation.measures import QUICK
from gradcam_cli.settings import Baseline


@dataclass(frozen=True)
class StudySettings:
    """What `evaluate` measures of which methods; `metrics` are groups of `measures`, `grid` rows and columns."""

    methods: tuple[str, ...]
    metrics: tuple[str, ...] = QUICK
    steps: int = 20
    baseline: Baseline = "mean"
    grid: tuple[int, int] | None = None
