"""Score-CAM: masks and weights on paper, and the whole against one masked picture at a time."""

from typing import Any

import numpy as np
import pytest
from fakes import CHANNELS, FakeEngine
from nets import SIDE, classifier, engine_at, gap_dense

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.methods.scorecam import masks, scorecam, strongest_channels
from gradcam_cli.settings import MethodOptions, TargetSettings

SCORECAM = METHODS["scorecam"]


def test_on_paper() -> None:
    a = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    # exp(log 3) and exp(0): weights 3/4 and 1/4.
    assert scorecam(a, np.array([[np.log(3.0), 0.0]])) == pytest.approx(np.array([[[1.25, 3.25]]]))
    # One that was not taken has no weight, and none at all leaves nothing.
    assert scorecam(a, np.array([[5.0, -np.inf]])) == pytest.approx(np.array([[[1.0, 3.0]]]))
    assert not scorecam(a, np.full((1, 2), -np.inf)).any()


def test_scores_of_a_thousand_are_finite_and_no_number_is_told() -> None:
    a = np.ones((1, 2, 2, 2), np.float32)
    assert scorecam(a, np.array([[1000.0, -1000.0]], np.float32)) == pytest.approx(np.ones((1, 2, 2)))
    assert np.isnan(scorecam(a, np.array([[np.nan, 0.0]], np.float32))).all()


def test_the_strongest_channels() -> None:
    a = np.zeros((2, 1, 2, 4))
    # Masses 2, 5 (what is negative does not count), 0, 5.
    a[0, 0] = [[1, 5, -1, 2], [1, -9, 0, 3]]
    a[1, 0, 0] = [0, 0, 0, 1]
    assert strongest_channels(a, 2).tolist() == [[False, True, False, True], [False, False, False, True]]
    assert strongest_channels(a, 1)[0].tolist() == [False, True, False, False]
    assert strongest_channels(a, 99)[0].tolist() == [True, True, False, True]


def test_masks() -> None:
    assert masks(np.array([[[4.0, -1.0], [1.0, 0.0]]])).tolist() == [[[1.0, 0.0], [0.25, 0.0]]]


def test_masks_of_the_paper() -> None:
    both = np.array([[[4.0, -1.0], [1.0, 0.0]], [[-3.0, -2.0], [-5.0, -4.0]]])
    assert masks(both, "minmax").tolist() == [[[1.0, 0.0], [0.4, 0.2]], [[2 / 3, 1.0], [0.0, 1 / 3]]]
    # Behind a ReLU that is at rest somewhere both are the same.
    rest = np.array([[[0.0, 3.0], [1.0, 0.0]]])
    assert masks(rest, "minmax").tolist() == masks(rest).tolist()


def test_channels_that_make_no_mask_are_not_taken() -> None:
    a = np.zeros((1, 1, 2, 4))
    # The same everywhere, negative everywhere, zero, and an ordinary one.
    a[0, 0] = [[7, -2, 0, 1], [7, -1, 0, 3]]
    assert strongest_channels(a, 4, "max")[0].tolist() == [True, False, False, True]
    assert strongest_channels(a, 4, "minmax")[0].tolist() == [False, True, False, True]
    assert strongest_channels(a, 1, "minmax")[0].tolist() == [False, False, False, True]


def enlarged(mask: Any, side: int) -> Any:
    """Bilinear between the centres of the cells, pixel by pixel."""
    cells = len(mask)
    out = np.zeros((side, side))
    for y, x in np.ndindex(side, side):
        down, across = (min(max((p + 0.5) * cells / side - 0.5, 0), cells - 1) for p in (y, x))
        i, j = min(int(down), cells - 2), min(int(across), cells - 2)
        s, t = down - i, across - j
        upper = (1 - t) * mask[i, j] + t * mask[i, j + 1]
        lower = (1 - t) * mask[i + 1, j] + t * mask[i + 1, j + 1]
        out[y, x] = (1 - s) * upper + s * lower
    return out


def slow_scorecam(pixels: Any, prepare: Any, network: Any, a: Any, target: int, options: MethodOptions) -> Any:
    """One picture, in its own values 0..255: masked by one channel at a time, and given to the whole network."""
    stretched = options.scorecam_masks == "minmax"
    lowest = [a[:, :, k].min() if stretched else 0.0 for k in range(a.shape[2])]
    order = sorted(range(a.shape[2]), key=lambda k: -np.maximum(a[:, :, k], 0).sum())
    taken = [k for k in order if a[:, :, k].max() > lowest[k]][: options.max_channels]
    scores = []
    for k in taken:
        mask = enlarged(np.maximum(a[:, :, k] - lowest[k], 0) / (a[:, :, k].max() - lowest[k]), pixels.shape[0])
        masked = pixels * mask[:, :, None]
        scores.append(float(network(prepare(masked)[None])[0, target]))
    raised = np.exp(np.array(scores) - max(scores))
    weights = raised / raised.sum()
    return np.maximum(sum(w * a[:, :, k] for w, k in zip(weights, taken, strict=True)), 0)


def to_inputs(pixels: Any) -> Any:
    """Keras's "tf" preprocessing, which the small networks have."""
    return (pixels / 127.5 - 1).astype(np.float32)


@pytest.mark.parametrize(
    "options", [MethodOptions(max_channels=3), MethodOptions(max_channels=8, scorecam_masks="minmax")], ids=str
)
def test_equals_one_masked_picture_at_a_time_through_the_whole_network(options: MethodOptions) -> None:
    network = gap_dense()
    pixels = np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE, 3))
    made = engine_at(classifier(network), "auto", TargetSettings(top_k=2), batch_size=4, gradients=False)
    forward = made.explain(to_inputs(pixels))
    maps = raw_maps(SCORECAM, made, forward, options).maps
    kernel, bias = network.get_layer("head").get_weights()
    twin = type(network)(network.input, network.get_layer("gap").output)

    def logits(x: Any) -> Any:
        return twin(x).numpy() @ kernel + bias

    for i, rank in np.ndindex(3, 2):
        target = int(forward.targets[i, rank])
        expected = slow_scorecam(pixels[i], to_inputs, logits, forward.activations[i], target, options)
        np.testing.assert_allclose(maps[i, rank], expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_masked_pictures_fill_the_batches() -> None:
    fake = FakeEngine(batch_size=4, top_k=2)
    inputs = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    forward = fake.explain(inputs)
    together = raw_maps(SCORECAM, fake, forward).maps
    assert fake.calls == [3, *[4] * (3 * CHANNELS // 4), 2]
    for i in range(3):
        alone = raw_maps(SCORECAM, fake, fake.explain(inputs[i : i + 1])).maps
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_black_is_what_a_black_pixel_becomes(name: str) -> None:
    """To dim a picture is to move its input towards black, whatever the preprocessing."""
    preprocessing = PREPROCESSINGS[name]
    pixels = np.full((1, 1, 3), (40, 120, 200), np.uint8)
    black = preprocessing.black(3)
    half = black + 0.5 * (preprocessing(pixels) - black)
    np.testing.assert_allclose(half, preprocessing((pixels // 2).astype(np.uint8)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(black, preprocessing(np.zeros((1, 1, 3), np.uint8))[0, 0])
    if preprocessing.takes(1):
        assert preprocessing.black(1).shape == (1,)
