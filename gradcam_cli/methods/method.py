"""The definition of a method, and its input: one pass of an engine over a batch."""

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
# A function from activations and gradients of one class, both (N, h, w, K), to maps (N, h, w).
GradientFunction = Callable[[Floats, Floats], Floats]

# Costs of methods: passes of the network for each image. If the head is GAP -> Dense, its backward pass is free.
FORWARD = "1"
BACKWARD = "1 + backward of the head"


@dataclass(frozen=True, eq=False)
class RawMaps:
    """Maps (N, T, h, w) of a batch; `classes_sampled` (N,): the number of classes if only a sample was used."""

    maps: NDArray[np.float32]
    classes_sampled: Classes | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """One pass of an engine over N images with T target classes each, for which a method makes maps.

    A method uses the arrays that it needs, and may call the engine for more.
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
    """Give the arrays (N, ...) of each target, as views of arrays (N, T, ...)."""
    return zip(*(array.swapaxes(0, 1) for array in arrays), strict=True)


def finite_maps(function: Callable[..., Floats], *arrays: NDArray[Any]) -> Floats:
    """Make maps (N, h, w) from arrays (N, ...) by a function; the map of an image with a non-finite value is NaN.

    The function receives 0 for all values of such an image, so that other images are not affected.
    """
    finite = np.logical_and.reduce([np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays])
    if finite.all():
        return function(*arrays)
    maps = np.array(function(*(_cleared(array, ~finite) for array in arrays)))
    maps[~finite] = np.nan
    return maps


def _cleared(array: NDArray[Any], images: NDArray[np.bool_]) -> NDArray[Any]:
    """Copy an array (N, ...) with 0 for some images (N,)."""
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
    """One CAM method: the function that makes its maps, and its properties.

    Attributes:
        name: its name on the command line and in the sidecar.
        line: a one-line description.
        maps: makes the raw maps of all target classes of a batch.
        cost: a text with the number of passes of the network for each image.
        head: a text with the layers that must follow the target layer.
        check_engine: raises ModelError if the method cannot explain the network and layer of an engine.
        differentiates: whether it uses the gradient of one score, so that the score can be chosen.
        why_one_score: an additional reason why the score cannot be chosen.
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
        """Whether its second and third derivatives are exact only for some heads."""
        return bool(self.exact_heads)

    def is_exact(self, linearity: Linearity, score: Score) -> bool:
        """Whether its derivatives are exact for such a head and score."""
        return not self.assumes_linearity or (score == "logit" and linearity in self.exact_heads)


def gradient_method(
    name: str, line: str, function: GradientFunction, *, exact_heads: frozenset[Linearity] = frozenset()
) -> Method:
    """Make a method from a function of activations and gradients."""
    maps = partial(gradient_maps, function)
    return Method(name, line, maps, BACKWARD, differentiates=True, exact_heads=exact_heads)
