"""Positions of cells after operations that slide a window over the image, pad it, or resize it."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradcam_cli.engines.graph import shape_of, whole_numbers
from gradcam_cli.models.picture_ops import resumed
from gradcam_cli.models.placement import Factor, Placement, absorbed, finer, other, size_of
from gradcam_cli.models.sliding import Window, padded, resized, resizing, slid, transposed_slide

if TYPE_CHECKING:
    from gradcam_cli.engines.exchange.places import Handler, PlaceWalk

PICTURE_RANK = 4


def _with_channels(place: Placement, node: Any) -> Placement:
    """Give the placement of an output whose channels are computed from all channels of the input."""
    return absorbed(place, place.axes[1]).with_axis(1, other(shape_of(node.output(0))[1]))


def _convolution(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    kernel = shape_of(node.input_value(1))[-2:]
    return _slid(_with_channels(place, node), node, kernel)


def _pooling(walk: "PlaceWalk", node: Any, index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
    if place is None or len(place.axes) != PICTURE_RANK or index:
        return None
    return _slid(place, node, [int(size) for size in node.get_attributes()["kernel"]])


def _slid(place: Placement, node: Any, kernel: list[int]) -> Placement:
    attributes, place = node.get_attributes(), resumed(place, 2)
    outputs = shape_of(node.output(0))
    dilations = list(attributes.get("dilations") or (1, 1))
    for i, cells in enumerate(kernel):
        stride, dilation = int(attributes["strides"][i]), int(dilations[i])
        before = _before(attributes, i, size_of(place.axes[2 + i]), cells, stride, dilation)
        place = slid(place, 2 + i, Window(cells, stride, dilation, before, outputs[2 + i]))
    return place


def _before(attributes: dict[str, Any], i: int, size: int, kernel: int, stride: int, dilation: int) -> int:
    """Count the cells of padding before the first cell."""
    padding = str(attributes.get("auto_pad", "explicit")).lower()
    if padding == "valid":
        return 0
    if not padding.startswith("same"):
        return int(attributes["pads_begin"][i])
    whole = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return whole // 2 if padding.endswith("upper") else whole - whole // 2


def _transposed(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, attributes = walk.place(node.input_value(0)), node.get_attributes()
    if place is None or len(place.axes) != PICTURE_RANK or str(attributes["auto_pad"]).lower() != "explicit":
        return None
    kernel, outputs = shape_of(node.input_value(1))[-2:], shape_of(node.output(0))
    place = resumed(_with_channels(place, node), 2)
    for i, cells in enumerate(kernel):
        stride, dilation = int(attributes["strides"][i]), int(attributes["dilations"][i])
        window = Window(cells, stride, dilation, int(attributes["pads_begin"][i]), outputs[2 + i])
        place = transposed_slide(place, 2 + i, window)
    return replace(place, altered=True)


def _pad(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
    begin, end = (whole_numbers(node.input_value(i)) for i in (1, 2))
    if place is None or begin is None or end is None:
        return None
    for index, (before, after) in enumerate(zip(begin, end, strict=True)):
        place = padded(place, index, before, after)
    return place


def _interpolate(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, attributes = walk.place(node.input_value(0)), node.get_attributes()
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    centred = str(attributes["coordinate_transformation_mode"])
    nearest = str(attributes["mode"]) == "nearest"
    for index, outputs in enumerate(shape_of(node.output(0))):
        size = size_of(place.axes[index])
        if size == outputs:
            continue
        half = "half_pixel" in centred
        by = resizing(
            size, outputs, half_pixel=half, align_corners=centred == "align_corners", reach=0.0 if nearest else 1.0
        )
        place = resized(place, index, by)
    return place


def _depth_to_space(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, block = walk.place(node.input_value(0)), int(node.get_attributes()["block_size"])
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    for axis in (2, 3):
        place = finer(place.with_axis(axis, (*place.axes[axis], Factor(block, "copy"))), axis)
    return _with_channels(place, node)


def _space_to_depth(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, block = walk.place(node.input_value(0)), int(node.get_attributes()["block_size"])
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    for axis in (2, 3):
        place = slid(place, axis, Window(block, block, 1, 0, size_of(place.axes[axis]) // block))
    return _with_channels(place, node)


HANDLERS: "dict[str, Handler]" = {
    **dict.fromkeys(("Convolution", "GroupConvolution"), _convolution),
    **dict.fromkeys(("ConvolutionBackpropData", "GroupConvolutionBackpropData"), _transposed),
    **dict.fromkeys(("MaxPool", "AvgPool"), _pooling),
    "Pad": _pad,
    "Interpolate": _interpolate,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
