"""LayerCAM: every element weighted by its own gradient where that is positive."""

import numpy as np

from gradcam_cli.methods.arithmetic import Floats, summed_map
from gradcam_cli.methods.method import gradient_method


def layercam(activations: Floats, gradients: Floats) -> Floats:
    """LayerCAM: every element weighted by its own gradient, if that is positive.

    `relu(sum_k relu(g_k) * A_k)`, elementwise. Jiang et al. 2021, IEEE TIP 30, "LayerCAM: Exploring Hierarchical
    Class Activation Maps for Localization". It is intended for early layers, and for fusing the maps of several layers.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the score S of the class to explain, of the same shape.

    Returns:
        (N, h, w), non-negative, in the dtype of the arrays and in no unit but its own.
    """
    return summed_map(np.maximum(gradients, 0) * activations)


METHOD = gradient_method("layercam", "elements weighted by their positive gradients", layercam)
