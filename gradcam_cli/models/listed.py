"""The lists of named models and of layers, and their tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_cli.models.named import NAMED_MODELS
from gradcam_cli.models.weights import weights_at_hand
from gradcam_cli.settings import ModelSettings
from gradcam_cli.text import columns, mark, one_line

if TYPE_CHECKING:
    from gradcam_cli.engines.protocol import LayerInfo


@dataclass(frozen=True)
class InputSize:
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class ListedModel:
    """A named model: its input size, its preprocessing, and whether it can be used without a download."""

    name: str
    input_size: InputSize
    preprocess: str
    weights_at_hand: bool
    default: bool


def listed_models() -> list[ListedModel]:
    """List the named models."""
    default = ModelSettings().model
    return [
        ListedModel(
            model.name,
            InputSize(model.size, model.size),
            model.preprocess,
            weights_at_hand(model),
            model.name == default,
        )
        for model in NAMED_MODELS.values()
    ]


def models_table(models: Iterable[ListedModel]) -> str:
    """Format the models as a table."""
    return "\n".join([f"{'NAME':<20} {'INPUT':<9} {'PREPROCESS':<11} WEIGHTS", *map(_line, models)])


def _line(model: ListedModel) -> str:
    size = f"{model.input_size.height}x{model.input_size.width}"
    weights = "on this machine" if model.weights_at_hand else "downloaded at first use"
    return f"{model.name:<20} {size:<9} {model.preprocess:<11} {weights}{' (the default)' if model.default else ''}"


def layers_table(layers: "Iterable[LayerInfo]") -> str:
    """Format the layers as a table; a star marks the layer that `auto` chooses."""
    cells = [
        (mark(each.auto) + one_line(each.path), one_line(each.type), each.size, each.calls, one_line(each.note))
        for each in layers
    ]
    return columns([("  PATH", "TYPE", "HxWxC", "CALLS", "AUTO"), *cells])
