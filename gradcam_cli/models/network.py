"""The network of a model, for what a compiled plan cannot do."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from gradcam_cli.errors import ModelError
from gradcam_cli.models import load_model
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings

if TYPE_CHECKING:
    from gradcam_cli.models.classifier import Classifier


def load_network(
    settings: ModelSettings,
    downloading: Callable[[str, int], AbstractContextManager[Callable[[int], Any]]],
    instead: str,
    *,
    need_weights: bool = True,
) -> "Classifier":
    """Find and load the network that the settings ask for.

    Args:
        settings: which model.
        downloading: gives a context for a download, see `RunObserver.downloading`.
        instead: what to do instead where the model is a plan.
        need_weights: whether a named model needs its weights.

    Raises:
        ModelError: the model is a plan, is refused, or cannot be loaded.
    """
    request = locate_model(settings, downloading, need_weights=need_weights)
    if request.plan:
        raise ModelError(f"{settings.model}: {instead}")
    if request.exchange:
        raise ModelError(f"{settings.model}: this works with Keras models only.")
    return load_model(request, need_weights=need_weights)
