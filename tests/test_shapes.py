"""The models people really have, each saved to disk first, loaded as the program loads it, and explained."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import DATA
from keras import layers
from nets import SIDE, classifier, convolutions, engine_at

from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import list_layers
from gradcam_cli.errors import ModelError
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings, TargetSettings

Save = Callable[[Any], Path]


@pytest.fixture(params=["keras", "h5"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    def saver(network: Any) -> Path:
        path = tmp_path / f"m.{request.param}"
        network.save(path)
        return path

    return saver


def load(path: Path, output: str | None = None, **settings: Any) -> Classifier:
    wanted = ModelSettings(model=str(path), output_name=output, **settings)
    return load_classifier(locate_model(wanted, lambda *_: None))


def explained(made: Classifier, layer: str = "auto", **options: Any) -> tuple[TensorFlowEngine, Any]:
    engine = engine_at(made, layer, TargetSettings(top_k=options.pop("top_k", 1)), batch_size=2)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *made.input_shape), dtype=np.uint8)
    return engine, engine.explain(inputs_of(made, pixels))


def inputs_of(made: Classifier, pixels: Any) -> Any:
    return np.stack([made.preprocessing(picture) for picture in pixels])


def maps_of(made: Classifier, methods: Sequence[str] = ("gradcam",), layer: str = "auto") -> list[Any]:
    """The maps (N, h, w) by each method. The network is traced once for all of them."""
    engine, forward = explained(made, layer)
    return [raw_maps(METHODS[method], engine, forward).maps[:, 0] for method in methods]


def backbone(name: str = "backbone") -> Any:
    inputs = layers.Input((SIDE, SIDE, 3))
    return keras.Model(inputs, convolutions(inputs), name=name)


def head(x: Any, classes: int = 4, activation: str | None = "softmax") -> Any:
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    return layers.Dense(classes, activation=activation, name="predictions")(layers.Dropout(0.3)(x))


def fine_tuned(inner: Any | None = None) -> Any:
    """The commonest of all: augmentation and Rescaling in front, a nested backbone, a small head."""
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.RandomRotation(0.1)(layers.RandomFlip()(inputs))
    x = layers.Rescaling(1 / 127.5, -1)(x)
    return keras.Model(inputs, head((inner or backbone())(x, training=False)))


def flat_twin(nested: Any) -> Any:
    """The same computation with the same weights as one flat network."""
    inputs = layers.Input((SIDE, SIDE, 3))
    flat = keras.Model(inputs, head(convolutions(layers.Rescaling(1 / 127.5, -1)(inputs))))
    flat.set_weights(nested.get_weights())
    return flat


def test_a_nested_backbone_and_its_flat_twin_give_the_same_map(save: Save) -> None:
    keras.utils.set_random_seed(1)
    nested = fine_tuned()
    made = load(save(nested))
    assert made.preprocessing.name == "none"
    assert not made.preprocess_guessed
    engine, _ = explained(made)
    assert engine.layer.path == "backbone/last"
    assert engine.head.weights is not None
    flat = classifier(flat_twin(nested))
    methods = ("gradcam", "gradcam++", "gradcam++-softmax", "cam")
    for layer, compared in (("last", methods), ("first", methods[:-1])):
        outer_engine = engine_at(flat, layer, TargetSettings(), batch_size=2)
        pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
        forward = outer_engine.explain(inputs_of(made, pixels))
        for method, inner in zip(compared, maps_of(made, compared, layer), strict=True):
            outer = raw_maps(METHODS[method], outer_engine, forward).maps[:, 0]
            assert np.abs(inner - outer).max() <= 1e-5 * outer.max()


def test_two_levels_of_nesting(save: Save) -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    middle = keras.Model(inputs, layers.Activation("relu", name="after")(backbone("inner")(inputs)), name="middle")
    engine, _ = explained(load(save(fine_tuned(middle))))
    assert engine.layer.path == "middle/after"
    engine, _ = explained(load(save(fine_tuned(middle))), "middle/inner/second")
    assert engine.layer.path == "middle/inner/second"


def test_sequential_around_functional_and_functional_around_sequential(save: Save) -> None:
    around = keras.Sequential(
        [layers.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), backbone(), layers.GlobalAveragePooling2D(),
         layers.Dense(1, activation="sigmoid")]
    )  # fmt: skip
    engine, forward = explained(load(save(around)))
    assert engine.layer.path == "backbone/last"
    assert (engine.head.kind, forward.logits.shape) == ("binary", (2, 2))
    stack = keras.Sequential(
        [layers.Input((SIDE, SIDE, 3)), layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(5, 3, name="top")],
        name="stack",
    )
    engine, _ = explained(load(save(fine_tuned(stack))))
    assert engine.layer.path == "stack/top"


def test_a_sequential_saved_loaded_and_saved_again(save: Save, tmp_path: Path) -> None:
    network = keras.Sequential([layers.Conv2D(4, 3, name="only"), layers.GlobalAveragePooling2D(), layers.Dense(3)])
    network.build((None, SIDE, SIDE, 3))
    again = keras.models.load_model(save(network))
    again.save(tmp_path / "again.keras")
    assert explained(load(tmp_path / "again.keras"))[0].layer.path == "only"


class Own(keras.Model):  # type: ignore[misc]
    """Subclassed: nobody knows what it does until it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = layers.Conv2D(5, 3, name="convolution")
        self.inner = backbone()
        self.dense = layers.Dense(3, name="dense")

    def call(self, inputs: Any) -> Any:
        maps = tf.nn.relu(self.convolution(self.inner(inputs)))
        return tf.nn.softmax(self.dense(tf.reduce_mean(maps, axis=(1, 2))))


def test_a_subclassed_model_by_a_call() -> None:
    engine, forward = explained(classifier(Own()))
    assert engine.layer.path == "convolution"
    assert engine.head.kind == "softmax"
    assert forward.gradients.any()


def test_a_subclassed_model_from_a_file_is_refused_with_a_way_out(tmp_path: Path) -> None:
    network = Own()
    network(np.zeros((1, SIDE, SIDE, 3), np.float32))
    network.save(tmp_path / "own.keras")
    with pytest.raises(ModelError, match="not part of Keras"):
        load(tmp_path / "own.keras")


def shared() -> Any:
    """One backbone called twice, on the picture and on its mirror image."""
    inner = backbone("shared")
    inputs = layers.Input((SIDE, SIDE, 3))
    first, second = inner(inputs), inner(layers.Rescaling(-1.0, 255.0)(inputs))
    pooled = [layers.GlobalAveragePooling2D()(x) for x in (first, second)]
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Concatenate()(pooled)))


def test_a_layer_called_twice(save: Save) -> None:
    made = load(save(shared()))
    engine, last = explained(made)
    assert engine.layer.path == "shared/last"
    assert "the last of its 2 calls" in engine.layer.reason
    engine, first = explained(made, "shared/last@0")
    assert "its call 0" in engine.layer.reason
    assert np.abs(first.activations - last.activations).max() > 0.1
    assert np.array_equal(explained(made, "shared/last@1")[1].activations, last.activations)
    with pytest.raises(ModelError, match="@0, @1"):
        explained(made, "shared/last@2")
    assert {row.path: row.calls for row in list_layers(made)}["shared/last"] == 2


def test_inputs_without_a_value_are_refused(save: Save) -> None:
    a, b = layers.Input((SIDE, SIDE, 3)), layers.Input((4,))
    network = keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([layers.GlobalAveragePooling2D()(a), b])))
    made = load(save(network), preprocess="none")
    with pytest.raises(ModelError, match="besides the image"):
        made.check_inputs()


def test_one_of_several_outputs(save: Save) -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(convolutions(inputs))
    outputs = [
        layers.Dense(3, name="kind", activation="softmax")(x),
        layers.Dense(2, name="size", activation="softmax")(x),
    ]
    path = save(keras.Model(inputs, outputs))
    with pytest.raises(ModelError, match="`output_name`: kind, size"):
        explained(load(path))
    assert explained(load(path, output="kind"))[1].logits.shape == (2, 3)
    assert explained(load(path, output="size"))[1].logits.shape == (2, 2)
    with pytest.raises(ModelError, match="no output 'colour'"):
        explained(load(path, output="colour"))


def test_outputs_in_a_dict() -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(convolutions(inputs))
    network = keras.Model(inputs, {"kind": layers.Dense(3)(x), "size": layers.Dense(2)(x)})
    assert explained(classifier(network, output="size"))[1].logits.shape == (2, 2)


HEADS: dict[str, Callable[[Any], Any]] = {
    "softmax": head,
    "no activation": lambda x: head(x, activation=None),
    "Activation layer": lambda x: layers.Activation("softmax")(head(x, activation=None)),
    "Softmax layer": lambda x: layers.Softmax()(head(x, activation=None)),
    "ops.softmax": lambda x: keras.ops.softmax(head(x, activation=None)),
    "VGG": lambda x: layers.Dense(4, activation="softmax")(layers.Dense(9, activation="relu")(layers.Flatten()(x))),
    "ConvNeXt": lambda x: layers.Dense(4)(layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))),
    "max pooling": lambda x: layers.Dense(4, activation="softmax")(layers.GlobalMaxPooling2D()(x)),
    "SqueezeNet": lambda x: layers.Activation("softmax")(
        layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, activation="relu", name="classes")(x))
    ),
    "MobileNetV3": lambda x: layers.Activation("softmax")(
        layers.Flatten()(layers.Conv2D(4, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x)))
    ),
    "attention pooling": lambda x: layers.Dense(4, activation="softmax")(
        layers.Flatten()(
            layers.Dot(axes=1)(
                [
                    layers.Softmax(axis=1)(layers.Dense(1)(layers.Reshape((64, 8))(x))),
                    layers.Reshape((64, 8))(x),
                ]
            )
        )
    ),
    "multi-label": lambda x: head(x, activation="sigmoid"),
}
DENSE = {"softmax", "no activation", "Activation layer", "Softmax layer", "ops.softmax", "MobileNetV3", "multi-label"}


@pytest.mark.parametrize("name", HEADS)
def test_heads(save: Save, name: str) -> None:
    keras.utils.set_random_seed(3)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    network = keras.Model(inputs, HEADS[name](convolutions(x)))
    made = load(save(network))
    engine, forward = explained(made, top_k=4)
    assert engine.layer.path == ("classes" if name == "SqueezeNet" else "last")
    assert (engine.head.weights is not None) == (name in DENSE)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    answer = network(pixels.astype(np.float32)).numpy()
    linear = engine.head.kind == "linear"
    scores = forward.logits if linear else engine.head.probabilities(forward.logits)
    np.testing.assert_allclose(scores, answer.reshape(2, 4), rtol=1e-4, atol=1e-6)
    for method in METHODS:
        if method != "cam" or name in DENSE:
            assert np.isfinite(raw_maps(METHODS[method], engine, forward).maps).all(), method
    ours = np.stack([forward.gradients[i, np.argsort(forward.targets[i])] for i in range(2)])
    theirs = taped_gradients(made, engine, pixels)
    if engine.head.kind == "softmax":
        # Of a softmax only differences of logits can be had from outside: log p_c - log p_0.
        ours = ours - ours[:, :1]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * np.abs(theirs).max())


def taped_gradients(made: Classifier, engine: TensorFlowEngine, pixels: Any) -> Any:
    """The gradients of all classes (N, classes, h, w, K) by splitting the network and taping, as textbooks do."""
    network = made.network
    split = keras.Model(network.input, [network.get_layer(engine.layer.path).output, network.output])
    x = tf.constant(pixels, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        activations, output = split(x)
        output = tf.reshape(output, (len(pixels), -1))
        if engine.head.kind == "softmax":
            output = tf.math.log(output) - tf.math.log(output[:, :1])
        if engine.head.kind == "sigmoid":
            output = tf.math.log(output) - tf.math.log1p(-output)
        scores = [output[:, i] for i in range(output.shape[1])]
    return np.stack([tape.gradient(score, activations).numpy() for score in scores], axis=1)


def in_channels_first(build: Callable[[], Any]) -> Any:
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        return build()
    finally:
        keras.config.set_image_data_format(before)


def test_channels_first(tmp_path: Path) -> None:
    def build() -> Any:
        keras.utils.set_random_seed(4)
        inputs = layers.Input((3, SIDE, SIDE))
        return keras.Model(inputs, head(convolutions(layers.Rescaling(1 / 255)(inputs))))

    first = in_channels_first(build)
    first.save(tmp_path / "first.keras")
    inputs = layers.Input((SIDE, SIDE, 3))
    last = keras.Model(inputs, head(convolutions(layers.Rescaling(1 / 255)(inputs))))
    last.set_weights(first.get_weights())
    last.save(tmp_path / "last.keras")
    made = load(tmp_path / "first.keras")
    assert made.input_shape == (SIDE, SIDE, 3)
    methods = ("gradcam", "gradcam++", "cam")
    for ours, theirs in zip(maps_of(made, methods), maps_of(load(tmp_path / "last.keras"), methods), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.max())
    assert explained(made)[0].layer.path == "last"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("layer", ["auto", "first"])
def test_mixed_precision_is_near_float32(tmp_path: Path, policy: str, layer: str) -> None:
    def build() -> Any:
        keras.utils.set_random_seed(5)
        return fine_tuned()

    plain = build()
    plain.save(tmp_path / "plain.keras")
    keras.config.set_dtype_policy(policy)
    try:
        mixed = build()
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(plain.get_weights())
    mixed.save(tmp_path / "mixed.keras")
    made = load(tmp_path / "mixed.keras")
    assert explained(made)[0].precision == policy.removeprefix("mixed_")
    methods = ("gradcam", "gradcam++")
    plain_maps = maps_of(load(tmp_path / "plain.keras"), methods, layer)
    for ours, theirs in zip(maps_of(made, methods, layer), plain_maps, strict=True):
        assert ours.dtype == np.float32
        for a, b in zip(ours, theirs, strict=True):
            assert not b.any() or np.corrcoef(a.ravel(), b.ravel())[0, 1] >= 0.99


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_four_channels(save: Save, channels: int) -> None:
    inputs = layers.Input((SIDE, SIDE, channels))
    made = load(save(keras.Model(inputs, head(convolutions(layers.Rescaling(1 / 255)(inputs))))))
    assert made.input_shape == (SIDE, SIDE, channels)
    assert explained(made)[1].logits.shape == (2, 4)
    with pytest.raises(ModelError, match="three channels"):
        load(save(keras.Model(inputs, head(convolutions(inputs)))), preprocess="caffe")


def test_open_sizes(save: Save) -> None:
    inputs = layers.Input((None, None, 3))
    path = save(keras.Model(inputs, head(convolutions(layers.Rescaling(1 / 255)(inputs)))))
    assert load(path).input_shape == (224, 224, 3)
    engine, _ = explained(load(path, input_size=(20, 28)))
    assert (engine.layer.height, engine.layer.width) == (10, 14)
    with pytest.raises(ModelError, match="does not accept 32x32"):
        load(save(fine_tuned()), input_size=(32, 32))


def test_a_normalization_adapted_to_data(save: Save) -> None:
    data = np.random.default_rng(0).uniform(0, 255, (50, SIDE, SIDE, 3)).astype(np.float32)
    normalization = layers.Normalization()
    normalization.adapt(data)
    inputs = layers.Input((SIDE, SIDE, 3))
    network = keras.Model(inputs, head(convolutions(normalization(inputs))))
    made = load(save(network))
    assert made.preprocessing.name == "none"
    assert not made.preprocess_guessed
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    engine, forward = explained(made)
    np.testing.assert_allclose(
        engine.head.probabilities(forward.logits), network(pixels.astype(np.float32)).numpy(), rtol=1e-4
    )


def transformer(pool: str, prefix: int, post_norm: bool = False) -> Any:
    """A small ViT from Keras layers: 4 x 4 patches of a 16 x 16 picture, class tokens, two blocks."""
    keras.utils.set_random_seed(6)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(12, 4, strides=4, name="patches")(x)
    x = layers.Reshape((16, 12))(x)
    if prefix:
        first = layers.Dense(12, name="class_token")(layers.GlobalAveragePooling1D(keepdims=True)(x))
        x = layers.Concatenate(axis=1)([first] * prefix + [x])
    for block in range(2):
        y = x if post_norm else layers.LayerNormalization(name=f"block{block}_norm1")(x)
        y = layers.MultiHeadAttention(3, 4, name=f"block{block}_attention")(y, y)
        x = layers.Add(name=f"block{block}_add1")([x, y])
        if post_norm:
            x = layers.LayerNormalization(name=f"block{block}_norm1")(x)
        y = layers.LayerNormalization(name=f"block{block}_norm2")(x)
        y = layers.Dense(12, name=f"block{block}_mlp2")(layers.Dense(24, activation="gelu")(y))
        x = layers.Add(name=f"block{block}_add2")([x, y])
    x = layers.LayerNormalization(name="norm")(x)
    pooled = x[:, 0] if pool == "token" else layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(pooled))


@pytest.mark.parametrize(("pool", "prefix"), [("token", 1), ("token", 2), ("mean", 0)])
def test_a_transformer_is_explained_at_the_last_attentions_input(tmp_path: Path, pool: str, prefix: int) -> None:
    transformer(pool, prefix).save(tmp_path / "vit.keras")
    made = load(tmp_path / "vit.keras")
    engine, forward = explained(made)
    assert engine.layer.path == "block1_norm1"
    assert (engine.layer.height, engine.layer.width) == (4, 4)
    assert "attention" in engine.layer.reason
    assert forward.activations.shape == (2, 4, 4, 12)
    assert (np.abs(forward.gradients[:, 0]).max(axis=3) > 0).all(), "every token of the picture has a gradient"
    # Row after row, and without the tokens in front: against the layer's own output.
    tokens = keras.Model(made.network.input, made.network.get_layer("block1_norm1").output)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    raw = tokens(pixels.astype(np.float32)).numpy()
    assert raw.shape[1] == 16 + prefix
    for i in range(4):
        for j in range(4):
            np.testing.assert_allclose(forward.activations[:, i, j], raw[:, prefix + 4 * i + j], rtol=1e-3, atol=1e-4)


def test_behind_the_last_attention_only_the_class_token_lives(tmp_path: Path) -> None:
    transformer("token", 1).save(tmp_path / "vit.keras")
    _, forward = explained(load(tmp_path / "vit.keras"), "norm")
    assert not forward.gradients.any()
    notes = {row.path: row.note for row in list_layers(load(tmp_path / "vit.keras"))}
    assert notes["block1_norm1"] == "chosen"
    assert notes["norm"] == "after the last attention layer"
    assert notes["patches"] == "earlier"


def test_a_transformer_that_normalises_afterwards(tmp_path: Path) -> None:
    transformer("token", 1, post_norm=True).save(tmp_path / "vit.keras")
    assert explained(load(tmp_path / "vit.keras"))[0].layer.path == "block0_add2"


def test_attention_with_one_query_is_a_head_and_no_transformer(tmp_path: Path) -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    maps = convolutions(inputs)
    tokens = layers.Reshape((64, 8))(maps)
    query = layers.GlobalAveragePooling1D(keepdims=True)(tokens)
    pooled = layers.Flatten()(layers.MultiHeadAttention(2, 4)(query, tokens))
    keras.Model(inputs, layers.Dense(3)(pooled)).save(tmp_path / "m.keras")
    assert explained(load(tmp_path / "m.keras"))[0].layer.path == "last"


def test_quantised_weights(tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    plain = fine_tuned()
    plain.save(tmp_path / "plain.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tells of every layer that has no weights to quantise
        plain.quantize("int8")
    plain.save(tmp_path / "int8.keras")
    made = load(tmp_path / "int8.keras")
    engine, _ = explained(made)
    assert engine.layer.path == "backbone/last"
    # The quantised head is no plain matrix any more: its gradient is taken, and is near the one it stands for.
    assert engine.head.weights is None
    (ours,), (theirs,) = maps_of(made), maps_of(load(tmp_path / "plain.keras"))
    for a, b in zip(ours, theirs, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    assert all("quantized_call" not in layer.__dict__ for layer in made.network.layers)


@pytest.mark.parametrize(
    ("pattern", "path"), [("*/last", "backbone/last"), ("backbone/p*", "backbone/pool"), ("second", "backbone/second")]
)
def test_patterns_that_fit_once(save: Save, pattern: str, path: str) -> None:
    assert explained(load(save(fine_tuned())), pattern)[0].layer.path == path


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("backbone/*", "matches 4 layers"), ("*/nosuch", "no layer"), ("backbone/secnod", "backbone/second")],
)
def test_patterns_that_do_not(save: Save, pattern: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        explained(load(save(fine_tuned())), pattern)


def with_preprocess_input() -> Any:
    """As Keras's own guide does it: the application's preprocess_input as bare operations in the network."""
    inputs = layers.Input((SIDE, SIDE, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(inputs)
    return keras.Model(inputs, head(backbone()(x)))


def renamed(name: str) -> Any:
    """A network with the name of a family. Its outputs are logits, so their certainty decides no guess."""
    keras.utils.set_random_seed(8)
    inputs = layers.Input((SIDE, SIDE, 3))
    return keras.Model(inputs, head(backbone(name)(inputs), activation=None))


@pytest.mark.parametrize(
    ("build", "name", "guessed"),
    [
        (fine_tuned, "none", False),
        (lambda: renamed("mobilenetv2_1.00_96"), "tf", True),
        (lambda: renamed("resnet50"), "caffe", True),
        (lambda: renamed("resnet50v2"), "tf", True),
        (lambda: renamed("densenet121"), "torch", True),
        (lambda: renamed("efficientnetv2-b0"), "unit", True),
        (lambda: renamed("NASNet"), "tf", True),
        (lambda: renamed("mine"), "unit", True),
    ],
    ids=[
        "rescaling",
        "mobilenetv2",
        "resnet50",
        "resnet50v2",
        "densenet",
        "efficientnet",
        "nasnet",
        "unknown",
    ],
)
def test_preprocessing_is_found_out(save: Save, build: Callable[[], Any], name: str, guessed: bool) -> None:
    made = load(save(build()))
    assert made.preprocess_guessed == guessed
    assert made.preprocessing.name == name
    assert made.warnings == ()


def test_an_assumed_order_of_the_channels_is_told_once(save: Save) -> None:
    """The first kernels see grey, so that the batch statistics show the range, and nothing of the order."""
    from gradcam_cli.models.sample_pictures import sample_pictures

    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 1, use_bias=False, name="first")(inputs)
    network = keras.Model(inputs, head(layers.BatchNormalization(name="memory")(x)))
    kernel = np.repeat([[[[1.0, -1.0, 0.5, 2.0]]]], 3, axis=2)
    network.get_layer("first").set_weights([kernel])
    met = (sample_pictures(SIDE, SIDE, 3) / 255) @ kernel[0, 0]
    memory = network.get_layer("memory")
    memory.moving_mean.assign(met.mean((0, 1, 2)))
    memory.moving_variance.assign(met.var((0, 1, 2)))
    made = load(save(network))
    assert (made.preprocessing.name, made.preprocess_guessed) == ("unit", False)
    assert made.notes == (f"preprocess 'unit': {made.preprocess_reason}",)
    assert "RGB is assumed" in made.preprocess_reason


def test_operations_in_front_mean_raw_numbers(tmp_path: Path) -> None:
    with_preprocess_input().save(tmp_path / "m.keras")
    made = load(tmp_path / "m.keras")
    assert (made.preprocessing.name, made.preprocess_guessed) == ("none", False)
    network = with_preprocess_input()
    network.save(tmp_path / "m.h5")
    again = load(tmp_path / "m.h5")
    assert (again.preprocessing.name, again.preprocess_guessed) == ("none", False)
    pictures = np.random.default_rng(0).uniform(0, 255, (2, *again.input_shape)).astype(np.float32)
    assert np.array_equal(network(pictures), again.network(pictures))


def test_operations_with_the_names_of_layers_load_from_h5(tmp_path: Path) -> None:
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(keras.ops.subtract(inputs / 127.5, 1.0))
    x = keras.layers.Subtract()([x, keras.layers.Conv2D(4, 1)(x)])
    x = keras.ops.relu(keras.ops.add(x, 0.5))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(inputs, keras.ops.softmax(x))
    network.save(tmp_path / "m.h5")
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    assert np.array_equal(network(pictures), load(tmp_path / "m.h5").network(pictures))


def test_a_flat_backbone_is_known_by_its_layers(save: Save) -> None:
    inner = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35)
    network = keras.Model(inner.input, head(inner.output))
    assert load(save(network)).preprocessing.name == "tf"


def test_a_range_that_looks_wrong_is_told(save: Save) -> None:
    path = save(fine_tuned())
    (warning,) = load(path, preprocess="unit").warnings
    assert "0 to 1" in warning
    assert "0 to 255" in warning
    for chosen in ("none", "unit", "caffe"):
        assert load(save(renamed("resnet50")), preprocess=chosen).warnings == ()


def test_labels_beside_the_model(save: Save) -> None:
    path = save(fine_tuned())
    assert len(load(path).labels) == 0
    for beside in (path.with_suffix(".labels.json"), Path(f"{path}.labels.json")):
        beside.write_text('{"labels": ["ant", "bee", "cow", "dog"]}')
        label = load(path).labels.get(2)
        assert label is not None
        assert label.name == "cow"
        beside.unlink()


# Written by tf_keras 2.21 (Keras 2), with its own answer to the same pixels.
KERAS_2 = {
    "keras2_backbone.h5": [
        [0.35532769560813904, 0.3426864445209503, 0.3019859194755554],
        [0.3570384979248047, 0.34231671690940857, 0.30064481496810913],
    ],
    "keras2_sequential.h5": [[0.968643069267273, 0.03135688975453377], [0.9986454844474792, 0.0013544699177145958]],
    "keras2_backbone_in_sequential.h5": [
        [-0.16128283739089966, -0.15747486054897308],
        [-0.15914377570152283, -0.15318389236927032],
    ],
    "keras2_sequential_head.h5": [
        [0.34128743410110474, 0.4143175184726715, 0.24439501762390137],
        [0.34138551354408264, 0.413808673620224, 0.24480575323104858],
    ],
    "keras2_shared.h5": [[0.05202281475067139, -0.37181487679481506], [0.051722392439842224, -0.3720511794090271]],
}


@pytest.mark.parametrize("name", KERAS_2)
def test_files_of_keras_2(name: str) -> None:
    made = load(DATA / name, preprocess="none")
    engine, forward = explained(made)
    linear = engine.head.kind == "linear"
    answer = forward.logits if linear else engine.head.probabilities(forward.logits)
    np.testing.assert_allclose(answer, KERAS_2[name], rtol=1e-4)
