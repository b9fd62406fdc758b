"""Choose which of a network's inputs is the explained image, and the values of the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.inputs.other_inputs import EVERY_PICTURE, GivenInput, OtherInput, is_picture, with_values

CHANNELS = (1, 3, 4)
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Input:
    """One input as the network declares it; `shape` includes the batch."""

    name: str
    place: int
    shape: Shape
    dtype: str

    @property
    def is_picture(self) -> bool:
        """Whether it has four axes, and the second or the last one has a size that channels of an image have."""
        return len(self.shape) == 4 and (self.shape[3] in CHANNELS or self.shape[1] in CHANNELS)


@dataclass(frozen=True, eq=False)
class PictureInput:
    """The input of the image, and the other inputs with their values; `note` is for the user."""

    picture: Input
    others: tuple[OtherInput, ...] = ()
    note: str | None = None


def picture_input(path: Path, network: Any, wanted: str | None, given: Sequence[GivenInput]) -> PictureInput:
    """Choose the image's input: the only one, the one named `wanted`, or with `all` every input that takes images.

    Raises:
        ModelError: no input takes an image, or several do and none is chosen.
    """
    inputs = declared_inputs(network)
    if not inputs:
        raise ModelError(
            f"{path}: the shape of the model's input is not known. Build the model (call it on one image), and save it "
            "again."
        )
    pictures = [each for each in inputs if each.is_picture]
    if not pictures or (len(inputs) == 1 and wanted in {None, EVERY_PICTURE, inputs[0].name}):
        # A wrong shape of a single input is reported when its size is read.
        return PictureInput(inputs[0], with_values((), given))
    chosen, note = _chosen(path, pictures, wanted, given)
    same = set(pictures) if wanted == EVERY_PICTURE else set()
    others = [_other(each, chosen, same=each in same) for each in inputs if each != chosen]
    return PictureInput(chosen, with_values(others, given), note)


def sized(others: Sequence[OtherInput], size: tuple[int, int]) -> tuple[OtherInput, ...]:
    """Set the open sizes of further image inputs to the size of the explained image."""
    return tuple(
        replace(other, shape=(other.shape[0] or size[0], other.shape[1] or size[1], other.shape[2]))
        if is_picture(other.shape)
        else other
        for other in others
    )


def declared_inputs(network: Any) -> list[Input]:
    """List a network's inputs in its own order; for a subclassed model, the input that it was built with."""
    tensors = list(getattr(network, "inputs", None) or [])
    if not tensors:
        built: dict[str, Any] = getattr(network, "get_build_config", dict)() or {}
        shape = built.get("input_shape")
        flat = isinstance(shape, (list, tuple)) and len(shape) == 4
        return [Input("", 0, (None, *(shape or ())[1:]), "float32")] if flat else []
    return [
        Input(_name(tensor), place, tuple(tensor.shape), _dtype(tensor.dtype)) for place, tensor in enumerate(tensors)
    ]


def _name(tensor: Any) -> str:
    history = getattr(tensor, "_keras_history", None)
    return str(history.operation.name if history else tensor.name)


def _dtype(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))


def _chosen(
    path: Path, pictures: list[Input], wanted: str | None, given: Sequence[GivenInput]
) -> tuple[Input, str | None]:
    listed = ", ".join(f"'{each.name}' {each.shape}" for each in pictures)
    if wanted == EVERY_PICTURE:
        if len({each.shape for each in pictures}) > 1:
            raise ModelError(f"{path}: the same image cannot be used for inputs of different shapes: {listed}.")
        return pictures[0], f"the same image is used for the inputs {listed}" if len(pictures) > 1 else None
    if wanted is not None:
        found = next((each for each in pictures if each.name == wanted), None)
        if found is None:
            raise ModelError(f"{path}: there is no image input '{wanted}'. The image inputs are: {listed}.")
        return found, None
    named = {value.name for value in given}
    free = [each for each in pictures if each.name not in named]
    if len(free) == 1:
        return free[0], None
    if len(free) == 2 and any(value.partners for value in given):
        return free[
            0
        ], f"the map is for the input '{free[0].name}'; `image_input={free[1].name}` explains the other input"
    raise ModelError(
        f"{path}: {len(pictures)} inputs take images: {listed}. Choose the explained one with "
        "`image_input=NAME` and give the other with `pairs=FILE.csv`; "
        "or use the same image for all of them with `image_input=all`"
    )


def _other(each: Input, chosen: Input, *, same: bool) -> OtherInput:
    return OtherInput(each.name, each.place, each.shape[1:], each.dtype, same=same and each != chosen)
