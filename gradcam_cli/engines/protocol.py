"""The engine protocol: plain records and an interface that do not depend on a framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import MapGeometry, Size
from gradcam_cli.settings import Score

Floats = NDArray[np.float32]
# Values of a network's inputs besides the image, by the input's name: (N, ...) for a batch, (...) for one image.
Extras = Mapping[str, NDArray[Any]]
NO_EXTRAS: Extras = MappingProxyType({})
# Limit of one array for one image, such as 1000 channels of 1000 x 1000 cells. A file that declares more is refused.
MOST_NUMBERS = 10**9

# softmax: exactly one of several classes. sigmoid: any number of several classes. binary: one sigmoid unit, treated as
# two classes with logits -S and S. linear: no activation; the probabilities are the softmax of the output.
# probabilities: probabilities that are not computed from the scores. score: one score for each class, without
# probabilities. value: numbers that are not classes, as in a regression.
HeadKind = Literal["softmax", "sigmoid", "binary", "linear", "probabilities", "score", "value"]
# How the scores depend on the target layer's output, see `models.linearity`.
Linearity = Literal["piecewise", "pooled", "smooth"]
WITHOUT_PROBABILITIES = frozenset({"score", "value"})


@dataclass(frozen=True)
class LayerInfo:
    """One explainable layer: its path, class, output size, calls, and its relation to the layer that `auto` chooses."""

    path: str
    type: str
    height: int
    width: int
    channels: int
    calls: int
    auto: bool
    note: str

    @property
    def size(self) -> str:
        """Give the height, width and channels of its output as text: `7x7x2048`."""
        return f"{self.height}x{self.width}x{self.channels}"


@dataclass(frozen=True)
class TargetLayer:
    """The target layer, whose activations are explained, and the reason of the choice.

    `geometry` is the positions of its cells in the input; None if they are unknown, and the map is stretched over the
    whole input. `notes` are texts about the choice.
    """

    path: str
    reason: str
    height: int
    width: int
    channels: int
    geometry: MapGeometry | None = None
    notes: tuple[str, ...] = ()

    def placed(self, input_size: tuple[int, int]) -> MapGeometry:
        """Give the positions of the cells in an input of (height, width)."""
        whole = Size(input_size[1], input_size[0])
        return self.geometry or MapGeometry.over(whole, Size(self.width, self.height))


@dataclass(frozen=True, eq=False)
class Head:
    """How logits become probabilities; `weights` (K, C) only where the head is GAP -> Dense on the target layer.

    `reason` says how `kind` was found; `assumed` means that it is only an assumption. `linearity` is how the scores
    depend on the layer's output.
    """

    kind: HeadKind
    class_count: int
    weights: Floats | None = None
    reason: str = ""
    assumed: bool = False
    linearity: Linearity = "piecewise"

    @property
    def has_probabilities(self) -> bool:
        """Whether the output has probabilities."""
        return self.kind not in WITHOUT_PROBABILITIES

    def dense_gradients(self, classes: NDArray[np.intp], layer: TargetLayer) -> Floats | None:
        """Give the gradient of the logits of classes (N, T), in closed form, if the head is GAP -> Dense.

        `dS^c/dA_ijk = W_kc / Z` everywhere: as (N, T, h, w, K), a view that takes no memory. None for other heads.
        """
        return None if self.weights is None else _in_every_cell(self.weights.T[classes], layer)

    def dense_score_gradients(
        self, score: Score, logits: Floats, classes: NDArray[np.intp], layer: TargetLayer
    ) -> Floats | None:
        """Give the gradient of the logits or of the probabilities: `dY^c/dA_ijk = sum_m dY^c/dS^m W_km / Z`."""
        if self.weights is None or score == "logit":
            return self.dense_gradients(classes, layer)
        # The slope of an almost certain class is very small: float32 can represent it, but sums in float32 lose it.
        slopes = self.probability_slopes(logits, classes) @ self.weights.T.astype(np.float64)
        return _in_every_cell(slopes.astype(np.float32), layer)

    def probability_slopes(self, logits: Floats, classes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Differentiate the probabilities of classes (N, T) by all logits: (N, T, C).

        Softmax: `dY^c/dS^m = Y^c ([m = c] - Y^m)`, where `1 - Y^c` is computed as the sum of the others, which is
        precise also if c is almost certain. Sigmoids: `Y^c (1 - Y^c)` for c itself, where `1 - Y^c` is the sigmoid of
        `-S^c`.
        """
        count, targets = classes.shape
        rows, ranks = np.ogrid[:count, :targets]
        probabilities = self.probabilities(logits).astype(np.float64)
        own = probabilities[rows, classes]
        slopes = np.zeros((count, targets, self.class_count))
        if self.kind in {"sigmoid", "binary"}:
            slopes[rows, ranks, classes] = own * self.probabilities(-logits)[rows, classes]
            return slopes
        slopes -= probabilities[:, None, :]
        slopes[rows, ranks, classes] = 0
        slopes[rows, ranks, classes] = -slopes.sum(axis=2)
        return slopes * own[:, :, None]

    def dense_drops(self, activations: Floats, classes: NDArray[np.intp]) -> Floats | None:
        """Give the drop of the logits of classes (N, T) when a channel is set to 0, in closed form: (N, T, K).

        `S^c - S^c(A_k = 0) = W_kc mean_ij(A_ijk)` if the head is GAP -> Dense. None for other heads.
        """
        if self.weights is None:
            return None
        return np.asarray(self.weights.T[classes] * activations.mean(axis=(1, 2))[:, None], np.float32)

    def probabilities(self, logits: Floats) -> Floats:
        """Turn logits (N, C) into probabilities (N, C): softmax over the classes, or a sigmoid for each.

        This is not valid for kinds whose probabilities are not computed from the logits: see `Forward.probabilities`. A
        logit that is NaN or +inf makes all probabilities of a softmax NaN; with sigmoids only its own.
        """
        # Values that are not finite are detected later, so no warning is needed here.
        with np.errstate(invalid="ignore"):
            return self._probabilities(logits)

    def _probabilities(self, logits: Floats) -> Floats:
        if self.kind in {"sigmoid", "binary"}:
            # Both branches of the sigmoid use exp(-|S|), which cannot overflow.
            small = np.exp(-np.abs(logits))
            return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def _in_every_cell(slopes: Floats, layer: TargetLayer) -> Floats:
    """Divide the derivative by the mean of each channel, (N, T, K), over its Z cells: (N, T, h, w, K)."""
    per_cell = slopes / np.float32(layer.height * layer.width)
    shape = (*slopes.shape[:2], layer.height, layer.width, layer.channels)
    return np.broadcast_to(per_cell[:, :, None, None, :], shape)


@dataclass(frozen=True, eq=False)
class Forward:
    """The result of one pass over a batch of N images with T target classes each.

    inputs (N, H, W, channels), activations (N, h, w, K), logits (N, C), targets (N, T) class indices, gradients (N, T,
    h, w, K) of each target's score, or None if they were not requested. `handle` is internal to the engine, for later
    passes of only the head. `extras` are the other inputs of the pass. `probabilities` (N, C) exist if they are not
    computed from the logits: see `probabilities_of`.
    """

    inputs: Floats
    activations: Floats
    logits: Floats
    targets: NDArray[np.intp]
    gradients: Floats | None
    handle: Any = None
    extras: Extras = field(default_factory=dict)
    probabilities: Floats | None = None


def probabilities_of(head: Head, forward: Forward) -> Floats:
    """Give the probabilities (N, C) of a pass, for a head with probabilities."""
    return head.probabilities(forward.logits) if forward.probabilities is None else forward.probabilities


class Engine(Protocol):
    """An engine: runs forward passes.

    An engine is made for one network, target layer, batch size, list of targets, and score that is differentiated.
    """

    @property
    def name(self) -> str:
        """The name of the engine in the sidecar."""

    @property
    def reason(self) -> str:
        """The reason why the preferred engine is not used; empty if this is the preferred one."""

    @property
    def precision(self) -> str:
        """Floating-point format of the forward pass."""

    @property
    def batch_size(self) -> int:
        """Maximum number of images in one pass."""

    @property
    def streams(self) -> int:
        """Best number of passes at the same time, each called from its own thread."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""

    @property
    def layer(self) -> TargetLayer:
        """The target layer, whose activations it gives."""

    @property
    def others(self) -> "tuple[Engine, ...]":
        """Engines of the same network for the other layers whose maps are fused."""

    @property
    def target_count(self) -> int:
        """Number of target classes of each image: T."""

    @property
    def head(self) -> Head:
        """The head: from logits to probabilities."""

    @property
    def black(self) -> Floats:
        """The values of a black pixel in the network's input: (channels,)."""

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and back as far as the target layer.

        `targets` (N, T) replace the engine's own choice of classes: a noisy copy of an image must be explained for the
        classes of the original. `extras` has an entry (N, ...) for each input of the network whose value differs from
        image to image.
        """

    def probabilities(self, inputs: Floats, extras: Extras = NO_EXTRAS) -> Floats:
        """Run up to `batch_size` inputs (N, H, W, channels) forward only, and give the probabilities (N, C).

        Only for heads that have them.
        """

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of the logit of one more class (N,) for each image. Only the head is run."""

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        """Give the second and third derivatives of each target's logit by each channel's mean: (N, T, K) each.

        Only for heads whose `linearity` is `pooled`.
        """

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give the drop of each target's logit when a channel is set to 0: (N, T, K).

        `S^c - S^c(A_k = 0)`: only the head is run on the stored activations, with one channel set to 0 at a time.
        """


@dataclass(frozen=True, eq=False)
class RandomisedEngine:
    """An engine of a network with permuted weights in the last `layers` of `of` layers, back to `back_to`."""

    layers: int
    of: int
    back_to: str
    engine: Engine


def map_layer(engine: Engine) -> TargetLayer:
    """Give the layer whose grid the maps have: the one with the finest grid, if several layers are fused."""
    return max((each.layer for each in (engine, *engine.others)), key=lambda layer: layer.height * layer.width)
