"""Analyse the head of a network, from the target to the logits: its linearity, and the weights of GAP -> Dense.

If every operation between the target and the logits is linear, the head computes `S = sum_ijk V_ijk A_ijk + b`. A test
shows whether the head uses only the means of the channels, so that `V_ijk = W_k / Z` with Z = h w cells: the head is
run on unit vectors, which gives W, and the result is compared on random maps.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.exchange.layers import Target
from gradcam_cli.engines.exchange.outputs import Scores
from gradcam_cli.engines.graph import Key, depending_on, key, kind, leading_to, shape_of
from gradcam_cli.engines.protocol import Floats, Linearity
from gradcam_cli.engines.runtime import core, openvino

LINEAR = frozenset(
    """
    Add AvgPool Convert Convolution Divide Identity MatMul Multiply ReduceMean ReduceSum Reshape Squeeze Subtract
    Transpose Unsqueeze
    """.split()  # noqa: SIM905 - see places.py
)
FIRST_ONLY = frozenset({"BatchNormInference", "Convolution", "Divide", "GroupConvolution"})
# Operations that are piecewise linear in all inputs together.
PIECEWISE = frozenset(
    """
    Abs Add AvgPool Broadcast Clamp Concat Convert DepthToSpace Identity Maximum MaxPool Minimum Negative Pad PRelu
    ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Slice SpaceToDepth Split Squeeze StridedSlice Subtract Tile
    Transpose Unsqueeze VariadicSplit
    """.split()  # noqa: SIM905 - see places.py
)
# Operations that are linear in one input if the other inputs do not depend on the target.
LINEAR_IN_ONE = frozenset(
    {"BatchNormInference", "Convolution", "Divide", "Gather", "GroupConvolution", "Interpolate", "MatMul", "Multiply"}
)
AGREEING = 1e-4
SEED = 0


def dense_weights(model: Any, target: Target, scores: Scores) -> Floats | None:
    """Give W (K, C) if the logits are `mean_ij(A_ijk) W + b`, with A the target; None for any other head.

    The network is changed: the head is separated from the layers before it.
    """
    if target.layout.kind == "tokens":
        return None
    between = _between(model, target.tensor, scores.logits)
    if not all(_is_linear(node, between) for node in _nodes(model, between, target.tensor)):
        return None
    run = _head(model, target.tensor, scores.logits)
    if run is None:
        return None
    shape, (rows, columns, channels) = shape_of(target.tensor), target.layout.axes
    count = shape[channels]
    bias = run(np.zeros((1, *shape[1:]), np.float32))[0]
    units = np.zeros((count, *shape[1:]), np.float32)
    np.moveaxis(units, channels, 1)[np.arange(count), np.arange(count)] = 1
    weights = run(units) - bias
    maps = np.random.default_rng(SEED).standard_normal((2, *shape[1:]), np.float32)
    wanted = maps.mean(axis=(rows, columns)) @ weights + bias
    largest = float(np.abs(weights).max()) or 1.0
    return weights if np.abs(run(maps) - wanted).max() <= AGREEING * largest else None


def linearity(model: Any, target: Target, scores: Scores) -> Linearity:
    """Find how the scores depend on the target's output, from the types of the operations; see `models.linearity`."""
    between = _between(model, target.tensor, scores.logits)
    nodes = _nodes(model, between, target.tensor)
    return "piecewise" if all(_is_piecewise(node, between) for node in nodes) else "smooth"


def _is_piecewise(node: Any, between: set[Key]) -> bool:
    name = node.get_type_name()
    inside = [i for i, source in enumerate(node.input_values()) if key(source) in between]
    if name in PIECEWISE:
        return True
    return name in LINEAR_IN_ONE and len(inside) == 1 and (inside == [0] or name not in FIRST_ONLY)


def _between(model: Any, target: Any, logits: Any) -> set[Key]:
    return depending_on(model.get_ordered_ops(), [target]) & leading_to(logits)


def _nodes(model: Any, between: set[Key], target: Any) -> list[Any]:
    own = target.get_node().get_instance_id()
    nodes = [node for node in model.get_ordered_ops() if any(key(output) in between for output in node.outputs())]
    return [node for node in nodes if node.get_instance_id() != own]


def _is_linear(node: Any, between: set[Key]) -> bool:
    """Whether a node has exactly one input that depends on the target, and its output is linear in this input."""
    inside = [i for i, source in enumerate(node.input_values()) if key(source) in between]
    name = node.get_type_name()
    return name in LINEAR and len(inside) == 1 and (inside == [0] or name not in FIRST_ONLY)


def _head(model: Any, target: Any, logits: Any) -> Any:
    """Separate the head, and give a function from maps (N, ...) to logits (N, C); None if it has other inputs."""
    given = openvino.opset15.parameter(shape_of(target), np.float32)
    for reader in list(target.get_target_inputs()):
        if reader.get_node().get_type_name() != "Result":
            reader.replace_source_output(given.output(0))
    others = [node for node in (p.output(0) for p in model.get_parameters()) if key(node) in leading_to(logits)]
    if others or kind(target) == "Parameter":
        return None
    whole = openvino.Model([logits], [given])
    compiled = core().compile_model(whole, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    batch = shape_of(target)[0]

    def run(maps: NDArray[np.float32]) -> Floats:
        padded = np.concatenate([maps, np.zeros((-len(maps) % batch, *maps.shape[1:]), np.float32)])
        parts = [compiled([padded[i : i + batch]])[0] for i in range(0, len(padded), batch)]
        return np.asarray(np.concatenate(parts).reshape(len(padded), -1)[: len(maps)], np.float32)

    return run
