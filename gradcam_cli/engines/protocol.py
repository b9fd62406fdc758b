"""What a network tells the rest of the program: plain records, in which no framework appears."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import MapGeometry, Size
from gradcam_cli.settings import Score

Floats = NDArray[np.float32]
# Values of a network's inputs besides the picture, by the input's name: (N, ...) for a batch, (...) for one image.
Extras = Mapping[str, NDArray[Any]]
NO_EXTRAS: Extras = MappingProxyType({})
# Of one array for one picture, such as 1000 channels of 1000 x 1000 cells. A file that claims more is refused.
MOST_NUMBERS = 10**9

# softmax: one of many. sigmoid: any of many. binary: one sigmoid unit, seen as two classes with logits -S and S.
# linear: no activation; probabilities are the softmax of what it gives. probabilities: the output is probabilities
# that do not follow from the scores. score: one score a class, without probabilities. value: a number for its own sake.
HeadKind = Literal["softmax", "sigmoid", "binary", "linear", "probabilities", "score", "value"]
# How the scores depend on the target layer's output, see `models.linearity`.
Linearity = Literal["piecewise", "pooled", "smooth"]
WITHOUT_PROBABILITIES = frozenset({"score", "value"})


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

    @property
    def size(self) -> str:
        """Height, width and channels of its output, for people: `7x7x2048`."""
        return f"{self.height}x{self.width}x{self.channels}"


@dataclass(frozen=True)
class TargetLayer:
    """The layer whose activations are explained, and why that one.

    `geometry` is where its cells lie in the input; None where that could not be followed, and the map is stretched over
    all of it. `notes` are for people: what else they should know of the choice.
    """

    path: str
    reason: str
    height: int
    width: int
    channels: int
    geometry: MapGeometry | None = None
    notes: tuple[str, ...] = ()

    def placed(self, input_size: tuple[int, int]) -> MapGeometry:
        """Say where the cells lie in an input of (height, width)."""
        whole = Size(input_size[1], input_size[0])
        return self.geometry or MapGeometry.over(whole, Size(self.width, self.height))


@dataclass(frozen=True, eq=False)
class Head:
    """How logits become probabilities; `weights` (K, C) only where the head is GAP -> Dense on the target layer.

    `reason` says how `kind` was found; `assumed` that nothing told it. `linearity` is that of the scores in the layer's
    output.
    """

    kind: HeadKind
    class_count: int
    weights: Floats | None = None
    reason: str = ""
    assumed: bool = False
    linearity: Linearity = "piecewise"

    @property
    def has_probabilities(self) -> bool:
        """Whether the output says how probable a class is."""
        return self.kind not in WITHOUT_PROBABILITIES

    def dense_gradients(self, classes: NDArray[np.intp], layer: TargetLayer) -> Floats | None:
        """Give the gradient of the logits of classes (N, T), in closed form, where the head is GAP -> Dense.

        `dS^c/dA_ijk = W_kc / Z` everywhere: as (N, T, h, w, K), a view that takes no memory. None for other heads.
        """
        return None if self.weights is None else _in_every_cell(self.weights.T[classes], layer)

    def dense_score_gradients(
        self, score: Score, logits: Floats, classes: NDArray[np.intp], layer: TargetLayer
    ) -> Floats | None:
        """Give the same of the logits or of the probabilities: `dY^c/dA_ijk = sum_m dY^c/dS^m W_km / Z`."""
        if self.weights is None or score == "logit":
            return self.dense_gradients(classes, layer)
        # A class that is next to certain has a slope of next to nothing, which float32 still holds, but not its sums.
        slopes = self.probability_slopes(logits, classes) @ self.weights.T.astype(np.float64)
        return _in_every_cell(slopes.astype(np.float32), layer)

    def probability_slopes(self, logits: Floats, classes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Differentiate the probabilities of classes (N, T) by all logits: (N, T, C).

        Softmax: `dY^c/dS^m = Y^c ([m = c] - Y^m)`, where `1 - Y^c` is taken as the sum of the others, which has no
        rounding to lose however certain c is. Sigmoids: `Y^c (1 - Y^c)` for c itself, `1 - Y^c` being that of `-S^c`.
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
        """Give what the logits of classes (N, T) lose with each channel, in closed form: (N, T, K).

        `S^c - S^c(A_k = 0) = W_kc mean_ij(A_ijk)` where the head is GAP -> Dense. None for other heads.
        """
        if self.weights is None:
            return None
        return np.asarray(self.weights.T[classes] * activations.mean(axis=(1, 2))[:, None], np.float32)

    def probabilities(self, logits: Floats) -> Floats:
        """Turn logits (N, C) into probabilities (N, C): softmax over the classes, or a sigmoid for each.

        Not for kinds whose probabilities do not follow from the logits: see `Forward.probabilities`. One logit that is
        NaN or +inf makes all probabilities of a softmax NaN, and of sigmoids its own only.
        """
        # Not finite: found by whoever shows the image, and no reason to warn.
        with np.errstate(invalid="ignore"):
            return self._probabilities(logits)

    def _probabilities(self, logits: Floats) -> Floats:
        if self.kind in {"sigmoid", "binary"}:
            # Both branches of the sigmoid by exp(-|S|), which cannot overflow.
            small = np.exp(-np.abs(logits))
            return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def _in_every_cell(slopes: Floats, layer: TargetLayer) -> Floats:
    """Spread what a mean over Z cells has for each channel, (N, T, K), over the cells: (N, T, h, w, K)."""
    per_cell = slopes / np.float32(layer.height * layer.width)
    shape = (*slopes.shape[:2], layer.height, layer.width, layer.channels)
    return np.broadcast_to(per_cell[:, :, None, None, :], shape)


@dataclass(frozen=True, eq=False)
class Forward:
    """What one pass gave for a batch of N images and T target classes each.

    inputs (N, H, W, channels) as they were given, activations (N, h, w, K), logits (N, C), targets (N, T) class
    indices, gradients (N, T, h, w, K) of each target's score, or None where they were not asked for. `handle` is the
    engine's own, for what goes through the head alone. `extras` are the other inputs that went in with `inputs`.
    `probabilities` (N, C) are there where they do not follow from the logits: see `probabilities_of`.
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
    """Give the probabilities (N, C) of a pass, of a head that has them."""
    return head.probabilities(forward.logits) if forward.probabilities is None else forward.probabilities


class Engine(Protocol):
    """How a forward pass runs.

    An engine is made for one network, target layer, batch size, list of targets, and score that is differentiated.
    """

    @property
    def name(self) -> str:
        """Engine's name in the sidecar."""

    @property
    def reason(self) -> str:
        """Why it runs where another engine is preferred; empty where it is the preferred one."""

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
    def others(self) -> "tuple[Engine, ...]":
        """Engines of the same network at further layers, whose maps are fused with this one's."""

    @property
    def target_count(self) -> int:
        """Target classes each image gets: T."""

    @property
    def head(self) -> Head:
        """From logits to probabilities."""

    @property
    def black(self) -> Floats:
        """What a black pixel is in the network's input: (channels,)."""

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and back as far as the target layer.

        `targets` (N, T) are explained in place of the engine's own choice: a noisy copy of a picture is asked about
        the classes that were seen in the picture. `extras` has an entry (N, ...) for each input of the network whose
        value differs from image to image.
        """

    def probabilities(self, inputs: Floats, extras: Extras = NO_EXTRAS) -> Floats:
        """Run up to `batch_size` inputs (N, H, W, channels) forward only, and give the probabilities (N, C).

        Only for heads that have them.
        """

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of one more class's logit (N,) for each image, through the head alone."""

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        """Give the second and third derivative of each target's logit by each channel's mean: twice (N, T, K).

        Only for heads whose `linearity` is `pooled`.
        """

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give what each target's logit loses with each channel, through the head alone: (N, T, K).

        `S^c - S^c(A_k = 0)`: the head is run from the kept activations, one channel of the map set to 0 at a time.
        """


@dataclass(frozen=True, eq=False)
class RandomisedEngine:
    """An engine whose network has `layers` of `of` layers randomised, from the last one back to `back_to`."""

    layers: int
    of: int
    back_to: str
    engine: Engine


def map_layer(engine: Engine) -> TargetLayer:
    """Give the layer on whose grid an engine's maps are: of several fused ones, the finest."""
    return max((each.layer for each in (engine, *engine.others)), key=lambda layer: layer.height * layer.width)
