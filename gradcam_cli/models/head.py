"""What follows the target layer: is it global average pooling and one dense layer, and with which weights?"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradcam_cli.models.trace import Call, Trace, passed_on
from gradcam_cli.network import Head

LINEAR_BEFORE_LOGITS = ("linear", "softmax", "sigmoid")


def head_of(trace: Trace, target: Call) -> Head:
    """Describe the head, with its weights (K, C) where it is GAP -> Dense straight on the target layer."""
    weights = _dense_weights(trace, target)
    class_count = int(trace.logits.shape[-1])
    if trace.kind != "binary":
        return Head(trace.kind, class_count, weights)
    both = None if weights is None else np.concatenate([-weights, weights], axis=1)
    return Head("binary", 2, both)


def _dense_weights(trace: Trace, target: Call) -> NDArray[np.float32] | None:
    made_by = {call.output.ref(): call for call in reversed(trace.calls)}
    last = _first_known(_to_logits(trace), made_by)
    if last is None or not _is_linear(last.layer):
        return None
    pooling = _first_known(passed_on(last.inputs[0]), made_by)
    if pooling is None or not isinstance(pooling.layer, keras.layers.GlobalAveragePooling2D):
        return None
    pooled = pooling.inputs[0]
    handed_on = target.output.ref() in {tensor.ref() for tensor in passed_on(pooled)}
    # Reshaped on the way, its channels would not be those that the weights are for.
    if not handed_on or pooled.shape.as_list() != target.output.shape.as_list():
        return None
    # The graph is still being traced: values are read outside of it.
    with tf.init_scope():
        kernel = np.asarray(last.layer.kernel, np.float32)
    return kernel.reshape(-1, kernel.shape[-1])


def _to_logits(trace: Trace) -> list[Any]:
    """Tensors from the output back to the layer that computed the logits: over softmax and reshapes."""
    chain = passed_on(trace.output)
    if trace.kind != "linear" and chain[-1].op.type in {"Softmax", "Sigmoid"}:
        chain += passed_on(chain[-1].op.inputs[0])
    return chain


def _first_known(chain: list[Any], made_by: dict[Any, Call]) -> Call | None:
    """The first call along a chain of tensors that computes rather than hands on."""
    known = (made_by[tensor.ref()] for tensor in chain if tensor.ref() in made_by)
    return next((call for call in known if hasattr(call.layer, "kernel") or "Pooling" in _type(call)), None)


def _type(call: Call) -> str:
    return type(call.layer).__name__


def _is_linear(layer: Any) -> bool:
    """Whether a layer multiplies each pooled channel with one weight a class and does nothing else."""
    dense = isinstance(layer, keras.layers.Dense)
    pointwise = isinstance(layer, keras.layers.Conv2D) and layer.groups == 1 and layer.kernel_size == (1, 1)
    plain = layer.activation.__name__ in LINEAR_BEFORE_LOGITS if dense or pointwise else False
    return plain and getattr(layer, "quantization_mode", None) is None
