"""The architecture of keras.applications that a network is built on."""

import re

import keras

from gradcam_cli.models.layer_paths import layer_paths
from gradcam_cli.models.named import NAMED_MODELS, NamedModel

IMAGENET_CLASSES = 1000
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2D", "SeparableConv2D"})
# ResNet18 has 20 and VGG16 has 13. Self-made networks have fewer.
DEEP = 13
# A layer that only this family has, for networks whose backbone is not a nested model.
FINGERPRINTS = {
    "conv2_block1_preact_bn": "resnet50v2",
    "conv5_block3_out": "resnet50",
    "block5_conv3": "vgg16",
    "block_16_project": "mobilenetv2",
    "conv_pw_13_relu": "mobilenet",
    "mixed10": "inceptionv3",
    "block14_sepconv2_act": "xception",
    "pool4_conv": "densenet121",
    "conv_7b_ac": "inceptionresnetv2",
}


def family_of(network: keras.Model) -> NamedModel | None:
    """Recognise a backbone by its name, or by the names of its layers if it is not a nested model."""
    layers = list(layer_paths(network))
    names = [network.name, *(layer.name for _, layer in layers if isinstance(layer, keras.Model))]
    for name in names:
        if found := named_like(name):
            return found
    present = {layer.name for _, layer in layers}
    return next((NAMED_MODELS[family] for name, family in FINGERPRINTS.items() if name in present), None)


def is_as_it_came(network: keras.Model) -> bool:
    """Whether a network has the name of an architecture and a head for the classes of ImageNet."""
    return has_imagenet_classes(network) and named_like(str(network.name)) is not None


def has_imagenet_classes(network: keras.Model) -> bool:
    """Whether a network has as many classes as ImageNet."""
    shape = network.output_shape if hasattr(network, "outputs") else None
    return isinstance(shape, tuple) and shape[-1] == IMAGENET_CLASSES


def is_deep(network: keras.Model) -> bool:
    """Whether a network has as many convolutions as a backbone for ImageNet."""
    return sum(type(layer).__name__ in CONVOLUTIONS for _, layer in layer_paths(network)) >= DEEP


def named_like(name: str) -> NamedModel | None:
    """Give the architecture whose name is the beginning of this one. Keras names models like `mobilenetv2_1.00_96`."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    if key == "nasnet":
        return NAMED_MODELS["nasnetmobile"]
    fitting = [named for named in NAMED_MODELS if key.startswith(named)]
    return NAMED_MODELS[max(fitting, key=len)] if fitting else None
