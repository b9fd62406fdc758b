"""CAM: the dense weights of the class, for networks that end with global average pooling and one dense layer."""

from gradcam_cli.engines.protocol import Engine
from gradcam_cli.errors import ModelError
from gradcam_cli.methods.arithmetic import Floats, weighted_map
from gradcam_cli.methods.method import FORWARD, Batch, Method, RawMaps, by_target


def cam(activations: Floats, class_weights: Floats) -> Floats:
    """Class activation map: channels weighted by the weights of the dense layer.

    `relu(sum_k W_kc A_k)`. Zhou et al. 2016, arXiv:1512.04150, equation 2.

    Differs from the paper in the relu, so that the maps of all methods show evidence for the class.

    Args:
        activations: A, (N, h, w, K), the input of the global average pooling.
        class_weights: W[:, c] for each image's class, (N, K).

    Returns:
        (N, h, w), non-negative.
    """
    return weighted_map(activations, class_weights)


def _dense_weights(engine: Engine) -> Floats:
    """Give the weights W (K, C) of the dense layer after the pooling.

    Raises:
        ModelError: the target layer has no such head.
    """
    if engine.head.weights is None:
        raise ModelError(
            f"`method=cam` needs a target layer that is followed by global average pooling and one dense layer, but "
            f"'{engine.layer.path}' is not. `method=gradcam` works for any layer."
        )
    return engine.head.weights


def _check_engine(engine: Engine) -> None:
    _dense_weights(engine)


def _maps(batch: Batch) -> RawMaps:
    class_weights = _dense_weights(batch.engine).T[batch.forward.targets]
    return RawMaps(batch.maps(cam, by_target(class_weights)))


METHOD = Method(
    "cam",
    "channels weighted by the weights of the dense layer after the pooling",
    _maps,
    FORWARD,
    head="GAP -> Dense",
    check_engine=_check_engine,
)
