"""Write small model files with an old Keras, and the predictions that this Keras makes.

Run it with the Python of an environment that has the wanted version:

    python make_zoo.py tensorflow.keras tests/data/zoo/tf215.tar.xz      (TensorFlow 1.15 to 2.15, as tensorflow.keras)
    python make_zoo.py keras tests/data/zoo/keras224.tar.xz              (Keras 2.0 to 2.3 by itself, and Keras 3)
    python make_zoo.py tf_keras tests/data/zoo/tf_keras.tar.xz           (tf_keras)

Names of models after that make those alone. The archive holds the models, `predictions.npz` (the input `x`, and the
prediction of each model by its name), and `versions.json`. A model that a version cannot build or save is left out,
and said so. It runs with Python 3.6 to 3.13.
"""

import importlib
import json
import os
import sys
import tarfile
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

SIDE = 16
PACKAGE, TARGET = sys.argv[1:3]
WANTED = sys.argv[3:]
k = importlib.import_module(PACKAGE)
L, K = k.layers, k.backend
try:
    import tensorflow as tf
except ImportError:
    tf = None
# tensorflow.keras has TensorFlow's number where it has none of its own.
VERSION = getattr(k, "__version__", None) or tf.__version__
NUMBER = tuple(int(part) for part in VERSION.split("-")[0].split(".")[:2])


def preprocessing(name):
    """A layer by the place where this version has it."""
    if hasattr(L, name):
        return getattr(L, name)
    return getattr(L.experimental.preprocessing, name)


def sequential():
    return k.models.Sequential(
        [
            L.Conv2D(4, 3, activation="relu", input_shape=(SIDE, SIDE, 3), kernel_initializer="he_normal"),
            L.BatchNormalization(),
            L.MaxPooling2D((2, 2)),
            L.Conv2D(4, (3, 3), padding="same", kernel_regularizer=k.regularizers.l2(0.001)),
            L.LeakyReLU(0.1),
            L.AveragePooling2D(),
            L.Dropout(0.25),
            L.Flatten(),
            L.Dense(6, activation="tanh", kernel_constraint=k.constraints.MaxNorm(3.0)),
            L.Dense(3, activation="softmax"),
        ]
    )


def backbone(name="backbone", channels=3):
    i = L.Input((SIDE, SIDE, channels))
    x = L.Conv2D(4, 3, padding="same", name=name + "_conv")(i)
    x = L.BatchNormalization(name=name + "_bn")(x)
    x = L.Activation("relu", name=name + "_relu")(x)
    y = L.Conv2D(4, 3, padding="same", name=name + "_conv2")(x)
    y = L.BatchNormalization(name=name + "_bn2")(y)
    return k.models.Model(i, L.add([x, y]), name=name)


def functional():
    i = L.Input((SIDE, SIDE, 3))
    x = L.ZeroPadding2D(1)(i)
    x = L.Conv2D(4, 3, strides=2)(x)
    x = L.BatchNormalization(axis=-1, scale=False)(x)
    x = L.ELU(0.5)(x)
    y = L.Conv2D(4, 1, use_bias=False)(x)
    x = L.concatenate([L.add([x, y]), L.average([x, y]), L.multiply([x, y]), L.maximum([x, y])])
    x = L.Cropping2D(1)(x)
    x = L.UpSampling2D(2)(x)
    g = L.GlobalAveragePooling2D()(x)
    s = L.Dense(16, activation="sigmoid")(L.Reshape((1, 1, 16))(g))
    x = L.multiply([x, s])
    x = L.GlobalMaxPooling2D()(x)
    return k.models.Model(i, L.Dense(3, activation="softmax")(x))


def deep_layers():
    i = L.Input((SIDE, SIDE, 3))
    x = L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, activation="relu")(i)
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    if hasattr(L, "DepthwiseConv2D"):
        x = L.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(x)
    x = L.Conv2DTranspose(4, 2, padding="valid")(x)
    x = L.SpatialDropout2D(0.2)(x)
    x = L.GaussianNoise(0.1)(x)
    x = L.GaussianDropout(0.1)(x)
    x = L.AlphaDropout(0.1)(x)
    x = L.ActivityRegularization(0.01)(x)
    x = L.PReLU(shared_axes=[1, 2], alpha_initializer="glorot_uniform")(x)
    x = L.PReLU(alpha_initializer="glorot_uniform")(x)
    x = L.ThresholdedReLU(0.01)(x)
    if hasattr(L, "ReLU"):
        x = L.ReLU(6.0, negative_slope=0.1, threshold=0.005)(x)
    if hasattr(L, "Softmax"):
        x = L.Softmax(axis=3)(x)
    x = L.Permute((2, 1, 3))(x)
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def softmax_axes():
    i = L.Input((SIDE, SIDE, 3))
    x = L.Softmax(axis=[3])(L.Conv2D(4, 3)(i))
    x = L.BatchNormalization(axis=[3])(x)
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def activations():
    i = L.Input((SIDE, SIDE, 3))
    found = []
    names = "relu selu elu softplus softsign tanh sigmoid hard_sigmoid linear exponential swish gelu mish relu6 silu"
    for name in [*names.split(), "leaky_relu"]:
        if hasattr(k.activations, name):
            found.append(L.Activation(name)(L.Conv2D(2, 5, strides=4)(L.Activation("tanh")(L.Conv2D(2, 1)(i)))))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.Flatten()(L.concatenate(found))))


def tensorflow_activations():
    i = L.Input((SIDE, SIDE, 3))
    found = [L.Conv2D(3, 5, strides=4, activation=f)(i) for f in (tf.nn.relu, tf.nn.relu6, tf.nn.tanh, tf.nn.swish)]
    found.append(L.Conv2D(3, 5, strides=4, activation=tf.nn.leaky_relu)(i))
    return k.models.Model(i, L.Dense(3, activation=tf.nn.softmax)(L.Flatten()(L.concatenate(found))))


def hard_sigmoid_layers():
    i = L.Input((SIDE, SIDE, 3))
    x = L.Conv2D(4, 3, activation="hard_sigmoid", use_bias=True, bias_initializer="ones")(i)
    x = L.Dense(3, activation="hard_sigmoid")(L.GlobalAveragePooling2D()(x))
    return k.models.Model(i, x)


def nested():
    b = backbone()
    b.trainable = False
    i = L.Input((SIDE, SIDE, 3))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(b(i))))


def partly_frozen():
    b = backbone()
    for layer in b.layers[:3]:
        layer.trainable = False
    i = L.Input((SIDE, SIDE, 3))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(b(i))))


def nested_in_sequential():
    return k.models.Sequential([backbone(), L.GlobalAveragePooling2D(), L.Dense(3, activation="softmax")])


def flatten_behind_backbone():
    b = backbone()
    x = L.Dense(3, activation="softmax")(L.Flatten()(b.output))
    return k.models.Model(b.input, x)


def teachable():
    features = k.models.Sequential([backbone(), L.GlobalAveragePooling2D()])
    head = k.models.Sequential(
        [L.Dense(5, activation="relu", input_shape=(4,)), L.Dense(3, use_bias=False, activation="softmax")]
    )
    return k.models.Sequential([features, head])


def nested_twice():
    b = backbone("inner")
    i = L.Input((SIDE, SIDE, 3))
    middle = k.models.Model(i, L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(b(i))), name="middle")
    j = L.Input((SIDE, SIDE, 3))
    return k.models.Model(j, L.Dense(3, activation="softmax")(middle(L.Activation("tanh")(j))))


def shared():
    b = backbone()
    i = L.Input((SIDE, SIDE, 3))
    x = L.average([b(i), b(L.Activation("tanh")(i))])
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def deferred_sequential():
    inner = k.models.Sequential([L.Conv2D(4, 3), L.BatchNormalization(), L.Activation("relu")])
    i = L.Input((SIDE, SIDE, 3))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(inner(inner_in(i)))))


def inner_in(i):
    return L.Conv2D(3, 1)(i)


def built_sequential():
    m = k.models.Sequential([L.Conv2D(4, 3), L.MaxPooling2D(), L.Flatten(), L.Dense(3, activation="softmax")])
    m.build((None, SIDE, SIDE, 3))
    m(np.zeros((1, SIDE, SIDE, 3), "float32"))
    return m


def fixed_batch():
    m = k.models.Sequential([L.Conv2D(4, 3, batch_input_shape=(2, SIDE, SIDE, 3)), L.Flatten(), L.Dense(3)])
    return m


def augmented():
    names = "RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast RandomBrightness"
    layers = [preprocessing("RandomFlip")("horizontal")]
    for name in names.split()[1:]:
        try:
            layer = preprocessing(name)
        except AttributeError:
            continue
        layers.append(layer((0.0, 0.2), (0.0, 0.1)) if name == "RandomTranslation" else layer(0.1))
    aug = k.models.Sequential(layers, name="augmentation")
    i = L.Input((SIDE, SIDE, 3))
    x = preprocessing("Rescaling")(1.0 / 127.5, offset=-1)(aug(i))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(backbone()(x))))


def augmented_sequential():
    return k.models.Sequential(
        [
            preprocessing("RandomFlip")("horizontal", input_shape=(SIDE, SIDE, 3)),
            preprocessing("RandomRotation")(0.1, fill_mode="nearest"),
            preprocessing("RandomZoom")(0.1),
            preprocessing("Rescaling")(1.0 / 255),
            L.Conv2D(4, 3),
            L.Flatten(),
            L.Dense(3),
        ]
    )


def random_sides():
    i = L.Input((SIDE, SIDE, 3))
    x = preprocessing("RandomWidth")(0.2)(preprocessing("RandomHeight")(0.2)(i))
    x = preprocessing("Resizing")(12, 12)(x)
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.Flatten()(L.Conv2D(2, 3)(x))))


def pictures():
    i = L.Input((SIDE, SIDE, 3))
    x = preprocessing("Resizing")(20, 18)(i)
    x = preprocessing("CenterCrop")(14, 15)(x)
    n = preprocessing("Normalization")()
    n.adapt(np.random.RandomState(3).uniform(0, 255, (4, 14, 15, 3)).astype("float32"))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.Flatten()(L.Conv2D(2, 3)(n(x)))))


def random_crop():
    i = L.Input((SIDE, SIDE, 3))
    x = preprocessing("RandomCrop")(7, 10)(i)
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.Flatten()(L.Conv2D(2, 3)(x))))


def backend_calls():
    def change(x):
        x = K.clip(x, 0.0, 200.0) / 255.0
        m = K.mean(x, axis=[1, 2], keepdims=True)
        x = K.concatenate([x - m, K.sqrt(K.square(x) + 0.1), K.sigmoid(x)], axis=-1)
        x = K.l2_normalize(x, axis=-1) + K.expand_dims(K.max(x, axis=-1), -1) + K.softmax(x)
        return (
            k.activations.relu(x) + k.activations.tanh(x) + K.relu(x) + K.abs(x) + K.exp(x) + K.maximum(x, m[..., :1])
        )

    return arithmetic(change)


def upsampled():
    i = L.Input((SIDE, SIDE, 3))
    x = L.UpSampling2D(2, interpolation="bilinear")(L.Conv2D(2, 3)(i))
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.Flatten()(L.Conv2D(2, 3, strides=3)(x))))


def normalised():
    i = L.Input((SIDE, SIDE, 3))
    x = L.LayerNormalization()(L.Conv2D(4, 3)(i))
    if hasattr(L, "GroupNormalization"):
        x = L.UnitNormalization()(L.GroupNormalization(2)(x))
        x = L.BatchNormalization(synchronized=True)(x)
    if hasattr(L, "experimental") and hasattr(L.experimental, "SyncBatchNormalization"):
        x = L.experimental.SyncBatchNormalization()(x)
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def attention():
    i = L.Input((SIDE, SIDE, 3))
    x = L.Reshape((16, 8))(L.Conv2D(8, 4, strides=4)(i))
    y = L.LayerNormalization()(x)
    x = L.add([x, L.MultiHeadAttention(2, 4)(y, y)])
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(x)))


def locally_connected():
    i = L.Input((SIDE, SIDE, 3))
    x = L.LocallyConnected2D(4, 3, strides=2, activation="relu", bias_initializer="he_normal")(i)
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def mixed_precision():
    policies = k.mixed_precision if hasattr(k.mixed_precision, "set_global_policy") else k.mixed_precision.experimental
    choose = getattr(policies, "set_global_policy", None) or policies.set_policy
    choose("mixed_float16")
    try:
        i = L.Input((SIDE, SIDE, 3))
        x = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(i))
        x = L.Dense(3)(L.GlobalAveragePooling2D()(x))
        return k.models.Model(i, L.Activation("softmax", dtype="float32")(x))
    finally:
        choose("float32")


def arithmetic(change):
    i = L.Input((SIDE, SIDE, 3))
    x = L.Conv2D(4, 3)(change(i))
    return k.models.Model(i, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


def preprocess(module):
    return arithmetic(getattr(k.applications, module).preprocess_input)


def preprocess_tf():
    return preprocess("mobilenet_v2")


def preprocess_caffe():
    return preprocess("resnet50")


def preprocess_torch():
    return preprocess("densenet")


def preprocess_before_backbone():
    i = L.Input((SIDE, SIDE, 3))
    x = k.applications.mobilenet_v2.preprocess_input(i)
    x = backbone()(x, training=False)
    return k.models.Model(i, L.Dense(3)(L.Dropout(0.2)(L.GlobalAveragePooling2D()(x))))


def operators():
    return arithmetic(lambda x: (255.0 - x) / 2.0 * 0.01 + x * 0.5 - 1.0 - (-x) / 100.0)


def slices():
    return arithmetic(lambda x: tf.concat([x[..., ::-1], x[:, 2:, 1:-1, :1][:, :, ::1] * 2.0][:1] + [x[..., 0:1]], -1))


def crop_slice():
    return arithmetic(lambda x: x[:, 2:14, 1:-1, 0:2])


def one_channel():
    return arithmetic(lambda x: tf.expand_dims(x[..., 1], -1))


def tensorflow_calls():
    def change(x):
        x = tf.cast(x, tf.float32) / 255.0
        x = tf.math.subtract(tf.math.multiply(x, 2.0), 1.0)
        x = tf.math.add(x, tf.constant([0.1, 0.2, 0.3]))
        y = tf.nn.relu(x) + tf.nn.sigmoid(x) + tf.math.square(x) + tf.math.sqrt(tf.math.abs(x) + 0.1)
        y = tf.math.maximum(y, 0.2) + tf.math.minimum(x, 0.4) + tf.math.pow(tf.math.abs(x), 2.0) + tf.math.exp(x)
        y = tf.clip_by_value(y, 0.1, 3.0) + tf.nn.tanh(x) + tf.nn.softmax(x)
        return tf.nn.relu6(y) + tf.math.log(y + 1.0)

    return arithmetic(change)


def shapes():
    def change(x):
        x = tf.reshape(x, [-1, SIDE * SIDE, 3]) / 255.0
        x = tf.reshape(x, (-1, SIDE, SIDE, 3))
        x = tf.transpose(x, [0, 2, 1, 3])
        x = tf.concat([x, x * 2.0], axis=-1)
        m = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
        m = tf.squeeze(m, axis=[1])
        m = tf.expand_dims(m, axis=1)
        return x - m + tf.reduce_max(x, axis=3, keepdims=True) + tf.reduce_sum(x, axis=-1, keepdims=True)

    return arithmetic(change)


def resized():
    return arithmetic(lambda x: tf.image.resize(x, (12, 20)) / 255.0)


def resized_nearest():
    return arithmetic(lambda x: tf.image.resize(x, (12, 20), method="nearest") / 255.0)


def pooled_by_mean():
    i = L.Input((SIDE, SIDE, 3))
    x = tf.reduce_mean(L.Conv2D(4, 3)(i), axis=[1, 2])
    return k.models.Model(i, tf.nn.softmax(L.Dense(3)(x)))


def residual_by_operator():
    i = L.Input((SIDE, SIDE, 3))
    x = L.Conv2D(4, 3, padding="same")(i)
    x = x + L.Conv2D(4, 3, padding="same")(x) * 0.17
    return k.models.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def channels_first():
    m = k.models.Sequential(
        [
            L.Conv2D(4, 3, activation="relu", input_shape=(3, SIDE, SIDE), data_format="channels_first"),
            L.MaxPooling2D(data_format="channels_first"),
            L.Flatten(),
            L.Dense(3, activation="softmax"),
        ]
    )
    return m


MODELS = [
    sequential,
    functional,
    deep_layers,
    softmax_axes,
    activations,
    tensorflow_activations,
    hard_sigmoid_layers,
    nested,
    partly_frozen,
    nested_in_sequential,
    flatten_behind_backbone,
    teachable,
    nested_twice,
    shared,
    deferred_sequential,
    built_sequential,
    fixed_batch,
    augmented,
    augmented_sequential,
    random_sides,
    pictures,
    random_crop,
    upsampled,
    normalised,
    attention,
    locally_connected,
    mixed_precision,
    preprocess_tf,
    preprocess_caffe,
    preprocess_torch,
    preprocess_before_backbone,
    operators,
    slices,
    crop_slice,
    one_channel,
    tensorflow_calls,
    backend_calls,
    shapes,
    resized,
    resized_nearest,
    pooled_by_mean,
    residual_by_operator,
]
if os.environ.get("KERAS_BACKEND") == "theano":
    MODELS = [channels_first, sequential]


def shaken(model):
    """Give every weight another random value: a fresh BatchNormalization changes nothing."""
    random = np.random.RandomState(11)
    values = []
    for weight in model.get_weights():
        kind = weight.dtype.kind
        spread = 0.4 / max(np.sqrt(weight.size / max(weight.shape[-1:] or (1,))), 1)
        fresh = weight + random.normal(0, spread, weight.shape) if kind == "f" else weight
        fresh = np.abs(fresh) + 0.05 if weight.ndim == 1 and kind == "f" else fresh
        # Few digits make small files.
        values.append(np.round(fresh * 32) / 32 + (1 / 32 if weight.ndim == 1 else 0) if kind == "f" else fresh)
    model.set_weights([np.asarray(v, w.dtype) for v, w in zip(values, model.get_weights())])


def made(build, folder, x):
    """Build and save one model; give the prediction."""
    getattr(K, "clear_session", lambda: None)()
    if hasattr(k.utils, "set_random_seed"):
        k.utils.set_random_seed(5)
    else:
        np.random.seed(5)
    model = build()
    shaken(model)
    y = np.asarray(model.predict(x, batch_size=2), "float32")
    suffixes = [".keras"] if NUMBER >= (3, 0) else [".h5", ".keras"] if NUMBER >= (2, 13) else [".h5"]
    saved = 0
    for suffix in suffixes:
        try:
            model.save(os.path.join(folder, build.__name__ + suffix))
            saved += 1
        except Exception as error:  # noqa: BLE001 - whatever an old version cannot do
            left_out(build.__name__ + suffix, error)
            if os.path.exists(os.path.join(folder, build.__name__ + suffix)):
                os.remove(os.path.join(folder, build.__name__ + suffix))
    return y if saved else None


def left_out(name, error):
    print("left out: %s (%s: %s)" % (name, type(error).__name__, str(error).strip()[:150]))


def main():
    x = np.random.RandomState(7).randint(0, 256, (2, SIDE, SIDE, 3)).astype("uint8")
    predictions = {"x": x}
    with tempfile.TemporaryDirectory() as folder:
        for build in MODELS:
            if WANTED and build.__name__ not in WANTED:
                continue
            try:
                arranged = x.transpose(0, 3, 1, 2) if build is channels_first else x
                # Not 0 to 255: a saturated softmax hides differences.
                y = made(build, folder, arranged.astype("float32") / 64)
            except Exception as error:  # noqa: BLE001 - whatever an old version cannot do
                left_out(build.__name__, error)
                continue
            if y is not None:
                predictions[build.__name__] = y
        np.savez(os.path.join(folder, "predictions.npz"), **predictions)
        with open(os.path.join(folder, "versions.json"), "w") as file:
            json.dump({"keras": VERSION, "package": PACKAGE, "tensorflow": tf.__version__ if tf else None}, file)
        with tarfile.open(TARGET, "w:xz") as archive:
            for name in sorted(os.listdir(folder)):
                archive.add(os.path.join(folder, name), name)
    print(VERSION, len(predictions) - 1, "models,", os.path.getsize(TARGET), "bytes")


main()
