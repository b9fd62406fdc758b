"""The names of the classes, and the search for a class by name, index or WordNet ID."""

import csv
import difflib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from gradcam_cli.errors import ModelError
from gradcam_cli.package_data import data_text
from gradcam_cli.text import counted

SUGGESTIONS = 3


@dataclass(frozen=True)
class Label:
    """One class: its name, and its WordNet ID if it has one."""

    name: str
    wnid: str | None = None


@dataclass(frozen=True)
class Labels:
    """The names of a network's classes by index; empty where they are unknown.

    `source` is their file or folder, for messages.
    """

    entries: tuple[Label, ...] = ()
    source: str | None = None

    def __len__(self) -> int:
        """Count the classes that have a name."""
        return len(self.entries)

    def get(self, index: int) -> Label | None:
        """Give the label of one class, or None if it has no name."""
        return self.entries[index] if index < len(self.entries) else None

    def check(self, model: str, class_count: int) -> None:
        """Refuse labels if there is not exactly one for each class: wrong names are worse than no names.

        Raises:
            ModelError: there are more or fewer.
        """
        if len(self.entries) not in {0, class_count}:
            where = self.source or "the list of labels"
            classes, names = counted(class_count, "class"), counted(len(self.entries), "label")
            raise ModelError(f"{model} has {classes}, but {where} has {names}.")

    def find(self, wanted: str, class_count: int) -> int:
        """Give the index of the class that `wanted` describes: an index, a name or a WordNet id.

        If class names are numbers, `index:10` and `name:10` distinguish the two.

        Raises:
            ModelError: no class or several classes match.
        """
        if index := re.fullmatch(r"index:(-?\d+)", wanted):
            return _checked_index(int(index[1]), class_count)
        matches = self._named(wanted)
        if not matches and wanted.startswith("name:"):
            wanted = wanted.removeprefix("name:")
            matches = self._named(wanted)
        elif re.fullmatch(r"-?\d+", wanted):
            return self._index_or_name(wanted, matches, class_count)
        if len(matches) == 1:
            return matches[0]
        if matches:
            choices = ", ".join(str(i) for i in matches)
            raise ModelError(f"Several classes have the name '{wanted}'. Choose one by its index: {choices}.")
        raise ModelError(f"There is no class '{wanted}'.{self._hint(wanted)}")

    def _named(self, wanted: str) -> list[int]:
        matches = [i for i, label in enumerate(self.entries) if wanted == label.wnid]
        key = folded(wanted)
        return matches or [i for i, label in enumerate(self.entries) if folded(label.name) == key]

    def _index_or_name(self, wanted: str, matches: list[int], class_count: int) -> int:
        """Read digits as an index or a name; refuse them if they are the index of one class and the name of another."""
        index = int(wanted)
        if not matches:
            return _checked_index(index, class_count)
        if len(matches) == 1 and (matches[0] == index or not 0 <= index < class_count):
            return matches[0]
        label = self.get(index) if 0 <= index < class_count else None
        by_index = f"the index of class '{label.name if label else index}'"
        by_name = ", ".join(str(i) for i in matches)
        raise ModelError(
            f"'{wanted}' is both {by_index} and the name of class {by_name} (by index). "
            f"Write index:{wanted} or name:{wanted}."
        )

    def _hint(self, wanted: str) -> str:
        if not self.entries:
            return " The classes of this model have no names. Use an index, or give the names with `labels=FILE`."
        key = folded(wanted)
        names = {folded(label.name): f"{label.name} ({i})" for i, label in enumerate(self.entries)}
        containing = [name for other, name in names.items() if key in other]
        close = [names[n] for n in difflib.get_close_matches(key, names, n=SUGGESTIONS)]
        found = list(dict.fromkeys([*close, *containing]))[: 2 * SUGGESTIONS]
        return f" Did you mean {', '.join(found)}?" if found else " See `labels`, or use the class's index."


def _checked_index(index: int, class_count: int) -> int:
    if 0 <= index < class_count:
        return index
    raise ModelError(f"There is no class {index}: this model's classes are 0 to {class_count - 1}.")


def folded(name: str) -> str:
    """Normalise a name for comparison: case, spaces and underscores, and the encoding of accents do not matter."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").casefold().split())


@cache
def imagenet_labels() -> Labels:
    """Give the 1000 classes of ImageNet (ILSVRC 2012) in the order every Keras application uses."""
    rows = csv.DictReader(data_text("imagenet_classes.csv").splitlines())
    return Labels(tuple(Label(row["label"], row["wnid"]) for row in rows))
