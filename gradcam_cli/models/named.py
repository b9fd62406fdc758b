"""The named models: one table of architecture, input size, preprocessing and weights.

The table is data/named_models.csv. This module does not import Keras, so `gradcam-cli models` is fast. Sizes,
preprocessings and files are those of keras.applications. A test compares the table with the installed Keras.
"""

import csv
import difflib
from dataclasses import dataclass

from gradcam_cli.errors import ModelError
from gradcam_cli.package_data import data_text

LITE0 = "efficientnetlite0"


@dataclass(frozen=True)
class WeightsFile:
    """ImageNet weights: the file name in the cache folder of Keras, the URL, and the md5 or sha256."""

    name: str
    url: str
    hash: str | None


@dataclass(frozen=True)
class NamedModel:
    """One architecture: its builder in keras.applications, the side of its square input, and its preprocessing.

    `weights` is None if a Python package contains them.
    """

    builder: str
    size: int
    preprocess: str
    weights: WeightsFile | None

    @property
    def name(self) -> str:
        """The name that the `model` setting accepts."""
        return self.builder.lower()


def _read_table() -> dict[str, NamedModel]:
    models = [_from_row(row) for row in csv.DictReader(data_text("named_models.csv").splitlines())]
    return {model.name: model for model in models}


def _from_row(row: dict[str, str]) -> NamedModel:
    weights = WeightsFile(row["file"], row["url"], row["hash"] or None) if row["file"] else None
    return NamedModel(row["builder"], int(row["size"]), row["preprocess"], weights)


NAMED_MODELS = _read_table()


def find_named(name: str) -> NamedModel:
    """Find a model by its name; upper and lower case are the same.

    Raises:
        ModelError: there is no such model. The message has the most similar names.
    """
    known = NAMED_MODELS.get(name.lower())
    if known:
        return known
    close = difflib.get_close_matches(name.lower(), NAMED_MODELS, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "See `gradcam-cli models`."
    raise ModelError(f"There is no model '{name}'. {hint} For your own model, use `model=FILE.keras`")
