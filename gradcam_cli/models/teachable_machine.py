"""Recognise image models exported by Google's Teachable Machine, which has its own preprocessing.

It crops the centre square of an image, resizes it to 224x224 and scales it to [-1, 1].
"""

import re
from pathlib import Path

import keras

from gradcam_cli.labels.files import is_numbered
from gradcam_cli.models.layer_paths import layer_paths
from gradcam_cli.settings import FitMode

PREPROCESS = "tf"
FIT: FitMode = "crop"
HIDDEN_UNITS = 100


def is_export(network: keras.Model) -> bool:
    """Whether a network has the layers of an export of Teachable Machine.

    This is a Sequential of two Sequentials: MobileNet with pooling, then a dense layer of 100 units and one without
    bias.
    """
    parts = [layer for layer in getattr(network, "layers", []) if not isinstance(layer, keras.layers.InputLayer)]
    if not isinstance(network, keras.Sequential) or len(parts) != 2:
        return False
    if not all(isinstance(part, keras.Sequential) for part in parts):
        return False
    backbone, head = parts
    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    mobile = any(isinstance(layer, keras.layers.DepthwiseConv2D) for _, layer in layer_paths(backbone))
    return mobile and len(dense) == 2 and dense[0].units == HIDDEN_UNITS and not dense[1].use_bias


def is_named_like_export(path: Path) -> bool:
    """Whether a file has the name of an export, and the numbered labels of an export are in the same folder."""
    named = re.fullmatch(r"keras_model.*\.h5", path.name, re.IGNORECASE)
    return bool(named) and is_numbered(path.with_name("labels.txt"))
