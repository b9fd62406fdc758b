"""The CAM family: one registry that feeds `--method`, the documentation and the tests."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Linearity
from gradcam_cli.methods.ablationcam import ablationcam
from gradcam_cli.methods.cam import cam
from gradcam_cli.methods.eigen import eigencam, eigengradcam
from gradcam_cli.methods.gradcam import (
    Floats,
    gradcam,
    gradcam_plus_plus,
    gradcam_plus_plus_paper,
    hirescam,
    layercam,
    xgradcam,
)
from gradcam_cli.methods.scorecam import scorecam
from gradcam_cli.methods.softmax import Moments, gradcam_plus_plus_softmax
from gradcam_cli.settings import Score

Array = NDArray[np.float32]


class Needs(Enum):
    """What a method wants to know besides the activations."""

    ACTIVATIONS = "nothing else"
    GRADIENTS = "the gradient of the class's score"
    CLASS_WEIGHTS = "the class's weights in a GAP -> Dense head"
    MOMENTS = "the moments of all classes' gradients"
    ABLATION = "what the class's logit loses with each channel"
    MASKED_SCORES = "the class's logit for the picture masked by each channel"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the network gave for one target class of each image; only what the method needs is there."""

    activations: Array
    gradients: Array | None = None
    class_weights: Array | None = None
    moments: Moments | None = None
    scores: Array | None = None
    drops: Array | None = None
    masked_scores: Array | None = None
    second: NDArray[np.floating] | None = None
    third: NDArray[np.floating] | None = None

    def finite(self) -> NDArray[np.bool_]:
        """Tell for each image (N,) whether all of it are finite numbers; -inf marks a channel that was not taken."""
        masked = (
            None if self.masked_scores is None else np.where(np.isneginf(self.masked_scores), 0, self.masked_scores)
        )
        arrays = (
            self.activations,
            self.gradients,
            self.class_weights,
            self.scores,
            self.drops,
            masked,
            self.second,
            self.third,
        )
        known = [array for array in (*arrays, *self._moments()) if array is not None]
        found = [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in known]
        return np.asarray(np.logical_and.reduce(found), np.bool_)

    def without(self, images: NDArray[np.bool_]) -> "Evidence":
        """Give the same with 0 for everything that is known of some images (N,)."""

        def kept(array: Any) -> Any:
            copy = np.array(array)
            copy[images] = 0
            return copy

        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "moments"}
        cleared: dict[str, Any] = {name: None if array is None else kept(array) for name, array in given.items()}
        return Evidence(**cleared, moments=Moments(*map(kept, self._moments())) if self.moments else None)

    def _moments(self) -> tuple[Any, ...]:
        m = self.moments
        return (m.offset, m.variance, m.skew, m.probability) if m else ()


# What a method costs beside the forward pass that every explanation takes, and which networks it can explain.
COSTS = {
    Needs.ACTIVATIONS: "1",
    Needs.GRADIENTS: "1 + backward of the head",
    Needs.CLASS_WEIGHTS: "1",
    Needs.MOMENTS: "1 + up to 50 of the head, and back; GAP -> Dense: 1",
    Needs.ABLATION: "1 + one of the head a channel; GAP -> Dense: 1",
    Needs.MASKED_SCORES: "1 + --max-channels",
}
HEADS = dict.fromkeys(Needs, "any") | {Needs.CLASS_WEIGHTS: "GAP -> Dense"}


@dataclass(frozen=True)
class Method:
    """One member of the family: its name, what it needs, one line about it, and its function."""

    name: str
    needs: Needs
    line: str
    maps: Callable[[Evidence], Floats]

    @property
    def cost(self) -> str:
        """Passes of the network for each image; where the head is GAP -> Dense, its backward pass is no pass at all."""
        return COSTS[self.needs]

    @property
    def head(self) -> str:
        """What has to follow the target layer."""
        return HEADS[self.needs]

    @property
    def assumes_linearity(self) -> bool:
        """Whether its alpha is derived for heads that are piecewise linear in the layer's output."""
        return self.name.startswith("gradcam++")

    @property
    def takes_curvature(self) -> bool:
        """Whether it takes the second and third derivatives where they can be had."""
        return self.name == "gradcam++-paper"

    def is_exact(self, linearity: Linearity, score: Score) -> bool:
        """Whether its derivatives are exact for such a head and score."""
        if not self.assumes_linearity:
            return True
        return score == "logit" and (linearity == "piecewise" or (linearity == "pooled" and self.differentiates))

    @property
    def differentiates(self) -> bool:
        """Whether it takes the gradient of one score, so that one can choose of which."""
        return self.needs is Needs.GRADIENTS


def _from_gradients(function: Callable[[Floats, Floats], Floats]) -> Callable[[Evidence], Floats]:
    def maps(evidence: Evidence) -> Floats:
        assert evidence.gradients is not None  # noqa: S101 - the registry says what each method needs
        return function(evidence.activations, evidence.gradients)

    return maps


def _paper(evidence: Evidence) -> Floats:
    assert evidence.gradients is not None  # noqa: S101 - the registry says what each method needs
    return gradcam_plus_plus_paper(evidence.activations, evidence.gradients, evidence.second, evidence.third)


def _cam(evidence: Evidence) -> Floats:
    assert evidence.class_weights is not None  # noqa: S101 - the registry says what each method needs
    return cam(evidence.activations, evidence.class_weights)


def _softmax(evidence: Evidence) -> Floats:
    assert evidence.moments is not None  # noqa: S101 - the registry says what each method needs
    return gradcam_plus_plus_softmax(evidence.activations, evidence.moments)


def _ablationcam(evidence: Evidence) -> Floats:
    assert evidence.drops is not None  # noqa: S101 - the registry says what each method needs
    assert evidence.scores is not None  # noqa: S101 - and the score goes with them
    return ablationcam(evidence.activations, evidence.drops, evidence.scores)


def _scorecam(evidence: Evidence) -> Floats:
    assert evidence.masked_scores is not None  # noqa: S101 - the registry says what each method needs
    return scorecam(evidence.activations, evidence.masked_scores)


def _from_activations(function: Callable[[Floats], Floats]) -> Callable[[Evidence], Floats]:
    return lambda evidence: function(evidence.activations)


# The best known first.
METHODS = {
    method.name: method
    for method in (
        Method("gradcam", Needs.GRADIENTS, "channels weighted by their mean gradient", _from_gradients(gradcam)),
        Method(
            "gradcam++",
            Needs.GRADIENTS,
            "positive gradients, each pixel weighted by its own alpha (normalised)",
            _from_gradients(gradcam_plus_plus),
        ),
        Method(
            "gradcam++-paper",
            Needs.GRADIENTS,
            "the same by the paper's equations (alpha not normalised)",
            _paper,
        ),
        Method(
            "gradcam++-softmax",
            Needs.MOMENTS,
            "the same with the derivatives of the softmax in place of the logit's exponential",
            _softmax,
        ),
        Method("cam", Needs.CLASS_WEIGHTS, "channels weighted by the dense layer behind the pooling", _cam),
        Method("layercam", Needs.GRADIENTS, "elements weighted by their positive gradients", _from_gradients(layercam)),
        Method("hirescam", Needs.GRADIENTS, "elements weighted by their gradients", _from_gradients(hirescam)),
        Method(
            "xgradcam",
            Needs.GRADIENTS,
            "channels weighted by their gradients where they are active",
            _from_gradients(xgradcam),
        ),
        Method(
            "scorecam",
            Needs.MASKED_SCORES,
            "channels weighted by the score of the picture seen through them",
            _scorecam,
        ),
        Method(
            "ablationcam",
            Needs.ABLATION,
            "channels weighted by what the score loses without them",
            _ablationcam,
        ),
        Method(
            "eigencam",
            Needs.ACTIVATIONS,
            "first principal component of the activations; blind to the class",
            _from_activations(eigencam),
        ),
        Method(
            "eigengradcam",
            Needs.GRADIENTS,
            "first principal component of activations times gradients",
            _from_gradients(eigengradcam),
        ),
    )
}
