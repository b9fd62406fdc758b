"""An engine of numpy alone, so that the pipeline and the command line are tested without TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward, Head, TargetLayer

CHANNELS = 6
CLASSES = 5


@dataclass
class FakeEngine:
    """A network with a GAP -> Dense head: its activations are the block means of relu(x) and relu(-x)."""

    batch_size: int = 4
    targets: Sequence[int] = ()
    top_k: int = 1
    side: int = 8
    cells: int = 4
    calls: list[int] = field(default_factory=list)
    nan_above: float = np.inf
    streams: int = 1
    name: str = "fake"
    precision: str = "float32"
    others: "tuple[Engine, ...]" = ()

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        self.kernel = rng.normal(size=(CHANNELS, CLASSES)).astype(np.float32)
        self.input_size = (self.side, self.side)
        self.black = np.full(3, -1, np.float32)
        self.layer = TargetLayer("last", "auto: a fake", self.cells, self.cells, CHANNELS)
        self.head = Head("softmax", CLASSES, self.kernel)
        self.target_count = self.top_k + len(self.targets)

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        self.calls.append(len(inputs))
        n, block = len(inputs), self.side // self.cells
        both = np.concatenate([np.maximum(inputs, 0), np.maximum(-inputs, 0)], axis=3)
        activations = both.reshape(n, self.cells, block, self.cells, block, CHANNELS).mean(axis=(2, 4))
        logits = activations.mean(axis=(1, 2)) @ self.kernel
        logits[inputs.mean(axis=(1, 2, 3)) > self.nan_above] = np.nan
        top = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        asked = np.tile(np.asarray(self.targets, np.intp), (n, 1))
        chosen = np.concatenate([top, asked], axis=1) if targets is None else targets
        slopes = self.kernel[:, chosen].transpose(1, 2, 0) / self.cells**2
        shape = (*slopes.shape[:2], self.cells, self.cells, CHANNELS)
        return Forward(inputs, activations, logits, chosen, np.broadcast_to(slopes[:, :, None, None, :], shape))

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        slopes = self.kernel[:, classes].T / self.cells**2
        return np.broadcast_to(slopes[:, None, None, :], forward.activations.shape)

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        none = np.zeros((*forward.targets.shape, CHANNELS), np.float32)
        return none, none

    def ablation_drops(self, forward: Forward) -> Floats:
        drops = self.head.dense_drops(forward.activations, forward.targets)
        assert drops is not None
        return drops
