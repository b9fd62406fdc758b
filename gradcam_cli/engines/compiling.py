"""From a Keras classifier to a plan: the network up to the logits, converted for OpenVINO."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from gradcam_cli.engines.gradient import NoRuleError
from gradcam_cli.engines.plan import Plan, SelfCheck
from gradcam_cli.engines.runtime import core, openvino
from gradcam_cli.engines.self_check import PICTURES, WrongGradientError, check_pictures, checked, explained, slopes_of
from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import LayerRun, PassSettings, run_at, trace_model
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.layers import explainable_layers
from gradcam_cli.settings import TargetSettings

OUTPUTS = ("activations", "logits")


class NotCompilableError(ModelError):
    """The model cannot be compiled for this layer and needs TensorFlow; the message says why.

    `reason` is the message without its advice. `lasting` is False if the machine is the cause and not the model: a
    later try may succeed.
    """

    lasting = True

    def __init__(self, reason: str) -> None:
        """Take the reason, a complete sentence."""
        super().__init__(f"{reason} Explain it with `engine=tensorflow`.")
        self.reason = reason


class NotCompiledHereError(NotCompilableError):
    """The network could not be converted because there is not enough disk space or memory."""

    lasting = False


def compile_plan(classifier: Classifier, layer: str, see_layers: Callable[[list[str]], None] | None = None) -> Plan:
    """Convert a classifier up to its logits for one target layer.

    If the layer is followed by global average pooling and one dense layer, the gradient is known in closed form (`W /
    Z`). Otherwise OpenVINO computes it, and it is compared with TensorFlow's gradient for two images. `see_layers` is
    called with the paths of all layers that can be explained, also if the plan cannot be made.

    Raises:
        NotCompilableError: OpenVINO cannot convert the network, or its gradient cannot be built or is wrong.
        ModelError: there is no such layer.
    """
    constants = classifier.constants()

    def forward(inputs: Any) -> tuple[tuple[Any, Any], LayerRun]:
        # A graph without variables need not be frozen, which would take most of the time.
        with constants():
            run = run_at(classifier, layer, inputs)
        if see_layers:
            see_layers([info.path for info in explainable_layers(run.trace, classifier.token_grid)])
        activations = run.target.layout.fold(run.target.call.output)
        return (tf.cast(activations, tf.float32), tf.cast(run.trace.logits, tf.float32)), run

    function, run = classifier.traced(forward, None)
    target, head = run.target, run.head
    if head.kind == "probabilities":
        raise NotCompilableError(
            f"The probabilities of {classifier.name} do not follow from its logits ({head.reason})."
        )
    network, weights = _converted(function)
    plan = Plan(
        name=classifier.name,
        sha256=classifier.sha256,
        input_shape=classifier.input_shape,
        preprocessing=classifier.preprocessing,
        preprocess_guessed=classifier.preprocess_guessed,
        labels=classifier.labels,
        warnings=classifier.warnings,
        layer=target.layer,
        head_kind=head.kind,
        head_weights=head.weights,
        class_count=head.class_count,
        network=network,
        weights=weights,
        preprocess_reason=classifier.preprocess_reason,
        preprocess_scores=classifier.preprocess_scores,
        fit=classifier.fit,
        notes=classifier.notes,
        head_reason=head.reason,
        head_assumed=head.assumed,
        linearity=head.linearity,
    )
    return plan if head.weights is not None else replace(plan, check=compare_with_tensorflow(plan, classifier, layer))


def compare_with_tensorflow(plan: Plan, classifier: Classifier, layer: str) -> SelfCheck:
    """Compare the gradient that OpenVINO computes with TensorFlow's.

    Raises:
        NotCompilableError: the gradient cannot be built, or the two differ.
    """
    pictures = check_pictures(plan)
    traced = trace_model(classifier, layer, PassSettings(TargetSettings(), PICTURES))
    expected = TensorFlowEngine(traced).explain(pictures)
    try:
        _, found = explained(plan, expected.targets)
        return checked(slopes_of(found), slopes_of([expected]))
    except NoRuleError as error:
        raise NotCompilableError(f"Layer '{plan.layer.path}': {error}") from error
    except WrongGradientError as error:
        raise NotCompilableError(
            f"Layer '{plan.layer.path}' cannot be explained by OpenVINO {openvino.__version__}: {error}."
        ) from error
    except RuntimeError as error:
        # OpenVINO raises RuntimeError for a network that it cannot compile.
        raise NotCompilableError(
            f"OpenVINO cannot compile the gradient of this network ({first_line(error)})."
        ) from error


def _converted(function: Any) -> tuple[bytes, bytes]:
    """Convert a traced function with the outputs (activations, logits) to OpenVINO's XML and binary."""
    names = {tensor.name: name for tensor, name in zip(function.structured_outputs, OUTPUTS, strict=True)}
    try:
        graph = function.graph.as_graph_def().SerializeToString()
        with tempfile.TemporaryDirectory() as folder, _room_for(2 * len(graph), Path(folder)):
            source, target = Path(folder) / "network.pb", Path(folder) / "network.xml"
            source.write_bytes(graph)
            whole = core().read_model(source)
            for output, name in names.items():
                whole.output(output).get_tensor().set_names({name})
            # Other outputs of the graph, such as the softmax after the logits, are removed.
            model = openvino.Model([whole.output(name) for name in OUTPUTS], whole.get_parameters())
            openvino.save_model(model, target, compress_to_fp16=False)
            return target.read_bytes(), target.with_suffix(".bin").read_bytes()
    except (OSError, MemoryError) as error:
        raise NotCompiledHereError(
            f"The network cannot be converted for OpenVINO here ({first_line(error)})."
        ) from error
    except Exception as error:
        # Its frontends raise their own types of errors for unknown operations, and protobuf another one above 2 GB.
        raise NotCompilableError(f"OpenVINO cannot convert this network ({first_line(error)}).") from error


@contextmanager
def _room_for(size: int, folder: Path) -> Iterator[None]:
    """Name the full disk as the cause of an error if there is no space for `size` more bytes.

    OpenVINO raises the same error for a file that it cannot write as for a network that it does not support.
    """
    try:
        yield
    except Exception as error:
        free = shutil.disk_usage(folder).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{folder}: {free:,} bytes are free, and about {size:,} are needed") from error
        raise
