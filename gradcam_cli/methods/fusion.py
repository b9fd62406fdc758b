"""Maps of several layers become one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.geometry import Size, resize_maps

Floats = NDArray[np.floating[Any]]


def fuse_layers(maps: Sequence[Floats]) -> Floats:
    """Fuse the maps of several layers, as LayerCAM does: scaled each by its own maximum, the largest at each place.

    Smaller grids are resized to the finest one, bilinearly between cell centres. Jiang et al. 2021, IEEE TIP 30,
    "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization".

    Differs from the paper in that maps of early layers are scaled as all others are, not by a tanh.

    Args:
        maps: for each layer (N, T, h, w), non-negative.

    Returns:
        (N, T, H, W) in [0, 1], on the finest of the grids; a map of zeros takes no part.
    """
    height, width = max((layer.shape[2:] for layer in maps), key=lambda grid: grid[0] * grid[1])
    scaled = [resize_maps(_scaled(layer), Size(width, height)) for layer in maps]
    fused: Floats = np.maximum.reduce(scaled)
    return fused


def _scaled(maps: Floats) -> Floats:
    highest = maps.max(axis=(2, 3), keepdims=True)
    scaled: Floats = np.divide(maps, highest, out=np.zeros_like(maps), where=highest != 0)
    return scaled
