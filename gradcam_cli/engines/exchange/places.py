"""The positions in the image of the cells of every tensor, for an OpenVINO network with static shapes.

The arithmetic is in `models.placement`, `models.sliding` and `models.token_ops`; this module applies it to the
operations of OpenVINO (https://docs.openvino.ai, operation sets). It contains the walk through the network, and the
operations with several input tensors. `axis_places` and `sliding_places` contain the operations that change positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradcam_cli.engines.exchange import axis_places, sliding_places
from gradcam_cli.engines.exchange.picture import PictureInput
from gradcam_cli.engines.graph import Key, key, shape_of
from gradcam_cli.models.picture_ops import mixes
from gradcam_cli.models.placement import Placement, merged, picture_place, size_of, unknown
from gradcam_cli.models.sliding import lost
from gradcam_cli.models.token_ops import concatenated, contracted

LETTERS = "abcdefgh"
# Element-wise operations on one or several tensors.
ELEMENTWISE = frozenset(
    """
    Abs Add BatchNormInference Ceiling Clamp Convert Cos Divide Elu Equal Erf Exp FakeQuantize Floor FloorMod Gelu
    Greater GreaterEqual GRN HardSigmoid HSigmoid HSwish Identity IsFinite IsInf IsNaN Less LessEqual Log LogicalAnd
    LogicalNot LogicalOr LogSoftmax LRN Maximum Minimum Mish Mod Multiply MVN Negative NormalizeL2 NotEqual Power PRelu
    Relu Round Select Selu Sigmoid Sign Sin Softmax SoftPlus SoftSign Sqrt SquaredDifference Subtract Swish Tan Tanh
    """.split()  # noqa: SIM905 - a list of strings would need four times as many lines
)
# Only the first input is computed from the image; the other inputs are parameters.
UNARY = frozenset({"BatchNormInference", "Clamp", "FakeQuantize", "HardSigmoid", "LRN", "MVN", "NormalizeL2", "PRelu"})
SHAPES = frozenset({"ShapeOf"})


@dataclass(frozen=True)
class Operands:
    """The inputs of a node, in the form that `models.token_ops` needs."""

    inputs: tuple[Any, ...]
    node: Any


class PlaceWalk:
    """The placements of all tensors of a network; a tensor that is not computed from the image has none.

    Attributes:
        attentions: the products of attention weights and values, which mix the tokens of an image.
        mixtures: the nodes that add to the tokens of an image a result that is computed from all of its tokens.
    """

    def __init__(self, model: Any, picture: Any, described: PictureInput) -> None:
        """Walk through the whole network."""
        self.attentions: list[Operands] = []
        self.mixtures: list[Any] = []
        first = picture_place(shape_of(picture)[0], *described.shape, channels_first=described.channels_first)
        self._known: dict[Key, Placement] = {key(picture): first}
        for node in model.get_ordered_ops():
            self._visit(node)

    def place(self, tensor: Any) -> Placement | None:
        """Give the placement of a tensor; None if it is not computed from the image."""
        return self._known.get(key(tensor))

    def sizes(self, tensor: Any) -> list[int]:
        """Give the shape of a tensor."""
        return shape_of(tensor)

    def _visit(self, node: Any) -> None:
        kind = node.get_type_name()
        if kind in SHAPES or not any(self.place(tensor) for tensor in node.input_values()):
            return
        for index, output in enumerate(node.outputs()):
            if output.get_partial_shape().is_dynamic:
                continue
            found = HANDLERS[kind](self, node, index) if kind in HANDLERS else None
            if found is None or [size_of(axis) for axis in found.axes] != shape_of(output):
                found = self._unfollowed(node, output)
            self._known[key(output)] = found

    def _unfollowed(self, node: Any, output: Any) -> Placement:
        """Give the placement of the output of an unknown operation: the axes of an input of the same shape are kept."""
        places = [place for place in map(self.place, node.input_values()) if place]
        wanted = shape_of(output)
        same = next((place for place in places if [size_of(axis) for axis in place.axes] == wanted), None)
        if same is not None:
            return lost(same)
        return Placement(tuple(unknown(size) for size in wanted), None, None, altered=True)


Handler = Callable[[PlaceWalk, Any, int], Placement | None]


def _elementwise(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    if node.get_type_name() in UNARY:
        return walk.place(node.input_value(0))
    tensors = node.input_values()
    places = [place for place in map(walk.place, tensors) if place]
    rank = max(len(shape_of(tensor)) for tensor in tensors)
    result = merged(places, rank)
    own = [[p.axes[i - rank] for p in places if len(p.axes) >= rank - i] for i in range(rank)]
    if len(places) > 1 and any(map(mixes, own)):
        walk.mixtures.append(node)
    return result


def _matmul(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    attributes, tensors = node.get_attributes(), tuple(node.input_values())
    ranks = [len(shape_of(tensor)) for tensor in tensors]
    if min(ranks) < 2:
        return None
    left = "ki" if attributes["transpose_a"] else "ik"
    right = "jk" if attributes["transpose_b"] else "kj"
    batch = LETTERS[: max(ranks) - 2]
    labels = [batch[len(batch) - rank + 2 :] + side for rank, side in zip(ranks, (left, right), strict=True)]
    return contracted(walk, Operands(tensors, node), labels, batch + "ij")  # type: ignore[arg-type]


def _einsum(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    given, out = str(node.get_attributes()["equation"]).replace(" ", "").split("->")
    labels = given.split(",")
    if "." in given or len(labels) > 2:
        return None
    return contracted(walk, Operands(tuple(node.input_values()), node), labels, out)  # type: ignore[arg-type]


def _attention(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    """Give the placement after scaled dot-product attention in one operation: that of the queries."""
    query, keys, values = node.input_values()[:3]
    place = walk.place(query)
    if place is None or walk.place(values) is None:
        return None
    walk.attentions.append(Operands((keys, values), node))
    return place


def _concat(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    return concatenated(walk, list(node.input_values()), int(node.get_attributes()["axis"]))  # type: ignore[arg-type]


HANDLERS: dict[str, Handler] = {
    **axis_places.HANDLERS,
    **sliding_places.HANDLERS,
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "MatMul": _matmul,
    "Einsum": _einsum,
    "ScaledDotProductAttention": _attention,
    "Concat": _concat,
}
