"""Layers of the user's own: code of a file that was named, run only where it is allowed and the model has passed."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from gradcam_cli.errors import GradcamError
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings

CODE = """
import keras


@keras.saving.register_keras_serializable(package="mine")
class Gate(keras.layers.Layer):
    def call(self, x):
        return x * keras.ops.sigmoid(2 * x)

class Plain(keras.layers.Layer):
    def call(self, x):
        return x + 1

def own_act(x):
    return keras.ops.tanh(x) * x
"""
X = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_classes_and_functions_of_a_file(tmp_path: Path, suffix: str) -> None:
    space: dict[str, object] = {}
    exec(CODE, space)  # noqa: S102 - the test's own text
    gate, plain, act = space["Gate"], space["Plain"], space["own_act"]
    steps = [layers.Conv2D(4, 3, activation=act), gate(), plain()]  # type: ignore[operator]
    made = keras.Sequential([keras.Input((16, 16, 3)), *steps, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    path, code = tmp_path / f"m{suffix}", tmp_path / "own.py"
    made.save(path)
    keras.saving.get_custom_objects().clear()
    code.write_text(CODE)
    with pytest.raises(GradcamError, match=r"Gate|own_act"):
        load_classifier(locate_model(ModelSettings(model=str(path)), lambda *_: None))
    with pytest.raises(GradcamError, match="Use both"):
        locate_model(ModelSettings(model=str(path), custom_objects=code), lambda *_: None)
    settings = ModelSettings(model=str(path), custom_objects=code, trust_code=True)
    request = locate_model(settings, lambda *_: None)
    found = load_classifier(request)
    assert np.abs(found.network.predict(X, verbose=0) - made.predict(X, verbose=0)).max() < 1e-6
    assert request.custom is not None
    assert request.depends()["custom_objects"] == request.custom.sha256
    code.write_text(CODE + "\nraise OSError('no')\n")
    with pytest.raises(GradcamError, match=r"own\.py, line \d+: OSError: no"):
        load_classifier(locate_model(settings, lambda *_: None))
