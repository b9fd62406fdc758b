"""The OpenVINO engine: neither TensorFlow nor Keras is imported.

If the head is GAP -> Dense, the gradient is known in closed form, and one forward pass is enough. Otherwise the
gradient is part of the network that OpenVINO runs, see `gradcam_cli.engines.gradient`.
"""

from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.compiled_network import CompiledNetwork
from gradcam_cli.engines.plan import Plan
from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward
from gradcam_cli.engines.runtime import core
from gradcam_cli.errors import ModelError
from gradcam_cli.settings import Precision, Score, TargetSettings

if TYPE_CHECKING:
    from gradcam_cli.engines.network_cache import NetworkCache

# Input value instead of a class: the network chooses the class.
OWN_CHOICE = -1
# Each target adds a part to the network, which takes time to compile. Further targets are computed with only the head,
# one after the other.
MOST_IN_NETWORK = 8


@dataclass(frozen=True)
class PassOptions:
    """Options of an engine: batches of `batch_size` images, and `streams` passes at the same time.

    `gradients=False` omits the gradients, for methods that do not use them. `score` is the score that is
    differentiated. `kept` stores compiled networks for later processes.
    """

    batch_size: int
    streams: int = 1
    precision: Precision = "float32"
    score: Score = "logit"
    gradients: bool = True
    kept: "NetworkCache | None" = None


class OpenVinoEngine:
    """Explains the classifier of a plan; implements `gradcam_cli.engines.protocol.Engine`.

    Raises:
        ModelError: there is no such class, there is not one label for each class, or the gradient cannot be built.
    """

    name = "openvino"
    reason = ""

    def __init__(
        self, plan: Plan, targets: TargetSettings, options: PassOptions, *, others: tuple[Engine, ...] = ()
    ) -> None:
        """Compile the network for this machine."""
        if options.precision != "float32" and plan.head_weights is None:
            raise ModelError(
                f"`precision={options.precision}` needs a layer that is followed by global average pooling "
                f"and one dense layer, but '{plan.layer.path}' is not: the network "
                "computes its gradient, and bfloat16 changes the map too much. Use float32."
            )
        self.plan = plan
        self.options = options
        self.streams = options.streams
        self.precision: str = options.precision
        self.others = others
        self.input_size = plan.input_shape[:2]
        self.layer = plan.layer
        self.head = plan.head
        plan.labels.check(plan.name, self.head.class_count)
        asked = [plan.labels.find(name, self.head.class_count) for name in targets.classes]
        self._asked = np.asarray(asked, np.intp)
        self._top_k = min(targets.top_k, self.head.class_count)
        self.target_count = self._top_k + len(asked)
        self._compiling = RLock()
        self._has_slopes = options.gradients and self.head.weights is None and self.target_count <= MOST_IN_NETWORK
        self._main = self._restored() or self._made()
        self.batch_size = self._main.batch_size

    @cached_property
    def black(self) -> Floats:
        """What a black pixel becomes: (channels,)."""
        return self.plan.preprocessing.black(self.plan.input_shape[2])

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and back as far as the target layer.

        A plan contains the constant values of other inputs, so there are no `extras`.

        Raises:
            MemoryError: the batch is too large for this machine.
        """
        assert not extras  # noqa: S101 - no plan is made of a network that wants any
        count, handle = len(inputs), _Kept(self, inputs)
        if self._has_slopes:
            wanted = self._own_choice(count) if targets is None else targets
            found = self._main([self._padded(inputs), self._padded(wanted.astype(np.int32))])
            activations, logits, chosen, slopes = (each[:count] for each in found)
            return Forward(inputs, activations, logits, chosen.astype(np.intp), slopes, handle)
        activations, logits = (each[:count] for each in self._main([self._padded(inputs)]))
        logits = self._both_sides(logits)
        targets = self._targets(logits) if targets is None else targets
        gradients = self.head.dense_score_gradients(self.options.score, logits, targets, self.layer)
        if gradients is None and self.options.gradients:
            with self._compiling:
                network = self._score_head
            gradients = np.stack([self._head_slopes(handle, classes, network) for classes in targets.T], axis=1)
        return Forward(inputs, activations, logits, targets, gradients, handle)

    def probabilities(self, inputs: Floats, extras: Extras = NO_EXTRAS) -> Floats:
        """Run up to `batch_size` inputs (N, H, W, channels) forward only, and give the probabilities (N, C)."""
        assert not extras  # noqa: S101 - no plan is made of a network that wants any
        with self._compiling:
            network = self._forward_only
        _, logits = network([self._padded(inputs)])
        return self.head.probabilities(self._both_sides(logits[: len(inputs)]))

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of one more class (N,) for each image, by running only the head."""
        dense = self.head.dense_gradients(classes[:, None], self.layer)
        if dense is not None:
            return dense[:, 0]
        with self._compiling:
            network = self._logit_head
        return self._head_slopes(forward.handle, classes, network)

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        """Give the second and third derivatives of the logits, which are 0 for a linear head.

        Raises:
            ModelError: the head is smooth.
        """
        if self.head.linearity != "piecewise":
            raise ModelError("The second and third derivatives of this head need `engine=tensorflow`.")
        none = np.zeros((*forward.targets.shape, self.layer.channels), np.float32)
        return none, none

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give the drop of each target's logit when a channel is set to 0: (N, T, K). Only the head is run."""
        dense = self.head.dense_drops(forward.activations, forward.targets)
        if dense is not None:
            return dense
        # The unchanged logit is computed in the same way as the logits that it is compared with.
        whole = self.shifted_logits(forward, np.zeros_like(forward.activations))
        drops = []
        for channel in range(self.layer.channels):
            change = np.zeros_like(forward.activations)
            change[..., channel] = -forward.activations[..., channel]
            lost = whole - self.shifted_logits(forward, change)
            drops.append(np.take_along_axis(lost, forward.targets, axis=1))
        return np.stack(drops, axis=2)

    def shifted_logits(self, forward: Forward, change: Floats) -> Floats:
        """Give the logits (N, C) after adding (N, h, w, K) to the activations. Only the head is run."""
        with self._compiling:
            network = self._shifted_head
        (logits,) = network([*forward.handle.tensors, self._padded(change)])
        return np.asarray(logits[: len(change)], np.float32)

    def kept_tensors(self, inputs: Floats) -> list[NDArray[Any]]:
        """Run the network up to the target layer, and give the inputs of the head for a full padded batch."""
        with self._compiling:
            network = self._front
        return network([self._padded(inputs)])

    def _head_slopes(self, kept: "_Kept", classes: NDArray[np.intp], network: CompiledNetwork) -> Floats:
        wanted = self._padded(classes.astype(np.int32)[:, None])
        (slopes,) = network([*kept.tensors, wanted])
        return np.asarray(slopes[: len(classes), 0], np.float32)

    def _padded(self, rows: NDArray[Any]) -> NDArray[Any]:
        missing = self.batch_size - len(rows)
        return np.concatenate([rows, np.zeros_like(rows, shape=(missing, *rows.shape[1:]))]) if missing else rows

    def _both_sides(self, logits: Floats) -> Floats:
        """One sigmoid unit is two classes: class 1 has the logit S, class 0 has -S."""
        return np.concatenate([-logits, logits], axis=1) if self.head.kind == "binary" else logits

    def _own_choice(self, count: int) -> NDArray[np.intp]:
        """Let the network choose the first classes; values are not ranked, and keep their order: (N, T)."""
        first = np.arange(self._top_k) if self.head.kind == "value" else np.full(self._top_k, OWN_CHOICE)
        return np.tile(np.concatenate([first, self._asked]), (count, 1))

    def _targets(self, logits: Floats) -> NDArray[np.intp]:
        """Give the most probable classes, then the named ones: (N, T)."""
        ranked = np.zeros_like(logits) if self.head.kind == "value" else -logits
        top = np.argsort(ranked, axis=1, kind="stable")[:, : self._top_k]
        return np.concatenate([top, np.tile(self._asked, (len(logits), 1))], axis=1)

    def _restored(self) -> CompiledNetwork | None:
        """Read the main network that an earlier process has compiled."""
        options = self.options
        if options.kept is None:
            return None
        return options.kept.load(self._described, streams=options.streams, precision=options.precision)

    def _made(self) -> CompiledNetwork:
        """Compile the main network, with the gradients of all targets if the head has no closed form."""
        model = read_network(self.plan)
        size = _batch_size(model, self.options.batch_size)
        made = self._with_slopes(model, size) if self._has_slopes else self._fixed(model, size)
        if self.options.kept:
            self.options.kept.keep(self._described, made)
        return made

    @property
    def _described(self) -> dict[str, Any]:
        """Describe what the main network depends on besides its plan."""
        options = self.options
        return {
            "batch_size": options.batch_size,
            "streams": options.streams,
            "precision": options.precision,
            "score": options.score,
            "targets": self.target_count if self._has_slopes else None,
        }

    def _with_slopes(self, model: Any, batch_size: int) -> CompiledNetwork:
        # A closed-form head does not need these modules, and starts faster without them.
        from gradcam_cli.engines.gradient import with_gradients

        score, kind = self.options.score, self.head.kind
        return self._compiled(with_gradients(model, batch_size, self.target_count, score=score, kind=kind))

    def _fixed(self, model: Any, batch_size: int) -> CompiledNetwork:
        model.reshape([batch_size, *self.plan.input_shape])
        return self._compiled(model)

    @cached_property
    def _forward_only(self) -> CompiledNetwork:
        return self._fixed(read_network(self.plan), self.batch_size) if self._has_slopes else self._main

    @cached_property
    def _front(self) -> CompiledNetwork:
        from gradcam_cli.engines.gradient.cut import front_of

        return self._compiled(front_of(read_network(self.plan), self.batch_size))

    @cached_property
    def _logit_head(self) -> CompiledNetwork:
        from gradcam_cli.engines.gradient.cut import gradient_head

        return self._compiled(gradient_head(read_network(self.plan), self.batch_size, self.head.kind))

    @cached_property
    def _score_head(self) -> CompiledNetwork:
        if self.options.score == "logit":
            return self._logit_head
        from gradcam_cli.engines.gradient.cut import gradient_head

        made = gradient_head(read_network(self.plan), self.batch_size, self.head.kind, self.options.score)
        return self._compiled(made)

    @cached_property
    def _shifted_head(self) -> CompiledNetwork:
        from gradcam_cli.engines.gradient.cut import shifted_head

        return self._compiled(shifted_head(read_network(self.plan), self.batch_size, self.head.kind))

    def _compiled(self, model: Any) -> CompiledNetwork:
        return CompiledNetwork(model, streams=self.streams, precision=self.options.precision)


class _Kept:
    """The inputs of the head for one batch, computed at the first use."""

    def __init__(self, engine: OpenVinoEngine, inputs: Floats) -> None:
        self._engine = engine
        self._inputs = inputs

    @cached_property
    def tensors(self) -> list[NDArray[Any]]:
        """The tensors of the whole padded batch, in the order of the head's inputs."""
        return self._engine.kept_tensors(self._inputs)


def read_network(plan: Plan) -> Any:
    """Read a plan's network.

    Raises:
        DamagedPlanError: its weights cannot be read.
    """
    return core().read_model(plan.network, plan.weight_bytes())


def _batch_size(model: Any, wanted: int) -> int:
    """Give the wanted batch size, or the only one that the network accepts."""
    own = model.input(0).get_partial_shape()[0]
    return wanted if own.is_dynamic else int(own.get_length())
