"""The measures of `evaluate`: the name, direction and definition of each, for the help, the table and the JSON."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Measure:
    """One measure of a method: its column in the table, which direction is better, and its definition.

    `group` is the entry of `metrics`, or the name of another argument, that selects the measure.
    """

    name: str
    column: str
    group: str
    better: Better
    percent: bool
    definition: str

    @property
    def option(self) -> str:
        """The name of the measure in the limits of a study."""
        return self.name.replace("_", "-")

    def is_worse(self, value: float, limit: float) -> bool:
        """Whether a figure is worse than a limit."""
        return value > limit if self.better == "lower" else value < limit


# The words that the definitions below use.
CONVENTIONS = {
    "class": "the class predicted for the original image; Y is its probability",
    "heat": "the map divided by its maximum and resized bilinearly to the input size; padding has no heat and is not "
    "changed",
    "masked": "the pixels 0..255 of the image multiplied by the heat, then preprocessed; O is the probability of the "
    "class for this masked image",
    "figure": "mean over images, its standard error (sample standard deviation / sqrt(count)), and count",
    "flat": "a map without heat is counted: it masks every pixel, hits no box and no cell, and its coherency is 0",
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
            "100 max(0, Y - O) / Y: relative loss of probability in the masked image",
        ),
        Measure("increase", "increase %", "drop", "higher", True, "100 if O > Y, otherwise 0"),
        Measure(
            "win_rate",
            "win %",
            "drop",
            "higher",
            True,
            "100 if O is higher than with another method for the same image and layer, 50 if the difference is at most "
            "1e-5, otherwise 0; mean over the other methods",
        ),
        Measure("complexity", "complexity", "adcc", "lower", False, "mean of the heat (L1 norm divided by area)"),
        Measure(
            "coherency",
            "coherency",
            "adcc",
            "higher",
            False,
            "(1 + r) / 2, where r is Pearson's correlation of the map with the map of the masked image for the same "
            "class; 0 if one of the maps is constant",
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
            "area under the curve of the class's probability while the pixels are replaced by the baseline in equal "
            "steps, the hottest first (RISE); pixels of equal heat are replaced in a fixed random order",
        ),
        Measure(
            "insertion",
            "insertion",
            "insertion",
            "higher",
            False,
            "area under the same curve while the pixels of an image of the baseline are restored, the hottest first",
        ),
        Measure(
            "grid",
            "grid",
            "grid",
            "higher",
            False,
            "share of the heat in the correct cell of a collage, for the class of each cell; a collage has images of "
            "different classes with probability >= 0.9, and each image is in one collage; chance is 1 / cells",
        ),
        Measure(
            "pointing",
            "pointing",
            "boxes_csv",
            "higher",
            False,
            "1 if the hottest pixel is inside a box, otherwise 0; without tolerance",
        ),
        Measure("energy", "energy", "boxes_csv", "higher", False, "share of the heat inside the boxes"),
        Measure(
            "sanity_head",
            "sanity head",
            "sanity",
            "lower",
            False,
            "Spearman's correlation of the maps before and after the weights of the last layer are permuted (Adebayo "
            "2018); 0 or less means that the map changed completely; 0 if the map becomes flat",
        ),
        Measure(
            "sanity_all",
            "sanity all",
            "sanity",
            "lower",
            False,
            "the same correlation after the weights of all layers are permuted, from the last to the first",
        ),
    )
}

# The groups that `metrics` selects; the arguments `grid` and `boxes_csv` select their own measures.
GROUPS = ("drop", "adcc", "deletion", "insertion", "sanity")


def definitions() -> str:
    """Give the definition of every measure, one paragraph each."""
    lines = ["Definitions:", *(f"  {word}: {text}." for word, text in CONVENTIONS.items())]
    for measure in MEASURES.values():
        unit = "percent, " if measure.percent else ""
        lines.append(f"  {measure.option} ({unit}{measure.better} is better): {measure.definition}.")
    return "\n\n".join(lines)
