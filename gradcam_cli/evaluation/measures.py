"""What `evaluate` measures: the name, direction and definition of each figure, once for help, table and JSON."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Measure:
    """One figure of a method: its column in the table, which way is better, and what it is.

    `group` is the entry of `metrics` that turns it on, or the name of another argument that does.
    """

    name: str
    column: str
    group: str
    better: Better
    percent: bool
    definition: str

    @property
    def option(self) -> str:
        """Its name in the limits of a study."""
        return self.name.replace("_", "-")

    def is_worse(self, value: float, limit: float) -> bool:
        """Whether a figure is worse than a limit."""
        return value > limit if self.better == "lower" else value < limit


# What holds for every definition below.
CONVENTIONS = {
    "class": "the class predicted on the original picture; Y is its probability there",
    "heat": "the map divided by its maximum, bilinear to the input's resolution, over the picture (padding is left out "
    "and left alone)",
    "masked": "the picture's pixels, 0..255, multiplied by the heat, then preprocessed; O is the class's probability "
    "there",
    "figure": "mean over images, its standard error (sample deviation / sqrt(count)), and count",
    "flat": "a map without any heat counts: it masks everything, hits no box and no cell, and has no coherency",
}

MEASURES = {
    measure.name: measure
    for measure in (
        Measure(
            "average_drop",
            "drop %",
            "drop",
            "lower",
            True,
            "100 max(0, Y - O) / Y: what masking by the heat takes from the class",
        ),
        Measure("increase", "increase %", "drop", "higher", True, "100 where O > Y, else 0"),
        Measure(
            "win_rate",
            "win %",
            "drop",
            "higher",
            True,
            "100 where O is higher than another method's on the same image and layer, 50 where they are within 1e-5; "
            "mean over the others",
        ),
        Measure("complexity", "complexity", "adcc", "lower", False, "mean of the heat: its L1 norm by the area"),
        Measure(
            "coherency",
            "coherency",
            "adcc",
            "higher",
            False,
            "(1 + r) / 2, r Pearson's correlation of the map with the map of the masked picture for the same class; 0 "
            "where either is constant",
        ),
        Measure(
            "adcc",
            "ADCC",
            "adcc",
            "higher",
            False,
            "harmonic mean of coherency, 1 - complexity and 1 - drop of each image (Poppi 2021)",
        ),
        Measure(
            "deletion",
            "deletion",
            "deletion",
            "lower",
            False,
            "area under the class's probability while the hottest pixels are replaced by the baseline, in equal steps "
            "(RISE); pixels of equal heat go in one fixed random order",
        ),
        Measure(
            "insertion",
            "insertion",
            "insertion",
            "higher",
            False,
            "the same while the hottest pixels return to a picture that is all baseline",
        ),
        Measure(
            "grid",
            "grid",
            "grid",
            "higher",
            False,
            "share of the heat in the right cell of a collage, for each cell's class in turn; pictures of probability "
            ">= 0.9 and different classes, each in one collage; chance is 1 / cells",
        ),
        Measure(
            "pointing",
            "pointing",
            "boxes_csv",
            "higher",
            False,
            "1 where the hottest pixel is inside a box, else 0; no tolerance around it",
        ),
        Measure("energy", "energy", "boxes_csv", "higher", False, "share of the heat inside the boxes"),
        Measure(
            "sanity_head",
            "sanity head",
            "sanity",
            "lower",
            False,
            "Spearman's correlation of the map before and after the weights of the last layer are permuted (Adebayo "
            "2018); at 0 and below it changed altogether; 0 where the map becomes flat",
        ),
        Measure(
            "sanity_all",
            "sanity all",
            "sanity",
            "lower",
            False,
            "the same after all layers' weights are permuted, from the last to the first",
        ),
    )
}

# What `metrics` can turn on; `grid` and `boxes_csv` turn on their own.
GROUPS = ("drop", "adcc", "deletion", "insertion", "sanity")


def definitions() -> str:
    """Every figure's definition, one paragraph each."""
    lines = ["Definitions:", *(f"  {word}: {text}." for word, text in CONVENTIONS.items())]
    for measure in MEASURES.values():
        unit = "percent, " if measure.percent else ""
        lines.append(f"  {measure.option} ({unit}{measure.better} is better): {measure.definition}.")
    return "\n\n".join(lines)
