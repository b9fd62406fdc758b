"""An overlay as a figure for slides and papers: panels, a colour bar, and a caption below.

The layout depends only on the size of the image and on the settings, not on the text, so a program can cut a figure
into its parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Box, Size
from gradcam_cli.imaging.lettering import Lettering
from gradcam_cli.imaging.overlay import colour_table
from gradcam_cli.settings import Layout, OverlaySettings

# Gaps and bands are light grey: not too bright on a dark slide, and hardly visible on a white page.
PAPER: Final = 242
INK: Final = (32, 32, 32)
QUIET_INK: Final = (96, 96, 96)
# The grey of pixels that the model did not see, which have no heat.
UNSEEN: Final = 214
PANELS: Final[dict[Layout, int]] = {"overlay": 1, "side-by-side": 2, "triptych": 3}
# Smaller images are enlarged by a whole factor, at most to this size.
SMALL_SIDE: Final = 240
# Size of letters: as a share of the square root of the image's area, and the minimum in pixels.
LETTERS, LEAST_LETTERS = 0.042, 13
# In ems: the width from which a caption has one line instead of two, and the minimum width of a caption.
ONE_LINE, NARROWEST = 16, 9
# Above this ratio of width to height, panels are placed below each other.
WIDE: Final = 2.0


@dataclass(frozen=True)
class Words:
    """The text of a figure: the class, its probability or value, and the fonts."""

    label: str = ""
    score: str = ""
    lettering: Lettering = field(default_factory=Lettering)


@dataclass(frozen=True)
class FigurePlan:
    """The positions of the parts of a figure, in its pixels.

    `enlarged` is how many pixels of the figure, in each direction, a pixel of the picture becomes. The last of the
    `panels` is the overlay; before it are the picture, and, of three, the heat. `letters` are the pixels of an em.
    """

    size: Size
    enlarged: int
    panels: tuple[Box, ...]
    bar: Box | None
    band: Box | None
    letters: int

    @property
    def overlay(self) -> Box:
        """Give the panel of the overlay."""
        return self.panels[-1]


def plan_figure(shown: Size, style: OverlaySettings) -> FigurePlan | None:
    """Plan the figure of an image of `shown` pixels; None if only the overlay is requested."""
    if style.layout == "overlay" and not (style.caption or style.colorbar):
        return None
    enlarged = _enlargement(shown, style.max_side)
    panel = Size(shown.width * enlarged, shown.height * enlarged)
    letters = max(LEAST_LETTERS, round(LETTERS * (panel.width * panel.height) ** 0.5))
    gap = max(4, round(0.35 * letters))
    corners = list(_corners(panel, PANELS[style.layout], gap))
    block = Size(corners[-1][0] + panel.width, corners[-1][1] + panel.height)
    # The bar, its ticks, and the space around them.
    beside = round(3.6 * letters) if style.colorbar else 0
    width = max(block.width + beside, NARROWEST * letters) if style.caption else block.width + beside
    left = (width - block.width - beside) // 2
    lines = 1 if width >= ONE_LINE * letters else 2
    below = round((0.9 + 1.25 * lines) * letters) if style.caption else 0
    bar_left = left + block.width + round(0.7 * letters)
    inset = round(0.5 * letters)
    return FigurePlan(
        size=Size(width, block.height + below),
        enlarged=enlarged,
        panels=tuple(Box(left + x, y, left + x + panel.width, y + panel.height) for x, y in corners),
        bar=Box(bar_left, inset, bar_left + round(0.65 * letters), block.height - inset) if style.colorbar else None,
        band=Box(0, block.height, width, block.height + below) if style.caption else None,
        letters=letters,
    )


def _enlargement(shown: Size, max_side: int | None) -> int:
    longest = max(shown.width, shown.height)
    return max(1, min(SMALL_SIDE, max_side or SMALL_SIDE) // longest)


def _corners(panel: Size, count: int, gap: int) -> Iterator[tuple[int, int]]:
    for i in range(count):
        if panel.width > WIDE * panel.height:
            yield 0, i * (panel.height + gap)
        else:
            yield i * (panel.width + gap), 0


def enlarge(pixels: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Make a square of `times` x `times` pixels of each pixel of (H, W, 3)."""
    return pixels if times == 1 else pixels.repeat(times, axis=0).repeat(times, axis=1)


def empty_figure(plan: FigurePlan) -> NDArray[np.uint8]:
    """Give the background of a figure (H, W, 3) uint8; it is grey, so that RGB and BGR are the same."""
    return np.full((plan.size.height, plan.size.width, 3), PAPER, np.uint8)


def draw_bar(figure: NDArray[np.uint8], plan: FigurePlan, style: OverlaySettings, words: Words) -> None:
    """Draw the colour bar, the hot end up, with its ticks into a figure (H, W, 3) with blue first."""
    bar = plan.bar
    if bar is None:
        return
    rows = np.linspace(255, 0, bar.size.height).round().astype(np.uint8)
    figure[bar.top : bar.bottom, bar.left : bar.right] = colour_table(style.colormap)[rows][:, None, ::-1]
    letters = max(LEAST_LETTERS - 2, round(0.8 * plan.letters))
    shares = {"1": 0.0, "0.5": 0.5, "0": 1.0} if bar.size.height >= 4 * letters else {"1": 0.0, "0": 1.0}
    left = bar.right + round(0.35 * letters)
    column = (slice(0, bar.top + bar.bottom), slice(left, plan.size.width))
    for text, share in shares.items():
        # Digits are about 0.7 of an em high; each is centred on its tick.
        baseline = round(bar.top + share * bar.size.height + 0.35 * letters)
        figure[column] = words.lettering.draw(figure[column], text, letters, (0, baseline), QUIET_INK)


def draw_caption(figure: NDArray[np.uint8], plan: FigurePlan, words: Words) -> None:
    """Write the caption into a figure (H, W, 3): the class on the left, its probability on the right or below it."""
    band = plan.band
    if band is None:
        return
    letters, lettering = plan.letters, words.lettering
    margin = round(0.6 * letters)
    room = band.size.width - 2 * margin
    one_line = band.size.width >= ONE_LINE * letters
    baseline = round(1.35 * letters)
    score_width = lettering.width(words.score, letters)
    # The probability ends where the panels end, so that no text is below the colour bar.
    right = min(band.right, max(plan.overlay.right, ONE_LINE * letters)) - margin
    label = lettering.shortened(words.label, letters, right - score_width - letters - margin if one_line else room)
    window = (slice(band.top, band.bottom), slice(band.left, band.right))
    written = lettering.draw(figure[window], label, letters, (margin, baseline), INK)
    at = (right - score_width, baseline) if one_line else (margin, round(2.6 * letters))
    figure[window] = lettering.draw(written, words.score, letters, at, INK if one_line else QUIET_INK)
