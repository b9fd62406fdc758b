"""HiResCAM: every element weighted by its own gradient."""

from gradcam_cli.methods.arithmetic import Floats, summed_map
from gradcam_cli.methods.method import gradient_method


def hirescam(activations: Floats, gradients: Floats) -> Floats:
    """HiResCAM: every element weighted by its own gradient.

    `relu(sum_k g_k * A_k)`, elementwise. Draelos and Carin 2020, arXiv:2011.08891.

    Differs from the paper in the relu, so that the maps of all methods show evidence for the class.

    For a head of global average pooling and one dense layer it is `gradcam`; for other heads it shows the contribution
    of each cell to the score, which the mean gradient of Grad-CAM does not.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the score S of the class to explain, of the same shape.

    Returns:
        (N, h, w), non-negative, in the dtype of the arrays and in no unit but its own.
    """
    return summed_map(gradients * activations)


METHOD = gradient_method("hirescam", "elements weighted by their gradients", hirescam)
