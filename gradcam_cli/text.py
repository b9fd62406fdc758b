"""Formatting of short texts."""

from collections.abc import Iterable, Sequence
from unicodedata import category

# Unicode categories: control, format (such as the reversal of writing direction), line and paragraph separators.
UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp"})
UNITS = ("B", "kB", "MB", "GB")


def counted(number: int, noun: str) -> str:
    """Write a number and its noun: `1 image`, `3 images`, `2 passes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def printable(text: str) -> str:
    r"""Escape control and format characters, as in `\x1b`, so that a file name cannot control a terminal."""
    return "".join(_visible(character) if category(character) in UNSAFE else character for character in text)


def one_line(text: str) -> str:
    """Escape a name as `printable` does, and also line ends and tabs, so that it stays on its line."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def _visible(character: str) -> str:
    return character if character in "\n\t" else ascii(character)[1:-1]


def columns(rows: Sequence[Sequence[object]]) -> str:
    """Format a table: every column is as wide as its longest cell, with two spaces between columns.

    Args:
        rows: the cells of each line; all lines have the same number of cells.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def mark(chosen: object) -> str:
    """Give the mark before the first cell of a line: a star for a chosen one, otherwise spaces."""
    return "* " if chosen else "  "


def percent_text(share: float) -> str:
    """Format a probability in percent with one digit; only 0 and 1 themselves become 0.0 % and 100.0 %."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def size_text(count: float) -> str:
    """Format a number of bytes with a unit: `23.9 MB`."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == UNITS[0] else f"{count:.1f} {unit}"


def age_text(days: float) -> str:
    """Format an age: `today`, `3 days ago`."""
    return "today" if days < 1 else f"{counted(int(days), 'day')} ago"


def did_you_mean(word: str, known: Iterable[str], quote: str = "'") -> str:
    """Give a sentence that suggests the nearest known word, in quotes; empty if no word is near."""
    from difflib import get_close_matches

    folded = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), folded, 1)
    return f" Did you mean {quote}{folded[near[0]]}{quote}?" if near else ""
