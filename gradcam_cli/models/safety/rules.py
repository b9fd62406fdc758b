"""The weights and output shapes of each Keras layer: one rule for each kind of layer, in a table by class name."""

from collections.abc import Callable
from typing import Any, Final

from gradcam_cli.models.safety.attention import ATTENTION_RULES
from gradcam_cli.models.safety.shapes import (
    Dims,
    Node,
    Rule,
    Sizes,
    after_window,
    axes_of,
    bias,
    broadcast,
    concatenated,
    joined,
    lora,
    numbers,
    reshaped,
    several,
    split,
    target_of,
    whole,
)

Inputs = tuple[Dims, ...]

# Layers whose output has the shape of their input. Their weights are too small to matter, if they have any.
_SAME_SHAPE = """
    Activation ActivityRegularization AlphaDropout AutoContrast ContrastLimitedAdaptiveHistogramEqualization
    Dropout ELU Equalization GaussianDropout GaussianNoise Identity LeakyReLU Masking ReLU Rescaling Softmax
    Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D ThresholdedReLU UnitNormalization AugMix
    CutMix MixUp RandAugment RandomApply RandomBrightness RandomChoice RandomColorDegeneration RandomColorJitter
    RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
    RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomZoom PerImageStandardization TFOpLambda SlicingOpLambda
"""
SAME_SHAPE: Final = frozenset(_SAME_SHAPE.split())


def same_shape(_config: Node, inputs: Inputs) -> Sizes:
    """Give the input's shape."""
    return Sizes(outputs=(inputs[0],))


def _dense(config: Node, inputs: Inputs) -> Sizes:
    units = whole(config["units"])
    kernel = (inputs[0][-1], units)
    return Sizes((kernel, *bias(config, units), *lora(config, kernel)), ((*inputs[0][:-1], units),))


def _windows(config: Node, rank: int, key: str = "kernel_size") -> tuple[Dims, Dims, Dims]:
    window = several(config[key], rank)
    strides = several(config["strides"], rank) if config.get("strides") is not None else (1,) * rank
    dilation = several(config["dilation_rate"], rank) if config.get("dilation_rate") is not None else (1,) * rank
    return window, strides, dilation


def _convolution(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        window, strides, dilation = _windows(config, rank)
        filters, groups = whole(config["filters"]), max(1, whole(config.get("groups") or 1))
        kernel = (*window, channels // groups, filters)
        output = after_window(sides, window, strides, dilation, config.get("padding"))
        weights = (kernel, *bias(config, filters), *lora(config, kernel))
        return Sizes(weights, (joined(output, filters, config),))

    return rule


def _depthwise(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        window, strides, dilation = _windows(config, rank)
        multiplier = whole(config.get("depth_multiplier", 1))
        output = after_window(sides, window, strides, dilation, config.get("padding"))
        weights = ((*window, channels, multiplier), *bias(config, channels * multiplier))
        return Sizes(weights, (joined(output, channels * multiplier, config),))

    return rule


def _separable(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        window, strides, dilation = _windows(config, rank)
        filters, multiplier = whole(config["filters"]), whole(config.get("depth_multiplier", 1))
        output = after_window(sides, window, strides, dilation, config.get("padding"))
        pointwise = ((1,) * rank + (channels * multiplier, filters),)
        weights = ((*window, channels, multiplier), *pointwise, *bias(config, filters))
        return Sizes(weights, (joined(output, filters, config),))

    return rule


def _transposed(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        window, strides, _ = _windows(config, rank)
        filters = whole(config["filters"])
        more = (0,) * rank if config.get("padding") == "same" else window
        output = tuple(
            side * stride + max(0, width - stride) for side, stride, width in zip(sides, strides, more, strict=True)
        )
        weights = ((*window, filters, channels), *bias(config, filters))
        return Sizes(weights, (joined(output, filters, config),))

    return rule


def _local(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        window, strides, dilation = _windows(config, rank)
        filters = whole(config["filters"])
        output = after_window(sides, window, strides, dilation, config.get("padding"))
        kernel = (numbers(output), numbers(window) * channels, filters)
        return Sizes((kernel, *bias(config, *output, filters)), (joined(output, filters, config),))

    return rule


def _pooling(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        window = several(config["pool_size"], rank)
        strides = several(config["strides"], rank) if config.get("strides") is not None else window
        output = after_window(sides, window, strides, (1,) * rank, config.get("padding"))
        return Sizes(outputs=(joined(output, channels, config),))

    return rule


def _global_pooling(config: Node, inputs: Inputs) -> Sizes:
    sides, channels = split(inputs[0], config)
    output = joined((1,) * len(sides), channels, config) if config.get("keepdims") else (channels,)
    return Sizes(outputs=(output,))


def _adaptive_pooling(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        _, channels = split(inputs[0], config)
        return Sizes(outputs=(joined(several(config["output_size"], rank), channels, config),))

    return rule


def _margins(value: Any, rank: int) -> list[int]:
    """Give the total padding or cropping of each side, both ends together."""
    if rank == 1 and isinstance(value, list):
        return [sum(several(value, 2))]
    if not isinstance(value, list):
        return [2 * whole(value)] * rank
    return [sum(several(side, 2)) for side in value]


def _padding(rank: int, sign: int) -> Rule:
    key = "padding" if sign > 0 else "cropping"

    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        margins = _margins(config[key], rank)
        output = tuple(max(1, side + sign * margin) for side, margin in zip(sides, margins, strict=True))
        return Sizes(outputs=(joined(output, channels, config),))

    return rule


def _upsampling(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        sides, channels = split(inputs[0], config)
        factors = several(config["size"], rank)
        output = tuple(side * factor for side, factor in zip(sides, factors, strict=True))
        return Sizes(outputs=(joined(output, channels, config),))

    return rule


def _resizing(config: Node, inputs: Inputs) -> Sizes:
    _, channels = split(inputs[0], config)
    return Sizes(outputs=(joined((whole(config["height"]), whole(config["width"])), channels, config),))


def _flatten(_config: Node, inputs: Inputs) -> Sizes:
    return Sizes(outputs=((numbers(inputs[0]),),))


def _reshape(config: Node, inputs: Inputs) -> Sizes:
    return Sizes(outputs=(reshaped(inputs[0], *target_of(config["target_shape"])),))


def _permute(config: Node, inputs: Inputs) -> Sizes:
    return Sizes(outputs=(tuple(inputs[0][axis] for axis in axes_of(config["dims"], len(inputs[0]))),))


def _repeat(config: Node, inputs: Inputs) -> Sizes:
    return Sizes(outputs=((whole(config["n"]), *inputs[0]),))


def _merge(_config: Node, inputs: Inputs) -> Sizes:
    return Sizes(outputs=(broadcast(inputs),))


def _concatenate(config: Node, inputs: Inputs) -> Sizes:
    return Sizes(outputs=(concatenated(inputs, config.get("axis", -1)),))


def _dot(config: Node, inputs: Inputs) -> Sizes:
    first, second = inputs
    axes = config["axes"] if isinstance(config["axes"], list) else [config["axes"]] * 2
    (left,), (right,) = axes_of(axes[0], len(first)), axes_of(axes[1], len(second))
    rest = second[:right] + second[right + 1 :]
    # A batch axis of both inputs is kept only once.
    return Sizes(outputs=((first[:left] + first[left + 1 :] + rest) or (1,),))


def _per_channel(count: int) -> Rule:
    """Make a rule for normalisations with vectors along their axis: `count`, and two more that can be turned off."""

    def rule(config: Node, inputs: Inputs) -> Sizes:
        dims = inputs[0]
        kept = tuple(dims[axis] for axis in axes_of(config.get("axis", -1), len(dims)))
        learned = sum(bool(config.get(key, True)) for key in ("scale", "center"))
        return Sizes((kept,) * (count + learned), (dims,))

    return rule


def _rms(config: Node, inputs: Inputs) -> Sizes:
    kept = tuple(inputs[0][axis] for axis in axes_of(config.get("axis", -1), len(inputs[0])))
    return Sizes((kept,), (inputs[0],))


def _normalization(config: Node, inputs: Inputs) -> Sizes:
    axis = config.get("axis", -1)
    if config.get("mean") is not None:
        return same_shape(config, inputs)
    kept = () if axis is None else tuple(inputs[0][at] for at in axes_of(axis, len(inputs[0])))
    return Sizes((kept, kept), (inputs[0],))


def _prelu(config: Node, inputs: Inputs) -> Sizes:
    alpha = list(inputs[0])
    for axis in config.get("shared_axes") or []:
        alpha[axis - 1] = 1
    return Sizes((tuple(alpha),), (inputs[0],))


def _layer_scale(config: Node, inputs: Inputs) -> Sizes:
    """Give the factors of ConvNeXt, one for each channel."""
    return Sizes(((whole(config["projection_dim"]),),), (inputs[0],))


def _embedding(config: Node, inputs: Inputs) -> Sizes:
    table = (whole(config["input_dim"]), whole(config["output_dim"]))
    return Sizes((table, *lora(config, table)), ((*inputs[0], table[1]),))


def _recurrent(gates: int, states: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        units = whole(config["units"])
        weights = ((inputs[0][-1], gates * units), (units, gates * units), (2, gates * units))
        output = (inputs[0][0], units) if config.get("return_sequences") else (units,)
        more = ((units,),) * states if config.get("return_state") else ()
        return Sizes(weights, (output, *more))

    return rule


def _cell(gates: int, states: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        units = whole(config["units"])
        weights = ((inputs[0][-1], gates * units), (units, gates * units), (2, gates * units))
        return Sizes(weights, ((units,),) * (1 + states))

    return rule


def _convolutional_lstm(rank: int) -> Rule:
    def rule(config: Node, inputs: Inputs) -> Sizes:
        steps, frame = inputs[0][0], inputs[0][1:]
        sides, channels = split(frame, config)
        window, strides, dilation = _windows(config, rank)
        filters = whole(config["filters"])
        weights = ((*window, channels, 4 * filters), (*window, filters, 4 * filters), (4 * filters,))
        output = joined(after_window(sides, window, strides, dilation, config.get("padding")), filters, config)
        states = (output, output) if config.get("return_state") else ()
        return Sizes(weights, ((steps, *output) if config.get("return_sequences") else output, *states))

    return rule


def _encoding(config: Node, inputs: Inputs) -> Sizes:
    """Give the shape of encoded categories: one number for each category, or integers of the input's shape."""
    mode = config.get("output_mode", "multi_hot" if "num_tokens" in config else "int")
    if mode == "int":
        return same_shape(config, inputs)
    key = next((name for name in ("num_tokens", "num_bins", "max_tokens") if config.get(name) is not None), None)
    count = whole(config[key]) if key else len(config.get("vocabulary") or config.get("bin_boundaries") or ()) + 2
    return Sizes(outputs=((*(inputs[0] if mode == "one_hot" else inputs[0][:-1]), count),))


def _spectrogram(config: Node, _inputs: Inputs) -> Sizes:
    length, frame = whole(config.get("fft_length") or config["frame_length"]), whole(config.get("frame_length") or 1)
    kernel = (max(length, frame), 1, length // 2 + 1)
    return Sizes((kernel, kernel), (None,))


def _mel_spectrogram(config: Node, _inputs: Inputs) -> Sizes:
    matrix = (whole(config["num_mel_bins"]), whole(config["fft_length"]) // 2 + 1)
    return Sizes((), (None,), (matrix,))


RANKED: Final[dict[str, Callable[[int], Rule]]] = {
    "Conv{}D": _convolution,
    "Convolution{}D": _convolution,
    "SeparableConvolution{}D": _separable,
    "Convolution{}DTranspose": _transposed,
    "MaxPool{}D": _pooling,
    "AvgPool{}D": _pooling,
    "GlobalAvgPool{}D": lambda _: _global_pooling,
    "GlobalMaxPool{}D": lambda _: _global_pooling,
    "DepthwiseConv{}D": _depthwise,
    "SeparableConv{}D": _separable,
    "Conv{}DTranspose": _transposed,
    "LocallyConnected{}D": _local,
    "MaxPooling{}D": _pooling,
    "AveragePooling{}D": _pooling,
    "AdaptiveAveragePooling{}D": _adaptive_pooling,
    "AdaptiveMaxPooling{}D": _adaptive_pooling,
    "ConvLSTM{}D": _convolutional_lstm,
    "UpSampling{}D": _upsampling,
    "ZeroPadding{}D": lambda rank: _padding(rank, 1),
    "Cropping{}D": lambda rank: _padding(rank, -1),
    "GlobalAveragePooling{}D": lambda _: _global_pooling,
    "GlobalMaxPooling{}D": lambda _: _global_pooling,
}
RULES: Final[dict[str, Rule]] = {
    **ATTENTION_RULES,
    **dict.fromkeys(SAME_SHAPE, same_shape),
    **{name.format(rank): rule(rank) for name, rule in RANKED.items() for rank in (1, 2, 3)},
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), _merge),
    **dict.fromkeys(("CategoryEncoding", "Discretization", "Hashing", "HashedCrossing"), _encoding),
    **dict.fromkeys(("IntegerLookup", "StringLookup"), _encoding),
    **dict.fromkeys(("Resizing", "CenterCrop", "RandomCrop"), _resizing),
    "CustomScaleLayer": _merge,
    "LayerScale": _layer_scale,
    "Dense": _dense,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    "Concatenate": _concatenate,
    "Dot": _dot,
    "BatchNormalization": _per_channel(2),
    "SyncBatchNormalization": _per_channel(2),
    "LayerNormalization": _per_channel(0),
    "GroupNormalization": _per_channel(0),
    "RMSNormalization": _rms,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Embedding": _embedding,
    "ReversibleEmbedding": _embedding,
    "SimpleRNN": _recurrent(1, 1),
    "LSTM": _recurrent(4, 2),
    "GRU": _recurrent(3, 1),
    "CuDNNLSTM": _recurrent(4, 2),
    "CuDNNGRU": _recurrent(3, 1),
    "SimpleRNNCell": _cell(1, 1),
    "LSTMCell": _cell(4, 2),
    "GRUCell": _cell(3, 1),
    "STFTSpectrogram": _spectrogram,
    "MelSpectrogram": _mel_spectrogram,
}
