"""From a Keras classifier to a plan: the network up to the logits, converted for OpenVINO."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from gradcam_cli.engines.plan import Plan
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.engines.tracing import LayerRun, run_at
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.layers import explainable_layers

OUTPUTS = ("activations", "logits")


class NotCompilableError(ModelError):
    """This model, or this layer of it, needs TensorFlow; the message says why.

    `lasting` is False where the machine, not the model, is the cause: another try may succeed.
    """

    lasting = True


class NotCompiledHereError(NotCompilableError):
    """The network could not be converted for want of disk space or memory."""

    lasting = False


def compile_plan(classifier: Classifier, layer: str, see_layers: Callable[[list[str]], None] | None = None) -> Plan:
    """Convert a classifier whose target layer is followed by global average pooling and one dense layer.

    Only there is the gradient known in closed form (`W / Z`), so that a forward pass is all it takes. `see_layers` is
    given the paths of all layers that can be explained, also where the plan cannot be made.

    Raises:
        NotCompilableError: the head is of another kind, or OpenVINO cannot convert the network.
        ModelError: there is no such layer.
    """
    constants = classifier.constants()

    def forward(inputs: Any) -> tuple[tuple[Any, Any], LayerRun]:
        # What has no variables left needs not be frozen, which costs more than all the rest.
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
            f"The probabilities of {classifier.name} do not follow from its logits ({head.reason}): `engine=tensorflow`"
        )
    if head.weights is None:
        raise NotCompilableError(
            f"Layer '{target.layer.path}' is not followed by global average pooling and one dense layer alone, so its "
            "gradient has to be taken by TensorFlow: `engine=tensorflow`"
        )
    network, weights = _converted(function)
    return Plan(
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
        network=network,
        weights=weights,
        preprocess_reason=classifier.preprocess_reason,
        preprocess_scores=classifier.preprocess_scores,
        fit=classifier.fit,
        notes=classifier.notes,
        head_reason=head.reason,
        head_assumed=head.assumed,
    )


def _converted(function: Any) -> tuple[bytes, bytes]:
    """Convert a traced function with the outputs (activations, logits) to OpenVINO's XML and binary."""
    names = {tensor.name: name for tensor, name in zip(function.structured_outputs, OUTPUTS, strict=True)}
    try:
        graph = function.graph.as_graph_def().SerializeToString()
        with tempfile.TemporaryDirectory() as folder, _room_for(2 * len(graph), Path(folder)):
            source, target = Path(folder) / "network.pb", Path(folder) / "network.xml"
            source.write_bytes(graph)
            whole = openvino.Core().read_model(source)
            for output, name in names.items():
                whole.output(output).get_tensor().set_names({name})
            # Without what else the graph ends in, such as the softmax behind the logits.
            model = openvino.Model([whole.output(name) for name in OUTPUTS], whole.get_parameters())
            openvino.save_model(model, target, compress_to_fp16=False)
            return target.read_bytes(), target.with_suffix(".bin").read_bytes()
    except (OSError, MemoryError) as error:
        raise NotCompiledHereError(
            f"The network cannot be converted for OpenVINO here ({first_line(error)})."
        ) from error
    except Exception as error:
        # Its frontends raise types of their own for what they do not know, and protobuf one for more than 2 GB.
        raise NotCompilableError(
            f"OpenVINO cannot convert this network ({first_line(error)}): `engine=tensorflow`"
        ) from error


@contextmanager
def _room_for(size: int, folder: Path) -> Iterator[None]:
    """Blame the file system for an error where it has no room for `size` more bytes.

    OpenVINO reports a file that it could not write like a network that it does not understand.
    """
    try:
        yield
    except Exception as error:
        free = shutil.disk_usage(folder).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{folder}: {free:,} bytes are free, and about {size:,} are needed") from error
        raise
