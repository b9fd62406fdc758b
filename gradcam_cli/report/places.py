"""Where on the photograph the heat of a map lies: in a corner, at one side, along the border, or elsewhere.

Grad-CAM of a network that uses a shortcut, such as a watermark, is hot where the shortcut is. Watermarks, borders and
time stamps lie at the edge of a photograph; objects mostly do not.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.report.entries import GRID

# A corner is so many cells of the grid wide and high: 14 % of the photograph.
CORNER: Final = 6
CORNER_SHARE: Final = 0.5
# A side is so many cells deep: 25 % of the photograph.
SIDE: Final = 4
SIDE_SHARE: Final = 0.6
# The border is so many cells deep all around: 44 % of the photograph.
BORDER: Final = 2
BORDER_SHARE: Final = 0.7

CORNERS: Final = {
    "top left": (slice(0, CORNER), slice(0, CORNER)),
    "top right": (slice(0, CORNER), slice(GRID - CORNER, GRID)),
    "bottom left": (slice(GRID - CORNER, GRID), slice(0, CORNER)),
    "bottom right": (slice(GRID - CORNER, GRID), slice(GRID - CORNER, GRID)),
}
SIDES: Final = {
    "top": (slice(0, SIDE), slice(None)),
    "bottom": (slice(GRID - SIDE, GRID), slice(None)),
    "left": (slice(None), slice(0, SIDE)),
    "right": (slice(None), slice(GRID - SIDE, GRID)),
}
INSIDE: Final = (slice(BORDER, GRID - BORDER), slice(BORDER, GRID - BORDER))
PLACES: Final = (*CORNERS, *SIDES, "border")


def place_of(grid: NDArray[np.floating]) -> str | None:
    """Name the edge of the photograph where the heat of a map lies.

    Args:
        grid: (GRID, GRID), 0 or above: a map over the photograph.

    Returns:
        A corner that has half of the heat or more, else a side that has 60 % or more, else `border` where the frame
        has 70 % or more; None where the heat lies elsewhere, or where there is none. Of two, the one with more heat.
    """
    total = float(grid.sum())
    if total <= 0:
        return None
    for parts, least in ((CORNERS, CORNER_SHARE), (SIDES, SIDE_SHARE)):
        shares = {name: float(grid[part].sum()) / total for name, part in parts.items()}
        place = max(shares, key=lambda name: shares[name])
        if shares[place] >= least:
            return place
    return "border" if 1 - float(grid[INSIDE].sum()) / total >= BORDER_SHARE else None
