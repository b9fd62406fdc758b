"""Configs of old Keras versions, translated: what may pass, what is refused, and how the refusal reads."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.arguments import trimmed
from gradcam_cli.models.legacy.config import for_keras_3_config
from gradcam_cli.models.legacy.loading import load_network
from gradcam_cli.models.safety.preflight import check_model_file

Config = dict[str, Any]
FILE = Path("model.h5")
P = [[0, 0], [1, 2], [3, 0], [0, 0]]


def call(function: str, kwargs: Config, class_name: str = "TFOpLambda", first: Any = None) -> Config:
    """A functional model of TensorFlow 2.4 to 2.15 with one bare call."""
    source = [*(first or ["in", 0, 0]), kwargs]
    entries: list[Config] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "in"}, "name": "in"},
        {"class_name": class_name, "config": {"name": "op", "function": function}, "name": "op"},
    ]
    entries[0]["inbound_nodes"] = []
    entries[1]["inbound_nodes"] = [source]
    config = {"name": "m", "layers": entries, "input_layers": [["in", 0, 0]], "output_layers": [["op", 0, 0]]}
    return {"class_name": "Functional", "config": config}


def graph_call(node: Config, constants: Config) -> Config:
    """The same of TensorFlow 2.0 to 2.3."""
    config = call("", {}, "TensorFlowOpLayer")
    config["config"]["layers"][1]["config"] = {"name": "op", "node_def": node, "constants": constants}
    return config


def saved(config: Config, path: Path, version: str = "2.15.0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), version
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return path


REFUSED = {
    "a file": call("io.read_file", {}),
    "a function of Python": call("numpy_function", {"func": "os.system"}),
    "a name that is not on the list": call("math.floormod", {"y": 2}),
    "a text as a number": call("math.multiply", {"y": "__import__('os')"}),
    "a class as a number": call("math.multiply", {"y": {"class_name": "Popen", "module": "subprocess", "config": {}}}),
    "NaN": call("math.multiply", {"y": float("nan")}),
    "an argument too many": call("math.multiply", {"y": 2.0, "other": 1}),
    "another cast": call("cast", {"dtype": "string"}),
    "another resize": call("image.resize", {"size": [4, 4], "method": "lanczos3"}),
    "an anti-aliased resize": call("image.resize", {"size": [4, 4], "antialias": True}),
    "a file in a graph": graph_call({"name": "r", "op": "ReadFile", "input": ["in"], "attr": {}}, {}),
    "python in a graph": graph_call({"name": "r", "op": "PyFunc", "input": ["in"], "attr": {}}, {}),
    "an old resize": graph_call(
        {"name": "r", "op": "ResizeBilinear", "input": ["in", "size"], "attr": {"align_corners": {"b": True}}},
        {"1": [4, 4]},
    ),
    "a method of a tensor": call("x", {}, "InstanceMethod"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_tensorflow_calls_are_refused_by_name(what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="layer 'op'"):
        check_model_file(saved(REFUSED[what], tmp_path / "m.h5"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (call("math.truediv", {"y": 127.5, "name": None}), lambda x: x / 127.5),
        (call("math.subtract", {"y": ["in", 0, 0]}, first=["_CONSTANT_VALUE", -1, 255.0]), lambda x: 255 - x),
        (call("nn.bias_add", {"bias": [1.0, 2.0, 3.0], "data_format": "NHWC"}), lambda x: x + np.array([1, 2, 3])),
        (
            call(
                "__operators__.getitem",
                {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]},
                "SlicingOpLambda",
            ),
            lambda x: x[..., ::-1],
        ),
        (call("reverse", {"axis": [-1]}), lambda x: x[..., ::-1]),
        (call("compat.v1.gather", {"indices": [2, 1, 0], "axis": -1}), lambda x: x[..., [2, 1, 0]]),
        (call("pad", {"paddings": P}), lambda x: np.pad(x, P)),
        (call("pad", {"paddings": P, "mode": "REFLECT"}), lambda x: np.pad(x, P, "reflect")),
        (call("tile", {"multiples": [1, 2, 1, 3]}), lambda x: np.tile(x, (1, 2, 1, 3))),
        (call("repeat", {"repeats": 3, "axis": -1}), lambda x: np.repeat(x, 3, -1)),
        (call("image.grayscale_to_rgb", {}), lambda x: np.concatenate([x, x, x], -1)),
        (call("split", {"num_or_size_splits": [1, 2], "axis": 3}), lambda x: x[..., :1]),
        (call("split", {"num_or_size_splits": 4, "axis": 1}), lambda x: x[:, :2]),
        (call("math.reduce_std", {"axis": [1, 2]}), lambda x: x.std((1, 2))),
        (graph_call({"name": "t", "op": "Tile", "input": ["in", "m"]}, {"1": [1, 1, 1, 2]}), lambda x: np.tile(x, 2)),
        (graph_call({"name": "p", "op": "Pad", "input": ["in", "m"]}, {"1": P}), lambda x: np.pad(x, P)),
        (graph_call({"name": "r", "op": "ReverseV2", "input": ["in", "m"]}, {"1": [3]}), lambda x: x[..., ::-1]),
        (
            graph_call({"name": "g", "op": "GatherV2", "input": ["in", "m", "a"]}, {"1": [0, 1], "2": 3}),
            lambda x: x[..., :2],
        ),
        (
            graph_call({"name": "d", "op": "Split", "input": ["a", "in"], "attr": {"num_split": {"i": "3"}}}, {"0": 3}),
            lambda x: x[..., :1],
        ),
        (
            graph_call({"name": "s", "op": "Sub", "input": ["x", "in"], "attr": {}}, {"0": 255.0}),
            lambda x: 255 - x,
        ),
    ],
)
def test_arithmetic_with_constants_computes_what_it_says(config: Config, expected: Any, tmp_path: Path) -> None:
    path = saved(config, tmp_path / "m.h5")
    check_model_file(path)
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(load_network(path)(x), expected(x), rtol=1e-6, atol=1e-5)


def test_pictures_are_standardized_as_tensorflow_does(tmp_path: Path) -> None:
    path = saved(call("image.per_image_standardization", {}), tmp_path / "m.h5")
    check_model_file(path)
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    x[1] = 100
    x[1, 0, 0, 0] = 100.5
    # The deviation of the second picture is 0.036. TensorFlow takes no less than 1/sqrt(192), which is 0.072.
    single = (0.5 - 0.5 / 192) * 192**0.5
    made = np.asarray(load_network(path)(x))
    np.testing.assert_allclose(made[0], (x[0] - x[0].mean()) / x[0].std(), rtol=1e-4, atol=1e-5)
    assert made[1, 0, 0, 0] == pytest.approx(single, rel=1e-4)


def reshape(shape: list[Any], measured: str = "in") -> Config:
    """A reshape to `shape`, in which BATCH is the batch of the `measured` tensor, as tf_keras saves it."""
    config = call("reshape", {"shape": shape})
    layers = config["config"]["layers"]
    size = {"name": "size", "function": "compat.v1.shape"}
    layers[1:1] = [
        {"class_name": "TFOpLambda", "name": "half", "config": {"name": "half", "function": "math.multiply"}},
        {"class_name": "TFOpLambda", "name": "size", "config": size},
        {"class_name": "SlicingOpLambda", "name": "b", "config": {"name": "b", "function": "__operators__.getitem"}},
        {"class_name": "SlicingOpLambda", "name": "h", "config": {"name": "h", "function": "__operators__.getitem"}},
    ]
    inbound = [
        ["in", 0, 0, {"y": 0.5, "name": None}],
        [measured, 0, 0, {"name": None, "out_type": "int32"}],
        ["size", 0, 0, {"slice_spec": 0}],
        ["size", 0, 0, {"slice_spec": 1}],
    ]
    for layer, source in zip(layers[1:5], inbound, strict=True):
        layer["inbound_nodes"] = [source]
    return config


BATCH, HEIGHT = ["b", 0, 0], ["h", 0, 0]


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (reshape([BATCH, -1]), (3, 192)),
        (reshape([BATCH, 64, 3]), (3, 64, 3)),
        (reshape([BATCH, HEIGHT, 24]), (3, 8, 24)),
        (reshape([BATCH, 64, 3], "half"), (3, 64, 3)),
    ],
)
def test_a_reshape_to_the_size_of_the_batch_keeps_the_batch(
    config: Config, wanted: tuple[int, ...], tmp_path: Path
) -> None:
    path = saved(config, tmp_path / "m.h5")
    check_model_file(path)
    x = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(load_network(path)(x), x.reshape(wanted))


@pytest.mark.parametrize(
    "config",
    [
        reshape([BATCH, HEIGHT, -1]),
        reshape([BATCH, -1, 3], "half"),
        reshape([HEIGHT, -1]),
        reshape([-1, HEIGHT, 24]),
    ],
    ids=["two unknown sides", "the batch of another tensor", "another side first", "no batch"],
)
def test_other_reshapes_to_measured_sizes_are_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is the TensorFlow function"):
        check_model_file(saved(config, tmp_path / "m.h5"))


@pytest.mark.parametrize(("stored", "used"), [({}, False), ({"reset_after": True}, True)])
def test_a_gru_of_keras_2_0_resets_before(stored: Config, used: bool) -> None:
    old = {"class_name": "Sequential", "config": [{"class_name": "GRU", "config": {"name": "g", "units": 2, **stored}}]}
    assert for_keras_3_config(FILE, old, "2.0.6")["config"]["layers"][0]["config"]["reset_after"] is used


def test_a_file_without_the_shape_of_its_input_says_so(tmp_path: Path) -> None:
    conv = {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": [3, 3]}}
    path = saved({"class_name": "Sequential", "config": {"name": "s", "layers": [conv]}}, tmp_path / "m.h5", "2.2.4")
    check_model_file(path)
    with pytest.raises(ModelError, match=r"does not contain the shape of its input.*input_shape="):
        load_network(path)


@pytest.mark.parametrize("version", ["1.2.2", "0.3.0"])
def test_keras_1_is_named(version: str) -> None:
    with pytest.raises(ModelError, match=f"written by Keras {version}.*Keras 2"):
        for_keras_3_config(FILE, {"class_name": "Sequential", "config": []}, version)


@pytest.mark.parametrize("config", [{}, {"class_name": "Sequential"}, {"class_name": "Sequential", "config": [1]}])
def test_a_broken_config_is_a_refusal(config: Config) -> None:
    with pytest.raises(ModelError, match="Save the model again"):
        for_keras_3_config(FILE, config, "2.4.0")


def one_layer(class_name: str, **settings: Any) -> Config:
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "in"}}
    layer = {"class_name": class_name, "config": {"name": "odd", **settings}}
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [first, layer]}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (one_layer("BatchNormalization", renorm=True), "layer 'odd' is a BatchNormalization with renorm=True"),
        (one_layer("LocallyConnected2D", implementation=2), "layer 'odd' is a LocallyConnected2D"),
        (one_layer("CuDNNLSTM"), "layer 'odd' is a CuDNNLSTM"),
        (one_layer("RandomCrop", height=4, width=4), "layer 'odd' is a RandomCrop of Keras 2.4.0"),
    ],
)
def test_what_has_no_equal_is_refused_by_name(config: Config, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        for_keras_3_config(FILE, config, "2.4.0")


def test_a_layer_that_cannot_be_made_is_named_with_its_class_and_the_cause(tmp_path: Path) -> None:
    path = saved(one_layer("DepthwiseConv2D", kernel_size=3, groups=2), tmp_path / "m.h5")
    with pytest.raises(ModelError, match=r"layer 'odd' \(DepthwiseConv2D\): Unrecognized.*groups") as caught:
        load_network(path)
    assert ".keras" not in str(caught.value).split(str(path))[1]


def test_a_swap_of_two_weights_of_one_shape_is_noticed(tmp_path: Path) -> None:
    """Assigned in their order alone, gamma and beta could change places in silence."""
    path = saved(one_layer("BatchNormalization"), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        weights = file["model_weights"]
        weights.attrs["layer_names"] = np.array([b"odd"])
        names = [b"bn/beta:0", b"bn/gamma:0", b"bn/moving_mean:0", b"bn/moving_variance:0"]
        weights.create_group("odd").attrs["weight_names"] = np.array(names)
        for name in names:
            weights["odd"][name.decode()] = np.ones(3, "float32")
    with pytest.raises(ModelError, match=r"the weight 'gamma' of layer 'odd' .* 'bn/beta:0'"):
        load_network(path)


@pytest.mark.parametrize(
    "layer",
    [layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.Dropout(0.1), layers.RandomContrast(0.1)],
    ids=lambda layer: type(layer).__name__,
)
def test_unknown_arguments_of_layers_without_effect_are_dropped(layer: Any, tmp_path: Path) -> None:
    network = keras.Sequential([layers.Input((8, 8, 3)), layer, layers.Conv2D(2, 3), layers.Flatten()])
    config = keras.saving.serialize_keras_object(network)
    config["config"]["layers"][1]["config"].update(value_range=[0, 255], rng_type="stateful", something_new=[1])
    made = keras.saving.deserialize_keras_object(trimmed(config))
    assert [type(item) for item in made.layers] == [type(item) for item in network.layers]
    config["config"]["layers"][2]["config"]["something_new"] = 1
    with pytest.raises(TypeError, match="something_new"):
        keras.saving.deserialize_keras_object(trimmed(config))
