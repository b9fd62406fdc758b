"""The OpenVINO engine: forward only, the gradient in closed form; neither TensorFlow nor Keras is imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.plan import Plan
from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.errors import first_line
from gradcam_cli.settings import Precision, Score, TargetSettings

HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """Explains the classifier of a plan; implements `gradcam_cli.engines.protocol.Engine`.

    Raises:
        ModelError: there is no such class, or the labels are not one for each.
    """

    name = "openvino"
    others: tuple[Engine, ...] = ()

    def __init__(
        self,
        plan: Plan,
        targets: TargetSettings,
        *,
        batch_size: int,
        streams: int,
        precision: Precision,
        score: Score = "logit",
    ) -> None:
        """Compile the network for this machine."""
        self.streams = streams
        self.precision: str = precision
        self.input_size = plan.input_shape[:2]
        self.black = plan.preprocessing.black(plan.input_shape[2])
        self.layer = plan.layer
        self.head = plan.head
        plan.labels.check(plan.name, self.head.class_count)
        asked = [plan.labels.find(name, self.head.class_count) for name in targets.classes]
        self._score = score
        self._asked = np.asarray(asked, np.intp)
        self._top_k = min(targets.top_k, self.head.class_count)
        self.target_count = self._top_k + len(asked)
        self._free: SimpleQueue[Any] = SimpleQueue()
        with _out_of_memory():
            requests, self.batch_size = infer_requests(plan, batch_size, streams, precision)
            for request in requests:
                self._free.put(request)

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward; gradients are in closed form.

        A plan has the constant values of other inputs in its network, and takes no `extras`.
        """
        assert not extras  # noqa: S101 - no plan is made of a network that wants any
        count = len(inputs)
        padded = inputs
        if count < self.batch_size:
            padded = np.zeros((self.batch_size, *inputs.shape[1:]), np.float32)
            padded[:count] = inputs
        request = self._free.get()
        try:
            with _out_of_memory():
                request.infer({0: padded}, share_inputs=True)
            # The request's own memory is written again by the next pass.
            activations = np.array(request.get_tensor("activations").data[:count], np.float32)
            logits = np.array(request.get_tensor("logits").data[:count], np.float32)
        finally:
            self._free.put(request)
        if self.head.kind == "binary":
            logits = np.concatenate([-logits, logits], axis=1)
        targets = self._targets(logits) if targets is None else targets
        gradients = self.head.dense_score_gradients(self._score, logits, targets, self.layer)
        return Forward(inputs, activations, logits, targets, gradients)

    def probabilities(self, inputs: Floats, extras: Extras = NO_EXTRAS) -> Floats:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and give the probabilities (N, C)."""
        return self.head.probabilities(self.explain(inputs, extras=extras).logits)

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of one more class (N,) for each image."""
        del forward
        gradients = self.head.dense_gradients(classes[:, None], self.layer)
        assert gradients is not None  # noqa: S101 - every plan has the weights of its head
        return gradients[:, 0]

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        """Give the second and third derivatives of the logits: 0, as every plan's head is linear."""
        none = np.zeros((*forward.targets.shape, self.layer.channels), np.float32)
        return none, none

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give what each target's logit loses with each channel: (N, T, K)."""
        drops = self.head.dense_drops(forward.activations, forward.targets)
        assert drops is not None  # noqa: S101 - every plan has the weights of its head
        return drops

    def _targets(self, logits: Floats) -> NDArray[np.intp]:
        """The most probable classes, then the ones asked for: (N, T)."""
        # Values are no candidates, and keep their order.
        ranked = np.zeros_like(logits) if self.head.kind == "value" else -logits
        top = np.argsort(ranked, axis=1, kind="stable")[:, : self._top_k]
        return np.concatenate([top, np.tile(self._asked, (len(logits), 1))], axis=1)


@contextmanager
def _out_of_memory() -> Iterator[None]:
    """Tell by its type what OpenVINO tells by its text alone."""
    try:
        yield
    except RuntimeError as error:
        if "alloc" not in str(error):
            raise
        raise MemoryError(first_line(error)) from error


def infer_requests(plan: Plan, batch_size: int, streams: int, precision: Precision) -> tuple[list[Any], int]:
    """Compile a plan's network for this machine, and give a request for each pass that runs at the same time.

    Give with them the batch size, which is the network's own where it takes batches of one size only.
    """
    core = openvino.Core()
    model = core.read_model(plan.network, plan.weights)
    own = model.input(0).get_partial_shape()[0]
    size = batch_size if own.is_dynamic else int(own.get_length())
    model.reshape([size, *plan.input_shape])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[precision], "NUM_STREAMS": streams})
    return [compiled.create_infer_request() for _ in range(streams)], size
