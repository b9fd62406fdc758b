"""The only package that uses Keras: named models, loading, layer paths, the trace, the classifier."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradcam_cli.models.classifier import Classifier
    from gradcam_cli.models.request import ModelRequest

BACKEND = "KERAS_BACKEND"


def load_model(request: "ModelRequest", *, need_weights: bool = True) -> "Classifier":
    """Import Keras on TensorFlow, and load a model; see `models.loading.load_classifier`.

    Raises:
        ModelError: the weights do not fit, or the file is refused or is not an image classifier.
    """
    with keras_on_tensorflow():
        from gradcam_cli.models.loading import load_classifier

    return load_classifier(request, need_weights=need_weights)


@contextmanager
def keras_on_tensorflow() -> Iterator[None]:
    """Make the first import of Keras inside the block use TensorFlow, whatever ~/.keras/keras.json says.

    The trace needs graphs of TensorFlow. If Keras was imported before, its backend does not change.
    """
    if "keras" in sys.modules:
        yield
        return
    before = os.environ.get(BACKEND)
    os.environ[BACKEND] = "tensorflow"
    try:
        yield
    finally:
        if before is None:
            del os.environ[BACKEND]
        else:
            os.environ[BACKEND] = before
