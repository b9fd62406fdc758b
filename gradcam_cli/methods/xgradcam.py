"""XGrad-CAM: channels weighted by their gradients, averaged with the activations as weights."""

from gradcam_cli.methods.arithmetic import Floats, divided, spatial_dot, weighted_map
from gradcam_cli.methods.method import gradient_method


def xgradcam(activations: Floats, gradients: Floats) -> Floats:
    """XGrad-CAM: channels weighted by their gradients, averaged with the activations as weights.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij g_ijk A_ijk / sum_ij A_ijk`. Fu et al. 2020, arXiv:2008.02312.

    Nothing is added to the denominator: a channel whose activations sum to 0 has weight 0.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the score S of the class to explain, of the same shape.

    Returns:
        (N, h, w), non-negative, in the dtype of the arrays and in no unit but its own.
    """
    total = activations.sum(axis=(1, 2))
    return weighted_map(activations, divided(spatial_dot(gradients, activations), total, where=total != 0))


METHOD = gradient_method(
    "xgradcam", "channels weighted by their gradients, averaged with the activations as weights", xgradcam
)
