"""The list of the methods, and its table for people."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gradcam_cli.methods import METHODS
from gradcam_cli.settings import RunSettings
from gradcam_cli.text import columns, mark


@dataclass(frozen=True)
class ListedMethod:
    """A method: its map, the number of forward passes for an image, and the head that it needs."""

    name: str
    line: str
    cost: str
    head: str
    default: bool


def listed_methods(worded: Callable[[str], str] = str) -> list[ListedMethod]:
    """List the methods, the best known first; `worded` rewrites the names of arguments in a text."""
    default = RunSettings().method
    return [ListedMethod(m.name, m.line, worded(m.cost), m.head, m.name == default) for m in METHODS.values()]


def methods_table(methods: Iterable[ListedMethod]) -> str:
    """Format the methods as a table; a star marks the default."""
    lines = [(mark(each.default) + each.name, each.head, each.cost, each.line) for each in methods]
    return columns([("  METHOD", "HEAD", "FORWARD PASSES PER IMAGE", "MAP"), *lines])
