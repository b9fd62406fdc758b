"""The training loss that a model file stores. It is read as data, and no code of it is run."""

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

Family = Literal["value", "categorical", "binary", "hinge", "other"]

SHORT = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "huber_loss": "huber", "logcosh": "log_cosh"}
FAMILIES: dict[str, Family] = {
    "mean_squared_error": "value",
    "mean_absolute_error": "value",
    "mean_absolute_percentage_error": "value",
    "mean_squared_logarithmic_error": "value",
    "mape": "value",
    "msle": "value",
    "huber": "value",
    "log_cosh": "value",
    "poisson": "value",
    "cosine_similarity": "value",
    "categorical_crossentropy": "categorical",
    "sparse_categorical_crossentropy": "categorical",
    "categorical_focal_crossentropy": "categorical",
    "kl_divergence": "categorical",
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "hinge": "hinge",
    "squared_hinge": "hinge",
    "categorical_hinge": "hinge",
}


@dataclass(frozen=True)
class Loss:
    """A loss by its Keras name in lower case with underscores, and whether it takes logits."""

    name: str
    from_logits: bool = False

    @property
    def family(self) -> Family:
        """The kind of output that the loss is for."""
        return FAMILIES.get(self.name, "other")


def stored_loss(path: Path, outputs: Sequence[str], wanted: str | None) -> Loss | None:
    """Read the loss of one output from a .keras or HDF5 file; None if there is no loss or the file cannot be read.

    Args:
        path: a file that has passed the preflight.
        outputs: names of the model's outputs, in order.
        wanted: the explained output; None if there is only one.
    """
    try:
        found = _configuration(path)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, RecursionError):
        return None
    return configured_loss(found, outputs, wanted)


def configured_loss(compile_config: Any, outputs: Sequence[str], wanted: str | None) -> Loss | None:
    """Find the loss of one output in the configuration of `compile`. For the arguments, see `stored_loss`."""
    if not isinstance(compile_config, dict):
        return None
    return _loss(_of_output(compile_config.get("loss"), outputs, wanted))


def _configuration(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json")).get("compile_config")
    with h5py.File(path, "r") as file:
        return json.loads(file.attrs["training_config"])


def _of_output(loss: Any, outputs: Sequence[str], wanted: str | None) -> Any:
    """Choose the loss of the wanted output from the losses of several outputs."""
    place = outputs.index(wanted) if wanted in outputs else 0
    if isinstance(loss, dict) and "class_name" not in loss:
        name = wanted or (outputs[0] if outputs else None)
        return loss.get(str(name), next(iter(loss.values())) if len(loss) == 1 else None)
    if isinstance(loss, list):
        return loss[place] if place < len(loss) else None
    return loss


def _loss(loss: Any) -> Loss | None:
    if isinstance(loss, str):
        return Loss(_known_as(loss))
    if not isinstance(loss, dict):
        return None
    config, name = loss.get("config"), str(loss.get("class_name", ""))
    if name == "function":
        return Loss(_known_as(str(config)))
    if name == "LossFunctionWrapper" and isinstance(config, dict):
        name = str(config.get("name", name))
    return Loss(_known_as(name), bool(config.get("from_logits", False)) if isinstance(config, dict) else False)


def _known_as(name: str) -> str:
    """Write names such as `BinaryCrossentropy` and `mse` like the names of the Keras functions."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rsplit(">", 1)[-1]).lower()
    plain = {"kldivergence": "kl_divergence", "kld": "kl_divergence"}.get(plain, plain)
    return SHORT.get(plain, plain)
