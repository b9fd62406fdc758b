"""Rules of products, and of operations that sum along axes: reductions, softmax, normalisations."""

import math
from collections.abc import Sequence

from gradcam_cli.engines.gradient.nodes import (
    Tensor,
    add,
    constant,
    divide,
    expanded,
    exponential,
    integers,
    multiply,
    op,
    output,
    own_copy,
    plus,
    power,
    reshaped,
    subtract,
    sum_over,
    summed_to,
)
from gradcam_cli.engines.gradient.step import Gradients, Rule, Step
from gradcam_cli.engines.graph import shape_of


def _product(a: Tensor, b: Tensor, *, transpose_a: bool, transpose_b: bool) -> Tensor:
    return output(op.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b))


def _matmul(step: Step) -> Gradients:
    """Gradient of `Y = A B`: `dA = G B^T`, `dB = A^T G`; the gradient of a transposed operand is transposed too.

    Batch axes are broadcast.
    """
    a, b = (own_copy(value) for value in step.inputs)
    if min(len(shape_of(a)), len(shape_of(b))) < 2:
        raise step.refused("it multiplies a vector")
    of_a, of_b = bool(step.attribute("transpose_a")), bool(step.attribute("transpose_b"))
    found: Gradients = [None, None]
    if step.needed[0]:
        left, right = (b, step.g) if of_a else (step.g, b)
        product = _product(left, right, transpose_a=of_a and of_b, transpose_b=of_a or not of_b)
        found[0] = summed_to(product, shape_of(a))
    if step.needed[1]:
        left, right = (step.g, a) if of_b else (a, step.g)
        product = _product(left, right, transpose_a=of_b or not of_a, transpose_b=of_a and of_b)
        found[1] = summed_to(product, shape_of(b))
    return found


def _einsum(step: Step) -> Gradients:
    """Gradient of an Einsum: the gradient of one operand is the Einsum of g and the other operands.

    If only one operand has a letter, y is a sum over this axis, so the gradient is constant along it.
    """
    equation = str(step.attribute("equation")).replace(" ", "")
    left, _, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation or any(len(set(term)) != len(term) for term in [*terms, right]):
        raise step.refused(f"the equation {equation} repeats a letter or has an ellipsis")
    return [_einsum_term(step, terms, right, place) if needed else None for place, needed in enumerate(step.needed)]


def _einsum_term(step: Step, terms: list[str], right: str, place: int) -> Tensor:
    others = [(terms[i], own_copy(value, always=True)) for i, value in enumerate(step.inputs) if i != place]
    term, whole = terms[place], shape_of(step.inputs[place])
    known = set(right).union(*[letters for letters, _ in others])
    kept = "".join(letter for letter in term if letter in known)
    equation = ",".join([right, *[letters for letters, _ in others]]) + "->" + kept
    product = output(op.einsum([step.g, *[value for _, value in others]], equation))
    narrow = [size if letter in known else 1 for letter, size in zip(term, whole, strict=True)]
    return expanded(reshaped(product, narrow), whole)


def _reduced_axes(step: Step) -> list[int]:
    rank = len(step.x_shape)
    return sorted({axis % rank for axis in step.numbers(1)})


def _with_axes(step: Step, reduced: Tensor) -> Tensor:
    """Restore the axes that a reduction has removed, each with size 1."""
    axes = _reduced_axes(step)
    return reshaped(reduced, [1 if i in axes else size for i, size in enumerate(step.x_shape)])


def _sum(step: Step) -> Gradients:
    """Gradient of a sum: `dx = g` for each of its elements."""
    return step.only(expanded(_with_axes(step, step.g), step.x_shape))


def _mean(step: Step) -> Gradients:
    """Gradient of a mean: `dx = g / n` for each of its n elements."""
    count = math.prod(step.x_shape[axis] for axis in _reduced_axes(step))
    return step.only(expanded(multiply(_with_axes(step, step.g), 1 / count), step.x_shape))


def _extreme(step: Step) -> Gradients:
    """Gradient of a maximum or minimum: the element with it gets g; equal elements share g, as in TensorFlow."""
    equal = output(op.convert(op.equal(step.x, _with_axes(step, step.y)), "f32"))
    share = divide(_with_axes(step, step.g), sum_over(equal, _reduced_axes(step)))
    return step.only(multiply(equal, share))


def _length(step: Step) -> Gradients:
    """Gradient of `y = sqrt(sum x^2)`: `dx = g x / y`."""
    return step.only(multiply(step.x, divide(_with_axes(step, step.g), _with_axes(step, step.y))))


def _axis(step: Step) -> list[int]:
    return [int(str(step.attribute("axis"))) % len(step.y_shape)]


def _softmax(step: Step) -> Gradients:
    """Gradient of a softmax: `dx = y (g - sum(g y))`, summed along its axis."""
    return [multiply(step.y, subtract(step.g, sum_over(multiply(step.g, step.y), _axis(step))))]


def _log_softmax(step: Step) -> Gradients:
    """Gradient of the logarithm of a softmax: `dx = g - exp(y) sum(g)`, summed along its axis."""
    return [subtract(step.g, multiply(exponential(step.y), sum_over(step.g, _axis(step))))]


def _attention(step: Step) -> Gradients:
    """Gradient of `Y = P V`, `P = softmax(s Q K^T + M)`, for a scale s and a mask M that do not depend on the image.

    `dV = P^T G`, `dQ = H K` and `dK = H^T Q`, with `H = s P (G V^T - sum(P G V^T))`, element-wise products, and sums
    along rows. If no scale is given, `s = 1 / sqrt(E)`, with E the length of a query.
    """
    q, k, v, *more = step.inputs
    if step.attribute("causal") or any(step.needed[3:]):
        raise step.refused("its mask is causal, or depends on the image")
    scale = more[1] if len(more) > 1 else constant(1 / math.sqrt(shape_of(q)[-1]))
    scores = multiply(_product(q, k, transpose_a=False, transpose_b=True), scale)
    if more:
        if more[0].get_element_type().get_type_name() != "f32":
            raise step.refused("its mask is not float32")
        scores = add(scores, more[0])
    weights = output(op.softmax(scores, -1))
    slopes = _product(step.g, v, transpose_a=False, transpose_b=True)
    rows = sum_over(multiply(weights, slopes), [len(shape_of(scores)) - 1])
    slopes = multiply(multiply(weights, subtract(slopes, rows)), scale)
    found = (
        _product(slopes, k, transpose_a=False, transpose_b=False),
        _product(slopes, q, transpose_a=True, transpose_b=False),
        _product(weights, step.g, transpose_a=True, transpose_b=False),
    )
    return [*(summed_to(a, shape_of(b)) for a, b in zip(found, (q, k, v), strict=True)), *[None] * len(more)]


def _normalised(step: Step) -> Gradients:
    """Gradient of `y = (x - mean x) / s`, `s = sqrt(var x + eps)`: `dx = (g - mean g - y mean(g y)) / s`."""
    axes = step.numbers(1)
    if not step.attribute("normalize_variance"):
        return step.only(subtract(step.g, _mean_of(step.g, axes)))
    if "inside" not in str(step.attribute("eps_mode")).lower():
        raise step.refused("its eps is outside the square root")
    centred = subtract(step.x, _mean_of(step.x, axes))
    variance = _mean_of(multiply(centred, centred), axes)
    deviation = output(op.sqrt(plus(variance, float(str(step.attribute("eps"))))))
    along = multiply(step.y, _mean_of(multiply(step.g, step.y), axes))
    return step.only(divide(subtract(subtract(step.g, _mean_of(step.g, axes)), along), deviation))


def _mean_of(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    return output(op.reduce_mean(tensor, integers(axes), keep_dims=True))


def _batch_norm(step: Step) -> Gradients:
    """Gradient of `y = gamma (x - mean) / sqrt(var + eps) + beta` with constants: `dx = g gamma / sqrt(var + eps)`."""
    gamma, variance = step.inputs[1], step.inputs[4]
    epsilon = constant(float(str(step.attribute("epsilon"))))
    scale = multiply(gamma, power(add(variance, epsilon), -0.5))
    shape = [1, *shape_of(gamma), *[1] * (len(step.x_shape) - 2)]
    return step.only(multiply(step.g, reshaped(scale, shape)))


RULES: dict[str, Rule] = {
    "MatMul": _matmul,
    "Einsum": _einsum,
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _extreme,
    "ReduceMin": _extreme,
    "ReduceL2": _length,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "ScaledDotProductAttention": _attention,
    "MVN": _normalised,
    "BatchNormInference": _batch_norm,
}
