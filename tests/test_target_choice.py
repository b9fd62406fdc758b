"""What `auto` takes, and what is said of it: padding, small maps, branches, tokens beside pictures."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from nets import classifier, engine_at

from gradcam_cli.engines.protocol import TargetLayer
from gradcam_cli.errors import ModelError
from gradcam_cli.settings import TargetSettings


def chosen(inputs: Any, pooled: Any, layer: str = "auto", token_grid: tuple[int, int] | None = None) -> TargetLayer:
    network = keras.Model(inputs, layers.Dense(3, activation="softmax")(pooled))
    made = classifier(network, side=inputs.shape[1])
    object.__setattr__(made, "input_shape", tuple(inputs.shape[1:]))
    object.__setattr__(made, "token_grid", token_grid)
    return engine_at(made, layer, TargetSettings(), batch_size=1).layer


def conv(name: str, kernel: int | tuple[int, int] = 3, strides: int = 4) -> Any:
    return layers.Conv2D(4, kernel, strides=strides, padding="same", activation="relu", name=name)


@pytest.mark.parametrize(
    "after",
    [
        layers.ZeroPadding2D(2),
        layers.Cropping2D(1),
        layers.UpSampling2D(2),
        layers.Resizing(7, 7),
        layers.CenterCrop(3, 3),
        layers.Dropout(0.5),
        layers.Activation("linear"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_auto_takes_no_layer_without_features(after: Any) -> None:
    inputs = keras.Input((20, 20, 3))
    x = after(conv("last")(inputs))
    assert chosen(inputs, layers.GlobalAveragePooling2D()(x)).path == "last"


def test_a_small_map_names_a_finer_layer() -> None:
    inputs = keras.Input((32, 32, 3))
    layer = chosen(inputs, layers.GlobalAveragePooling2D()(conv("coarse")(conv("fine")(inputs))))
    assert layer.path == "coarse"
    assert [note for note in layer.notes if "2x2" in note and "`layer=fine` (8x8)" in note]


def test_a_map_of_one_row_is_a_map() -> None:
    inputs = keras.Input((16, 32, 3))
    x = conv("wide", (1, 3), 1)(layers.MaxPooling2D((16, 2))(inputs))
    layer = chosen(inputs, layers.GlobalAveragePooling2D()(x))
    assert (layer.path, layer.height, layer.width) == ("wide", 1, 16)


def test_parallel_branches_are_named() -> None:
    inputs = keras.Input((16, 16, 3))
    pooled = [layers.GlobalAveragePooling2D()(conv(name, 3, 2)(inputs)) for name in ("left", "right")]
    layer = chosen(inputs, layers.Concatenate()(pooled))
    other = "left" if layer.path == "right" else "right"
    assert [note for note in layer.notes if f"{other} (8x8)" in note]
    assert not chosen(
        inputs, layers.GlobalAveragePooling2D()(layers.Add()([conv("a")(inputs), conv("b")(inputs)]))
    ).notes


def test_a_layer_behind_the_target_is_no_branch_beside_it() -> None:
    """`joined` is computed from the target, `early` leads to it; `right` alone is beside it."""
    inputs = keras.Input((16, 16, 3))
    early = conv("early", strides=1)(inputs)
    joined = conv("joined", strides=1)(layers.Add()([conv(name, strides=2)(early) for name in ("left", "right")]))
    (note,) = chosen(inputs, layers.GlobalAveragePooling2D()(joined), "left").notes
    assert "ends at left, not right (8x8)" in note


def attention(x: Any, tokens: int) -> Any:
    """Self-attention by hand: two heads of two channels, as tensors of four axes."""
    y = layers.LayerNormalization(name="norm")(x)
    q, k, v = (layers.Permute((2, 1, 3))(layers.Reshape((tokens, 2, 2))(layers.Dense(4)(y))) for _ in range(3))
    weights = layers.Softmax()(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))))
    mixed = layers.Reshape((tokens, 4))(layers.Permute((2, 1, 3))(ops.matmul(weights, v)))
    return layers.Add()([x, mixed])


def test_attention_by_hand_is_explained_at_its_tokens() -> None:
    inputs = keras.Input((12, 20, 3))
    x = attention(layers.Reshape((15, 4))(layers.Conv2D(4, 4, strides=4)(inputs)), 15)
    layer = chosen(inputs, layers.GlobalAveragePooling1D()(x))
    assert (layer.path, layer.height, layer.width) == ("norm", 3, 5)
    assert layer.geometry is not None
    assert (layer.geometry.columns.offset, layer.geometry.columns.stride) == (2, 4)


class Positions(layers.Layer):  # type: ignore[misc]  # keras has no types
    """Learned positions out of a table, as in the ViT of keras_hub: a call that sees no picture."""

    def build(self, shape: Any) -> None:
        self.table = layers.Embedding(shape[1], shape[2])

    def call(self, x: Any) -> Any:
        return x + self.table(ops.arange(x.shape[1])[None])


def test_tokens_with_positions_out_of_a_table_are_explained() -> None:
    inputs = keras.Input((12, 20, 3))
    x = Positions()(layers.Reshape((15, 4))(layers.Conv2D(4, 4, strides=4)(inputs)))
    layer = chosen(inputs, layers.GlobalAveragePooling1D()(attention(x, 15)))
    assert (layer.path, layer.height, layer.width) == ("norm", 3, 5)


def windows(x: Any, shift: int) -> Any:
    """Attention inside windows of 2 x 2 tokens of a picture of 4 x 6, rolled before and after."""
    x = ops.roll(ops.reshape(x, (-1, 4, 6, 4)), (-shift, -shift), (1, 2))
    x = ops.transpose(ops.reshape(x, (-1, 2, 2, 3, 2, 4)), (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, 4, 4))
    x = ops.transpose(ops.reshape(x + layers.MultiHeadAttention(2, 2)(x, x), (-1, 2, 3, 2, 2, 4)), (0, 1, 3, 2, 4, 5))
    x = ops.roll(ops.reshape(x, (-1, 4, 6, 4)), (shift, shift), (1, 2))
    return ops.reshape(x, (-1, 24, 4))


def test_windows_are_explained_at_the_tokens_after_them() -> None:
    """What was cut into windows and put together again lies where it lay; a rolled map is not taken."""
    inputs = keras.Input((16, 24, 3))
    x = layers.Reshape((24, 4))(layers.Conv2D(4, 4, strides=4)(inputs))
    for shift in (0, 1):
        x = windows(x, shift)
    layer = chosen(inputs, layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x)))
    assert (layer.path, layer.height, layer.width) == ("norm", 4, 6)
    assert layer.geometry is not None
    assert (layer.geometry.rows.offset, layer.geometry.rows.stride) == (2, 4)
    assert (layer.geometry.columns.offset, layer.geometry.columns.stride) == (2, 4)


def test_tokens_of_an_unknown_grid_ask_for_it() -> None:
    inputs = keras.Input((12, 20, 3))
    x = layers.Reshape((240, 3))(inputs)
    x = ops.sort(x, axis=1)[:, :18]
    x = attention(layers.Dense(4)(x), 18)
    pooled = layers.GlobalAveragePooling1D()(x)
    with pytest.raises(ModelError, match="`token_grid=HEIGHTxWIDTH`"):
        chosen(inputs, pooled, "norm")
    layer = chosen(inputs, pooled, "norm", (3, 5))
    assert (layer.height, layer.width, layer.geometry) == (3, 5, None)
    assert np.isfinite(layer.channels)
