"""What a method is, and what it is given: one pass of an engine over a batch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Engine, Forward, Linearity
from gradcam_cli.methods.arithmetic import Floats
from gradcam_cli.settings import MethodOptions, Score

Classes = NDArray[np.intp]
# From activations and gradients of one class, both (N, h, w, K), to maps (N, h, w).
GradientFunction = Callable[[Floats, Floats], Floats]

# What a method costs: passes of the network for each image. Where the head is GAP -> Dense, its backward pass is free.
FORWARD = "1"
BACKWARD = "1 + backward of the head"


@dataclass(frozen=True, eq=False)
class RawMaps:
    """Maps (N, T, h, w) of a batch; `classes_sampled` (N,) where a sample of classes stood for all."""

    maps: NDArray[np.float32]
    classes_sampled: Classes | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """One pass of an engine over N images with T target classes each, for which a method makes maps.

    A method takes from it what it needs, and may ask the engine for more.
    """

    engine: Engine
    forward: Forward
    options: MethodOptions

    @property
    def activations(self) -> Floats:
        """A, the output of the target layer: (N, h, w, K)."""
        return self.forward.activations

    @property
    def gradients(self) -> Floats:
        """g, the gradient of each target's score with respect to A: (N, T, h, w, K).

        Raises:
            ValueError: the engine was made without gradients.
        """
        if self.forward.gradients is None:
            raise ValueError("this method needs gradients, but the engine was made without gradients")
        return self.forward.gradients

    @property
    def scores(self) -> Floats:
        """S, the logit of each target: (N, T)."""
        return np.take_along_axis(self.forward.logits, self.forward.targets, axis=1)

    def maps(self, function: Callable[..., Floats], arrays: Iterable[tuple[NDArray[Any], ...]]) -> NDArray[np.float32]:
        """Make the maps of all targets, (N, T, h, w), by a function from arrays of one target to maps (N, h, w).

        Args:
            function: called once for each target, with the activations and that target's arrays. What it returns for
                one image must depend on that image alone.
            arrays: for each target in turn its arrays, all (N, ...). A generator holds those of one target at a time.

        Returns:
            The maps, NaN everywhere in those of an image for which a number in the arrays is not finite.
        """
        maps = [finite_maps(function, self.activations, *of_target) for of_target in arrays]
        return np.stack(maps, axis=1).astype(np.float32, copy=False)


def by_target(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Give from arrays (N, T, ...) those of each target in turn, (N, ...), as views."""
    return zip(*(array.swapaxes(0, 1) for array in arrays), strict=True)


def finite_maps(function: Callable[..., Floats], *arrays: NDArray[Any]) -> Floats:
    """Make maps (N, h, w) from arrays (N, ...) by a function; the map of an image with a number not finite is NaN.

    The function is given 0 for everything that is known of such an image, so that its neighbours are not disturbed.
    """
    finite = np.logical_and.reduce([np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays])
    if finite.all():
        return function(*arrays)
    maps = np.array(function(*(_cleared(array, ~finite) for array in arrays)))
    maps[~finite] = np.nan
    return maps


def _cleared(array: NDArray[Any], images: NDArray[np.bool_]) -> NDArray[Any]:
    """A copy of an array (N, ...) with 0 for some images (N,)."""
    copy = np.array(array)
    copy[images] = 0
    return copy


def gradient_maps(function: GradientFunction, batch: Batch) -> RawMaps:
    """Make the maps of a batch by a function from activations and gradients of one class."""
    return RawMaps(batch.maps(function, by_target(batch.gradients)))


def activation_maps(function: Callable[[Floats], Floats], batch: Batch) -> RawMaps:
    """Make the maps of a batch by a function of the activations alone: the same for all targets."""
    maps = batch.maps(function, [()])
    return RawMaps(np.repeat(maps, batch.forward.targets.shape[1], axis=1))


def any_engine(engine: Engine) -> None:
    """Accept every network and layer."""
    del engine


@dataclass(frozen=True)
class Method:
    """One member of the CAM family: how its maps are made, and what the rest of the program has to know of it.

    Attributes:
        name: what it is called on the command line and in the sidecar.
        line: one line about it, for people.
        maps: makes the raw maps of all target classes of a batch.
        cost: passes of the network for each image, for people.
        head: what has to follow the target layer, for people.
        check_engine: raises ModelError where the method cannot explain an engine's network and layer.
        differentiates: whether it takes the gradient of one score, so that the score can be chosen.
        why_one_score: why it takes no other score, where more is to be said than that it takes no gradient of one.
        masks_inputs: whether it runs the network on `max_channels` masked copies of each image.
        exact_heads: for a method with second and third derivatives, the kinds of heads for which those of the logit
            are exact; empty for a method without.
        derives_pooled: whether it asks the engine for these derivatives where the head is `pooled`.
    """

    name: str
    line: str
    maps: Callable[[Batch], RawMaps]
    cost: str
    head: str = "any"
    check_engine: Callable[[Engine], None] = any_engine
    differentiates: bool = False
    why_one_score: str = ""
    masks_inputs: bool = False
    exact_heads: frozenset[Linearity] = frozenset()
    derives_pooled: bool = False

    @property
    def assumes_linearity(self) -> bool:
        """Whether its second and third derivatives are exact for some heads only."""
        return bool(self.exact_heads)

    def is_exact(self, linearity: Linearity, score: Score) -> bool:
        """Whether its derivatives are exact for such a head and score."""
        return not self.assumes_linearity or (score == "logit" and linearity in self.exact_heads)


def gradient_method(
    name: str, line: str, function: GradientFunction, *, exact_heads: frozenset[Linearity] = frozenset()
) -> Method:
    """Make a method from a function of activations and gradients alone."""
    maps = partial(gradient_maps, function)
    return Method(name, line, maps, BACKWARD, differentiates=True, exact_heads=exact_heads)
