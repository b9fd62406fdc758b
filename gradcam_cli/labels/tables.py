"""Read class names from a table: find the columns of the index and of the name."""

import csv
import re
from collections.abc import Iterable, Sequence

from gradcam_cli.labels.class_labels import Label

DELIMITERS = (",", ";", "\t", "|")
# Headers as people write them, without spaces, hyphens and underscores. pandas leaves that of its index empty.
INDEX_HEADERS = {
    *("", "unnamed:0", "index", "idx", "i", "id", "ix", "classindex", "classid", "classidx", "classno", "classnumber"),
    *("classcode", "labelid", "labelindex", "labelidx", "labelno", "categoryid", "categoryindex", "code", "number"),
    *("no", "num", "nr", "key", "target", "targetindex", "encoded", "encodedlabel", "output"),
}
NAME_HEADERS = (
    *("label", "labelname", "classname", "name", "displayname", "class", "classlabel", "category", "categoryname"),
    *("labels", "names", "classnames", "classes", "categories", "title", "description", "species", "breed", "value"),
)
WNID_HEADERS = {"wnid", "synset", "wordnetid", "synsetid"}
# A table with such a column lists one image per row, not one class.
PICTURE_HEADERS = frozenset(
    {"file", "filename", "filenames", "filepath", "path", "image", "imageid", "imagepath", "img"}
)
KNOWN_HEADERS = INDEX_HEADERS | WNID_HEADERS | PICTURE_HEADERS | set(NAME_HEADERS)


def parse_table(table: str | Sequence[Sequence[str]]) -> tuple[Label, ...]:
    """Read one class per row from CSV text or from rows of cells: a name, and optionally its index and WordNet ID.

    The delimiter may be a comma, semicolon, tab or bar, and the columns are found by their headers. Without headers,
    the index is the column with 0, 1, 2, ... without gaps.

    Raises:
        ValueError: the columns cannot be identified, or the indices are not 0, 1, 2, ... without gaps.
    """
    rows = _split(table) if isinstance(table, str) else [[cell.strip() for cell in row] for row in table]
    if not rows:
        return ()
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise ValueError("its rows have different numbers of cells")
    header = _folded(rows[0])
    if not _is_header(header):
        return _without_header(rows)
    if PICTURE_HEADERS & set(header):
        raise ValueError("it lists images, not classes")
    return _with_header(header, rows[1:])


def is_table_header(line: str) -> bool:
    """Whether a line of text is the header of a table of several columns, each with a usual name."""
    rows = _split(line)
    cells = _folded(rows[0]) if rows else []
    return len(cells) > 1 and all(cell and cell in KNOWN_HEADERS for cell in cells)


def permutation(cells: Iterable[object]) -> list[int] | None:
    """Read cells as the indices 0, 1, 2, ... without gaps, in any order; None if they are something else."""
    indices = [_integer(cell) for cell in cells]
    if not indices or sorted(index for index in indices if index is not None) != list(range(len(indices))):
        return None
    return [index for index in indices if index is not None]


def in_order(indexed: Sequence[tuple[int, Label]]) -> tuple[Label, ...]:
    """Sort labels by their indices.

    Raises:
        ValueError: the indices are not 0, 1, 2, ... without gaps.
    """
    by_index = dict(indexed)
    if sorted(by_index) != list(range(len(indexed))):
        low, high = min(by_index), max(by_index)
        raise ValueError(
            f"the indices must be 0, 1, 2, ... without gaps; these {len(indexed)} are from {low} to {high}"
        )
    return tuple(by_index[i] for i in range(len(indexed)))


def _integer(cell: object) -> int | None:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell
    return int(cell) if isinstance(cell, str) and re.fullmatch(r"\s*[0-9]+\s*", cell) else None


def _split(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"\s*#(\s|$)", line)]
    for delimiter in DELIMITERS:
        rows = _cells(lines, delimiter)
        if rows and len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows):
            return rows
    rows = _cells(lines, DELIMITERS[0])
    return rows if all(len(row) == len(rows[0]) for row in rows) else [[line.strip()] for line in lines]


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]


def _folded(cells: Sequence[str]) -> list[str]:
    return [re.sub(r"[\s_-]+", "", cell.casefold()) for cell in cells]


def _is_header(header: Sequence[str]) -> bool:
    if len(header) == 1:
        return header[0] in {*NAME_HEADERS} - {"value"}
    return any(cell in KNOWN_HEADERS for cell in header) and not any(cell.isdecimal() for cell in header)


def _with_header(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Label, ...]:
    columns = {i: [row[i] for row in rows] for i in range(len(header))}
    wnid = next((i for i, cell in enumerate(header) if cell in WNID_HEADERS), None)
    index = _index_column(header, columns)
    names = [i for i in columns if i not in {index, wnid}]
    numeric = {i for i in names if all(_integer(cell) is not None for cell in columns[i])}
    if index is None and numeric and numeric != {*names}:
        called = ", ".join(header[i] for i in sorted(numeric))
        raise ValueError(f"column '{called}' has integers, but not 0, 1, 2, ... without gaps")
    named = sorted((i for i in names if header[i] in NAME_HEADERS), key=lambda i: NAME_HEADERS.index(header[i]))
    if not named and len(names) != 1:
        raise ValueError(f"there is no column 'label'; its columns are {', '.join(header)}")
    name = (named or names)[0]
    labels = [Label(row[name], row[wnid] or None if wnid is not None else None) for row in rows]
    if index is None:
        return tuple(labels)
    numbers = [_integer(cell) for cell in columns[index]]
    if None in numbers:
        raise ValueError(f"column '{header[index]}' does not have only integers")
    return in_order([(number or 0, label) for number, label in zip(numbers, labels, strict=True)])


def _index_column(header: Sequence[str], columns: dict[int, list[str]]) -> int | None:
    """Choose the column of the index: by its header, or the only column with 0, 1, 2, ... without gaps."""
    called = [i for i, cell in enumerate(header) if cell in INDEX_HEADERS]
    fitting = [i for i in called if permutation(columns[i]) is not None]
    if called:
        return (fitting or called)[0]
    rest = [i for i in columns if permutation(columns[i]) is not None]
    return rest[0] if rest and len(columns) > 1 else None


def _without_header(rows: Sequence[Sequence[str]]) -> tuple[Label, ...]:
    if len(rows[0]) == 1:
        return tuple(Label(row[0]) for row in rows)
    if len(rows[0]) == 2:
        for index, name in ((0, 1), (1, 0)):
            if permutation([row[index] for row in rows]) is not None:
                return in_order([(int(row[index]), Label(row[name])) for row in rows])
        if all(re.fullmatch(r"n\d{8}", row[0]) for row in rows):
            return tuple(Label(row[1], row[0]) for row in rows)
        numbers = [_integer(row[0]) for row in rows]
        if all(number is not None for number in numbers):
            return in_order([(number or 0, Label(row[1])) for number, row in zip(numbers, rows, strict=True)])
    raise ValueError("it has no header that names the column of the class names")
