"""Read class names from files and from the sub-folders of a data set."""

import ast
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.labels.tables import in_order, is_table_header, parse_table, permutation
from gradcam_cli.text import counted

MOST_BYTES = 16 * 2**20
# The usual names of label files in the folder of a model.
USUAL_NAMES = (
    *("labels.txt", "labels.json", "labels.csv", "class_names.txt", "class_names.json", "class_names.csv"),
    *("class_indices.json", "classes.txt", "classes.json", "classes.csv"),
)
# The keys under which JSON files contain the names.
JSON_KEYS = ("labels", "class_names", "classes", "names", "class_indices", "id2label", "label2id", "categories")
NUMBERED = re.compile(r"(\d+)(?:\s*(?:[-=]>|[:;,=])\s*|[.)]\s+|\s+[-\u2013\u2014]\s+|\s+)(\S.*)")
NUMBERED_BEHIND = re.compile(r"(\S.*?)(?:\s*(?:[-=]>|[:;,=])\s*|\s+[-\u2013\u2014]\s+|\s+)(\d+)")
QUOTED = re.compile(r"""(["'])(.*)\1""")
# Files of other kinds, by their first bytes.
NO_LABELS = (
    (re.compile(r"version https://git-lfs"), "it is a pointer of Git LFS, not the file itself. Run git lfs pull"),
    (re.compile(r"<(!doctype|html)", re.IGNORECASE), "it is a web page"),
    (re.compile(r"item\s*\{"), "it is a label map of TensorFlow object detection (.pbtxt), which is not supported"),
)
WITH_WNID = re.compile(r"(n\d{8})[\s,;:]+(\S.*)")
ADVICE = (
    "Give a text file with one name per line, a CSV file with the columns index and label, or a JSON file with a list "
    "of names or the class_indices of Keras."
)
# A longer sequence of non-ASCII bytes is probably not Latin script, so the encoding is uncertain.
LONGEST_ACCENTS = 2
LETTERS_FOR_AN_ACCENT = 2


def read_labels(path: Path) -> Labels:
    """Read class names from a text, CSV, TSV, JSON or NumPy file.

    Text: one name per line; blank lines and `# comments` are left out; `0 cat` is name `cat` of index 0 where the lines
    are numbered 0, 1, 2, ... in any order. CSV: see `parse_table`. JSON: a list of names, an object from index to name,
    from name to index (Keras's `class_indices`) or from index to `[wnid, name]`, also inside an object under a key such
    as `labels`. NumPy: a one-dimensional array of strings.

    Raises:
        ModelError: the file cannot be read or holds none of these.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: the file of labels cannot be read: {error.strerror}.") from error
    if len(data) > MOST_BYTES:
        raise ModelError(f"{path}: the file is larger than {MOST_BYTES // 2**20} MiB, the limit for labels.")
    try:
        entries = _parse(path.suffix.lower(), data)
    except (ValueError, KeyError, TypeError, RecursionError, EOFError) as error:
        raise ModelError(f"{path}: the labels cannot be used: {error}. {ADVICE}") from error
    if not entries:
        raise ModelError(f"{path}: there are no labels in this file.")
    if not all(label.name for label in entries):
        raise ModelError(f"{path}: a class has an empty name.")
    return Labels(entries, str(path))


def folder_labels(folder: Path) -> Labels:
    """Take the names of sub-folders as class names, in the order in which Keras numbers them: sorted by code point.

    Hidden sub-folders are left out, as `image_dataset_from_directory` does.

    Raises:
        ModelError: the folder cannot be listed or has no sub-folders.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise ModelError(f"{folder}: the folder of classes cannot be listed: {error.strerror}.") from error
    if not names:
        raise ModelError(
            f"{folder}: there are no sub-folders. There must be one for each class, named after the class."
        )
    return Labels(tuple(Label(name) for name in names), str(folder))


def is_numbered(path: Path) -> bool:
    """Whether a text file numbers its lines 0, 1, 2, ... in this order, as Teachable Machine writes them."""
    try:
        lines = _lines(_decoded(path.read_bytes()[:MOST_BYTES]))
    except (OSError, ValueError):
        return False
    matches = [NUMBERED.fullmatch(line) for line in lines]
    return bool(lines) and [int(m[1]) for m in matches if m] == list(range(len(lines)))


def beside(model: Path) -> tuple[Labels, ...]:
    """Read the files of labels with a usual name in the folder of a model; those that hold none are left out.

    The first file with one label for each class of the model is used.
    """
    found = []
    for name in USUAL_NAMES:
        if (path := model.with_name(name)).is_file() and path != model:
            with suppress(ModelError):
                found.append(read_labels(path))
    return tuple(found)


def named_after(model: Path) -> Labels | None:
    """Read labels that are named after a model file: `MODEL.labels.json`, with or without the file's own suffix.

    Raises:
        ModelError: they cannot be read.
    """
    for own in (model.with_suffix(".labels.json"), model.with_name(f"{model.name}.labels.json")):
        if own.is_file():
            return read_labels(own)
    return None


def choose_beside(found: Sequence[Labels], class_count: int | None) -> tuple[Labels, tuple[str, ...]]:
    """Choose the first labels whose number is the number of classes, and give notes about the choice."""
    fitting = [labels for labels in found if len(labels) == class_count]
    if not fitting:
        counts = ", ".join(f"{_name(labels)} has {len(labels)}" for labels in found)
        classes = "an unknown number of classes" if class_count is None else counted(class_count, "class")
        note = f"the labels in the folder of the model are not used: the model has {classes}, but {counts}"
        return Labels(), (note,) if found else ()
    chosen = fitting[0]
    differing = [_name(labels) for labels in fitting if labels.entries != chosen.entries]
    but = f"; {', '.join(differing)} is different (choose one with `labels`)" if differing else ""
    return chosen, (f"labels from {_name(chosen)} in the folder of the model{but}",)


def _name(labels: Labels) -> str:
    return Path(labels.source or "").name


def _parse(kind: str, data: bytes) -> tuple[Label, ...]:
    if kind in {".pkl", ".pickle", ".joblib"}:
        raise ValueError("a pickle can run code, so it is not read")
    if kind == ".npy":
        return _from_numpy(data)
    if kind in {".yaml", ".yml"}:
        raise ValueError("YAML is not supported")
    text = _decoded(data)
    for beginning, what in NO_LABELS:
        if beginning.match(text.lstrip()):
            raise ValueError(what)
    if kind == ".json":
        return _from_json(_json(text))
    if text.lstrip().startswith(("{", "[")) and (value := _literal(text)) is not None:
        return _from_json(value)
    if kind in {".csv", ".tsv"}:
        return parse_table(text)
    return _from_lines(text)


def _decoded(data: bytes) -> str:
    """Decode UTF-8, UTF-16, UTF-32, or, if nothing else is likely, the Western European code page of Windows.

    Raises:
        ValueError: it is not text, or its encoding is unknown.
    """
    try:
        text = _decoded_somehow(data)
    except UnicodeDecodeError as error:
        raise ValueError("it is not text, or its encoding is unknown; save it as UTF-8") from error
    if re.search(r"[\x00-\x08\x0e-\x1f]", text):
        raise ValueError("it is not text")
    return text


def _decoded_somehow(data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")):
        if data.startswith(mark):
            return data.decode(encoding)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data:
        # UTF-16 without its mark: of ASCII text every other byte is zero.
        even, odd = data[::2].count(0), data[1::2].count(0)
        if even and odd:
            raise ValueError("it is not text")
        return data.decode("utf-16-le" if odd > even else "utf-16-be")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _western(data)


def _western(data: bytes) -> str:
    """Decode Windows-1252 if the result is Latin words with accents; other scripts use other code pages."""
    text = data.decode("cp1252")
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", data)]
    letters, accents = len(re.findall(r"[A-Za-z]", text)), len(re.findall(r"[^\x00-\x7f]", text))
    if max(runs) > LONGEST_ACCENTS or letters < LETTERS_FOR_AN_ACCENT * accents:
        raise ValueError("its encoding is unknown; save it as UTF-8")
    return text


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repetition)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _literal(text: str) -> Any:
    """Read JSON, or a list or dictionary as Python prints it; None if it is neither."""
    try:
        return json.loads(text) and _json(text)
    except json.JSONDecodeError:
        pass
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, (list, dict)) else None


def _lines(text: str) -> list[str]:
    stripped = [line.strip() for line in text.splitlines()]
    return _unquoted([line for line in stripped if line and not re.match(r"#(\s|$)", line)])


def _unquoted(lines: list[str]) -> list[str]:
    """Remove quotation marks and the commas after them, if every line has them."""
    matches = [QUOTED.fullmatch(line.removesuffix(",").rstrip()) for line in lines]
    return [m[2] for m in matches if m] if all(matches) else lines


def _numbered(lines: Sequence[str]) -> tuple[Label, ...] | None:
    """Read lines with an index before or after the name; None if the lines are not numbered.

    Raises:
        ValueError: they are numbered from 1, and not in this order.
    """
    for pattern, index, name in ((NUMBERED, 1, 2), (NUMBERED_BEHIND, 2, 1)):
        matches = [m for line in lines if (m := pattern.fullmatch(line))]
        # Names such as '0 dots', '1 dot', '2 dots' are not numbered lines: without the numbers they are not unique.
        if not lines or len({m[name] for m in matches}) != len(lines):
            continue
        pairs = [(int(m[index]), Label(m[name])) for m in matches]
        numbers = [number for number, _ in pairs]
        if permutation(numbers) is not None and (pattern is NUMBERED or len(lines) > 1):
            return in_order(pairs)
        if sorted(numbers) == list(range(1, len(lines) + 1)) != numbers:
            raise ValueError("its lines are numbered from 1, but not in order; number them from 0")
    return None


def _from_lines(text: str) -> tuple[Label, ...]:
    lines = _lines(text)
    if (numbered := _numbered(lines)) is not None:
        return numbered
    header, *rows = lines or [""]
    if rows and is_table_header(header):
        return parse_table(text)
    with_wnid = [m for line in lines if (m := WITH_WNID.fullmatch(line))]
    if with_wnid and len(with_wnid) == len(lines):
        return tuple(Label(m[2], m[1]) for m in with_wnid)
    return tuple(Label(line) for line in lines)


def _from_numpy(data: bytes) -> tuple[Label, ...]:
    # Only here: the completion of class names must not wait for NumPy.
    import numpy as np

    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise ValueError(f"an array {array.shape} of {array.dtype}; a list of strings was expected")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return tuple(Label(str(name).strip()) for name in array)


def _from_json(value: object) -> tuple[Label, ...]:
    if isinstance(value, dict):
        inner = next((value[key] for key in JSON_KEYS if isinstance(value.get(key), (list, dict))), None)
        if inner is not None:
            return _from_json(inner)
        return _from_object(value)
    if isinstance(value, list):
        if value and all(isinstance(item, dict) for item in value):
            return _from_records(value)
        return tuple(_json_label(item) for item in value)
    raise ValueError("a list or an object was expected")


def _from_object(value: Mapping[str, Any]) -> tuple[Label, ...]:
    """Read index -> name or name -> index; if both are possible, the numbers decide."""
    by_key = permutation(value)
    by_value = permutation(value.values())
    names_are_values = all(isinstance(item, (str, list)) for item in value.values())
    if by_value is not None and not (by_key is not None and names_are_values):
        return in_order([(index, Label(name.strip())) for index, name in zip(by_value, value, strict=True)])
    if by_key is None:
        raise ValueError("neither its keys nor its values are the indices 0, 1, 2, ... without gaps")
    if by_value is not None and by_key != by_value:
        raise ValueError("both its keys and its values could be the indices")
    return in_order([(index, _json_label(item)) for index, item in zip(by_key, value.values(), strict=True)])


def _from_records(records: Iterable[Mapping[str, Any]]) -> tuple[Label, ...]:
    """Read a list of objects such as `{"id": 0, "name": "cat"}`."""
    rows = list(records)
    header = list(rows[0])
    if any(list(row) != header for row in rows):
        raise ValueError("its objects have different keys")
    return parse_table([header, *([str(cell) for cell in row.values()] for row in rows)])


def _json_label(value: object) -> Label:
    if isinstance(value, str):
        return Label(value.strip())
    if isinstance(value, int) and not isinstance(value, bool):
        return Label(str(value))
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(item, str) for item in value):
        return Label(value[1].strip(), value[0])
    raise ValueError(f"{value!r} is not a name")
