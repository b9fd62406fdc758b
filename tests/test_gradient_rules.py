"""Every rule of the gradient as a network, against central differences, literal arrays, and the rules of ties."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcam_cli.engines.gradient import walk
from gradcam_cli.engines.gradient.cut import front_of, shifted_head
from gradcam_cli.engines.gradient.step import NoRuleError, Step
from gradcam_cli.engines.protocol import Head, HeadKind, TargetLayer
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.settings import Score

Array = NDArray[Any]
op = openvino.opset15
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
# Values lie on a grid, and are moved by this share of its spacing: no maximum changes, and no kink is crossed.
SHARE = 0.1
MOST_CELLS = 40


def grid(*shape: int, offset: float = 0.5, seed: int = 0) -> Array:
    """Numbers between -2 and 2, all different, at equal distances: none is 0, and those of offset 0 lie between."""
    count = int(np.prod(shape))
    places = np.random.default_rng(seed).permutation(count)
    return np.asarray((places - count / 2 + offset) * 4 / count, np.float32).reshape(shape)


def c(*shape: int) -> Any:
    return op.constant(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


def above(low: float, *shape: int) -> Any:
    return op.constant(np.random.default_rng(9).uniform(low, low + 1, shape).astype(np.float32))


def i(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def one(value: int) -> Any:
    return op.constant(np.int64(value))


def number(value: float) -> Any:
    return op.constant(np.float32(value))


def conv(
    x: Any, kernel: Any, strides: Any, begin: Any, end: Any, dilations: Any = (1, 1), pad: str = "explicit"
) -> Any:
    make = op.group_convolution if len(kernel.output(0).get_shape()) == 5 else op.convolution
    return make(x, kernel, list(strides), list(begin), list(end), list(dilations), pad)


def average(x: Any, kernel: int, stride: int, begin: int, end: int, *, excluded: bool, rounding: str = "floor") -> Any:
    return op.avg_pool(x, [stride] * 2, [begin] * 2, [end] * 2, [kernel] * 2, excluded, rounding)


def highest(x: Any, kernel: int, stride: int, pad: int = 0, rounding: str = "floor", auto: str = "explicit") -> Any:
    return op.max_pool(x, [stride] * 2, [1, 1], [pad] * 2, [pad] * 2, [kernel] * 2, rounding, auto).output(0)


def resized(x: Any, mode: str, place: str, nearest: str, *sizes: int) -> Any:
    return op.interpolate(
        x, i(*sizes), mode, "sizes", [0] * 4, [0] * 4, place, nearest, antialias=False, cube_coeff=-0.75, axes=i(2, 3)
    )


def lengthened(x: Any) -> Any:
    return op.add(op.abs(x), number(1.0))


Case = tuple[tuple[int, ...], Callable[[Any], Any]]
CASES: dict[str, Case] = {
    "convolution": ((2, 3, 7, 8), lambda x: conv(x, c(4, 3, 3, 3), [1, 1], [1, 1], [1, 1])),
    "convolution, stride": ((2, 3, 8, 9), lambda x: conv(x, c(4, 3, 3, 3), [2, 2], [0, 0], [1, 1])),
    "convolution, same upper": (
        (2, 3, 8, 9), lambda x: conv(x, c(4, 3, 3, 3), [2, 2], [0, 0], [0, 0], pad="same_upper")),
    "convolution, same lower": (
        (2, 3, 8, 9), lambda x: conv(x, c(4, 3, 4, 4), [2, 2], [0, 0], [0, 0], pad="same_lower")),
    "convolution, valid": ((2, 3, 8, 9), lambda x: conv(x, c(4, 3, 4, 4), [2, 2], [0, 0], [0, 0], pad="valid")),
    "convolution, pointwise stride": ((2, 3, 8, 9), lambda x: conv(x, c(4, 3, 1, 1), [2, 2], [0, 0], [0, 0])),
    "convolution, cells left over": ((2, 3, 9, 10), lambda x: conv(x, c(4, 3, 2, 2), [3, 3], [0, 0], [0, 0])),
    "convolution, dilated": ((2, 3, 9, 10), lambda x: conv(x, c(4, 3, 3, 3), [1, 1], [2, 2], [2, 2], [2, 2])),
    "convolution, dilated stride": ((2, 3, 9, 10), lambda x: conv(x, c(4, 3, 3, 3), [2, 2], [2, 2], [2, 2], [2, 2])),
    "convolution, wide padding": ((2, 3, 5, 5), lambda x: conv(x, c(4, 3, 3, 3), [1, 1], [3, 3], [3, 3])),
    "convolution, wide padding stride": ((2, 3, 5, 5), lambda x: conv(x, c(4, 3, 3, 3), [2, 2], [3, 3], [3, 3])),
    "convolution, oblong": ((2, 3, 7, 8), lambda x: conv(x, c(4, 3, 1, 3), [1, 2], [0, 1], [0, 1])),
    "convolution, square": ((2, 16, 6, 6), lambda x: conv(x, c(16, 16, 3, 3), [2, 2], [1, 1], [1, 1])),
    "groups": ((2, 4, 7, 8), lambda x: conv(x, c(2, 3, 2, 3, 3), [1, 1], [1, 1], [1, 1])),
    "groups of one": ((2, 4, 8, 8), lambda x: conv(x, c(4, 1, 1, 3, 3), [2, 2], [0, 0], [1, 1])),
    "groups, square": ((2, 32, 6, 6), lambda x: conv(x, c(2, 16, 16, 3, 3), [2, 2], [1, 1], [1, 1])),
    "one group": ((2, 8, 6, 6), lambda x: conv(x, c(1, 8, 8, 3, 3), [2, 2], [1, 1], [1, 1])),
    "average": ((2, 3, 8, 8), lambda x: average(x, 2, 2, 0, 0, excluded=False)),
    "average, overlapping": ((2, 3, 6, 7), lambda x: average(x, 3, 1, 1, 1, excluded=True)),
    "average, padding counts": ((2, 3, 6, 7), lambda x: average(x, 3, 1, 1, 1, excluded=False)),
    "average, one side": ((2, 3, 8, 9), lambda x: average(x, 3, 2, 0, 1, excluded=True)),
    "average, cells left over": ((2, 3, 7, 9), lambda x: average(x, 2, 2, 0, 0, excluded=False)),
    "average, rounded up": ((2, 3, 8, 8), lambda x: average(x, 3, 2, 0, 0, excluded=True, rounding="ceil")),
    "average, whole": ((2, 3, 4, 4), lambda x: average(x, 4, 4, 0, 0, excluded=False)),
    "maximum": ((2, 3, 8, 8), lambda x: highest(x, 2, 2)),
    "maximum, cells left over": ((2, 3, 7, 9), lambda x: highest(x, 2, 2)),
    "maximum, overlapping": ((2, 3, 9, 9), lambda x: highest(x, 3, 2)),
    "maximum, same": ((2, 3, 8, 8), lambda x: highest(x, 3, 2, auto="same_upper")),
    "maximum, padded": ((2, 3, 6, 6), lambda x: highest(x, 3, 1, pad=1)),
    "maximum, rounded up": ((2, 3, 8, 8), lambda x: highest(x, 3, 2, rounding="ceil")),
    "product": ((2, 3, 4), lambda x: op.matmul(x, c(4, 5), transpose_a=False, transpose_b=False)),
    "product, transposed left": ((2, 4, 3), lambda x: op.matmul(x, c(4, 5), transpose_a=True, transpose_b=False)),
    "product, transposed right": ((2, 3, 4), lambda x: op.matmul(x, c(5, 4), transpose_a=False, transpose_b=True)),
    "product, both transposed": ((2, 4, 3), lambda x: op.matmul(x, c(5, 4), transpose_a=True, transpose_b=True)),
    "product from the left": ((2, 4, 3), lambda x: op.matmul(c(5, 4), x, transpose_a=False, transpose_b=False)),
    "product from the left, transposed": (
        (2, 3, 4), lambda x: op.matmul(c(5, 4), x, transpose_a=False, transpose_b=True)),
    "product from the left, both": ((2, 3, 4), lambda x: op.matmul(c(4, 5), x, transpose_a=True, transpose_b=True)),
    "product with itself": ((2, 3, 4), lambda x: op.matmul(x, x, transpose_a=False, transpose_b=True)),
    "product with itself, transposed": ((2, 3, 4), lambda x: op.matmul(x, x, transpose_a=True, transpose_b=False)),
    "einsum": ((2, 3, 4), lambda x: op.einsum([x, c(4, 2, 3)], "abc,cde->abde")),
    "einsum, a letter alone": ((2, 3, 4, 5), lambda x: op.einsum([x, c(4, 5, 6)], "abcd,cde->abe")),
    "einsum, twice": ((2, 3, 2, 4), lambda x: op.einsum([x, x], "aecd,abcd->acbe")),
    "einsum, from the right": ((2, 3, 2, 4), lambda x: op.einsum([c(2, 2, 5, 3), x], "acbe,aecd->abcd")),
    "sum": ((2, 3, 4), lambda x: op.multiply(op.add(x, c(4)), x)),
    "sum, repeated": ((2, 1, 4), lambda x: op.add(c(2, 3, 1), x)),
    "difference": ((2, 1, 4), lambda x: op.subtract(c(2, 3, 4), x)),
    "quotient": ((2, 3, 4), lambda x: op.divide(x, above(1, 3, 1))),
    "divisor": ((2, 3, 4), lambda x: op.divide(c(2, 3, 4), lengthened(x))),
    "squared difference": ((2, 3, 4), lambda x: op.squared_difference(x, op.reduce_mean(x, i(2), keep_dims=True))),
    "larger of two": ((2, 3, 4), lambda x: op.maximum(x, op.constant(grid(2, 3, 4, offset=0, seed=1)))),
    "smaller of two": ((2, 3, 4), lambda x: op.minimum(op.constant(grid(2, 3, 4, offset=0, seed=1)), x)),
    "power": ((2, 3, 4), lambda x: op.power(lengthened(x), number(-0.5))),
    "square": ((2, 3), lambda x: op.power(x, number(2.0))),
    "power of one": ((2, 3), lambda x: op.power(x, number(1.0))),
    "where": ((2, 3), lambda x: op.select(op.greater(x, number(0)), op.tanh(x), op.multiply(x, x))),
    "relu": ((5, 9), op.relu),
    "clamp": ((5, 9), lambda x: op.clamp(x, -0.5, 0.7)),
    "sigmoid": ((5, 9), op.sigmoid),
    "tanh": ((5, 9), op.tanh),
    "exp": ((5, 9), op.exp),
    "log": ((5, 9), lambda x: op.log(lengthened(x))),
    "sqrt": ((5, 9), lambda x: op.sqrt(lengthened(x))),
    "abs": ((5, 9), op.abs),
    "negative": ((5, 9), op.negative),
    "erf": ((5, 9), op.erf),
    "softplus": ((5, 9), op.softplus),
    "softsign": ((5, 9), op.softsign),
    "swish": ((5, 9), op.swish),
    "swish, beta": ((5, 9), lambda x: op.swish(x, number(1.7))),
    "gelu": ((5, 9), lambda x: op.gelu(x, "erf")),
    "gelu by tanh": ((5, 9), lambda x: op.gelu(x, "tanh")),
    "mish": ((5, 9), op.mish),
    "hswish": ((5, 9), lambda x: op.hswish(op.multiply(x, number(2.3)))),
    "hsigmoid": ((5, 9), lambda x: op.hsigmoid(op.multiply(x, number(2.3)))),
    "hard sigmoid": ((5, 9), lambda x: op.hard_sigmoid(x, number(0.3), number(0.4))),
    "elu": ((5, 9), lambda x: op.elu(x, 0.7)),
    "selu": ((5, 9), lambda x: op.selu(x, number(1.67), number(1.05))),
    "prelu": ((2, 3, 4, 4), lambda x: op.prelu(x, c(3))),
    "leaky relu": ((2, 3, 4, 4), lambda x: op.prelu(x, number(0.2))),
    "softmax": ((2, 3, 4), lambda x: op.softmax(x, -1)),
    "softmax, axis 1": ((2, 3, 4), lambda x: op.softmax(x, 1)),
    "log softmax": ((2, 3, 4), lambda x: op.log_softmax(x, 1)),
    "reduced sum": ((2, 3, 4, 5), lambda x: op.reduce_sum(x, i(-1, 1), keep_dims=True)),
    "reduced mean": ((2, 3, 4, 5), lambda x: op.reduce_mean(x, i(2, 3), keep_dims=False)),
    "reduced maximum": ((2, 3, 4, 5), lambda x: op.reduce_max(x, i(2, 3), keep_dims=False)),
    "reduced minimum": ((2, 3, 4, 5), lambda x: op.reduce_min(x, i(1), keep_dims=True)),
    "reduced length": ((2, 3, 4), lambda x: op.reduce_l2(x, i(1), keep_dims=True)),
    "attention": (
        (2, 3, 4, 5), lambda x: op.scaled_dot_product_attention(x, op.multiply(x, c(5)), op.tanh(x))),
    "attention, masked and scaled": (
        (2, 3, 4, 5),
        lambda x: op.scaled_dot_product_attention(op.tanh(x), c(1, 1, 6, 5), c(3, 6, 7), c(4, 6), number(0.7))),
    "attention, keys and values": (
        (1, 3, 4, 5), lambda x: op.scaled_dot_product_attention(c(2, 3, 6, 5), x, op.multiply(x, x))),
    "normalised": ((2, 3, 8), lambda x: op.mvn(x, i(2), True, 1e-3, "inside_sqrt")),
    "centred": ((2, 3, 8), lambda x: op.mvn(x, i(1, 2), False, 1e-3, "inside_sqrt")),
    "batch normalisation": (
        (2, 3, 4, 4), lambda x: op.batch_norm_inference(x, c(3), c(3), c(3), above(1, 3), 1e-3)),
    "reshape": ((2, 3, 4), lambda x: op.reshape(x, i(2, 12), special_zero=False)),
    "squeeze": ((2, 1, 4), lambda x: op.squeeze(x, i(1))),
    "unsqueeze": ((2, 4), lambda x: op.unsqueeze(x, i(1))),
    "transpose": ((2, 3, 4), lambda x: op.transpose(x, i(2, 0, 1))),
    "broadcast": ((2, 1, 4), lambda x: op.broadcast(x, i(5, 2, 3, 4))),
    "tile": ((2, 3), lambda x: op.tile(x, i(4, 2, 3))),
    "concat": ((2, 3, 4), lambda x: op.concat([x, c(2, 2, 4), op.tanh(x)], 1)),
    "split": ((2, 6, 4), lambda x: op.multiply(*(op.split(x, one(1), 3).output(part) for part in (0, 2)))),
    "uneven split": ((2, 6, 4), lambda x: op.variadic_split(x, one(1), i(1, 2, 3)).output(1)),
    "slice": ((3, 6, 7), lambda x: op.slice(x, i(1, -6), i(6, 100), i(2, 3), i(1, 2))),
    "strided slice": (
        (3, 6, 7), lambda x: op.strided_slice(x, i(0, 2), i(0, 3), i(1, 1), [1, 0], [1, 0], [], [0, 1], [])),
    "strided slice, ellipsis": (
        (3, 6, 7),
        lambda x: op.strided_slice(
            x, i(0, 1, 0), i(0, 5, 0), i(1, 2, 1), [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0])),
    "gather": ((3, 6, 7), lambda x: op.gather(x, i(4, 0, 0, -2), one(1))),
    "gather one": ((3, 6, 7), lambda x: op.gather(x, one(0), one(1))),
    "pad": ((2, 3, 4, 4), lambda x: op.pad(x, i(0, 0, 1, 0), i(0, 0, 2, 3), "constant")),
    "depth to space": ((2, 8, 3, 3), lambda x: op.depth_to_space(x, "blocks_first", 2)),
    "space to depth": ((2, 3, 4, 4), lambda x: op.space_to_depth(x, "depth_first", 2)),
    "linear": ((2, 3, 4, 5), lambda x: resized(x, "linear_onnx", "half_pixel", "round_prefer_floor", 7, 9)),
    "nearest": ((2, 3, 4, 5), lambda x: resized(x, "nearest", "asymmetric", "floor", 8, 10)),
    "conversion": ((2, 3), lambda x: op.convert(x, "f32")),
}  # fmt: skip


def built(case: Case) -> tuple[Any, Any, Any, Any]:
    """The parameter of a case, the tensor behind it, the result, and the network."""
    shape, function = case
    parameter = op.parameter(shape, np.float32)
    x = op.multiply(parameter, number(1.0)).output(0)
    y = function(x)
    y = y if isinstance(y, openvino.Output) else y.output(0)
    return parameter, x, y, openvino.Model([y], [parameter])


def compiled(outputs: list[Any], parameters: list[Any]) -> Any:
    return openvino.Core().compile_model(openvino.Model(outputs, parameters), "CPU", F32)


def gradient_at(case: Case, x: Array, seed: Array) -> Array:
    """The gradient of `sum(seed y)` that the walk builds, at one x."""
    parameter, tensor, y, model = built(case)
    given = op.parameter(seed.shape, np.float32)
    model.output(0).get_tensor().set_names({"y"})
    tensor.get_tensor().set_names({"x"})
    both = openvino.Model([tensor, y], [parameter])
    found = walk.gradient(walk.passage(both, "x", "y"), given.output(0))
    return np.array(compiled([found], [parameter, given])([x, seed])[0])


def differences_at(case: Case, x: Array, seed: Array, cells: Array) -> Array:
    """Central differences of `sum(seed y)` for some cells of x."""
    parameter, _, y, _ = built(case)
    run = compiled([y], [parameter])
    step = SHARE * 4 / x.size
    found = []
    for cell in cells:
        moved = [x.copy(), x.copy()]
        moved[0].flat[cell] += step
        moved[1].flat[cell] -= step
        after, before = (np.array(run([each])[0], np.float64) for each in moved)
        found.append(((after - before) * seed).sum() / (moved[0].flat[cell] - moved[1].flat[cell]))
    return np.array(found)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_gives_what_central_differences_give(name: str) -> None:
    case = CASES[name]
    x = grid(*case[0])
    seed = np.random.default_rng(1).standard_normal(list(built(case)[2].get_shape())).astype(np.float32)
    cells = np.random.default_rng(2).permutation(x.size)[:MOST_CELLS]
    found = gradient_at(case, x, seed)
    assert found.shape == x.shape
    expected = differences_at(case, x, seed, cells)
    np.testing.assert_allclose(found.flat[cells], expected, atol=2e-3 * np.abs(found).max())


def test_every_rule_is_tried() -> None:
    tried = {node.get_type_name() for case in CASES.values() for node in built(case)[3].get_ops()}
    assert set(walk.RULES) <= tried


def gradient_of_ones(function: Callable[[Any], Any], x: Array) -> Array:
    """The gradient of the sum of y."""
    case = (x.shape, function)
    return gradient_at(case, x, np.ones(list(built(case)[2].get_shape()), np.float32))


def test_the_first_of_equal_cells_wins_a_window() -> None:
    x = np.array([[[[1, 1, 5, 2], [1, 1, 5, 5]]]], np.float32)
    found = gradient_of_ones(lambda x: highest(x, 2, 2), x)
    assert found.tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0]]]]
    # Windows of three, one cell apart, that reach over the border: the 5s of the first row win three of four columns.
    wide = gradient_of_ones(lambda x: op.max_pool(x, [1, 1], [1, 1], [0, 1], [0, 1], [2, 3]).output(0), x)
    assert wide.tolist() == [[[[1, 0, 3, 0], [0, 0, 0, 0]]]]


def test_equal_cells_share_a_reduced_maximum() -> None:
    x = np.array([[3, 1, 3, 3], [-1, -1, -2, -3]], np.float32)
    found = gradient_of_ones(lambda x: op.reduce_max(x, i(1), keep_dims=False), x)
    np.testing.assert_allclose(found, [[1 / 3, 0, 1 / 3, 1 / 3], [0.5, 0.5, 0, 0]], rtol=1e-6)


def test_kinks_have_the_slopes_of_tensorflow() -> None:
    x = np.array([-1.0, 0.0, 1.0, 6.0], np.float32)
    assert gradient_of_ones(op.relu, x).tolist() == [0, 0, 1, 1]
    assert gradient_of_ones(lambda x: op.clamp(x, 0.0, 6.0), x).tolist() == [0, 0, 1, 0]
    zero = number(0.0)
    assert gradient_of_ones(lambda x: op.maximum(x, zero), x).tolist() == [0, 1, 1, 1]
    assert gradient_of_ones(lambda x: op.maximum(zero, x), x).tolist() == [0, 0, 1, 1]
    assert gradient_of_ones(lambda x: op.minimum(x, zero), x).tolist() == [1, 1, 0, 0]


def test_a_square_matrix_read_twice_is_not_mixed_up() -> None:
    """OpenVINO confuses a square constant of two products with the same activation behind them."""
    w, x = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32) / 4, grid(2, 16)
    matrix = op.constant(w)
    found = gradient_of_ones(lambda x: op.exp(op.matmul(x, matrix, transpose_a=False, transpose_b=False)), x)
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64) @ w) @ w.T, atol=1e-4)


REFUSED: dict[str, tuple[tuple[int, ...], Callable[[Any], Any], str]] = {
    "an unknown operation": ((2, 3), op.ceiling, "operation Ceiling .*: its derivative is not implemented"),
    "a computed kernel": (
        (1, 1, 3, 3),
        lambda x: op.convolution(c(1, 1, 4, 4), x, [1, 1], [0, 0], [0, 0], [1, 1]),
        "operation Convolution .*: its input 1 is not constant",
    ),
    "dilated windows": (
        (1, 1, 5, 5),
        lambda x: op.max_pool(x, [1, 1], [2, 2], [0, 0], [0, 0], [2, 2]).output(0),
        "its windows are dilated",
    ),
    "a vector": ((3,), lambda x: op.matmul(x, c(3, 4), transpose_a=False, transpose_b=False), "multiplies a vector"),
    "a repeated letter": ((3, 3), lambda x: op.einsum([x], "aa->a"), "aa->a repeats a letter"),
    "causal attention": (
        (1, 2, 3, 4),
        lambda x: op.scaled_dot_product_attention(x, x, x, causal=True),
        "ScaledDotProductAttention .*: its mask is causal",
    ),
    "a mask of truth values": (
        (1, 2, 3, 4),
        lambda x: op.scaled_dot_product_attention(x, x, x, op.constant(np.eye(3, dtype=bool))),
        "ScaledDotProductAttention .*: its mask is not float32",
    ),
    "a computed exponent": ((3,), lambda x: op.power(number(2.0), x), "its input 1 is not constant"),
    "several exponents": ((3,), lambda x: op.power(x, c(3)), "several exponents"),
    "a reversed slice": ((3,), lambda x: op.slice(x, i(2), i(-9), i(-1)), "runs backwards"),
    "a mirrored margin": ((3,), lambda x: op.pad(x, i(1), i(1), "reflect"), "reflects or crops"),
    "half precision": ((3,), lambda x: op.convert(op.sqrt(op.convert(x, "f16")), "f32"), "does not compute in float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_named(name: str) -> None:
    shape, function, message = REFUSED[name]
    with pytest.raises(NoRuleError, match=message):
        gradient_of_ones(function, grid(*shape))


# A network of 2 channels, 2 x 2 cells and 3 classes: a mean over the cells, and one dense layer.
WEIGHTS = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]], np.float32)
LAYER = TargetLayer("last", "", 2, 2, 2)


def pooled(weights: Array, batch: int = -1, *, beside: bool = False) -> Any:
    """The network; its map is (N, h, w, K), or laid out so beside the way to the logits."""
    parameter = op.parameter([batch, 2, 2, 2], np.float32)
    cells = op.relu(op.transpose(parameter, i(0, 3, 1, 2)) if beside else parameter)
    shown = op.transpose(cells, i(0, 2, 3, 1)) if beside else cells
    means = op.reduce_mean(cells, i(2, 3) if beside else i(1, 2), keep_dims=False)
    logits = op.matmul(means, op.constant(weights), transpose_a=False, transpose_b=False)
    outputs = [shown.output(0), logits.output(0)]
    for tensor, name in zip(outputs, ("activations", "logits"), strict=True):
        tensor.get_tensor().set_names({name})
    return openvino.Model(outputs, [parameter])


def explained(model: Any, x: Array, classes: Array, score: Score = "logit", kind: HeadKind = "softmax") -> Any:
    count = classes.shape[1]
    network = walk.with_gradients(model, len(x), count, score=score, kind=kind)
    names = ("activations", "logits", "targets", "gradients")
    done = openvino.Core().compile_model(network, "CPU", F32)([x, classes.astype(np.int32)])
    return tuple(np.array(done[name]) for name in names)


@pytest.mark.parametrize("beside", [False, True])
def test_a_dense_head_has_its_weights_as_the_gradient(beside: bool) -> None:
    x = np.abs(grid(3, 2, 2, 2))
    activations, logits, targets, gradients = explained(pooled(WEIGHTS, beside=beside), x, np.array([[-1, -1, 2]] * 3))
    np.testing.assert_array_equal(activations, x)
    np.testing.assert_allclose(logits, x.mean(axis=(1, 2)) @ WEIGHTS, rtol=1e-5)
    best = np.argsort(-logits, axis=1)
    np.testing.assert_array_equal(targets, np.column_stack([best[:, :2], [2, 2, 2]]))
    assert gradients.shape == (3, 3, 2, 2, 2)
    expected = np.broadcast_to(WEIGHTS.T[targets][:, :, None, None] / 4, gradients.shape)
    np.testing.assert_allclose(gradients, expected, rtol=1e-6)


def test_equal_logits_are_ranked_in_the_order_of_the_classes() -> None:
    _, _, targets, _ = explained(
        pooled(np.ones((2, 4), np.float32)), np.ones((1, 2, 2, 2), np.float32), np.full((1, 3), -1)
    )
    assert targets.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "binary"])
def test_the_slopes_of_probabilities_are_those_of_the_head(kind: HeadKind) -> None:
    weights = WEIGHTS[:, :1] if kind == "binary" else WEIGHTS
    both = np.concatenate([-weights, weights], axis=1) if kind == "binary" else weights
    x = 9 * np.abs(grid(2, 2, 2, 2))
    _, logits, targets, gradients = explained(pooled(weights), x, np.array([[-1, 0]] * 2), "probability", kind)
    assert logits.shape == (2, both.shape[1])
    head = Head(kind, both.shape[1], both)
    expected = head.dense_score_gradients("probability", logits, targets.astype(np.intp), LAYER)
    assert expected is not None
    np.testing.assert_allclose(gradients, expected, rtol=1e-4, atol=1e-9)
    assert np.abs(gradients).min() > 0


def test_a_certain_class_keeps_a_slope() -> None:
    """At a difference of 40 between the logits, `1 - Y` is 4e-18: float32 holds it, and not `Y` beside it."""
    weights = np.array([[40.0, 0.0], [0.0, 0.0]], np.float32)
    _, _, _, gradients = explained(pooled(weights), np.ones((1, 2, 2, 2), np.float32), np.array([[-1]]), "probability")
    np.testing.assert_allclose(gradients[0, 0, 0, 0], [40 / 4 * np.exp(-40.0), 0], rtol=1e-4)


def test_a_map_off_the_way_to_the_logits_is_refused() -> None:
    parameter = op.parameter([1, 2, 2, 2], np.float32)
    outputs = [op.relu(parameter).output(0), op.reduce_mean(parameter, i(1, 2), keep_dims=False).output(0)]
    for tensor, name in zip(outputs, ("activations", "logits"), strict=True):
        tensor.get_tensor().set_names({name})
    with pytest.raises(NoRuleError, match="logits do not depend on its output"):
        walk.with_gradients(openvino.Model(outputs, [parameter]), 1, 1)


def test_gradients_of_several_ways_add_up() -> None:
    """`y = x + relu(x) + relu(x) tanh(x)` has three ways back."""
    x = grid(2, 5)

    def function(tensor: Any) -> Any:
        gated = op.relu(tensor)
        return op.add(op.add(tensor, gated), op.multiply(gated, op.tanh(tensor)))

    v = x.astype(np.float64)
    slope = 1 + (v > 0) + (v > 0) * np.tanh(v) + np.maximum(v, 0) * (1 - np.tanh(v) ** 2)
    np.testing.assert_allclose(gradient_of_ones(function, x), slope, rtol=1e-5)


def test_parts_that_are_not_used_have_no_gradient() -> None:
    step = Step(op.relu(op.parameter([2], np.float32)), (None,), (True,))
    assert step.g is None
    x = grid(2, 6)
    found = gradient_of_ones(lambda x: op.split(x, one(1), 3).output(1), x)
    assert found.tolist() == [[0, 0, 1, 1, 0, 0]] * 2


@pytest.mark.parametrize("shared", [False, True])
def test_a_layout_that_one_of_two_branches_shares_hides_none(shared: bool) -> None:
    """`S = sum(2 r) + sum(3 r)` with r the map: the second branch reads it as the output `activations` has it."""
    x = op.parameter([1, 2, 2, 3], np.float32)
    r = op.relu(x)
    laid = op.transpose(r, i(0, 2, 3, 1))
    read = laid if shared else op.transpose(r, i(0, 2, 3, 1))
    sums = [op.reduce_sum(op.multiply(a, op.constant(np.float32(b))), i(1, 2, 3)) for a, b in ((r, 2), (read, 3))]
    outputs = [laid.output(0), op.unsqueeze(op.add(*sums), i(1)).output(0)]
    for tensor, name in zip(outputs, ("activations", "logits"), strict=True):
        tensor.get_tensor().set_names({name})
    model = openvino.Model(outputs, [x])
    values = np.ones((1, 2, 2, 3), np.float32)
    _, _, _, gradients = explained(model.clone(), values, np.array([[0]]))
    np.testing.assert_array_equal(gradients, np.full((1, 1, 2, 3, 2), 5))
    # The head alone, from the kept map on, with 1 added to each cell.
    kept = openvino.Core().compile_model(front_of(model.clone(), 1), "CPU", F32)([values])
    head = openvino.Core().compile_model(shifted_head(model, 1, "softmax"), "CPU", F32)
    (logits,) = head([*kept.to_tuple(), np.ones((1, 2, 3, 2), np.float32)]).to_tuple()
    np.testing.assert_array_equal(logits, [[120]])
