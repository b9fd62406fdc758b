"""Find proven bounds for the values of a tensor of a graph, for every possible image."""

import math
from collections.abc import Callable
from typing import Any

from gradcam_cli.models.graph import PASSING, number, origin
from gradcam_cli.models.output_mixtures import groups_a_softmax, mixed_source, small_constant

Bounds = tuple[float, float]
ANY: Bounds = (-math.inf, math.inf)
LONGEST = 40
# The rounding error of constants such as 0.7 + 0.3 in float32.
ROUNDING = 1e-5

MONOTONE: dict[str, Callable[[float], float]] = {
    "Relu": lambda x: max(x, 0.0),
    "Relu6": lambda x: min(max(x, 0.0), 6.0),
    "Tanh": math.tanh,
    "Exp": lambda x: math.exp(min(x, 700.0)) if x < math.inf else math.inf,
    "Softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "Elu": lambda x: x if x > 0 else math.expm1(x),
    "Sqrt": lambda x: math.sqrt(max(x, 0.0)),
    "Log": lambda x: math.log(x) if x > 0 else -math.inf,
}
FIXED: dict[str, Bounds] = {
    "Softmax": (0.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "LogSoftmax": (-math.inf, 0.0),
    "Erf": (-1.0, 1.0),
    "Square": (0.0, math.inf),
    "Rsqrt": (0.0, math.inf),
}
# The result has only values of the first input, or means of them.
SELECTING = PASSING | {"Transpose", "StridedSlice", "Slice", "GatherV2", "Mean", "Max", "Min", "AvgPool", "MaxPool"}

# Sums with constant weights, which are means if the weights add up to 1.
MIXING = frozenset({"MatMul", "BatchMatMulV2", "Einsum", "Sum"})


def bounds(tensor: Any, depth: int = 0) -> Bounds:
    """Give the lowest and the highest possible value of a tensor; infinite if they are unknown."""
    constant = number(tensor)
    if constant is not None:
        return constant, constant
    op = tensor.op
    if op.type in FIXED or depth > LONGEST:
        return FIXED.get(op.type, ANY)
    if op.type in {"Const", "ReadVariableOp"}:
        # Weights give the same bounds as variables and as constants of the graph.
        values = small_constant(tensor)
        return ANY if values is None or values.size == 0 else (float(values.min()), float(values.max()))
    passes_on = op.type in MIXING or op.type in SELECTING or op.type == "RealDiv"
    found = _selected(tensor, depth) if passes_on else None
    return _computed(op, depth) if found is None else found


def _selected(tensor: Any, depth: int) -> Bounds | None:
    """Give the bounds of values or means of another tensor, or of shares of it; None for any other quotient."""
    op = tensor.op
    if op.type == "RealDiv":
        share = is_share(tensor) and bounds(op.inputs[0], depth + 1)[0] >= 0
        return (0.0, 1.0) if share else None
    if op.type in SELECTING:
        return bounds(op.inputs[0], depth + 1)
    if groups_a_softmax(tensor):
        return 0.0, 1.0
    source = mixed_source(tensor)
    return ANY if source is None else bounds(source, depth + 1)


def _computed(op: Any, depth: int) -> Bounds:
    # Other operations may give any value, so the operations before them are not read.
    if op.type not in MONOTONE and op.type not in COMBINED:
        return ANY
    parts = [bounds(part, depth + 1) for part in op.inputs]
    if op.type in MONOTONE:
        low, high = parts[0]
        return MONOTONE[op.type](low), MONOTONE[op.type](high)
    found = COMBINED[op.type](parts)
    return ANY if any(math.isnan(end) for end in found) else found


def within(found: Bounds, low: float, high: float) -> bool:
    """Whether bounds lie inside the interval [low, high], except for rounding."""
    slack = ROUNDING * (high - low)
    return low - slack <= found[0] and found[1] <= high + slack


def is_share(tensor: Any) -> bool:
    """Whether this is a tensor divided by its sum over the last axis, to which a positive constant may be added."""
    numerator, denominator = (origin(part) for part in tensor.op.inputs)
    for _ in range(2):
        if denominator.op.type not in {"AddV2", "Maximum"}:
            break
        first, second = denominator.op.inputs
        value = number(second)
        if value is None or value < 0:
            return False
        denominator = origin(first)
    if denominator.op.type != "Sum":
        return False
    summed = origin(denominator.op.inputs[0])
    if summed.op.type == "Abs":
        summed = origin(summed.op.inputs[0])
    return summed is numerator or _same(summed, numerator)


def _same(a: Any, b: Any, depth: int = 0) -> bool:
    """Whether two tensors are computed in the same way from the same tensor."""
    a, b = origin(a), origin(b)
    if a is b:
        return True
    if a.op.type != b.op.type or len(a.op.inputs) != len(b.op.inputs) or not a.op.inputs or depth > 3:
        return a.op.type == b.op.type == "Const" and number(a) is not None and number(a) == number(b)
    return all(_same(x, y, depth + 1) for x, y in zip(a.op.inputs, b.op.inputs, strict=True))


def _times(parts: list[Bounds]) -> Bounds:
    (a, b), (c, d) = parts
    # 0 times infinity is 0 here, because a bound of 0 stays 0.
    ends = [0.0 if 0 in {x, y} else x * y for x in (a, b) for y in (c, d)]
    return min(ends), max(ends)


def _over(parts: list[Bounds]) -> Bounds:
    low, high = parts[1]
    if low != high or low == 0:
        return ANY
    return _times([parts[0], (1 / low, 1 / low)])


def _absolute(parts: list[Bounds]) -> Bounds:
    low, high = parts[0]
    return max(low, -high, 0.0), max(abs(low), abs(high))


def _power(parts: list[Bounds]) -> Bounds:
    (low, high), (exponent, same) = parts
    if exponent != same or exponent <= 0 or low < 0:
        return ANY
    return low**exponent, high**exponent


COMBINED: dict[str, Callable[[list[Bounds]], Bounds]] = {
    "AddV2": lambda p: (p[0][0] + p[1][0], p[0][1] + p[1][1]),
    # Keras turns some sums of a batch of one into BiasAdd.
    "BiasAdd": lambda p: (p[0][0] + p[1][0], p[0][1] + p[1][1]),
    "Sub": lambda p: (p[0][0] - p[1][1], p[0][1] - p[1][0]),
    "AddN": lambda p: (sum(low for low, _ in p), sum(high for _, high in p)),
    "Mul": _times,
    "Pow": _power,
    "Pad": lambda p: (min(p[0][0], 0.0), max(p[0][1], 0.0)),
    "PadV2": lambda p: (min(p[0][0], p[2][0]), max(p[0][1], p[2][1])),
    "RealDiv": _over,
    "Neg": lambda p: (-p[0][1], -p[0][0]),
    "Abs": _absolute,
    "Maximum": lambda p: (max(p[0][0], p[1][0]), max(p[0][1], p[1][1])),
    "Minimum": lambda p: (min(p[0][0], p[1][0]), min(p[0][1], p[1][1])),
    "ClipByValue": lambda p: (min(max(p[0][0], p[1][0]), p[2][0]), max(min(p[0][1], p[2][1]), p[1][1])),
    "ConcatV2": lambda p: (min(low for low, _ in p[:-1]), max(high for _, high in p[:-1])),
    "Pack": lambda p: (min(low for low, _ in p), max(high for _, high in p)),
}
