"""What a network tells the rest of the program: plain records, in which no framework appears."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# softmax: one of many. sigmoid: any of many. binary: one sigmoid unit, seen as two classes with logits -S and S.
# linear: no activation; probabilities are the softmax of what it gives.
HeadKind = Literal["softmax", "sigmoid", "binary", "linear"]


@dataclass(frozen=True)
class LayerInfo:
    """One layer that can be explained: its path, class, output size, calls, and what `auto` thinks of it."""

    path: str
    type: str
    height: int
    width: int
    channels: int
    calls: int
    auto: bool
    note: str


@dataclass(frozen=True)
class TargetLayer:
    """The layer whose activations are explained, and why that one."""

    path: str
    reason: str
    height: int
    width: int
    channels: int


@dataclass(frozen=True, eq=False)
class Head:
    """How logits become probabilities; `weights` (K, C) only where the head is GAP -> Dense on the target layer."""

    kind: HeadKind
    class_count: int
    weights: Floats | None = None

    def dense_gradients(self, classes: NDArray[np.intp], layer: TargetLayer) -> Floats | None:
        """Give the gradient of the logits of classes (N, T), in closed form, where the head is GAP -> Dense.

        `dS^c/dA_ijk = W_kc / Z` everywhere: as (N, T, h, w, K), a view that takes no memory. None for other heads.
        """
        if self.weights is None:
            return None
        slopes = self.weights.T[classes] / np.float32(layer.height * layer.width)
        shape = (*classes.shape, layer.height, layer.width, layer.channels)
        return np.broadcast_to(slopes[:, :, None, None, :], shape)

    def dense_drops(self, activations: Floats, classes: NDArray[np.intp]) -> Floats | None:
        """Give what the logits of classes (N, T) lose with each channel, in closed form: (N, T, K).

        `S^c - S^c(A_k = 0) = W_kc mean_ij(A_ijk)` where the head is GAP -> Dense. None for other heads.
        """
        if self.weights is None:
            return None
        return np.asarray(self.weights.T[classes] * activations.mean(axis=(1, 2))[:, None], np.float32)

    def probabilities(self, logits: Floats) -> Floats:
        """Turn logits (N, C) into probabilities (N, C): softmax over the classes, or a sigmoid for each."""
        if self.kind in {"sigmoid", "binary"}:
            # Both branches of the sigmoid by exp(-|S|), which cannot overflow.
            small = np.exp(-np.abs(logits))
            return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


@dataclass(frozen=True, eq=False)
class Forward:
    """What one pass gave for a batch of N images and T target classes each.

    inputs (N, H, W, channels) as they were given, activations (N, h, w, K), logits (N, C), targets (N, T) class
    indices, gradients (N, T, h, w, K) of each target's logit, or None where they were not asked for. `handle` is the
    engine's own, for what goes through the head alone.
    """

    inputs: Floats
    activations: Floats
    logits: Floats
    targets: NDArray[np.intp]
    gradients: Floats | None
    handle: Any = None


class Engine(Protocol):
    """How a forward pass runs. An engine is made for one network, target layer, batch size and list of targets."""

    @property
    def name(self) -> str:
        """Engine's name in the sidecar."""

    @property
    def precision(self) -> str:
        """Floating-point format of the forward pass."""

    @property
    def batch_size(self) -> int:
        """Images a pass takes at the most."""

    @property
    def streams(self) -> int:
        """Passes it runs best at the same time, each called from a thread of its own."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""

    @property
    def layer(self) -> TargetLayer:
        """The layer whose activations it gives."""

    @property
    def target_count(self) -> int:
        """Target classes each image gets: T."""

    @property
    def head(self) -> Head:
        """From logits to probabilities."""

    @property
    def black(self) -> Floats:
        """What a black pixel is in the network's input: (channels,)."""

    def explain(self, inputs: Floats) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and back as far as the target layer."""

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of one more class (N,) for each image, through the head alone."""

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give what each target's logit loses with each channel, through the head alone: (N, T, K).

        `S^c - S^c(A_k = 0)`: the head is run from the kept activations, one channel of the map set to 0 at a time.
        """
