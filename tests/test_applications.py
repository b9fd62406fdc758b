"""Every architecture of keras.applications: what `auto` chooses, the gradient there by a second way, and the preflight.

Each architecture is built once. One of each family is traced and run. The other members differ from it in depth and
width alone, so it is enough that their layers around the chosen one are the same.
"""

import gc
import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import classifier, engine_at

from gradcam_cli.models.layers import Target, choose_layer
from gradcam_cli.models.named import LITE0, NAMED_MODELS
from gradcam_cli.models.safety.config import check_config
from gradcam_cli.models.safety.hdf5 import Stored
from gradcam_cli.models.safety.sizes import check_sizes
from gradcam_cli.models.safety.walk import Walk, total
from gradcam_cli.models.trace import trace
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
# The smallest member of each family first: it is traced, and its layers stand for those of the others.
FAMILIES = (
    ("convnexttiny", "convnextsmall", "convnextbase", "convnextlarge", "convnextxlarge"),
    ("densenet121", "densenet169", "densenet201"),
    # The last stage of the smallest has a single block, which adds nothing to its input.
    ("efficientnetb0",),
    ("efficientnetb1", *(f"efficientnetb{i}" for i in range(2, 8))),
    ("efficientnetv2b0", *(f"efficientnetv2{size}" for size in ("b1", "b2", "b3", "s", "m", "l"))),
    ("inceptionresnetv2",),
    ("inceptionv3",),
    ("mobilenet",),
    ("mobilenetv2",),
    ("mobilenetv3small",),
    ("mobilenetv3large",),
    ("nasnetmobile", "nasnetlarge"),
    ("resnet50", "resnet101", "resnet152"),
    ("resnet50v2", "resnet101v2", "resnet152v2"),
    # The last stage of VGG19 has a convolution more.
    ("vgg16",),
    ("vgg19",),
    ("xception",),
)
TRACED = {name: members[0] for members in FAMILIES for name in members}
# So many layers before the chosen one are compared; the last stage of each network has at least as many.
BEFORE = 7
# One has residual blocks, one depthwise convolutions, and one a head of several layers. The others are slow tests.
QUICK = ("mobilenetv2", "mobilenetv3small", "resnet50")
ARCHITECTURES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in TRACED]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def built(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """One network at a time; only one that is run has weights."""
    name = request.param
    yield name, build(name, weights=TRACED[name] == name)
    keras.utils.clear_session()
    gc.collect()


def build(name: str, *, weights: bool) -> Any:
    """Build an architecture with weights that are always the same; layers without a name are numbered from 0.

    Without `weights` its variables have shapes only, which takes a fifth of the time.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    side = LARGER.get(name, SIDE)
    builder = getattr(keras.applications, NAMED_MODELS[name].builder)
    with nullcontext() if weights else keras.StatelessScope(initialize_variables=False):
        return builder(weights=None, input_shape=(side, side, 3), classes=10)


@pytest.fixture(scope="module")
def surroundings() -> dict[str, list[Any]]:
    """The layers around the chosen one, of each architecture that a test has built so far."""
    return {}


def test_the_tables_are_whole() -> None:
    assert set(GOLDEN) == set(TRACED) == set(NAMED_MODELS) - {LITE0}


def test_autos_choice_and_its_gradient(built: tuple[str, Any]) -> None:
    name, network = built
    if TRACED[name] != name:
        pytest.skip(f"has the layers of {TRACED[name]}, which is traced")
    side = LARGER.get(name, SIDE)
    made = engine_at(classifier(network, side=side), "auto", TargetSettings(), batch_size=1)
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


def test_a_larger_member_has_the_layers_of_the_traced_one(
    built: tuple[str, Any], surroundings: dict[str, list[Any]]
) -> None:
    """The same kinds of layers around the chosen one, and a map of the same size there."""
    name, network = built
    traced = TRACED[name]
    if traced not in surroundings:
        surroundings[traced] = around(network if name == traced else build(traced, weights=False), GOLDEN[traced][0])
    assert around(network, GOLDEN[name][0]) == surroundings[traced]
    assert GOLDEN[name][1] == GOLDEN[traced][1]


def around(network: Any, layer: str) -> list[Any]:
    """The kinds of the layers from a little before a layer to the output, and the height and width at that layer."""
    operations = network.operations
    (place,) = [i for i, operation in enumerate(operations) if operation.name == layer]
    kinds = [type(operation).__name__ for operation in operations[place - BEFORE :]]
    return [*kinds, tuple(operations[place].output.shape[1:3])]


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


# Their last stage has a single cell of such an input, and pads before it.
PADDING = ("efficientnetb0", "mobilenet", "mobilenetv3small", "resnet50v2")
NO_FEATURES = ("ZeroPadding2D", "Cropping2D", "Resizing", "UpSampling2D", "Dropout", "Identity", "Rescaling")


class Small(keras.Model):  # type: ignore[misc]  # keras has no types
    """The body of a network, on a smaller input than it was built for, with a head on its means."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body
        self.head = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        # Past Keras's check of the input's size.
        return self.head(keras.ops.mean(self.body.call(x), axis=(1, 2)))


def test_auto_takes_a_layer_with_features_of_small_inputs(built: tuple[str, Any]) -> None:
    name, network = built
    if name not in PADDING:
        pytest.skip("does not pad there, or differs from one that is tried in depth and width alone")
    side = 32
    (top,) = [operation.output for operation in network.operations if operation.name == GOLDEN[name][0]]
    small = Small(keras.Model(network.input, top))

    def choose(x: Any) -> Any:
        run = trace(small, x)
        found.append(choose_layer(run, "auto"))
        return run.logits

    found: list[Target] = []
    tf.function(choose, autograph=False).get_concrete_function(tf.TensorSpec((1, side, side, 3), tf.float32))
    target = found[0]
    assert type(target.call.layer).__name__ not in NO_FEATURES, target.layer
    assert min(target.layer.height, target.layer.width) >= 2


SIDES = (96, 331, 1024)
Head = list[tuple[str, dict[str, Any]]]
POOL = {"data_format": "channels_last", "keepdims": False}
HEADS: dict[str, Head] = {
    "GAP": [("GlobalAveragePooling2D", POOL), ("Dense", {"units": 3})],
    "GMP": [("GlobalMaxPooling2D", POOL), ("Dense", {"units": 3})],
    "Flatten": [("Flatten", {}), ("Dense", {"units": 64}), ("Dense", {"units": 3})],
    "GAP, Flatten": [
        ("GlobalAveragePooling2D", POOL),
        ("Flatten", {}),
        ("Dense", {"units": 4096}),
        ("Dense", {"units": 3}),
    ],
}


def test_the_preflight_refuses_no_architecture(built: tuple[str, Any]) -> None:
    """Whatever the size of the picture and the head: the shapes come from the layers' rules alone."""
    name, network = built
    config = without_shapes(json.loads(json.dumps(keras.saving.serialize_keras_object(network))))
    check_config(Path(name), config, stored(network.layers, []))
    infers_what_keras_built(config, network)
    # A config counts operations such as additions as layers.
    body = [layer.name for layer in network.operations].index(GOLDEN[name][0]) + 1
    layers = config["config"]["layers"][:body]
    channels = network.operations[body - 1].output.shape[-1]
    for head in HEADS.values():
        for side in SIDES:
            layers[0]["config"]["batch_shape"] = [32, side, side, 3]
            sides = max(1, side // 32) ** 2
            config["config"]["layers"] = [*layers, *appended(layers[-1]["name"], head)]
            config["config"]["output_layers"] = [[f"head_{len(head) - 1}", 0, 0]]
            nodes = [(layer["name"], layer) for layer in config["config"]["layers"]]
            check_sizes(Path(name), config, nodes, stored(network.operations[:body], kernels(head, sides, channels)))


def infers_what_keras_built(config: dict[str, Any], network: Any) -> None:
    walk = Walk()
    assert walk.layer(config, ()) == ((10,),)
    made = {operation.name: operation for operation in network.operations}
    for node in config["config"]["layers"]:
        if node["class_name"] == "Sequential":
            continue  # its layers are measured one by one
        layer, measured = made[node["name"]], walk.measured[id(node)]
        assert measured.tensors == (tuple(layer.output.shape[1:]),), layer.name
        allocated = sum(math.prod(v.shape) for v in getattr(layer, "weights", ()))
        # Normalization counts its pictures in one number.
        assert 0 <= allocated - total(measured.weights) <= 1, layer.name


def without_shapes(config: Any) -> Any:
    """Take away what Keras states beside the layers: shapes of tensors, and what layers were built for."""
    if isinstance(config, dict):
        if config.get("class_name") == "__keras_tensor__":
            config = {**config, "config": {**config["config"], "shape": None}}
        return {key: without_shapes(value) for key, value in config.items() if key != "build_config"}
    return [without_shapes(item) for item in config] if isinstance(config, list) else config


def appended(source: str, head: Head) -> list[dict[str, Any]]:
    """A head's layers as a config has them, in a row behind a layer."""
    found = []
    for number, (kind, config) in enumerate(head):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [source, 0, 0]}}
        source = f"head_{number}"
        call = {"args": [tensor], "kwargs": {}}
        entry = {"module": "keras.layers", "class_name": kind, "config": {"name": source, **config}}
        found.append({**entry, "name": source, "inbound_nodes": [call]})
    return found


def kernels(head: Head, sides: int, channels: int) -> list[tuple[int, ...]]:
    """What the file of such a model stores for its head."""
    width = channels if head[0] != ("Flatten", {}) else sides * channels
    shapes = []
    for kind, config in head:
        if kind == "Dense":
            shapes += [(width, config["units"]), (config["units"],)]
            width = config["units"]
    return shapes


def stored(layers: list[Any], more: list[tuple[int, ...]]) -> Stored:
    return Stored((*(tuple(v.shape) for layer in layers for v in getattr(layer, "weights", ())), *more))
