"""Append the gradients of a network's scores to the network, with ordinary operations of OpenVINO.

OpenVINO has no backward pass. This package walks from the logits back to the target layer (reverse-mode
differentiation), and appends for each node the operations that compute the gradients of its inputs. The modules
`convolution`, `pointwise`, `products` and `shapes` contain one rule for each type of operation. The result is an
ordinary network, which OpenVINO compiles like any other.

    with_gradients(model, batch, count, marked="activations", logits="logits", score="logit", kind="softmax")

gives an `openvino.Model` with the outputs `activations` (N, h, w, K), `logits` (N, C), `targets` (N, T) and
`gradients` (N, T, h, w, K), and with the additional input `classes` (N, T) int32, -1 for the best classes. It accepts
every network with one input that OpenVINO can read: from TensorFlow, from ONNX, or in its own format. If an operation
has no gradient, `NoRuleError` names it.

In the rules, x is the input and y the output of a node, g = dL/dy, and dx = dL/dx, with L the score.
"""

from gradcam_cli.engines.gradient.step import NoRuleError
from gradcam_cli.engines.gradient.walk import with_gradients

__all__ = ["NoRuleError", "with_gradients"]
