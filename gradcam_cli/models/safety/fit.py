"""Check that the weights in one file fit an architecture in another: their kernels have the same shapes."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.config import for_keras_3_config
from gradcam_cli.models.safety.config import objects_in
from gradcam_cli.models.safety.preflight import check_parts, read_architecture, stored_weights
from gradcam_cli.models.safety.shapes import Dims
from gradcam_cli.models.safety.walk import Walk, kind_of
from gradcam_cli.models.subclasses import as_graphs

# Layers that store their kernel as one tensor in every version of Keras.
WITH_KERNEL: Final = frozenset({"Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D", "Dense", "DepthwiseConv2D"})


def check_fit(architecture: Path, weights: Path, *, own: frozenset[str] = frozenset()) -> None:
    """Refuse weights whose kernels are not those of the architecture, and everything that `check_parts` refuses.

    Raises:
        ModelError: the files are refused, or a kernel of the architecture is not stored.
    """
    check_parts(architecture, weights, own=own)
    asked = Counter(kernels(architecture, read_architecture(architecture)))
    missing = asked - Counter(stored_weights(weights).shapes)
    if missing:
        raise ModelError(f"{weights}: the file has no kernel {next(iter(missing))} for {architecture.name}.")


def kernels(path: Path, config: dict[str, Any]) -> list[Dims]:
    """Give the shapes of an architecture's kernels, if they follow from the shape of its input."""
    plain, _ = as_graphs(config)
    translated = for_keras_3_config(path, plain, str(config.get("keras_version", "")))
    walk = Walk()
    walk.layer(translated, ())
    found = (
        (kind_of(node), walk.measured[id(node)]) for _, node in objects_in(translated) if id(node) in walk.measured
    )
    return [sizes.weights[0] for kind, sizes in found if kind in WITH_KERNEL and sizes.weights]
