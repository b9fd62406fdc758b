"""What the classes are called: labels from a file or from ImageNet, and which class a person means."""

import csv
import difflib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from gradcam_cli.errors import ModelError

SUGGESTIONS = 3


@dataclass(frozen=True)
class Label:
    """One class: its name, and its WordNet id where it has one."""

    name: str
    wnid: str | None = None


@dataclass(frozen=True)
class Labels:
    """The names of a network's classes by index; empty where nobody has told them."""

    entries: tuple[Label, ...] = ()

    def __len__(self) -> int:
        """Classes that have a name."""
        return len(self.entries)

    def get(self, index: int) -> Label | None:
        """Name one class, or None where it has no name."""
        return self.entries[index] if index < len(self.entries) else None

    def check(self, model: str, class_count: int) -> None:
        """Refuse labels that are not one for each class: wrong names are worse than none.

        Raises:
            ModelError: there are more or fewer.
        """
        if len(self.entries) not in {0, class_count}:
            raise ModelError(f"{model} has {class_count} classes, but there are {len(self.entries)} labels.")

    def find(self, wanted: str, class_count: int) -> int:
        """Tell which class a person means by an index, a name or a WordNet id.

        Raises:
            ModelError: no class is called so, or several are.
        """
        if wanted.lstrip("-").isdecimal():
            return _checked_index(int(wanted), class_count)
        matches = [i for i, label in enumerate(self.entries) if wanted == label.wnid]
        if not matches:
            key = _folded(wanted)
            matches = [i for i, label in enumerate(self.entries) if _folded(label.name) == key]
        if len(matches) == 1:
            return matches[0]
        if matches:
            choices = ", ".join(str(i) for i in matches)
            raise ModelError(f"Several classes are called '{wanted}': choose one by its index: {choices}.")
        raise ModelError(f"No class is called '{wanted}'.{self._hint(wanted)}")

    def _hint(self, wanted: str) -> str:
        if not self.entries:
            return " This model's classes have no names: use an index, or give the names with --labels FILE."
        key = _folded(wanted)
        names = {_folded(label.name): f"{label.name} ({i})" for i, label in enumerate(self.entries)}
        containing = [name for folded, name in names.items() if key in folded]
        close = [names[n] for n in difflib.get_close_matches(key, names, n=SUGGESTIONS)]
        found = list(dict.fromkeys([*close, *containing]))[: 2 * SUGGESTIONS]
        return f" Did you mean {', '.join(found)}?" if found else " See --labels, or use the class's index."


def _checked_index(index: int, class_count: int) -> int:
    if 0 <= index < class_count:
        return index
    raise ModelError(f"There is no class {index}: this model's classes are 0 to {class_count - 1}.")


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


@cache
def imagenet_labels() -> Labels:
    """Give the 1000 classes of ImageNet (ILSVRC 2012) in the order every Keras application uses."""
    file = resources.files("gradcam_cli") / "data" / "imagenet_classes.csv"
    return Labels(_from_csv(file.read_text(encoding="utf-8")))


def read_labels(path: Path) -> Labels:
    """Read class names from a text file (one a line), a CSV or a JSON file.

    CSV: a header naming `label` (and perhaps `index` and `wnid`), or one label a row, or `index,label`.
    JSON: a list of names, an object from index to name, one from index to `[wnid, name]` as Keras has it, or
    an object with such a thing under `labels`.

    Raises:
        ModelError: the file cannot be read or holds none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelError(f"{path}: the labels cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: the labels are not UTF-8 text.") from error
    entries = _parse(path, text)
    if not entries:
        raise ModelError(f"{path}: there are no labels in this file.")
    return Labels(entries)


def _parse(path: Path, text: str) -> tuple[Label, ...]:
    try:
        match path.suffix.lower():
            case ".json":
                return _from_json(json.loads(text))
            case ".csv":
                return _from_csv(text)
            case _:
                return tuple(Label(line.strip()) for line in text.splitlines() if line.strip())
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: the labels are not understood ({error}). One name a line (.txt), a CSV with a column "
            "'label', or a JSON list of names will do."
        ) from error


def _from_json(value: object) -> tuple[Label, ...]:
    if isinstance(value, dict) and "labels" in value:
        value = value["labels"]
    if isinstance(value, list):
        return tuple(_json_label(v) for v in value)
    if isinstance(value, dict):
        return _in_order([(int(k), _json_label(v)) for k, v in value.items()])
    raise ValueError("a list or an object was expected")


def _json_label(value: object) -> Label:
    if isinstance(value, str):
        return Label(value)
    if isinstance(value, list) and len(value) == 2:
        return Label(str(value[1]), str(value[0]))
    raise ValueError(f"{value!r} is not a name")


def _from_csv(text: str) -> tuple[Label, ...]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "label" in header:
        return _from_table(header, rows[1:])
    if all(len(row) == 1 for row in rows):
        return tuple(Label(row[0].strip()) for row in rows)
    return _in_order([(int(row[0]), Label(row[1].strip())) for row in rows])


def _from_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Label, ...]:
    named = [dict(zip(header, row, strict=False)) for row in rows]
    labels = [Label(row["label"].strip(), row.get("wnid") or None) for row in named]
    if "index" not in header:
        return tuple(labels)
    return _in_order([(int(row["index"]), label) for row, label in zip(named, labels, strict=True)])


def _in_order(indexed: list[tuple[int, Label]]) -> tuple[Label, ...]:
    by_index = dict(indexed)
    if sorted(by_index) != list(range(len(indexed))):
        raise ValueError("the indices must be 0, 1, 2, ..., each once")
    return tuple(by_index[i] for i in range(len(indexed)))
