"""The models that have a name: one table of architecture, input size, preprocessing and weights.

It is data/named_models.csv. Nothing here imports Keras, so that `gradcam-cli models` answers at once. Sizes,
preprocessing and files are those of keras.applications; a test holds the table against the installed Keras.
"""

import csv
import difflib
from dataclasses import dataclass

from gradcam_cli.errors import ModelError
from gradcam_cli.package_data import data_text

LITE0 = "efficientnetlite0"


@dataclass(frozen=True)
class WeightsFile:
    """ImageNet weights: the name in Keras's cache folder, where they come from, and their md5 or sha256."""

    name: str
    url: str
    hash: str | None


@dataclass(frozen=True)
class NamedModel:
    """One architecture: its builder in keras.applications, the side of its square input, its preprocessing.

    `weights` is None if they come inside a Python package.
    """

    builder: str
    size: int
    preprocess: str
    weights: WeightsFile | None

    @property
    def name(self) -> str:
        """The name that `model` knows it by."""
        return self.builder.lower()


def _read_table() -> dict[str, NamedModel]:
    models = [_from_row(row) for row in csv.DictReader(data_text("named_models.csv").splitlines())]
    return {model.name: model for model in models}


def _from_row(row: dict[str, str]) -> NamedModel:
    weights = WeightsFile(row["file"], row["url"], row["hash"] or None) if row["file"] else None
    return NamedModel(row["builder"], int(row["size"]), row["preprocess"], weights)


NAMED_MODELS = _read_table()


def find_named(name: str) -> NamedModel:
    """Look a model up by its name, whatever its case.

    Raises:
        ModelError: there is none; the nearest names are in the message.
    """
    known = NAMED_MODELS.get(name.lower())
    if known:
        return known
    close = difflib.get_close_matches(name.lower(), NAMED_MODELS, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "See `gradcam-cli models`."
    raise ModelError(f"There is no model '{name}'. {hint} For your own model, use `model=FILE.keras`")
