"""Plots of deletion and insertion curves. Only this module uses matplotlib, which is an optional package."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

# Colours of Okabe and Ito, which colour-blind people can distinguish; dashes distinguish them in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
AXES = {
    "deletion": ("Deletion: lower is better", "hottest pixels removed, %", "upper right"),
    "insertion": ("Insertion: higher is better", "hottest pixels restored, %", "upper left"),
}


@dataclass(frozen=True)
class Curves:
    """One method at one layer: mean curves by name, and the areas under them."""

    layer: str
    method: str
    points: Mapping[str, Sequence[float]]
    areas: Mapping[str, float]


def curves_png(title: str, results: Sequence[Curves]) -> bytes:
    """Draw the mean curves of every method, a row of panels for each layer, as the bytes of a PNG."""
    layers = list(dict.fromkeys(result.layer for result in results))
    names = [name for name in AXES if any(name in result.points for result in results)]
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4.6 * len(names), 0.5 + 3.6 * len(layers)), layout="constrained")
        figure.suptitle(title, fontsize=10)
        panels = figure.subplots(len(layers), len(names), squeeze=False, sharey=True)
        for row, layer in zip(panels, layers, strict=True):
            here = [result for result in results if result.layer == layer]
            for axes, name in zip(row, names, strict=True):
                _panel(axes, name, here)
            row[0].set_ylabel(f"{layer}\nmean probability of the class")
        buffer = io.BytesIO()
        # The metadata has no version, so that the same run gives the same bytes.
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Any, name: str, results: Sequence[Curves]) -> None:
    for i, result in enumerate(results):
        points = result.points[name]
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
        label = f"{result.method}  {result.areas[name]:.3f}"
        axes.plot(np.linspace(0, 100, len(points)), points, label=label, linewidth=1.6, **style)
    title, across, corner = AXES[name]
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(across)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(loc=corner, title="method, area under its curve", frameon=False, fontsize=8, title_fontsize=8)
