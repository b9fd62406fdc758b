"""Which numbers a network was trained on, found out from the network: scaling, batch statistics, backbone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from conftest import DATA
from keras import layers

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.batch_statistics import distance, is_clear
from gradcam_cli.models.families import family_of
from gradcam_cli.models.input_choice import choose_input
from gradcam_cli.models.preprocess_evidence import Evidence, find_evidence
from gradcam_cli.models.probe import statistics_met
from gradcam_cli.models.sample_pictures import sample_pictures

SIDE = 48
SHAPE = (SIDE, SIDE, 3)
IMAGENET = ([0.485, 0.456, 0.406], [0.229**2, 0.224**2, 0.225**2])
Front = Callable[[Any], Any]


def head(x: Any) -> Any:
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def network(front: Front, dtype: str = "float32", normalise: bool = False) -> Any:
    keras.utils.set_random_seed(3)
    inputs = layers.Input(SHAPE, dtype=dtype)
    x = layers.Conv2D(8, 3, use_bias=not normalise)(front(inputs))
    if normalise:
        x = layers.BatchNormalization(name="memory")(x)
    return keras.Model(inputs, head(layers.ReLU()(x)))


def evidence(model: Any, *, as_it_came: bool = False) -> Evidence:
    return find_evidence(model, SHAPE, family_of(model), as_it_came=as_it_came)


def adapted(low: float, high: float) -> Any:
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(low, high, (20, SIDE, SIDE, 3)).astype(np.float32))
    return layer


def floats(values: list[float]) -> Any:
    return np.asarray(values, np.float32)


def nested(x: Any) -> Any:
    return keras.Sequential([layers.Input(SHAPE), layers.Resizing(32, 32), layers.Rescaling(2.0, -1)])(x)


def reversed_less_mean(x: Any) -> Any:
    return x[..., ::-1] - floats([103.939, 116.779, 123.68])


SCALINGS: dict[str, tuple[Front, str]] = {
    "255": (layers.Rescaling(1 / 255), "none"),
    "127.5": (layers.Rescaling(1 / 127.5, -1), "none"),
    "half": (layers.Rescaling(1 / 255, -0.5), "none"),
    "operations": (lambda x: x / 127.5 - 1.0, "none"),
    "imagenet of raw": (lambda x: layers.Normalization(mean=IMAGENET[0], variance=IMAGENET[1])(x / 255.0), "none"),
    "adapted raw": (adapted(0, 255), "none"),
    "adapted dark raw": (adapted(0, 80), "none"),
    "caffe": (reversed_less_mean, "none"),
    "2x-1": (layers.Rescaling(2.0, -1), "unit"),
    "2x-1 operations": (lambda x: x * 2.0 - 1.0, "unit"),
    "imagenet": (layers.Normalization(mean=IMAGENET[0], variance=IMAGENET[1]), "unit"),
    "imagenet operations": (
        lambda x: (x - np.asarray(IMAGENET[0], np.float32)) / np.asarray(IMAGENET[1], np.float32) ** 0.5,
        "unit",
    ),
    "adapted": (adapted(0, 1), "unit"),
    "back to raw": (layers.Rescaling(255.0), "unit"),
    "nested": (nested, "unit"),
    "padded": (lambda x: layers.Rescaling(2.0, -1)(layers.ZeroPadding2D(4)(x)), "unit"),
    "from [-1, 1]": (lambda x: (x + 1.0) * 127.5, "tf"),
    "half from [-1, 1]": (layers.Rescaling(0.5, 0.5), "tf"),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_the_range_that_a_scaling_was_made_for(name: str) -> None:
    front, expected = SCALINGS[name]
    found = evidence(network(front))
    assert (found.preprocess, found.certain) == (expected, True), found
    assert found.contradicts("caffe")
    assert not found.contradicts(expected)


@pytest.mark.parametrize(
    "front",
    [
        lambda x: x,
        lambda x: layers.RandomFlip()(layers.Resizing(32, 32)(x)),
        lambda x: layers.ZeroPadding2D(2)(x[..., ::-1]),
    ],
)
def test_what_scales_nothing_shows_nothing(front: Front) -> None:
    found = evidence(network(front))
    assert (found.preprocess, found.certain, found.scores) == ("unit", False, None)
    assert not found.contradicts("none")


def test_whole_numbers_are_raw() -> None:
    found = evidence(network(lambda x: keras.ops.cast(x, "float32"), dtype="uint8"))
    assert (found.preprocess, found.certain) == ("none", True)


def photographs() -> list[Any]:
    """Real ones, other than the program's sample pictures, with the mean colour of many photographs."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    read = [np.asarray(cv2.imread(str(DATA / f"{name}.png")))[..., ::-1] for name in names]
    small = [cv2.resize(np.ascontiguousarray(photo), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for photo in read]
    usual = 255 * np.asarray(IMAGENET[0])
    return [np.clip(photo - photo.mean((0, 1)) + usual, 0, 255).astype(np.uint8) for photo in small]


def trained_on(model: Any, preprocess: str, settled: float = 1.0) -> Any:
    """Give the model's first normalisation the memory that training on photographs leaves."""
    memory = next(layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization))
    given = np.stack([PREPROCESSINGS[preprocess](photo) for photo in photographs()])
    # A fresh memory is passed over by nothing here: the layer itself is named.
    mean, variance = statistics_met(model, given, memory)
    memory.moving_mean.assign(settled * mean)
    memory.moving_variance.assign(settled * variance + 1 - settled)
    return model


@pytest.mark.parametrize("settled", [1.0, 0.7])
@pytest.mark.parametrize("preprocess", ["unit", "none", "tf", "caffe", "torch"])
def test_the_memory_of_batch_normalisation(preprocess: str, settled: float) -> None:
    model = trained_on(network(lambda x: x, normalise=True), preprocess, settled)
    found = evidence(model)
    assert found.scores is not None
    # Nothing wrong in silence: either right, or said to be a guess.
    assert found.preprocess in {preprocess, "lite" if preprocess == "tf" else preprocess} or not found.certain
    assert found.scores[preprocess] < 2.5 * min(found.scores.values()) + 0.05
    raw = {"none", "caffe"}
    assert (found.preprocess in raw) == (preprocess in raw)


def test_a_fresh_memory_shows_nothing_and_the_choice_is_repeatable() -> None:
    assert evidence(network(lambda x: x, normalise=True)).scores is None
    model = trained_on(network(lambda x: x, normalise=True), "unit")
    assert evidence(model) == evidence(model)
    np.testing.assert_array_equal(sample_pictures(8, 8, 3), sample_pictures.__wrapped__(8, 8, 3))


def test_scaled_twice_is_not_certain() -> None:
    """Rescaling in the network, and pixels / 255 in the training all the same: the memory says so."""
    model = network(layers.Rescaling(1 / 255), normalise=True)
    assert evidence(trained_on(model, "none")).preprocess == "none"
    assert evidence(trained_on(model, "none")).certain
    assert not evidence(trained_on(model, "unit")).certain
    assert evidence(trained_on(model, "unit")).preprocess == "unit"


def backbone(name: str) -> Any:
    inner = network(lambda x: x, normalise=True)
    inputs = layers.Input(SHAPE)
    return keras.Model(inputs, head(keras.Model(inner.input, inner.layers[-3].output, name=name)(inputs)))


def test_a_known_backbone_with_its_own_statistics_is_a_guess() -> None:
    own = evidence(trained_on(backbone("mobilenetv2_1.00_96"), "tf"))
    assert (own.preprocess, own.certain) == ("tf", False)
    assert "trained otherwise" in own.reason
    other = evidence(clearly(backbone("mobilenetv2_1.00_96"), "unit"))
    assert (other.preprocess, other.certain) == ("unit", True)
    assert other.contradicts("tf")
    assert evidence(trained_on(backbone("mobilenetv2_1.00_96"), "tf"), as_it_came=True).certain


def test_a_frozen_layer_of_an_unknown_backbone_is_a_guess() -> None:
    model = clearly(backbone("mine"), "unit")
    assert evidence(model).certain
    model.layers[1].trainable = False
    assert not evidence(model).certain


def test_a_backbone_without_memory_is_a_guess() -> None:
    inputs = layers.Input(SHAPE)
    inner = keras.Sequential([layers.Input(SHAPE), layers.Conv2D(4, 3)], name="vgg16")
    found = evidence(keras.Model(inputs, head(inner(inputs))))
    assert (found.preprocess, found.certain, found.scores) == ("caffe", False, None)
    assert "vgg16" in found.reason


def test_an_explicit_choice_is_warned_against_only_by_certain_evidence() -> None:
    path = Path("m.keras")
    scaled = network(SCALINGS["2x-1"][0])
    assert choose_input(scaled, SHAPE, path, "unit").warnings == ()
    (warning,) = choose_input(scaled, SHAPE, path, "none").warnings
    assert "0 to 255" in warning
    assert "0 to 1" in warning
    for wanted in ("unit", "none"):
        assert choose_input(backbone("resnet50"), SHAPE, path, wanted).warnings == ()


def remember(model: Any, scaled: Callable[[Any], Any], pictures: Any = None) -> Any:
    """Give the model's memory what training on pictures leaves that were scaled in any way."""
    memory = next(layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization))
    shown = np.stack(photographs()) if pictures is None else pictures
    mean, variance = statistics_met(model, scaled(shown).astype(np.float32), memory)
    memory.moving_mean.assign(mean)
    memory.moving_variance.assign(variance)
    return model


UNUSUAL = {
    "0 to 2": lambda x: x / 127.5,
    "-0.5 to 0.5": lambda x: x / 255 - 0.5,
    "one by one": lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True),
    "standardised": lambda x: (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)),
    "less its mean": lambda x: x - x.mean((0, 1, 2)),
    "over 255 less its mean": lambda x: (x - x.mean((0, 1, 2))) / 255,
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_no_preprocessing_is_certain_for_numbers_that_none_gives(name: str) -> None:
    for first in (lambda x: x, layers.BatchNormalization(name="at_once")):
        found = evidence(remember(network(first, normalise=True), UNUSUAL[name]))
        assert not found.certain, found


def clearly(model: Any, preprocess: str) -> Any:
    """Give the model's first normalisation a memory that fits one preprocessing well."""
    return remember(
        model, lambda x: np.stack([PREPROCESSINGS[preprocess](each) for each in x]), sample_pictures(*SHAPE)
    )


def with_kernels(change: Callable[[Any], Any]) -> Any:
    """A network whose first kernels (height, width, channels, filters) are changed."""
    model = network(lambda x: x, normalise=True)
    (kernel,) = model.layers[1].get_weights()
    model.layers[1].set_weights([change(kernel) + np.zeros_like(kernel)])
    return model


def grey(kernel: Any) -> Any:
    return kernel.mean(axis=2, keepdims=True)


def colours(kernel: Any) -> Any:
    return kernel - 0.9 * kernel.mean(axis=2, keepdims=True)


@pytest.mark.parametrize("kernels", [lambda kernel: kernel, colours])
def test_the_order_of_the_channels_by_batch_statistics(kernels: Callable[[Any], Any]) -> None:
    """In photographs red is brighter than blue. In those of the sea it is not: BGR is never certain."""
    rgb = evidence(clearly(with_kernels(kernels), "unit"))
    assert (rgb.preprocess, rgb.certain, rgb.order_assumed) == ("unit", True, False)
    bgr = evidence(clearly(with_kernels(kernels), "unit-bgr"))
    assert (bgr.preprocess, bgr.certain) == ("unit-bgr", False)
    assert "bluish" in bgr.reason


def test_an_order_that_nothing_shows_is_said_to_be_assumed() -> None:
    for trained in ("unit", "unit-bgr"):
        model = clearly(with_kernels(grey), trained)
        found = evidence(model)
        assert (found.preprocess, found.certain, found.order_assumed) == ("unit", True, True)
        choice = choose_input(model, SHAPE, Path("m.keras"), "auto")
        (note,) = choice.notes
        assert note == f"preprocess 'unit': {choice.reason}"
        assert "the channel order RGB is assumed" in note
        assert "'unit-bgr'" in note
        # A person who knows the order is not contradicted; nor is one who knows another range spared.
        asked = choose_input(model, SHAPE, Path("m.keras"), "unit-bgr")
        assert (asked.warnings, asked.notes) == ((), ())
        assert len(choose_input(model, SHAPE, Path("m.keras"), "none-bgr").warnings) == 1


def test_an_order_against_which_something_speaks_is_a_guess() -> None:
    """Five of eight photographs in BGR, the others in RGB."""
    pictures = np.concatenate([sample_pictures(*SHAPE)[:5, ..., ::-1], sample_pictures(*SHAPE)[5:]])
    found = evidence(remember(network(lambda x: x, normalise=True), lambda x: x / 255, pictures))
    assert (found.preprocess, found.certain) == ("unit", False)
    assert "although BGR fits" in found.reason


def test_a_scaling_in_the_file_is_silent_unless_its_statistics_speak_for_bgr() -> None:
    model = clearly(network(layers.Rescaling(1 / 255), normalise=True), "none")
    choice = choose_input(model, SHAPE, Path("m.keras"), "auto")
    assert (choice.preprocessing.name, choice.guessed, choice.notes) == ("none", False, ())
    assert "RGB" not in choice.reason
    found = evidence(clearly(model, "none-bgr"))
    assert (found.preprocess, found.certain) == ("none-bgr", False)


@pytest.mark.parametrize(("scale", "preprocess"), [(1, "none"), (255, "unit")])
def test_dark_pictures_are_a_guess(scale: float, preprocess: str) -> None:
    """From 0 to 255 they give the numbers of brighter ones from 0 to 100."""
    dark = sample_pictures(*SHAPE) * 0.4
    found = evidence(remember(network(lambda x: x, normalise=True), lambda x: x / scale, dark))
    assert (found.preprocess, found.certain) == (preprocess, False)
    assert "0.4 times as wide" in found.reason


@pytest.mark.parametrize("scaled", [lambda x: x / 255, lambda x: x / 127.5, lambda x: x / 127.5 - 1])
@pytest.mark.parametrize("trainable", [True, False])
def test_statistics_of_pixels_that_were_scaled_twice_are_a_guess(scaled: Any, trainable: bool) -> None:
    model = remember(network(layers.Rescaling(1 / 255), normalise=True), scaled)
    model.get_layer("memory").trainable = trainable
    found = evidence(model)
    assert not found.certain
    assert "its batch statistics fit" in found.reason
    own = evidence(clearly(model, "none"))
    assert (own.preprocess, own.certain) == ("none", True)


def deep(classes: int, convolutions: int = 14) -> Any:
    keras.utils.set_random_seed(1)
    inputs = x = layers.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(x))
    for _ in range(convolutions - 1):
        x = layers.Conv2D(2, 1)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def test_statistics_of_a_deep_backbone_may_be_those_of_imagenet() -> None:
    """Its head may have been trained on other numbers while the backbone stood still."""
    assert evidence(clearly(deep(1000), "caffe")).certain
    assert evidence(clearly(deep(3, 4), "caffe")).certain
    found = evidence(clearly(deep(3), "caffe"))
    assert (found.preprocess, found.certain) == ("caffe", False)
    assert "backbone for ImageNet" in found.reason
    assert evidence(clearly(deep(3), "none")).preprocess == "none"


@pytest.mark.parametrize("expected", ["unit", "none"])
def test_a_guess_by_how_sure_a_model_gets(expected: str) -> None:
    """Without any memory, only numbers of the right size give probabilities between even and certain."""
    model = network(lambda x: x)
    kernel, bias = model.layers[-1].get_weights()
    probe = keras.Model(model.input, model.layers[-2].output)
    features = probe.predict(sample_pictures(*SHAPE)[:3] / 255 * (1 if expected == "unit" else 255), verbose=0)
    model.layers[-1].set_weights([kernel * 4 / np.abs(features @ kernel).max(), bias])
    found = evidence(model)
    assert (found.preprocess, found.certain) == (expected, False)
    assert ("have the same probability" in found.reason) == (expected == "none")


def test_a_family_that_saturates_is_not_guessed() -> None:
    inputs = layers.Input(SHAPE)
    inner = keras.Sequential([layers.Input(SHAPE), layers.Conv2D(4, 3)], name="vgg16")
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(inner(inputs))))
    found = evidence(model)
    assert (found.preprocess, found.certain) == ("unit", False)
    assert "probability of 1" in found.reason


def test_distance_by_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    mu, mm = rng.normal(size=(2, 5))
    va, mv = rng.uniform(0.5, 2, (2, 5))
    found = []
    for share in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        each = [
            abs(share * mu[k] - mm[k]) / mv[k] ** 0.5 + 0.5 * abs(np.log((share * va[k] + 1 - share) / mv[k]))
            for k in range(5)
        ]
        found.append(sorted(each)[2])
    assert distance(mu, va, mm, mv) == pytest.approx(min(found))
    dead = np.append(mv, 1e-12)
    assert distance(np.append(mu, 9), np.append(va, 9), np.append(mm, 0), dead) == pytest.approx(min(found))


def test_what_is_clear() -> None:
    assert is_clear({"tf": 0.2, "lite": 0.2, "torch": 0.41, "unit": 0.5})
    assert not is_clear({"tf": 0.2, "lite": 0.2, "torch": 0.39, "unit": 0.5})
    assert not is_clear({"tf": 0.7, "lite": 0.7, "torch": 3.0, "unit": 4.0})
    assert not is_clear({"unit": 0.341, "lite": 0.548, "tf": 0.552, "none": 5.8})
    assert not is_clear({"tf": 0.2, "unit": 0.25})
    assert not is_clear({"tf": 2.0, "unit": 9.0})


def teachable_machine(units: int = 100, bias: bool = False) -> Any:
    inner = keras.Sequential(
        [layers.Input(SHAPE), layers.Conv2D(4, 3), layers.DepthwiseConv2D(3), layers.GlobalAveragePooling2D()]
    )
    last = [layers.Dense(units, activation="relu"), layers.Dense(2, use_bias=bias, activation="softmax")]
    return keras.Sequential([layers.Input(SHAPE), inner, keras.Sequential([layers.Input((4,)), *last])])


def test_teachable_machine_by_its_structure(tmp_path: Path) -> None:
    choice = choose_input(teachable_machine(), SHAPE, tmp_path / "m.h5", "auto")
    assert (choice.preprocessing.name, choice.guessed, choice.fit) == ("tf", False, "crop")
    for other in (teachable_machine(64), teachable_machine(bias=True), network(lambda x: x)):
        choice = choose_input(other, SHAPE, tmp_path / "m.h5", "auto")
        assert (choice.guessed, choice.fit) == (True, "squash")


def test_teachable_machine_by_its_files_is_a_guess(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("0 cat\n1 dog\n")
    choice = choose_input(network(lambda x: x), SHAPE, tmp_path / "keras_model.h5", "auto")
    assert (choice.preprocessing.name, choice.guessed, choice.fit) == ("tf", True, "crop")
    for name, front in (("other.h5", "255"), ("other.h5", "2x-1"), ("keras_model.h5", "255")):
        assert choose_input(network(SCALINGS[front][0]), SHAPE, tmp_path / name, "auto").fit == "squash"
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    assert choose_input(network(lambda x: x), SHAPE, tmp_path / "keras_model.h5", "auto").fit == "squash"
