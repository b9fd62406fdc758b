"""The table of `check-preprocess`: accuracy decides, and only where it is no chance."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Runner

from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.preprocess_check import (
    Predictions,
    decided_by_truth,
    decides_order,
    table,
    truth_from_folders,
)
from gradcam_cli.inputs.sources import Source
from gradcam_cli.labels.class_labels import Label, Labels

TRUTH = (0, 1, 2, 0, 1, 2, 0, 1)


def predicted(name: str, classes: tuple[int, ...], probability: float = 0.9) -> Predictions:
    return Predictions(name, classes, (probability,) * len(classes))


def test_the_best_accuracy_decides() -> None:
    right, flat = predicted("unit", TRUTH), predicted("caffe", (1,) * 8, 1.0)
    assert decided_by_truth([flat, right], TRUTH) == ("unit", True)
    first, second = table([flat, right], TRUTH, {"caffe": 0.1, "unit": 0.2})
    assert (first.preprocess, first.accuracy, first.agreement, first.classes_seen) == ("unit", 1.0, 1.0, 3)
    assert (second.accuracy, second.agreement, second.confidence) == (3 / 8, 3 / 8, 1.0)


def test_what_may_be_chance_decides_nothing() -> None:
    near = predicted("tf", (*TRUTH[:7], 0))
    assert decided_by_truth([predicted("unit", TRUTH), near], TRUTH) == ("unit", False)
    # Four pictures won and none lost: 1/16 by chance. Five: 1/32.
    for wins, sure in ((4, False), (5, True)):
        worse = tuple((c + 1) % 3 if i < wins else c for i, c in enumerate(TRUTH))
        assert decided_by_truth([predicted("unit", TRUTH), predicted("none", worse)], TRUTH)[1] is sure


def test_two_that_give_the_same_numbers_are_no_rivals() -> None:
    predictions = [predicted(name, TRUTH) for name in ("tf", "lite")] + [predicted("none", (2,) * 8)]
    assert decided_by_truth(predictions, TRUTH) == ("tf", True)


def test_the_order_of_the_channels_is_decided_apart() -> None:
    flat, worse = predicted("none", (2,) * 8), tuple((c + 1) % 3 for c in TRUTH)
    for order, other in (("unit", "unit-bgr"), ("unit-bgr", "unit")):
        predictions = [predicted(order, TRUTH), predicted(other, worse), flat]
        assert decided_by_truth(predictions, TRUTH) == (order, True)
        assert decides_order(predictions, TRUTH, order)
    # One picture more is chance: the range is decided, and the order is the usual one.
    near = [predicted("unit", (*TRUTH[:7], 0)), predicted("unit-bgr", TRUTH), flat]
    assert decided_by_truth(near, TRUTH) == ("unit", True)
    assert decided_by_truth(near, TRUTH, "unit-bgr") == ("unit-bgr", True)
    assert not decides_order(near, TRUTH, "unit")
    assert decides_order(near, TRUTH, "none")


def test_of_equals_the_usual_one_is_given() -> None:
    predictions = [predicted(name, TRUTH) for name in ("tf", "unit", "none")]
    assert decided_by_truth(predictions, TRUTH, "unit") == ("unit", False)


def test_a_model_of_a_value_has_no_right_class(inside: Runner, tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 1)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(pooled))
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.keras")
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((8, 8, 3), np.uint8))
    assert "is a value" in inside("check-preprocess", "m.keras", "p.png").expect(3).err


def test_without_truth_the_smallest_distance_is_first() -> None:
    rows = table([predicted("caffe", (1, 1)), predicted("unit", (0, 1))], None, {"unit": 0.1, "caffe": 3.0})
    assert [row.preprocess for row in rows] == ["unit", "caffe"]
    assert rows[0].accuracy is None


def test_the_truth_is_the_name_of_the_folder() -> None:
    sources = [Source(f"/p/{name}/1.jpg", f"{name}/1.jpg") for name in ("dog", "guinea_pig", "dog")]
    labels = Labels((Label("Guinea Pig"), Label("cat"), Label("dog")))
    assert truth_from_folders(sources, labels, 3) == (2, 0, 2)
    assert truth_from_folders(sources, Labels(), 2) == (0, 1, 0)
    with pytest.raises(UsageError, match="guinea_pig"):
        truth_from_folders(sources, Labels((Label("a"), Label("b"), Label("dog"))), 3)
    with pytest.raises(UsageError, match="3 classes"):
        truth_from_folders(sources, Labels(), 3)


def test_a_model_for_0_to_1_is_found_out_by_its_pictures(inside: Runner, tmp_path: Path) -> None:
    """Brightness above or below 0.25 is the class: under other ranges every picture is of one class."""
    import keras

    inputs = keras.Input((16, 16, 3))
    convolution = keras.layers.Conv2D(2, 1, kernel_initializer="zeros", activation="relu", name="c")
    pooled = keras.layers.GlobalAveragePooling2D()(convolution(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="d")(pooled))
    convolution.set_weights([np.full((1, 1, 3, 2), 1 / 3), np.zeros(2)])
    model.get_layer("d").set_weights([np.array([[-10.0, 10.0], [-10.0, 10.0]]), np.array([5.0, -5.0])])
    model.save(tmp_path / "m.keras")
    for name, low, high in (("bright", 75, 110), ("dark", 5, 50)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            value = low + (high - low) * i // 5
            cv2.imwrite(str(tmp_path / "photos" / name / f"{i}.png"), np.full((20, 20, 3), value, np.uint8))
    (tmp_path / "labels.txt").write_text("dark\nbright\n")
    done = inside("check-preprocess", "m.keras", "photos", "--truth-from-folders", "--json").expect(0)
    found = json.loads(done.out)
    assert (found["preprocess"], found["certain"]) == ("unit", True)
    assert found["rows"][0] == found["rows"][0] | {"preprocess": "unit", "accuracy": 1.0, "classes_seen": 2}
    assert "use --preprocess unit: 12 of 12" in done.err
    # The pictures are grey: both orders of their channels are the same.
    assert "(RGB or BGR) gives a similar result" in done.err
    done = inside("explain", "photos", "-o", "out", "--model", "m.keras", "--engine", "tensorflow").expect(0)
    assert "is a guess" in done.err
    assert "labels from labels.txt" in done.err
