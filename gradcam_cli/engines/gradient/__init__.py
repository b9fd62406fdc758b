"""Gradients of a network's scores as one more part of the network, made of OpenVINO's ordinary operations.

OpenVINO runs networks forward only. The walk goes from the logits back to the target layer, and appends for each node
the operations that compute the gradient of its inputs: one rule for each type of operation, in `convolution`,
`pointwise`, `products` and `shapes`. The result is an ordinary network, which OpenVINO compiles as any other.

    with_gradients(model, batch, count, marked="activations", logits="logits", score="logit", kind="softmax")

gives an `openvino.Model` with the outputs `activations` (N, h, w, K), `logits` (N, C), `targets` (N, T) and
`gradients` (N, T, h, w, K), and with the further input `classes` (N, T) int32, -1 for the best classes. It serves every
network with one input that OpenVINO has read: of TensorFlow, of ONNX, or of its own format. `NoRuleError` says which
operation has no gradient.
"""

from gradcam_cli.engines.gradient.step import NoRuleError
from gradcam_cli.engines.gradient.walk import with_gradients

__all__ = ["NoRuleError", "with_gradients"]
