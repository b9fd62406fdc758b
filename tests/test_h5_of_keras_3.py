"""What Keras 3 saves in .h5 files and does not read as it was: operations, and layers along several axes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from gradcam_cli.models.legacy.loading import load_network
from gradcam_cli.models.safety.preflight import check_model_file

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "reshape": lambda x: ops.reshape(x, (-1, 9, 4)),
    "reshape to vectors": lambda x: layers.Dense(2)(ops.reshape(x, (-1, 36))),
    "mean": lambda x: layers.Dense(2)(ops.mean(x, axis=(1, 2))),
    "max": lambda x: ops.max(x, axis=(1, 2), keepdims=True),
    "variance": lambda x: ops.var(x, axis=[1, 3]),
    "mean of all": lambda x: x - ops.mean(x),
    "sum along one": lambda x: ops.sum(x, axis=-1),
    "moveaxis": lambda x: ops.moveaxis(x, -1, 1),
    "take": lambda x: ops.take(x, [3, 1, 0], axis=-1),
    "split": lambda x: ops.split(x, 2, axis=-1)[1],
    "average_pool": lambda x: ops.average_pool(x, 2),
    "einsum": lambda x: ops.einsum("bhwc,bhwd->bcd", x, x),
    "softmax": lambda x: ops.softmax(x, axis=1),
}
LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LayerNormalization": (layers.LayerNormalization, {"axis": [1, 2, 3], "scale": False, "center": False}),
    "with weights": (layers.LayerNormalization, {"axis": [1, 2], "beta_initializer": "normal"}),
    "Softmax": (layers.Softmax, {"axis": [1, 2]}),
    "UnitNormalization": (layers.UnitNormalization, {"axis": [1, 2]}),
    "Normalization": (layers.Normalization, {"axis": None, "mean": 0.3, "variance": 2.0}),
}


def saved_and_loaded(last: Callable[[Any], Any], path: Path, *, nested: bool = False) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 5, 3))
    network = keras.Model(inputs, last(layers.Conv2D(4, 3)(inputs)))
    if nested:
        outer = keras.Input((5, 5, 3))
        network = keras.Model(outer, network(outer))
    network.save(path)
    check_model_file(path)
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(load_network(path)(x), network(x))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_computes_what_was_saved(name: str, tmp_path: Path) -> None:
    saved_and_loaded(OPERATIONS[name], tmp_path / "m.h5")


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_all_of_its_axes(name: str, tmp_path: Path) -> None:
    kind, settings = LAYERS[name]
    saved_and_loaded(kind(**settings), tmp_path / "m.h5")


def test_they_are_found_in_models_inside_of_models(tmp_path: Path) -> None:
    saved_and_loaded(OPERATIONS["max"], tmp_path / "m.h5", nested=True)
