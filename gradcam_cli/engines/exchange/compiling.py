"""Compile a model in an exchange format to a plan: the network up to the logits, in the form that this program runs."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradcam_cli.engines.exchange.head import dense_weights, linearity
from gradcam_cli.engines.exchange.layers import Target
from gradcam_cli.engines.exchange.network import NUMBER, Network, open_network
from gradcam_cli.engines.exchange.picture import picture_tensor, set_shape
from gradcam_cli.engines.gradient import NoRuleError
from gradcam_cli.engines.gradient.shapes import RELAYING
from gradcam_cli.engines.graph import key, kind, leading_to
from gradcam_cli.engines.plan import Plan, SelfCheck
from gradcam_cli.engines.runtime import core, openvino
from gradcam_cli.engines.self_check import WrongGradientError, checked_by_differences
from gradcam_cli.errors import EnvironmentStop, ModelError, first_line
from gradcam_cli.models.layout import Layout
from gradcam_cli.models.request import ModelRequest

op = openvino.opset15
OPEN = -1
SEED = 0
# The relative tolerance for values that differ only by the order of summation.
SAME = 1e-3
TINY = 1e-12


def compile_exchange(request: ModelRequest, *, differentiated: bool = True) -> Plan:
    """Compile a model in an exchange format at the layer of the request.

    Args:
        request: the model.
        differentiated: whether the gradient is built and checked. A plan without a gradient is only for methods that
            use no gradient, and must not be stored in the cache.

    Raises:
        ModelError: the model cannot be read or explained, has no such layer, or its gradient is missing or wrong.
    """
    network = open_network(request)
    target = network.layers.choose(request.settings.layer)
    if differentiated:
        _refuse_one_of_several_ways(network, target)
    model = _one_or_many_pictures(network, target)
    slopes = linearity(network.analysed, target, network.scores)
    weights = dense_weights(network.analysed, target, network.scores)
    if weights is not None and network.scores.kind == "binary":
        weights = np.concatenate([-weights, weights], axis=1)
    xml, numbers = _serialised(model)
    plan = Plan(
        name=network.name,
        sha256=request.sha256,
        input_shape=network.picture.shape,
        preprocessing=network.numbers.preprocessing,
        preprocess_guessed=network.numbers.guessed,
        labels=network.labels,
        warnings=network.warnings,
        layer=target.layer,
        head_kind=network.scores.kind,
        head_weights=weights,
        class_count=network.scores.class_count,
        network=xml,
        weights=numbers,
        preprocess_reason=network.numbers.reason,
        notes=network.notes,
        head_reason=network.scores.reason,
        head_assumed=network.scores.assumed,
        linearity=slopes,
    )
    return plan if weights is not None or not differentiated else replace(plan, check=_compared(plan))


def _refuse_one_of_several_ways(network: Network, target: Target) -> None:
    """Refuse a layer that only reshapes or slices a tensor which other branches to the logits read too.

    The gradient is the sum over all branches that start at a layer. If OpenVINO shares such an operation between a
    layer and its readers, these branches cannot be distinguished from those that start before the layer.

    Raises:
        ModelError: the layer is such a layer.
    """
    leading = leading_to(network.scores.logits)
    tensor = target.tensor
    while kind(tensor) in RELAYING:
        tensor = tensor.get_node().input_value(0)
        readers = {reader.get_node().get_instance_id(): reader.get_node() for reader in tensor.get_target_inputs()}
        if sum(any(key(made) in leading for made in node.outputs()) for node in readers.values()) > 1:
            before = tensor.get_node().get_friendly_name()
            raise ModelError(
                f"{network.name}: layer '{target.layer.path}' only rearranges the output of '{before}', "
                "which other layers "
                f"read too. Choose `layer={before}`, or a method without gradients: `method=eigencam` or scorecam."
            )


def _compared(plan: Plan) -> SelfCheck:
    """Compare the gradient that OpenVINO computes with central differences of the logits.

    Raises:
        ModelError: the gradient cannot be built, or the two results differ.
    """
    at = f"{plan.name}, layer '{plan.layer.path}'"
    remedy = "Choose another layer with `layer`, or a method without gradients: `method=eigencam` or scorecam."
    try:
        return checked_by_differences(plan)
    except NoRuleError as error:
        raise ModelError(f"{at}: {error} {remedy}") from error
    except WrongGradientError as error:
        raise ModelError(f"{at}: with OpenVINO {openvino.__version__} {error}. {remedy}") from error
    except RuntimeError as error:
        # OpenVINO raises this for a network that it cannot compile.
        raise ModelError(f"{at}: OpenVINO cannot compile the gradient ({first_line(error)}). {remedy}") from error


def _one_or_many_pictures(network: Network, target: Target) -> Any:
    """Build the network of a plan: for any batch size if the network accepts that, else for the batch size of the file.

    A network that was exported for one image often contains this number in its reshapes.
    """
    own = network.picture.batch
    try:
        opened = _planned(network, target, OPEN)
        several = _of_batch(opened, (own or 1) + 1, network)
        _of_batch(opened, 1, network)
    except (RuntimeError, ModelError):
        return _planned(network, target, own or 1)
    if own is None or _keeps_pictures_apart(several, network.picture.shape):
        return opened
    return _planned(network, target, own)


def _of_batch(model: Any, count: int, network: Network) -> Any:
    """Copy the network with a fixed batch size.

    Raises:
        RuntimeError: the network does not accept this batch size.
    """
    copy = model.clone()
    copy.reshape([count, *network.picture.shape])
    return copy


def _keeps_pictures_apart(model: Any, shape: tuple[int, int, int]) -> bool:
    """Whether the result for an image of a batch depends neither on its position nor on the other images."""
    count = int(model.input(0).get_shape()[0])
    first, *others = np.random.default_rng(SEED).random((2 * count - 1, *shape), np.float32)
    try:
        compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        before = np.array(compiled([np.stack([first, *others[: count - 1]])])["logits"])
        after = np.array(compiled([np.stack([*others[count - 1 :], first])])["logits"])
    except RuntimeError:
        return False
    largest = max(float(np.abs(before).max()), TINY)
    return len(before) == count and bool(np.abs(before[0] - after[-1]).max() <= SAME * largest)


def _planned(network: Network, target: Target, batch: int) -> Any:
    """Build the network: input (N, H, W, channels), outputs `activations` (N, h, w, K) and `logits` (N, C)."""
    model = network.model.clone()
    set_shape(model, network.picture, batch, network.name)
    numbered = {node.get_rt_info()[NUMBER].value: node for node in model.get_ordered_ops() if _is_numbered(node)}
    own = picture_tensor(model)
    height, width, channels = network.picture.shape
    pixels = op.parameter([batch, height, width, channels], np.float32, "pixels")
    given = op.transpose(pixels, np.asarray([0, 3, 1, 2])) if network.picture.channels_first else pixels
    if own.get_element_type().get_type_name() != "f32":
        given = op.convert(given, own.get_element_type().get_type_name())
    for reader in list(own.get_target_inputs()):
        reader.replace_source_output(given.output(0))
    raw, logits = (_again(numbered, tensor) for tensor in (target.tensor, network.scores.logits))
    activations = _folded(raw, target.layout)
    scores = op.reshape(_float(logits), np.asarray([0, network.scores.units]), special_zero=True)
    # The names of each output tensor are replaced, so that it has exactly one name.
    outputs = [op.result(each, name=name) for each, name in ((activations, "activations"), (scores, "logits"))]
    for result, name in zip(outputs, ("activations", "logits"), strict=True):
        result.input_value(0).get_tensor().set_names({name})
    return openvino.Model(outputs, [pixels])


def _is_numbered(node: Any) -> bool:
    info: Mapping[str, Any] = node.get_rt_info()
    return NUMBER in info


def _again(numbered: Mapping[int, Any], tensor: Any) -> Any:
    """Find a tensor of the analysed network in another copy of the network."""
    number = tensor.get_node().get_rt_info()[NUMBER].value
    return numbered[number].output(tensor.get_index())


def _float(tensor: Any) -> Any:
    is_float = tensor.get_element_type().get_type_name() == "f32"
    return tensor if is_float else op.convert(tensor, "f32").output(0)


def _folded(raw: Any, layout: Layout) -> Any:
    """Convert a raw output to a map (N, h, w, K); only tokens of the image are kept, see `models.layout.fold`."""
    laid = op.transpose(_float(raw), np.asarray([0, *layout.axes]))
    if layout.kind != "tokens":
        return laid
    first, last = [layout.prefix], [layout.prefix + layout.cells]
    own = op.slice(laid, np.asarray(first), np.asarray(last), np.asarray([1]), np.asarray([1]))
    sides = [layout.width, layout.height] if layout.transposed else [layout.height, layout.width]
    grid = op.reshape(own, np.asarray([0, *sides, layout.channels]), special_zero=True)
    return op.transpose(grid, np.asarray([0, 2, 1, 3])) if layout.transposed else grid


def _serialised(model: Any) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        try:
            openvino.save_model(model, path, compress_to_fp16=False)
            return path.read_bytes(), path.with_suffix(".bin").read_bytes()
        except (OSError, RuntimeError) as error:
            raise EnvironmentStop(f"The compiled network cannot be written ({first_line(error)}).") from error
