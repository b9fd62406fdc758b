"""Weight-randomisation sanity check: the change of a map when the weights of the network are permuted.

Adebayo et al. 2018, arXiv:1810.03292: the weights are randomised cumulatively, from the last layer backwards. Here they
are permuted.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import numpy as np

from gradcam_cli.engines.protocol import Engine, Floats
from gradcam_cli.evaluation.maps import method_maps
from gradcam_cli.evaluation.metrics import spearman
from gradcam_cli.inputs.sources import Source
from gradcam_cli.runs.job import Fitted, Job, Unexplained
from gradcam_cli.runs.pipeline import stacked_extras, through

# If the median correlation of the maps before and after is higher, the method did not react.
UNCHANGED = 0.9


@dataclass(frozen=True)
class Stage:
    """One stage: the number of permuted layers, counted from the last one, and the first of them."""

    layers: int
    of: int
    back_to: str

    @property
    def is_head(self) -> bool:
        """Whether only the last layer was permuted."""
        return self.layers == 1

    @property
    def is_all(self) -> bool:
        """Whether every layer was permuted."""
        return self.layers == self.of


@dataclass(frozen=True, eq=False)
class BaselineMaps:
    """The result with unchanged weights for one image: its class, and each method's map."""

    source: Source
    index: int
    maps: dict[str, Floats]


@dataclass(frozen=True)
class Change:
    """Rank correlation of one image's map before and after one stage."""

    source: Source
    method: str
    stage: Stage
    correlation: float


def measure_stage(
    kept: Iterable[BaselineMaps], methods: tuple[str, ...], stage: Stage, job: Job, engine: Engine
) -> Generator[Change]:
    """Explain the class that was predicted with unchanged weights, and compare the maps.

    An image whose original map is constant, or that cannot be read again, is left out.
    """
    listed = list(kept)
    by_source = {image.source: image for image in listed}

    def compare(images: list[Fitted | Unexplained], ending: Engine) -> list[list[Change]]:
        fitted = [image for image in images if isinstance(image, Fitted)]
        if not fitted:
            return []
        before = [by_source[image.source] for image in fitted]
        classes = np.asarray([[image.index] for image in before], np.intp)
        forward = ending.explain(np.stack([image.inputs for image in fitted]), classes, stacked_extras(fitted))
        after = method_maps(methods, ending, forward)
        return [
            [
                Change(image.source, method, stage, rank_correlation(image.maps[method], after[method][i, 0]))
                for method in methods
                if image.maps[method].min() < image.maps[method].max()
            ]
            for i, image in enumerate(before)
        ]

    for changes in through((image.source for image in listed), job, engine, engine.input_size, compare):
        yield from changes


def rank_correlation(before: Floats, after: Floats) -> float:
    """Spearman correlation of two maps at the layer's resolution; 0 if the second is constant or not finite."""
    if not np.isfinite(after).all():
        return 0.0
    return spearman(before, after) or 0.0
