"""The list of the explainable layers of any model."""

from gradcam_cli.engines.plan_choice import require_openvino
from gradcam_cli.engines.protocol import LayerInfo
from gradcam_cli.engines.selection import Downloading
from gradcam_cli.errors import ModelError
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings


def list_model_layers(settings: ModelSettings, downloading: Downloading) -> list[LayerInfo]:
    """List the explainable layers of a model in its own order. The weights of a named model are not needed.

    Args:
        settings: which model.
        downloading: gives a context for a download, see `RunObserver.downloading`.

    Raises:
        ModelError: the model is a plan, is refused, cannot be loaded, or is not an image classifier.
    """
    request = locate_model(settings, downloading, need_weights=False)
    if request.plan:
        raise ModelError(
            f"{settings.model}: a plan is compiled for one layer. List the layers of the model that it "
            "was compiled from."
        )
    if request.exchange:
        require_openvino()
        from gradcam_cli.engines.exchange.network import open_network

        return open_network(request).list_layers()
    from gradcam_cli.models import load_model

    classifier = load_model(request, need_weights=False)
    # This imports Keras too, after its backend was set.
    from gradcam_cli.engines.tracing import list_layers

    return list_layers(classifier)
