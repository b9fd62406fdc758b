"""Where cells lie: the mapped centre of a cell is the centroid of the pixels that influence it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from gradcam_cli.imaging.geometry import MapGeometry
from gradcam_cli.models.geometry_walk import walk_graph
from gradcam_cli.models.layout import Layout, layout_of
from gradcam_cli.models.map_geometry import map_geometry

EVEN, ODD = (16, 24, 3), (15, 21, 3)
Build = Callable[[Any], Any]


def conv(kernel: int = 3, strides: int = 1, padding: str = "same", dilation: int = 1) -> Any:
    return layers.Conv2D(2, kernel, strides=strides, padding=padding, dilation_rate=dilation)


def space_to_depth(x: Any) -> Any:
    return layers.Concatenate()([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]])


def patches_by_reshape(x: Any) -> Any:
    x = layers.Reshape((4, 4, 6, 4, 3))(x)
    return layers.Reshape((24, 48))(layers.Permute((1, 3, 2, 4, 5))(x))


def patches_in_rows(x: Any) -> Any:
    return ops.transpose(ops.reshape(x, (-1, 4, 4, 6, 4, 3)), (0, 1, 3, 2, 4, 5))


def with_tokens(x: Any, *, before: int, after: int) -> Any:
    token = layers.Dense(2)(layers.GlobalAveragePooling1D(keepdims=True)(x))
    return layers.Concatenate(axis=1)([token] * before + [x] + [token] * after)


# Networks of one kind of layer, at an even and an odd size.
KINDS: dict[str, Build] = {
    "same": conv(),
    "same, stride 2": conv(strides=2),
    "same, stride 3": conv(5, 3),
    "same, kernel 4": conv(4, 2),
    "valid": conv(5, padding="valid"),
    "valid, stride 2": conv(3, 2, "valid"),
    "dilated": conv(3, 1, "same", 3),
    "dilated, valid": conv(3, 1, "valid", 2),
    "depthwise": layers.DepthwiseConv2D(3, strides=2, padding="same"),
    "depthwise, dilated": layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"),
    "separable": layers.SeparableConv2D(2, 3, strides=2, padding="same"),
    "average pooling": layers.AveragePooling2D(3, 2, padding="same"),
    "transposed": layers.Conv2DTranspose(2, 3, strides=2, padding="same"),
    "transposed, valid": layers.Conv2DTranspose(2, 3, strides=2),
    "bilinear upsampling": layers.UpSampling2D(2, interpolation="bilinear"),
    "cropping": lambda x: conv(3, 2)(layers.Cropping2D(((5, 0), (2, 5)))(x)),
    "centre crop": lambda x: conv()(layers.CenterCrop(11, 14)(x)),
    "centre crop that enlarges": layers.CenterCrop(20, 20),
    "padding before a valid kernel": lambda x: conv(9, padding="valid")(layers.ZeroPadding2D(((1, 8), (3, 6)))(x)),
    "cropped to the aspect ratio": layers.Resizing(12, 24, crop_to_aspect_ratio=True),
    "padded to the aspect ratio": lambda x: conv()(layers.Resizing(32, 32, pad_to_aspect_ratio=True)(x)),
    "resized": layers.Resizing(10, 10),
    "random crop": layers.RandomCrop(11, 14),
    "strided slice": lambda x: conv(3, 2)(x[:, 3:-2, ::2]),
    "mirrored": lambda x: conv(3, 2)(ops.flip(x, axis=2)),
    "transposed picture": lambda x: layers.Permute((2, 1, 3))(conv(3, 2)(x)),
    "branches that agree": lambda x: layers.Concatenate()([conv(3, 2)(x), conv(5, 2)(x)]),
    "two deep": lambda x: conv(3, 2)(layers.AveragePooling2D(2)(conv(5, padding="valid")(x))),
}
# These need sizes that can be divided.
EVEN_KINDS: dict[str, Build] = {
    "space to depth": lambda x: layers.Dense(2)(space_to_depth(x)),
    "patches by a strided kernel": lambda x: layers.Reshape((24, 2))(conv(4, 4, "valid")(x)),
    "patches by reshapes": patches_by_reshape,
    "extracted patches": lambda x: layers.Reshape((24, 48))(ops.image.extract_patches(x, (4, 4))),
    "tokens column by column": lambda x: layers.Reshape((24, 2))(layers.Permute((2, 1, 3))(conv(4, 4, "valid")(x))),
    "channels before tokens": lambda x: layers.Permute((2, 1))(layers.Reshape((24, 2))(conv(4, 4, "valid")(x))),
    "class token first": lambda x: with_tokens(layers.Reshape((24, 2))(conv(4, 4, "valid")(x)), before=2, after=0),
    "class token last": lambda x: with_tokens(layers.Reshape((24, 2))(conv(4, 4, "valid")(x)), before=0, after=1),
    "rows": lambda x: layers.AveragePooling2D((1, 24))(conv()(x)),
    "columns": lambda x: ops.mean(conv()(x), axis=1, keepdims=True),
}
UNEVEN = ("same", "depthwise", "average", "transposed", "padded to", "cropped to", "strided", "two")
CASES = [(name, build, EVEN) for name, build in KINDS.items()]
CASES += [(name, build, ODD) for name, build in KINDS.items() if name.startswith(UNEVEN)]
CASES += [(name, build, EVEN) for name, build in EVEN_KINDS.items()]


@dataclass(frozen=True)
class Read:
    """A network's output as it is read from the trace, and the traced network."""

    layout: Layout | None
    geometry: MapGeometry | None
    run: Callable[[Any], Any]


def read(network: Any, shape: tuple[int, ...]) -> Read:
    """Read the network's output as a map, as it is traced."""
    found: list[Any] = []

    def trace(x: Any) -> Any:
        output = network(x, training=False)
        place = walk_graph(x, channels_first=False).of(output)
        layout = layout_of(output, place, channels_first=False)
        found.extend([layout, map_geometry(layout, place) if layout else None])
        return output

    # A batch of unknown size, as a plan is compiled for.
    traced = tf.function(trace, input_signature=[tf.TensorSpec((None, *shape), tf.float32)], autograph=False)
    run = traced.get_concrete_function()
    return Read(found[0], found[1], run)


def placed(network: Any, shape: tuple[int, ...]) -> tuple[Layout | None, MapGeometry | None]:
    found = read(network, shape)
    return found.layout, found.geometry


def influence(network: Any, found: Read, shape: tuple[int, ...]) -> Any:
    """What each cell's sum over channels takes from each pixel, (h, w, H, W): the networks here are linear."""
    for weight in network.weights:
        weight.assign(tf.ones(weight.shape) if len(weight.shape) > 1 else tf.zeros(weight.shape))
    height, width, channels = shape
    impulses = np.eye(height * width, dtype=np.float32).reshape(-1, height, width, 1).repeat(channels, axis=3)
    assert found.layout is not None
    cells = found.layout.fold(found.run(tf.constant(impulses))).numpy().sum(axis=3)
    return cells.transpose(1, 2, 0).reshape(*cells.shape[1:], height, width)


@pytest.mark.parametrize(("build", "shape"), [case[1:] for case in CASES], ids=[f"{c[0]} {c[2][0]}" for c in CASES])
def test_a_cell_lies_at_the_centroid_of_its_influence(build: Build, shape: tuple[int, ...]) -> None:
    inputs = keras.Input(shape)
    network = keras.Model(inputs, build(inputs))
    found = read(network, shape)
    geometry = found.geometry
    assert geometry is not None
    by_pixel = influence(network, found, shape)
    mass = by_pixel.sum(axis=(2, 3))
    for axis, line in enumerate((geometry.rows, geometry.columns)):
        # At the border kernels reach into padding: cells whose influence is whole are compared.
        middle = mass.shape[1 - axis] // 2
        along = by_pixel.sum(axis=3 - axis).take(middle, 1 - axis)
        whole = mass.take(middle, 1 - axis)
        inner = whole >= whole.max() * 0.999
        if len(inner) >= 8:
            inner[[0, 1, -2, -1]] = False
        centres = (line.offset + np.arange(len(whole)) * line.stride)[inner]
        centroids = (along @ (np.arange(shape[axis]) + 0.5))[inner] / whole[inner]
        assert inner.any()
        np.testing.assert_allclose(centroids, centres, atol=0.05)
        seen = np.flatnonzero(by_pixel.sum(axis=(0, 1)).any(axis=1 - axis))
        slack = abs(line.stride) / 2 + 0.01
        assert abs(line.seen_from - seen[0]) <= slack
        assert abs(line.seen_to - seen[-1] - 1) <= slack


def test_what_is_cropped_away_is_exact() -> None:
    inputs = keras.Input(EVEN)
    _, geometry = placed(keras.Model(inputs, conv(3, 2)(layers.Cropping2D(((5, 1), (2, 3)))(inputs))), EVEN)
    assert geometry is not None
    assert (geometry.rows.seen_from, geometry.rows.seen_to) == (5, 15)
    assert (geometry.columns.seen_from, geometry.columns.seen_to) == (2, 21)


def test_nearest_upsampling_shares_each_cell_among_its_copies() -> None:
    inputs = keras.Input(EVEN)
    layout, geometry = placed(keras.Model(inputs, layers.UpSampling2D(3)(conv(4, 4, "valid")(inputs))), EVEN)
    assert layout is not None
    assert geometry is not None
    assert layout.size == "12x18"
    assert geometry.rows.stride == pytest.approx(4 / 3)
    # The middle one of three copies lies at its cell's centre.
    assert geometry.rows.offset + geometry.rows.stride == pytest.approx(2.0)


@pytest.mark.parametrize("up", [layers.UpSampling2D(2), layers.UpSampling2D(2, interpolation="bilinear")])
def test_a_decoder_beside_its_encoder_is_followed(up: Any) -> None:
    """Strided kernels have moved what comes from below: by less than half of the coarse cells."""
    inputs = keras.Input(EVEN)
    x = inputs
    ways = [x]
    for _ in range(3):
        x = conv(3, 2)(x)
        ways.append(x)
    for way in reversed(ways[:-1]):
        x = conv()(layers.Concatenate()([up(x), way]))
    layout, geometry = placed(keras.Model(inputs, x), EVEN)
    assert layout is not None
    assert layout.size == "16x24"
    assert geometry is not None
    assert geometry.rows.stride == geometry.columns.stride == 1
    assert abs(geometry.rows.offset - 0.5) < 4
    assert abs(geometry.columns.offset - 0.5) < 4


def test_branches_that_disagree_cannot_be_followed() -> None:
    inputs = keras.Input(EVEN)
    left = layers.Cropping2D(((6, 0), (6, 0)))(inputs)
    right = layers.Cropping2D(((0, 6), (0, 6)))(inputs)
    layout, geometry = placed(keras.Model(inputs, layers.Add()([conv()(left), conv()(right)])), EVEN)
    assert layout is not None
    assert geometry is None


NO_MAPS: dict[str, Build] = {
    "tokens x heads": lambda x: layers.Permute((2, 1, 3))(layers.Reshape((24, 2, 1))(conv(4, 4, "valid")(x))),
    "heads last": lambda x: layers.Reshape((24, 2, 1))(conv(4, 4, "valid")(x)),
    "attention weights": lambda x: ops.einsum(
        "nqd,nkd->nqk", *[layers.Reshape((24, 2))(conv(4, 4, "valid")(x)) for _ in range(2)]
    )[:, None],
    "windows": lambda x: ops.reshape(
        ops.transpose(ops.reshape(x, (-1, 4, 4, 6, 4, 3)), (0, 1, 3, 2, 4, 5)), (-1, 16, 3)
    ),
    "channels in two axes": lambda x: layers.Reshape((4, 2, 3))(layers.Dense(24)(layers.GlobalAveragePooling2D()(x))),
    "one cell": layers.GlobalAveragePooling2D(keepdims=True),
}


@pytest.mark.parametrize("build", NO_MAPS.values(), ids=NO_MAPS)
def test_what_does_not_come_from_rows_and_columns_is_no_map(build: Build) -> None:
    inputs = keras.Input(EVEN)
    assert placed(keras.Model(inputs, build(inputs)), EVEN)[0] is None


@pytest.mark.parametrize(
    ("before", "after", "transposed"), [(1, 0, False), (0, 1, False), (3, 2, False), (1, 0, True), (0, 0, True)]
)
def test_tokens_fold_back_to_the_picture_they_came_from(before: int, after: int, transposed: bool) -> None:
    """A picture of 3 x 5 patches of one pixel each: folded tokens are the picture again."""
    shape = (3, 5, 2)
    inputs = keras.Input(shape)
    x = layers.Permute((2, 1, 3))(inputs) if transposed else inputs
    x = (
        with_tokens(layers.Reshape((15, 2))(x), before=before, after=after)
        if before + after
        else layers.Reshape((15, 2))(x)
    )
    network = keras.Model(inputs, x)
    layout, _ = placed(network, shape)
    assert layout is not None
    assert (layout.height, layout.width, layout.prefix, layout.suffix) == (3, 5, before, after)
    picture = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    raw = network(picture)
    np.testing.assert_array_equal(layout.fold(raw), picture)
    without = layout.without(raw, tf.constant([1, -1])).numpy()
    kept = raw.numpy()
    kept[0, before : before + 15, 1] = 0
    np.testing.assert_array_equal(without, kept)


def test_a_network_whose_cells_see_everything_shares_the_input_evenly() -> None:
    """The uneven padding of deep networks is not carried over; that of small ones is."""
    inputs = keras.Input((32, 32, 3))
    shallow = keras.Model(inputs, conv(3, 2)(inputs))
    x = inputs
    for _ in range(3):
        x = conv(9, 2)(conv(9)(x))
    deep = keras.Model(inputs, x)
    _, small = placed(shallow, (32, 32, 3))
    _, large = placed(deep, (32, 32, 3))
    assert small is not None
    assert large is not None
    assert (small.rows.offset, small.rows.stride) == (1.5, 2)
    assert (large.rows.offset, large.rows.stride) == (4, 8)
