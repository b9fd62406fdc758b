"""Fusion of the maps of several layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import MapGeometry, Size, regridded

Floats = NDArray[np.floating[Any]]
UNIT = Size(1, 1)


def fuse_layers(maps: Sequence[Floats], places: Sequence[MapGeometry] | None = None) -> Floats:
    """Fuse the maps of several layers, as LayerCAM does: each map is divided by its maximum, then the maximum is taken.

    Coarser maps are interpolated on the finest grid, bilinearly between cell centres. Jiang et al. 2021, IEEE TIP 30,
    "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization".

    Differs from the paper in that maps of early layers are scaled like all others, not with a tanh.

    Args:
        maps: for each layer (N, T, h, w), non-negative.
        places: positions of the cells of each layer in the input; by default they divide all of it equally.

    Returns:
        (N, T, H, W) in [0, 1], on the finest grid; a map of zeros has no effect.
    """
    finest = max(range(len(maps)), key=lambda i: maps[i].shape[2] * maps[i].shape[3])
    height, width = maps[finest].shape[2:]
    cells = Size(width, height)
    places = places or [MapGeometry.over(UNIT, Size(layer.shape[3], layer.shape[2])) for layer in maps]
    scaled = [
        _scaled(layer) if place == places[finest] else regridded(_scaled(layer), place, places[finest], cells)
        for layer, place in zip(maps, places, strict=True)
    ]
    fused: Floats = np.maximum.reduce(scaled)
    return fused


def _scaled(maps: Floats) -> Floats:
    highest = maps.max(axis=(2, 3), keepdims=True)
    scaled: Floats = np.divide(maps, highest, out=np.zeros_like(maps), where=highest != 0)
    return scaled
