"""From a Keras classifier to a plan: the network up to the logits, converted for OpenVINO."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from gradcam_cli.engines.plan import Plan
from gradcam_cli.engines.runtime import convert_model, openvino
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.head import head_of
from gradcam_cli.models.layers import Target, choose_layer
from gradcam_cli.models.trace import trace

if TYPE_CHECKING:
    from gradcam_cli.network import Head


class NotCompilableError(ModelError):
    """This model, or this layer of it, has to stay with TensorFlow; the message says why."""


def compile_plan(classifier: Classifier, layer: str) -> Plan:
    """Convert a classifier whose target layer is followed by global average pooling and one dense layer.

    Only there is the gradient known in closed form (`W / Z`), so that a forward pass is all it takes.

    Raises:
        NotCompilableError: the head is of another kind, or OpenVINO cannot convert the network.
        ModelError: there is no such layer.
    """
    found: list[tuple[Target, Head]] = []

    def forward(inputs: Any) -> dict[str, Any]:
        run = trace(classifier.network, classifier.arranged(inputs), classifier.output)
        target = choose_layer(run, layer)
        found.append((target, head_of(run, target.call)))
        activations = tf.cast(target.layout.fold(target.call.output), tf.float32)
        return {"activations": activations, "logits": tf.cast(run.logits, tf.float32)}

    function = classifier.traced(forward, None)
    target, head = found[-1]
    if head.weights is None:
        raise NotCompilableError(
            f"Layer '{target.layer.path}' is not followed by global average pooling and one dense layer alone, so its "
            "gradient has to be taken by TensorFlow: --engine tensorflow"
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
    )


def _converted(function: Any) -> tuple[bytes, bytes]:
    try:
        model = convert_model(function)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            openvino.save_model(model, path, compress_to_fp16=False)
            return path.read_bytes(), path.with_suffix(".bin").read_bytes()
    except Exception as error:
        # Its frontends raise types of their own for what they do not know.
        raise NotCompilableError(
            f"OpenVINO cannot convert this network ({first_line(error)}): --engine tensorflow"
        ) from error
