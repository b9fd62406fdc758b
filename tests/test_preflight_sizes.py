"""Configs that ask for far more memory than their weights: each is refused, by the layer's name, without memory."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety.config import check_config
from gradcam_cli.models.safety.hdf5 import Stored

Node = dict[str, Any]
PATH = Path("hostile.keras")
SMALL = Stored(((3, 3, 3, 4), (4,), (4, 2), (2,)))


def layer(kind: str, **config: Any) -> Node:
    return {"class_name": kind, "module": "keras.layers", "config": {"name": kind.lower(), **config}}


def sequential(*entries: Node, shape: Any = (8, 8, 3), batch: int | None = None) -> Node:
    """A model of layers in a row; their names are made different."""
    first = layer("InputLayer", batch_shape=[batch, *shape])
    found = json.loads(json.dumps([first, *entries]))
    for number, entry in enumerate(found):
        entry["config"]["name"] = f"{entry['config']['name']}_{number}"
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": found}}


def functional(*entries: Node, shape: Any = (8, 8, 3)) -> Node:
    """The same as a functional model, so that operations may be among the layers."""
    found = sequential(*entries, shape=shape)["config"]["layers"]
    for number, entry in enumerate(found):
        entry["name"] = entry["config"]["name"]
        tensor = {
            "class_name": "__keras_tensor__",
            "config": {"keras_history": [found[number - 1]["config"]["name"], 0, 0]},
        }
        entry["inbound_nodes"] = [] if number == 0 else [{"args": [tensor], "kwargs": {}}]
    ends = {"input_layers": [[found[0]["name"], 0, 0]], "output_layers": [[found[-1]["name"], 0, 0]]}
    return {"class_name": "Functional", "module": "keras", "config": {"name": "f", "layers": found, **ends}}


def operation(kind: str, **config: Any) -> Node:
    return {**layer(kind, **config), "module": "keras.src.ops.numpy"}


CONV = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
FLAT = layer("Flatten")
SEQUENCE = layer("Reshape", target_shape=[8, 24])
FRAMES = layer("Reshape", target_shape=[2, 4, 8, 3])
DENSE = layer("Dense", units=2)
HUGE = 10**9

# The layer at fault comes first in the name of each case.
WEIGHTS: dict[str, Node] = {
    "dense": sequential(FLAT, layer("Dense", units=HUGE)),
    "dense behind a repetition": sequential(FLAT, layer("RepeatVector", n=5000), FLAT, layer("Dense", units=4096)),
    "dense behind a picture": sequential(FLAT, layer("Dense", units=4096), shape=(512, 512, 3)),
    "dense lora": sequential(layer("Dense", units=2, lora_rank=HUGE)),
    "conv2d lora": sequential(layer("Conv2D", filters=2, lora_rank=HUGE, **CONV)),
    "conv2d": sequential(layer("Conv2D", filters=10**7, **CONV)),
    "conv3d": sequential(FRAMES, layer("Conv3D", filters=64, kernel_size=[500, 500, 500], padding="same")),
    "conv2dtranspose": sequential(layer("Conv2DTranspose", filters=HUGE, **CONV)),
    "separableconv2d": sequential(layer("SeparableConv2D", filters=2, depth_multiplier=HUGE, **CONV)),
    "depthwiseconv2d": sequential(layer("DepthwiseConv2D", depth_multiplier=HUGE, **CONV)),
    "locallyconnected2d": sequential(layer("LocallyConnected2D", filters=10**6, **CONV)),
    "embedding": sequential(FLAT, layer("Embedding", input_dim=HUGE, output_dim=4)),
    "embedding of positions": sequential(layer("Embedding", input_dim=3, output_dim=10**8)),
    "embedding lora": sequential(FLAT, layer("Embedding", input_dim=3, output_dim=4, lora_rank=10**8)),
    "einsumdense": sequential(SEQUENCE, layer("EinsumDense", equation="abc,cd->abd", output_shape=[None, HUGE])),
    "einsumdense single": sequential(SEQUENCE, layer("EinsumDense", equation="...x,xy->...y", output_shape=HUGE)),
    "einsumdense lora": sequential(
        SEQUENCE, layer("EinsumDense", equation="abc,cd->abd", output_shape=[None, 4], lora_rank=HUGE)
    ),
    "multiheadattention values": sequential(
        SEQUENCE, layer("MultiHeadAttention", num_heads=2, key_dim=2, value_dim=HUGE)
    ),
    "multiheadattention output": sequential(
        SEQUENCE, layer("MultiHeadAttention", num_heads=2, key_dim=2, output_shape=[HUGE])
    ),
    "groupqueryattention": sequential(
        SEQUENCE, layer("GroupQueryAttention", num_query_heads=HUGE, num_key_value_heads=1, head_dim=4)
    ),
    "prelu": sequential(layer("ZeroPadding2D", padding=2500), layer("PReLU")),
    "prelu behind a resizing": sequential(layer("Resizing", height=4000, width=4000), layer("PReLU")),
    "batchnormalization": sequential(
        layer("Reshape", target_shape=[192, 1]),
        layer("ZeroPadding1D", padding=10**7),
        layer("BatchNormalization", axis=1),
    ),
    "layernormalization": sequential(
        layer("UpSampling2D", size=[500, 500]), layer("LayerNormalization", axis=[1, 2, 3])
    ),
    "lstm": sequential(SEQUENCE, layer("LSTM", units=10**5)),
    "gru": sequential(SEQUENCE, layer("GRU", units=10**5)),
    "simplernn": sequential(SEQUENCE, layer("SimpleRNN", units=10**5)),
    "lstm with states": sequential(SEQUENCE, layer("LSTM", units=100, stateful=True), batch=HUGE),
    "convlstm2d": sequential(FRAMES, layer("ConvLSTM2D", filters=10**4, **CONV)),
    "lstmcell": sequential(SEQUENCE, layer("RNN", cell=layer("LSTMCell", units=10**5))),
    "grucell": sequential(SEQUENCE, layer("RNN", cell=layer("StackedRNNCells", cells=[layer("GRUCell", units=10**5)]))),
    "lstm both ways": sequential(SEQUENCE, layer("Bidirectional", layer=layer("LSTM", units=10**5))),
    "dense each step": sequential(FRAMES, layer("TimeDistributed", layer=layer("Dense", units=HUGE))),
    "dense with a norm": sequential(layer("SpectralNormalization", layer=layer("Dense", units=HUGE))),
    "dense in a pipeline": sequential(layer("Pipeline", layers=[layer("Dense", units=HUGE)])),
    "dense in a model": sequential(sequential(layer("Dense", units=HUGE), shape=(8, 8, 3))),
    "stftspectrogram": sequential(FLAT, layer("STFTSpectrogram", fft_length=10**5, frame_length=10**5)),
    "dense behind categories": sequential(
        FLAT, layer("CategoryEncoding", num_tokens=10**6, output_mode="multi_hot"), layer("Dense", units=100)
    ),
    "dense behind tiles": functional(operation("Tile", repeats=[1, 1000, 1000, 1]), FLAT, layer("Dense", units=100)),
    "dense behind repeats": functional(operation("Repeat", repeats=10**6, axis=1), FLAT, layer("Dense", units=100)),
    "dense behind a broadcast": functional(
        operation("BroadcastTo", shape=[1, 10**6, 8, 3]), FLAT, layer("Dense", units=9)
    ),
    "dense behind an unknown layer": functional(layer("Mystery"), layer("Dense", units=10**8)),
    "dense in a circle": functional(DENSE, layer("Dense", units=10**8)),
    "conv2d built for more": sequential(
        {**layer("Conv2D", filters=64, **CONV), "build_config": {"input_shape": [None, 8, 8, 10**6]}}
    ),
    "multiheadattention built for more": sequential(
        SEQUENCE,
        {
            **layer("MultiHeadAttention", num_heads=2, key_dim=2),
            "build_config": {"shapes_dict": {"query_shape": [None, 8, HUGE], "value_shape": [None, 8, HUGE]}},
        },
    ),
    "dense in place of an activation": sequential(
        layer("Activation", activation={**layer("Dense", units=10**5), "build_config": {"input_shape": [None, 10**5]}})
    ),
    "dense of a model that says what it was built for": sequential(
        {
            "class_name": "Sequential",
            "module": "keras",
            "config": {"name": "inner", "layers": [layer("Dense", units=100)], "build_input_shape": [None, 10**7]},
        }
    ),
    "meaniou": sequential(layer("Activation", activation=layer("MeanIoU", num_classes=10**5))),
    "auc": sequential(layer("Activation", activation=layer("AUC", num_thresholds=HUGE))),
}
WEIGHTS["dense in a circle"]["config"]["layers"][1]["inbound_nodes"] = [[["dense_2", 0, 0, {}]]]


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_no_tensor_backs(name: str) -> None:
    with pytest.raises(ModelError, match=rf"layer '{name.split(maxsplit=1)[0]}\w*'.* weights.*Refused.*save it again"):
        check_config(PATH, WEIGHTS[name], SMALL)


ACTIVATIONS: dict[str, Node] = {
    "upsampling2d": sequential(layer("UpSampling2D", size=[10_000, 10_000])),
    "zeropadding2d": sequential(layer("ZeroPadding2D", padding=[[10**6, 10**6], [100, 100]])),
    "repeatvector": sequential(FLAT, layer("RepeatVector", n=HUGE)),
    "resizing": sequential(layer("Resizing", height=10**6, width=10**6)),
    "centercrop": sequential(layer("CenterCrop", height=10**6, width=10**6)),
    "conv2dtranspose": sequential(layer("Conv2DTranspose", filters=1, kernel_size=[3, 3], strides=[10**4, 10**4])),
    "categoryencoding": sequential(FLAT, layer("CategoryEncoding", num_tokens=HUGE, output_mode="one_hot")),
    "hashedcrossing": sequential(FLAT, layer("HashedCrossing", num_bins=HUGE, output_mode="one_hot")),
    "melspectrogram": sequential(FLAT, layer("MelSpectrogram", num_mel_bins=10**5, fft_length=10**6)),
    "attention scores": sequential(
        layer("UpSampling2D", size=[100, 100]),
        layer("Reshape", target_shape=[-1, 3]),
        layer("MultiHeadAttention", name="attention", num_heads=1, key_dim=1),
    ),
    "upsampling2d in a nested model": sequential(sequential(layer("UpSampling2D", size=[10_000, 10_000]))),
    "tile": functional(operation("Tile", repeats=[1, 10**4, 10**4, 1])),
    "pad": functional(operation("Pad", pad_width=[[0, 0], [10**6, 10**6], [10**3, 0], [0, 0]])),
    "onehot": functional(operation("OneHot", num_classes=HUGE)),
    "resize": functional({**operation("Resize", size=[10**6, 10**6]), "module": "keras.src.ops.image"}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_enormous_activations(name: str) -> None:
    with pytest.raises(
        ModelError, match=rf"layer '{name.split(maxsplit=1)[0]}\w*' makes .* numbers from one image.*Refused"
    ):
        check_config(PATH, ACTIVATIONS[name], SMALL)


def test_refusals_take_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for config in (*WEIGHTS.values(), *ACTIVATIONS.values()):
        with pytest.raises(ModelError):
            check_config(PATH, config, SMALL)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_many_layers_that_are_small_each() -> None:
    config = sequential(*(layer("Dense", units=1000) for _ in range(100)))
    with pytest.raises(ModelError, match="its layers declare 99,103,000 weights, most of them layer 'dense_100'"):
        check_config(PATH, config, SMALL)


def test_models_in_models() -> None:
    config = sequential(DENSE)
    for _ in range(60):
        config = sequential(config)
    with pytest.raises(ModelError, match="nested too deeply"):
        check_config(PATH, config, SMALL)


def test_models_that_call_each_other_often_take_no_time() -> None:
    """Ten calls on each of seven levels: ten million calls of one layer."""
    inner = functional(DENSE)
    for _ in range(7):
        outer = functional(inner)
        entry = outer["config"]["layers"][1]
        entry["inbound_nodes"] = entry["inbound_nodes"] * 10
        inner = outer
    check_config(PATH, inner, SMALL)


def test_too_many_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.models.safety.walk.MAX_STEPS", 1000)
    with pytest.raises(ModelError, match="too many layers"):
        check_config(PATH, sequential(*[DENSE] * 1000), SMALL)


def test_two_layers_of_one_name() -> None:
    config = functional(DENSE, DENSE)
    for entry in config["config"]["layers"][1:]:
        entry["name"] = "same"
    with pytest.raises(ModelError, match="2 of its layers have the name 'same'"):
        check_config(PATH, config, SMALL)


def test_a_layer_that_has_its_weights_passes() -> None:
    config = sequential(FLAT, layer("Dense", units=4096), shape=(512, 512, 3))
    check_config(PATH, config, Stored(((786_432, 4096), (4096,))))
    with pytest.raises(ModelError, match="the largest stored tensor has 4,096"):
        check_config(PATH, config, Stored(((4096,),)))
