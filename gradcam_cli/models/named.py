"""The models that have a name: one table of architecture, input size, preprocessing and weights.

Nothing here imports Keras, so that `gradcam-cli models` answers at once. Sizes, preprocessing and files are those of
keras.applications; a test holds the table against the installed Keras.
"""

import difflib
from dataclasses import dataclass

from gradcam_cli.errors import ModelError

STORE = "https://storage.googleapis.com/"
APPLICATIONS = STORE + "tensorflow/keras-applications/"
LITE0 = "efficientnetlite0"


@dataclass(frozen=True)
class WeightsFile:
    """ImageNet weights: the name in Keras's cache folder, where they come from, and their md5 or sha256."""

    name: str
    url: str
    hash: str | None


@dataclass(frozen=True)
class NamedModel:
    """One architecture: its builder in keras.applications, the side of its square input, its preprocessing.

    `weights` is None where they come inside a Python package.
    """

    builder: str
    size: int
    preprocess: str
    weights: WeightsFile | None

    @property
    def name(self) -> str:
        """The name `--model` knows it by."""
        return self.builder.lower()


NAMED_MODELS = {
    model.name: model
    for model in (
        NamedModel(
            "ConvNeXtBase",
            224,
            "none",
            WeightsFile(
                "convnext_base.h5",
                APPLICATIONS + "convnext/convnext_base.h5",
                "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
            ),
        ),
        NamedModel(
            "ConvNeXtLarge",
            224,
            "none",
            WeightsFile(
                "convnext_large.h5",
                APPLICATIONS + "convnext/convnext_large.h5",
                "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
            ),
        ),
        NamedModel(
            "ConvNeXtSmall",
            224,
            "none",
            WeightsFile(
                "convnext_small.h5",
                APPLICATIONS + "convnext/convnext_small.h5",
                "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
            ),
        ),
        NamedModel(
            "ConvNeXtTiny",
            224,
            "none",
            WeightsFile(
                "convnext_tiny.h5",
                APPLICATIONS + "convnext/convnext_tiny.h5",
                "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            ),
        ),
        NamedModel(
            "ConvNeXtXLarge",
            224,
            "none",
            WeightsFile(
                "convnext_xlarge.h5",
                APPLICATIONS + "convnext/convnext_xlarge.h5",
                "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
            ),
        ),
        NamedModel(
            "DenseNet121",
            224,
            "torch",
            WeightsFile(
                "densenet121_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "densenet/densenet121_weights_tf_dim_ordering_tf_kernels.h5",
                "9d60b8095a5708f2dcce2bca79d332c7",
            ),
        ),
        NamedModel(
            "DenseNet169",
            224,
            "torch",
            WeightsFile(
                "densenet169_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "densenet/densenet169_weights_tf_dim_ordering_tf_kernels.h5",
                "d699b8f76981ab1b30698df4c175e90b",
            ),
        ),
        NamedModel(
            "DenseNet201",
            224,
            "torch",
            WeightsFile(
                "densenet201_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "densenet/densenet201_weights_tf_dim_ordering_tf_kernels.h5",
                "1ceb130c1ea1b78c3bf6114dbdfd8807",
            ),
        ),
        NamedModel(
            "EfficientNetB0",
            224,
            "none",
            WeightsFile(
                "efficientnetb0.h5",
                STORE + "keras-applications/efficientnetb0.h5",
                "902e53a9f72be733fc0bcb005b3ebbac",
            ),
        ),
        NamedModel(
            "EfficientNetB1",
            240,
            "none",
            WeightsFile(
                "efficientnetb1.h5",
                STORE + "keras-applications/efficientnetb1.h5",
                "1d254153d4ab51201f1646940f018540",
            ),
        ),
        NamedModel(
            "EfficientNetB2",
            260,
            "none",
            WeightsFile(
                "efficientnetb2.h5",
                STORE + "keras-applications/efficientnetb2.h5",
                "b15cce36ff4dcbd00b6dd88e7857a6ad",
            ),
        ),
        NamedModel(
            "EfficientNetB3",
            300,
            "none",
            WeightsFile(
                "efficientnetb3.h5",
                STORE + "keras-applications/efficientnetb3.h5",
                "ffd1fdc53d0ce67064dc6a9c7960ede0",
            ),
        ),
        NamedModel(
            "EfficientNetB4",
            380,
            "none",
            WeightsFile(
                "efficientnetb4.h5",
                STORE + "keras-applications/efficientnetb4.h5",
                "18c95ad55216b8f92d7e70b3a046e2fc",
            ),
        ),
        NamedModel(
            "EfficientNetB5",
            456,
            "none",
            WeightsFile(
                "efficientnetb5.h5",
                STORE + "keras-applications/efficientnetb5.h5",
                "ace28f2a6363774853a83a0b21b9421a",
            ),
        ),
        NamedModel(
            "EfficientNetB6",
            528,
            "none",
            WeightsFile(
                "efficientnetb6.h5",
                STORE + "keras-applications/efficientnetb6.h5",
                "165f6e37dce68623721b423839de8be5",
            ),
        ),
        NamedModel(
            "EfficientNetB7",
            600,
            "none",
            WeightsFile(
                "efficientnetb7.h5",
                STORE + "keras-applications/efficientnetb7.h5",
                "8c03f828fec3ef71311cd463b6759d99",
            ),
        ),
        NamedModel(
            "EfficientNetV2B0",
            224,
            "none",
            WeightsFile(
                "efficientnetv2-b0.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-b0.h5",
                "21ecbf6da12460d5c40bb2f29ceb2188",
            ),
        ),
        NamedModel(
            "EfficientNetV2B1",
            240,
            "none",
            WeightsFile(
                "efficientnetv2-b1.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-b1.h5",
                "069f0534ff22adf035c89e2d9547a9dc",
            ),
        ),
        NamedModel(
            "EfficientNetV2B2",
            260,
            "none",
            WeightsFile(
                "efficientnetv2-b2.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-b2.h5",
                "424e49f28180edbde1e94797771950a7",
            ),
        ),
        NamedModel(
            "EfficientNetV2B3",
            300,
            "none",
            WeightsFile(
                "efficientnetv2-b3.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-b3.h5",
                "1f1fc43bd98a6e4fd8fdfd551e02c7a0",
            ),
        ),
        NamedModel(
            "EfficientNetV2L",
            480,
            "none",
            WeightsFile(
                "efficientnetv2-l.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-l.h5",
                "27e6d408b53c7ebc868fefa357689935",
            ),
        ),
        NamedModel(
            "EfficientNetV2M",
            480,
            "none",
            WeightsFile(
                "efficientnetv2-m.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-m.h5",
                "a3bf6aa3276309f4fc6a34aa114c95cd",
            ),
        ),
        NamedModel(
            "EfficientNetV2S",
            384,
            "none",
            WeightsFile(
                "efficientnetv2-s.h5",
                APPLICATIONS + "efficientnet_v2/efficientnetv2-s.h5",
                "e1d88a8495beba45748fedd0cecbe016",
            ),
        ),
        NamedModel(
            "InceptionResNetV2",
            299,
            "tf",
            WeightsFile(
                "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
                "e693bd0210a403b3192acc6073ad2e96",
            ),
        ),
        NamedModel(
            "InceptionV3",
            299,
            "tf",
            WeightsFile(
                "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
                "9a0d58056eeedaa3f26cb7ebd46da564",
            ),
        ),
        NamedModel(
            "MobileNet",
            224,
            "tf",
            WeightsFile("mobilenet_1_0_224_tf.h5", APPLICATIONS + "mobilenet/mobilenet_1_0_224_tf.h5", None),
        ),
        NamedModel(
            "MobileNetV2",
            224,
            "tf",
            WeightsFile(
                "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
                APPLICATIONS + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
                None,
            ),
        ),
        NamedModel(
            "MobileNetV3Large",
            224,
            "none",
            WeightsFile(
                "weights_mobilenet_v3_large_224_1.0_float.h5",
                APPLICATIONS + "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float.h5",
                "59e551e166be033d707958cf9e29a6a7",
            ),
        ),
        NamedModel(
            "MobileNetV3Small",
            224,
            "none",
            WeightsFile(
                "weights_mobilenet_v3_small_224_1.0_float.h5",
                APPLICATIONS + "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float.h5",
                "8768d4c2e7dee89b9d02b2d03d65d862",
            ),
        ),
        NamedModel(
            "NASNetLarge",
            331,
            "tf",
            WeightsFile("nasnet_large.h5", APPLICATIONS + "nasnet/NASNet-large.h5", "11577c9a518f0070763c2b964a382f17"),
        ),
        NamedModel(
            "NASNetMobile",
            224,
            "tf",
            WeightsFile(
                "nasnet_mobile.h5",
                APPLICATIONS + "nasnet/NASNet-mobile.h5",
                "020fb642bf7360b370c678b08e0adf61",
            ),
        ),
        NamedModel(
            "ResNet101",
            224,
            "caffe",
            WeightsFile(
                "resnet101_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "resnet/resnet101_weights_tf_dim_ordering_tf_kernels.h5",
                "f1aeb4b969a6efcfb50fad2f0c20cfc5",
            ),
        ),
        NamedModel(
            "ResNet101V2",
            224,
            "tf",
            WeightsFile(
                "resnet101v2_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels.h5",
                "6343647c601c52e1368623803854d971",
            ),
        ),
        NamedModel(
            "ResNet152",
            224,
            "caffe",
            WeightsFile(
                "resnet152_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "resnet/resnet152_weights_tf_dim_ordering_tf_kernels.h5",
                "100835be76be38e30d865e96f2aaae62",
            ),
        ),
        NamedModel(
            "ResNet152V2",
            224,
            "tf",
            WeightsFile(
                "resnet152v2_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels.h5",
                "a49b44d1979771252814e80f8ec446f9",
            ),
        ),
        NamedModel(
            "ResNet50",
            224,
            "caffe",
            WeightsFile(
                "resnet50_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
                "2cb95161c43110f7111970584f804107",
            ),
        ),
        NamedModel(
            "ResNet50V2",
            224,
            "tf",
            WeightsFile(
                "resnet50v2_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels.h5",
                "3ef43a0b657b3be2300d5770ece849e0",
            ),
        ),
        NamedModel(
            "VGG16",
            224,
            "caffe",
            WeightsFile(
                "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
                "64373286793e3c8b2b4e3219cbf3544b",
            ),
        ),
        NamedModel(
            "VGG19",
            224,
            "caffe",
            WeightsFile(
                "vgg19_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5",
                "cbe5617147190e668d6c5d5026f83318",
            ),
        ),
        NamedModel(
            "Xception",
            299,
            "tf",
            WeightsFile(
                "xception_weights_tf_dim_ordering_tf_kernels.h5",
                APPLICATIONS + "xception/xception_weights_tf_dim_ordering_tf_kernels.h5",
                "0a58e3b7378bc2990ea3b43d5981f1f6",
            ),
        ),
        NamedModel("EfficientNetLite0", 224, "lite", None),
    )
}


def find_named(name: str) -> NamedModel:
    """Look a model up by its name, whatever its case.

    Raises:
        ModelError: there is none; the nearest names are in the message.
    """
    known = NAMED_MODELS.get(name.lower())
    if known:
        return known
    close = difflib.get_close_matches(name.lower(), NAMED_MODELS, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "See `gradcam-cli models`."
    raise ModelError(f"There is no model called '{name}'. {hint} A model of your own: --model FILE.keras")
