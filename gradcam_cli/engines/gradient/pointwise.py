"""Rules of element-wise operations: for y = f(x) and g = dL/dy, the gradient is dL/dx = g f'(x)."""

import math
from collections.abc import Callable

from gradcam_cli.engines.gradient.nodes import (
    Tensor,
    add,
    between,
    constant,
    divide,
    expanded,
    exponential,
    multiply,
    negative,
    one_minus,
    op,
    output,
    plus,
    positive,
    power,
    reshaped,
    sigmoid,
    subtract,
    summed_to,
    where,
)
from gradcam_cli.engines.gradient.step import Gradients, Rule, Step
from gradcam_cli.engines.graph import shape_of

# Computes dL/da or dL/db of y = f(a, b) from (g, a, b, y), in the shape of y or in a shape that is broadcast to it.
Side = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Slope = Callable[[Step], Tensor]


def _binary(of_a: Side, of_b: Side) -> Rule:
    """Make a rule for y = f(a, b) with NumPy's broadcasting: gradients are summed over all repeated elements."""

    def rule(step: Step) -> Gradients:
        a, b = step.inputs
        found: Gradients = []
        for side, tensor, needed in zip((of_a, of_b), (a, b), step.needed, strict=True):
            whole = expanded(side(step.g, a, b, step.y), step.y_shape) if needed else None
            found.append(None if whole is None else summed_to(whole, shape_of(tensor)))
        return found

    return rule


def _sloped(slope: Slope) -> Rule:
    """Make a rule for y = f(x) from f'(x)."""
    return lambda step: step.only(multiply(step.g, slope(step)))


def _greater_equal(a: Tensor, b: Tensor) -> Tensor:
    return output(op.greater_equal(a, b))


def _less(a: Tensor, b: Tensor) -> Tensor:
    return output(op.less(a, b))


def _squared_difference(g: Tensor, a: Tensor, b: Tensor, _y: Tensor) -> Tensor:
    """`d(a - b)^2 / da = 2 (a - b)`."""
    return multiply(multiply(g, subtract(a, b)), 2.0)


def _divided_by(g: Tensor, _a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """`d(a / b) / db = -y / b`."""
    return negative(divide(multiply(g, y), b))


def _power(step: Step) -> Gradients:
    """`d x^e / dx = e x^(e - 1)`, for a constant e."""
    exponent = step.value(1)
    if exponent.size != 1:
        raise step.refused("it has several exponents")
    e = float(exponent.ravel()[0])
    if e == 1:
        return step.only(step.g)
    slope = multiply(step.x, 2.0) if e == 2 else multiply(power(step.x, e - 1), e)
    return step.only(multiply(step.g, slope))


def _select(step: Step) -> Gradients:
    """Gradient of `y = a if c else b`: the selected operand gets g, the other one 0."""
    condition, a, b = step.inputs
    sides = ((a, condition), (b, output(op.logical_not(condition))))
    found: Gradients = [None]
    for (tensor, taken), needed in zip(sides, step.needed[1:], strict=True):
        found.append(summed_to(where(taken, step.g), shape_of(tensor)) if needed else None)
    return found


def _relu(step: Step) -> Gradients:
    """Gradient of `y = max(x, 0)`: `dx = g [y > 0]`, so 0 at x = 0, as in TensorFlow."""
    return [where(positive(step.y), step.g)]


def _clamp(step: Step) -> Gradients:
    """Gradient of clamping x to [min, max]: `dx = g [min < x < max]`, as for TensorFlow's relu6."""
    low, high = (float(str(step.attribute(name))) for name in ("min", "max"))
    return [where(between(step.x, low, high), step.g)]


def _elu(step: Step) -> Tensor:
    """Derivative of ELU: 1 if x > 0, else `alpha exp(x) = y + alpha`."""
    alpha = float(str(step.attribute("alpha")))
    return output(op.select(positive(step.x), constant(1.0), plus(step.y, alpha)))


def _selu(step: Step) -> Tensor:
    """Derivative of SELU: lambda if x > 0, else `lambda alpha exp(x) = y + lambda alpha`."""
    alpha, scale = step.inputs[1:]
    return output(op.select(positive(step.x), scale, add(step.y, multiply(alpha, scale))))


def _prelu(step: Step) -> Tensor:
    """Derivative of PReLU: 1 if x > 0, else the slope; a vector has one slope for each channel (axis 1)."""
    slope = step.inputs[1]
    sizes = shape_of(slope)
    if len(sizes) == 1 and sizes[0] > 1:
        slope = reshaped(slope, [1, sizes[0], *[1] * (len(step.x_shape) - 2)])
    return output(op.select(positive(step.x), constant(1.0), slope))


def _swish(step: Step) -> Tensor:
    """Derivative of `x s(b x)`: `s + b x s (1 - s)`, with s the sigmoid."""
    bx = step.x if len(step.inputs) == 1 else multiply(step.x, step.inputs[1])
    s = sigmoid(bx)
    return add(s, multiply(multiply(bx, s), one_minus(s)))


def _gelu(step: Step) -> Tensor:
    """Derivative of `x P(x)`: `P + x p`, with P the normal distribution and p its density; or of the tanh version."""
    x = step.x
    if str(step.attribute("approximation_mode", "ERF")).upper() != "ERF":
        return _gelu_by_tanh(x)
    density = multiply(exponential(multiply(multiply(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))
    below = multiply(plus(output(op.erf(multiply(x, math.sqrt(0.5)))), 1.0), 0.5)
    return add(below, multiply(x, density))


def _gelu_by_tanh(x: Tensor) -> Tensor:
    """Derivative of `x (1 + t) / 2` with `t = tanh(c (x + 0.044715 x^3))`, `c = sqrt(2 / pi)`.

    It is `(1 + t) / 2 + x (1 - t^2) c (1 + 3 * 0.044715 x^2) / 2`.
    """
    c, square = math.sqrt(2 / math.pi), multiply(x, x)
    t = output(op.tanh(multiply(multiply(x, plus(multiply(square, 0.044715), 1.0)), c)))
    inner = multiply(plus(multiply(square, 3 * 0.044715), 1.0), c)
    steep = multiply(multiply(multiply(x, 0.5), one_minus(multiply(t, t))), inner)
    return add(multiply(plus(t, 1.0), 0.5), steep)


def _mish(step: Step) -> Tensor:
    """Derivative of `x t` with `t = tanh(ln(1 + exp(x)))`: `t + x s (1 - t^2)`, with s the sigmoid."""
    t = output(op.tanh(op.softplus(step.x)))
    return add(t, multiply(multiply(step.x, sigmoid(step.x)), one_minus(multiply(t, t))))


def _hard_swish(step: Step) -> Tensor:
    """Derivative of `x h` with `h = min(max(x / 6 + 1/2, 0), 1)`: `h + x / 6` if -3 < x < 3, else h."""
    sixth = multiply(step.x, 1 / 6)
    h = output(op.clamp(plus(sixth, 0.5), 0.0, 1.0))
    return add(h, where(between(step.x, -3.0, 3.0), sixth))


def _hard_sigmoid(step: Step) -> Tensor:
    """Derivative of `y = min(max(a x + b, 0), 1)`: a if 0 < y < 1, else 0."""
    return where(between(step.y, 0.0, 1.0), step.inputs[1])


def _erf(step: Step) -> Tensor:
    """Derivative of `erf(x)`: `2 exp(-x^2) / sqrt(pi)`."""
    return multiply(exponential(negative(multiply(step.x, step.x))), 2 / math.sqrt(math.pi))


def _softsign(step: Step) -> Tensor:
    """Derivative of `x / (1 + |x|)`: `(1 + |x|)^-2`."""
    return power(plus(output(op.abs(step.x)), 1.0), -2.0)


RULES: dict[str, Rule] = {
    "Add": _binary(lambda g, _a, _b, _y: g, lambda g, _a, _b, _y: g),
    "Subtract": _binary(lambda g, _a, _b, _y: g, lambda g, _a, _b, _y: negative(g)),
    "Multiply": _binary(lambda g, _a, b, _y: multiply(g, b), lambda g, a, _b, _y: multiply(g, a)),
    "Divide": _binary(lambda g, _a, b, _y: divide(g, b), _divided_by),
    "SquaredDifference": _binary(_squared_difference, lambda g, a, b, y: negative(_squared_difference(g, a, b, y))),
    # If both operands are equal, the first one gets the gradient, as in TensorFlow.
    "Maximum": _binary(lambda g, a, b, _y: where(_greater_equal(a, b), g), lambda g, a, b, _y: where(_less(a, b), g)),
    "Minimum": _binary(lambda g, a, b, _y: where(_greater_equal(b, a), g), lambda g, a, b, _y: where(_less(b, a), g)),
    "Power": _power,
    "Select": _select,
    "Relu": _relu,
    "Clamp": _clamp,
    "Sigmoid": _sloped(lambda step: multiply(step.y, one_minus(step.y))),
    "Tanh": _sloped(lambda step: one_minus(multiply(step.y, step.y))),
    "Exp": _sloped(lambda step: step.y),
    "Log": _sloped(lambda step: divide(constant(1.0), step.x)),
    "Sqrt": _sloped(lambda step: divide(constant(0.5), step.y)),
    "Abs": _sloped(lambda step: output(op.sign(step.x))),
    "Negative": lambda step: step.only(negative(step.g)),
    "Erf": _sloped(_erf),
    "SoftPlus": _sloped(lambda step: sigmoid(step.x)),
    "SoftSign": _sloped(_softsign),
    "Swish": _sloped(_swish),
    "Gelu": _sloped(_gelu),
    "Mish": _sloped(_mish),
    "HSwish": _sloped(_hard_swish),
    "HSigmoid": _sloped(lambda step: where(between(step.x, -3.0, 3.0), constant(1 / 6))),
    "HardSigmoid": _sloped(_hard_sigmoid),
    "Elu": _sloped(_elu),
    "Selu": _sloped(_selu),
    "PRelu": _sloped(_prelu),
}
