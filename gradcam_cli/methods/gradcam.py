"""Grad-CAM: channels weighted by their mean gradient."""

from gradcam_cli.methods.arithmetic import Floats, weighted_map
from gradcam_cli.methods.method import gradient_method


def gradcam(activations: Floats, gradients: Floats) -> Floats:
    """Grad-CAM: channels weighted by their mean gradient.

    `relu(sum_k w_k A_k)` with `w_k = mean_ij(g_ijk)`. Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the score S of the class to explain, of the same shape.

    Returns:
        (N, h, w), non-negative, in the dtype of the arrays and in no unit but its own.
    """
    return weighted_map(activations, gradients.mean(axis=(1, 2)))


METHOD = gradient_method("gradcam", "channels weighted by their mean gradient", gradcam)
