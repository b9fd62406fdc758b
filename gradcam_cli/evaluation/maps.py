"""Maps of several methods from one pass, and scores of any number of inputs in full batches."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Engine, Extras, Floats, Forward, probabilities_of
from gradcam_cli.imaging.geometry import MapGeometry, Size
from gradcam_cli.imaging.geometry import over_input as spread
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps

Classes = NDArray[np.intp]
# A class, an input, and the values of the network's other inputs.
Probe = tuple[int, Floats, Extras]


def method_maps(methods: Iterable[str], engine: Engine, forward: Forward) -> dict[str, Floats]:
    """Make each method's raw maps (N, T, h, w) of a pass."""
    return {name: raw_maps(METHODS[name], engine, forward).maps for name in methods}


def over_input(heat: Floats, size: tuple[int, int], geometry: MapGeometry | None = None) -> Floats:
    """Interpolate a map (h, w) over an input of (height, width); `geometry` has the positions of its cells."""
    return np.asarray(spread(heat, Size(size[1], size[0]), geometry), np.float32)


def class_scores(engine: Engine, probes: Iterable[Probe]) -> Iterator[float]:
    """Give the probability of a class on an input, for any number of (class, input, extras), in full batches."""
    waiting: list[Probe] = []
    for probe in probes:
        waiting.append(probe)
        if len(waiting) == engine.batch_size:
            yield from _scores(engine, waiting)
            waiting = []
    if waiting:
        yield from _scores(engine, waiting)


def _scores(engine: Engine, probes: list[Probe]) -> list[float]:
    extras = {name: np.stack([more[name] for _, _, more in probes]) for name in probes[0][2]}
    probabilities = engine.probabilities(np.stack([inputs for _, inputs, _ in probes]), extras)
    return [float(probabilities[i, index]) for i, (index, _, _) in enumerate(probes)]


def probability_of(engine: Engine, forward: Forward, classes: Classes) -> Floats:
    """Give each image's probability (N,) of its class (N,)."""
    return probabilities_of(engine.head, forward)[np.arange(len(classes)), classes]
