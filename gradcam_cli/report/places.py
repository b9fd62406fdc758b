"""The place of the heat on the image: in a corner, at one side, along the border, or elsewhere.

If a network uses a shortcut, such as a watermark, its maps are hot there. Watermarks, borders and time stamps are at
the edge of an image; objects mostly are not.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.report.entries import GRID

# Width and height of a corner in cells of the grid: 14 % of the image.
CORNER: Final = 6
CORNER_SHARE: Final = 0.5
# Depth of a side in cells: 25 % of the image.
SIDE: Final = 4
SIDE_SHARE: Final = 0.6
# Depth of the border in cells: 44 % of the image.
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
    """Give the edge of the image where the heat of a map is.

    Args:
        grid: (GRID, GRID), 0 or above: a map over the photograph.

    Returns:
        A corner with at least half of the heat, otherwise a side with at least 60 %, otherwise `border` if it has at
        least 70 %; None if the heat is elsewhere or there is none. If two match, the one with more heat.
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
