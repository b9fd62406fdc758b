"""Translate reshapes of Keras 2 that read the size of the batch: `tf.reshape(x, [tf.shape(x)[0], 36, 4])`.

Keras 2 saved `tf.shape` and the index as separate calls, and the reshape refers to them. A Reshape layer keeps the
batch, so it computes the same without them.
"""

from collections.abc import Iterator
from typing import Any

from gradcam_cli.models.legacy.nodes import call_inputs, calls, is_reference, references

Node = dict[str, Any]

CALLS = frozenset({"TFOpLambda", "SlicingOpLambda"})
SHAPES = frozenset({"shape", "compat.v1.shape", "keras.backend.shape"})
RESHAPES = frozenset({"reshape", "keras.backend.reshape"})
INDEXING = frozenset({"__operators__.getitem"})
OPEN = -1


def without_batch_sizes(layers: list[Node], outputs: Any) -> list[Node]:
    """Replace such reshapes by Reshape layers, and remove calls that are no longer used.

    A reshape is not replaced if the size is that of another tensor and a side is open, because the two tensors may have
    different batches.

    Args:
        layers: entries of a functional config of Keras 2.
        outputs: references to the outputs of the model.
    """
    shapes = {layer["name"]: source for layer in layers if (source := _only_call(layer, SHAPES)[0]) is not None}
    sizes = {layer["name"]: source for layer in layers if (source := _measured(layer, shapes)) is not None}
    changed = [_reshape_layer(layer, sizes) or layer for layer in layers]
    return _without_unused(changed, outputs) if changed != layers else layers


def _measured(layer: Node, shapes: dict[str, Any]) -> Any:
    """Give the tensor whose batch size a layer computes; None if it computes something else."""
    source, options = _only_call(layer, INDEXING)
    is_first = is_reference(source) and options.get("slice_spec") in (0, [0])
    return shapes.get(source[0]) if is_first else None


def _only_call(layer: Node, functions: frozenset[str]) -> tuple[Any, Node]:
    """Give the first argument and the others of a layer's only call of such a function; None if there is none."""
    if layer["class_name"] not in CALLS or layer["config"].get("function") not in functions or len(calls(layer)) != 1:
        return None, {}
    return call_inputs(calls(layer)[0])


def _reshape_layer(layer: Node, sizes: dict[str, Any]) -> Node | None:
    source, options = _only_call(layer, RESHAPES)
    shape = options.get("shape")
    if not is_reference(source) or not isinstance(shape, list) or not shape or not is_reference(shape[0]):
        return None
    batch, sides = sizes.get(shape[0][0]), [OPEN if is_reference(side) else side for side in shape[1:]]
    if batch is None or sides.count(OPEN) > (1 if batch == source else 0):
        return None
    config = {"name": layer["name"], "target_shape": sides}
    return {"class_name": "Reshape", "name": layer["name"], "config": config, "inbound_nodes": [[source]]}


def _without_unused(layers: list[Node], outputs: Any) -> list[Node]:
    while True:
        used = {reference[0] for reference in _all_references(layers, outputs)}
        kept = [layer for layer in layers if layer["class_name"] not in CALLS or layer["name"] in used]
        if len(kept) == len(layers):
            return layers
        layers = kept


def _all_references(layers: list[Node], outputs: Any) -> Iterator[list[Any]]:
    yield from references(outputs)
    for layer in layers:
        for call in calls(layer):
            yield from references(call)
