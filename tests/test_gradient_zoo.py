"""The gradient that OpenVINO computes against TensorFlow's: one architecture of each family, and usual heads.

One layer in the middle, and the choice of `auto` where its gradient has no closed form. Where a small head has one, its
gradient is taken through the network all the same.
"""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import keras
import pytest
import tensorflow as tf
from exported import BOTH, plan
from keras import layers
from nets import SIDE, classifier, convolutions

from gradcam_cli.engines.compiling import compare_with_tensorflow, compile_plan
from gradcam_cli.engines.gradient.walk import RULES, fixed, passage
from gradcam_cli.engines.openvino import read_network
from gradcam_cli.engines.plan import Plan
from gradcam_cli.models.classifier import Classifier


class _SelfAttention(layers.Layer):  # type: ignore[misc]
    """Attention of tokens over themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 4)

    def build(self, shape: Any) -> None:
        self.attention.build(shape, shape)

    def call(self, x: Any) -> Any:
        return self.attention(x, x)


class _SpaceToDepth(layers.Layer):  # type: ignore[misc]
    """Cells of 2x2 become channels, as at the start of TResNet."""

    def call(self, x: Any) -> Any:
        return tf.nn.space_to_depth(x, 2)


# Input, the layer that `auto` chooses, and one in the middle.
ARCHITECTURES = {
    "ConvNeXtTiny": (64, "add_17", "convnext_tiny_stage_2_block_2_pointwise_conv_2"),
    "DenseNet121": (64, "relu", "conv4_block24_concat"),
    "EfficientNetB0": (64, "top_activation", "block4c_add"),
    "InceptionV3": (107, "mixed10", "mixed4"),
    "MobileNetV2": (64, "out_relu", "block_8_depthwise_relu"),
    "MobileNetV3Small": (64, "activation_17", "expanded_conv_5_squeeze_excite_mul"),
    "NASNetMobile": (64, "activation_187", "normal_concat_6"),
    "ResNet50": (64, "conv5_block3_out", "conv4_block3_out"),
    "VGG16": (64, "block5_pool", "block3_conv3"),
    "Xception": (96, "block14_sepconv2_act", "block9_sepconv2_act"),
}
# They are small and have two kinds of head. The others are slow tests.
QUICK = ("MobileNetV2", "MobileNetV3Small")
# What follows their last map is more than a mean and one dense layer.
OTHER_HEADS = ("MobileNetV3Small", "VGG16")
# Their last map joins many branches.
BRANCHED = ("InceptionV3", "NASNetMobile")
HEADS: dict[str, list[Any]] = {
    "dense": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "relu"), lambda: layers.Dropout(0.5)],
    "flatten": [layers.Flatten, lambda: layers.Dense(8, "relu")],
    "global maximum": [layers.GlobalMaxPooling2D],
    "batch normalisation": [layers.GlobalAveragePooling2D, layers.BatchNormalization],
    "layer normalisation": [layers.GlobalAveragePooling2D, layers.LayerNormalization],
    "group normalisation": [lambda: layers.GroupNormalization(2), layers.GlobalAveragePooling2D],
    "maximum": [lambda: layers.MaxPooling2D(3, 2, padding="same"), layers.Flatten],
    "average": [lambda: layers.AveragePooling2D(3, 2, padding="same"), layers.Flatten],
    "convolution": [lambda: layers.Conv2D(5, 3, 2, activation="swish"), layers.GlobalAveragePooling2D],
    "separable": [lambda: layers.SeparableConv2D(5, 3, activation="gelu"), layers.GlobalAveragePooling2D],
    "leaky": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8), lambda: layers.LeakyReLU(negative_slope=0.2)],
    "learned slope": [layers.PReLU, layers.GlobalAveragePooling2D],
    "scaled exponential": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "selu")],
    "exponential": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "elu")],
    "softplus": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "softplus")],
    "softsign": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "softsign")],
    "mish": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "mish")],
    "hard swish": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "hard_swish")],
    "unit length": [layers.GlobalAveragePooling2D, layers.UnitNormalization],
    "larger": [lambda: layers.UpSampling2D(2, interpolation="bilinear"), lambda: layers.Conv2D(4, 5), layers.Flatten],
    "cropped": [lambda: layers.Cropping2D(1), layers.Flatten],
    "attention": [
        lambda: layers.Reshape((-1, 8)),
        _SelfAttention,
        layers.GlobalAveragePooling1D,
    ],
    "padded": [lambda: layers.ZeroPadding2D(1), lambda: layers.Conv2D(4, 3, 2), layers.Flatten],
    "space to depth": [_SpaceToDepth, layers.GlobalMaxPooling2D],
    "log-probabilities": [layers.GlobalAveragePooling2D, lambda: layers.Dense(8, "log_softmax")],
}


def marked(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]


@pytest.fixture(scope="module", params=marked(ARCHITECTURES))
def built(request: pytest.FixtureRequest) -> Iterator[tuple[str, Classifier]]:
    """One network at a time; layers without a name are numbered from 0."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    side = ARCHITECTURES[request.param][0]
    builder = getattr(keras.applications, request.param)
    network = builder(weights=None, input_shape=(side, side, 3), classes=10)
    yield request.param, classifier(network, side=side)
    keras.utils.clear_session()
    gc.collect()


def correlation(made: Plan, model: Classifier, layer: str) -> float:
    """How the gradient of a plan correlates with TensorFlow's, a closed form left aside."""
    check = made.check or compare_with_tensorflow(replace(made, head_weights=None), model, layer)
    return check.correlation


@pytest.mark.parametrize("built", marked(OTHER_HEADS), indirect=True)
def test_autos_choice(built: tuple[str, Classifier]) -> None:
    name, model = built
    plan = compile_plan(model, "auto")
    assert plan.layer.path == ARCHITECTURES[name][1]
    assert plan.check is not None
    assert plan.check.correlation >= 0.99999


@pytest.mark.parametrize("built", marked(BRANCHED), indirect=True)
def test_autos_choice_behind_branches(built: tuple[str, Classifier]) -> None:
    name, model = built
    plan = compile_plan(model, "auto")
    assert plan.layer.path == ARCHITECTURES[name][1]
    assert correlation(plan, model, "auto") >= 0.99999


def test_a_layer_in_the_middle(built: tuple[str, Classifier]) -> None:
    name, model = built
    layer = ARCHITECTURES[name][2]
    assert correlation(compile_plan(model, layer), model, layer) >= 0.999


@cache
def with_head(name: str) -> tuple[Classifier, Plan]:
    """A small network with one of the heads, and its plan."""
    keras.utils.set_random_seed(0)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = convolutions(inputs)
    for step in HEADS[name]:
        x = step()(x)
    model = classifier(keras.Model(inputs, layers.Dense(4, "softmax")(x)))
    return model, compile_plan(model, "last")


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    model, made = with_head(name)
    assert correlation(made, model, "last") >= 0.99999


def walked(made: Plan) -> set[str]:
    """The operations between the target layer of a plan and its logits."""
    return {node.get_type_name() for node in passage(fixed(read_network(made), 1)).nodes}


def test_every_rule_is_met_by_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of these networks are compared above with TensorFlow's, and in `test_exchange` with autograd's."""
    monkeypatch.setattr("gradcam_cli.engines.exchange.reading_subprocess.check_reading", lambda *_: None)
    exported = [
        plan(f"{name}{form}", layer)
        for name, layer in (("vit", "blocks.0"), ("mixed", "stem.0"))
        for form in (*BOTH, "_ir")
    ]
    made = [*exported, *(with_head(name)[1] for name in HEADS)]
    assert set(RULES) - set().union(*map(walked, made)) == set()
