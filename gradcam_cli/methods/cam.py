"""CAM: the class's own weights, for networks that end in global average pooling and one dense layer."""

from gradcam_cli.methods.gradcam import Floats, weighted_map


def cam(activations: Floats, class_weights: Floats) -> Floats:
    """Class activation map: channels weighted by what the dense layer multiplies them with.

    `relu(sum_k W_kc A_k)`. Zhou et al. 2016, arXiv:1512.04150, equation 2; the relu is this program's, so
    that every map means the same thing.

    Args:
        activations: A, (N, h, w, K), what the global average pooling was given.
        class_weights: W[:, c] for each image's class, (N, K).

    Returns:
        (N, h, w), non-negative.
    """
    return weighted_map(activations, class_weights)
