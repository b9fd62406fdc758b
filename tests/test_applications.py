"""Every architecture of keras.applications: what `auto` chooses, and the gradient there by a second way."""

import gc
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import classifier

from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.models.named import LITE0, NAMED_MODELS
from gradcam_cli.settings import TargetSettings

# The smallest input at which the last stage still is a map, 2 x 2 or a little more.
SIDE = 64
LARGER = {"inceptionv3": 128, "inceptionresnetv2": 128, "xception": 128}

# Layer, whether the head is GAP -> Dense on it. ConvNeXt, MobileNetV3 and NASNet number these layers by themselves.
GOLDEN = {
    "convnextbase": ("add_35", False),
    "convnextlarge": ("add_35", False),
    "convnextsmall": ("add_35", False),
    "convnexttiny": ("add_17", False),
    "convnextxlarge": ("add_35", False),
    "densenet121": ("relu", True),
    "densenet169": ("relu", True),
    "densenet201": ("relu", True),
    "efficientnetb0": ("top_activation", True),
    "efficientnetb1": ("top_activation", True),
    "efficientnetb2": ("top_activation", True),
    "efficientnetb3": ("top_activation", True),
    "efficientnetb4": ("top_activation", True),
    "efficientnetb5": ("top_activation", True),
    "efficientnetb6": ("top_activation", True),
    "efficientnetb7": ("top_activation", True),
    "efficientnetv2b0": ("top_activation", True),
    "efficientnetv2b1": ("top_activation", True),
    "efficientnetv2b2": ("top_activation", True),
    "efficientnetv2b3": ("top_activation", True),
    "efficientnetv2l": ("top_activation", True),
    "efficientnetv2m": ("top_activation", True),
    "efficientnetv2s": ("top_activation", True),
    "inceptionresnetv2": ("conv_7b_ac", True),
    "inceptionv3": ("mixed10", True),
    "mobilenet": ("conv_pw_13_relu", True),
    "mobilenetv2": ("out_relu", True),
    "mobilenetv3large": ("activation_19", False),
    "mobilenetv3small": ("activation_17", False),
    "nasnetlarge": ("activation_259", True),
    "nasnetmobile": ("activation_187", True),
    "resnet101": ("conv5_block3_out", True),
    "resnet101v2": ("post_relu", True),
    "resnet152": ("conv5_block3_out", True),
    "resnet152v2": ("post_relu", True),
    "resnet50": ("conv5_block3_out", True),
    "resnet50v2": ("post_relu", True),
    "vgg16": ("block5_pool", False),
    "vgg19": ("block5_pool", False),
    "xception": ("block14_sepconv2_act", True),
}


@pytest.fixture(autouse=True)
def fresh_names() -> Iterator[None]:
    """Layers without a name are numbered from the beginning, and large networks are let go."""
    keras.utils.clear_session()
    yield
    keras.utils.clear_session()
    gc.collect()


def test_the_table_is_whole() -> None:
    assert set(GOLDEN) == set(NAMED_MODELS) - {LITE0}


@pytest.mark.parametrize("name", GOLDEN)
def test_autos_choice_and_its_gradient(name: str) -> None:
    keras.utils.set_random_seed(0)
    side = LARGER.get(name, SIDE)
    builder = getattr(keras.applications, NAMED_MODELS[name].builder)
    network = builder(weights=None, input_shape=(side, side, 3), classes=10)
    made = TensorFlowEngine(classifier(network, side=side), "auto", TargetSettings(), batch_size=1)
    layer, dense = GOLDEN[name]
    assert made.layer.path == layer
    assert min(made.layer.height, made.layer.width) >= 2
    assert (made.head.weights is not None) == dense
    x = np.random.default_rng(0).normal(0, 50, (1, side, side, 3)).astype(np.float32)
    forward = made.explain(x)
    assert forward.gradients is not None
    again = taped(network, layer, forward.activations, int(forward.targets[0, 0]))
    assert np.abs(forward.gradients[0] - again).max() <= 1e-5 * np.abs(again).max()
    assert np.abs(again).max() > 0


def taped(network: Any, layer: str, activations: Any, target: int) -> Any:
    """The logit's gradient by a tape around the rest of the network, its softmax taken off by hand."""
    (position,) = [operation.output for operation in network.operations if operation.name == layer]
    rest = keras.Model(position, network.output)
    rest.layers[-1].activation = keras.activations.linear
    with tf.GradientTape() as tape:
        a = tf.constant(activations)
        tape.watch(a)
        logit = tf.reshape(rest(a, training=False), (1, -1))[:, target]
    return tape.gradient(logit, a).numpy()
