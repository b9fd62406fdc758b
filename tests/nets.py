"""Small seeded Keras models: enough of each shape to tell right from wrong."""

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from conftest import DATA
from keras import layers

from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import PassSettings, trace_model
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.labels.class_labels import Labels
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.request import locate_model
from gradcam_cli.models.trace import is_channels_first
from gradcam_cli.settings import Limits, ModelSettings, TargetSettings

SIDE = 16


def classifier(
    network: Any, labels: Labels | None = None, side: int = SIDE, channels: int = 3, output: str | None = None
) -> Classifier:
    return Classifier(
        name="small",
        sha256=None,
        network=network,
        input_shape=(side, side, channels),
        preprocessing=PREPROCESSINGS["tf"],
        preprocess_guessed=False,
        labels=labels or Labels(),
        output=output,
        channels_first=is_channels_first(network),
    )


def engine_at(made: Classifier, layer: str, targets: TargetSettings, **settings: Any) -> TensorFlowEngine:
    """Trace a classifier at one layer; `settings` are those of `PassSettings`."""
    return TensorFlowEngine(trace_model(made, layer, PassSettings(targets, **settings)))


def convolutions(x: Any, activation: str = "relu") -> Any:
    x = layers.Conv2D(6, 3, padding="same", activation=activation, name="first")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(8, 3, padding="same", name="second")(x)
    return layers.Activation(activation, name="last")(x)


def gap_dense(classes: int = 5, activation: str | None = "softmax", seed: int = 1) -> Any:
    """Convolutions, global average pooling, dropout, one dense layer."""
    keras.utils.set_random_seed(seed)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D(name="gap")(convolutions(inputs))
    x = layers.Dropout(0.5, name="dropout")(x)
    outputs = layers.Dense(
        classes, activation=activation, name="head", kernel_initializer=keras.initializers.RandomNormal(stddev=2.0)
    )(x)
    return keras.Model(inputs, outputs)


def flatten_dense(classes: int = 5, activation: str = "tanh", seed: int = 2) -> Any:
    """A head that is neither linear nor blind to place: Flatten and two dense layers."""
    keras.utils.set_random_seed(seed)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Flatten()(convolutions(inputs))
    x = layers.Dense(16, activation=activation, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="head")(x))


@cache
def lite0() -> Classifier:
    settings = ModelSettings(model="efficientnetlite0")
    return load_classifier(locate_model(settings, lambda *_: None))


@cache
def crops() -> Any:
    names = np.load(DATA / "lite0_samples.npz")["files"]
    pictures = [decode((DATA / f"{Path(str(name)).stem}.png").read_bytes(), Limits()).pixels for name in names]
    return np.stack([lite0().preprocessing(picture) for picture in pictures])
