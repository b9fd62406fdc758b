"""Small pieces of text for people."""

from unicodedata import category

# Unicode categories: control, format (such as the reversal of writing direction), line and paragraph separators.
UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp"})


def counted(number: int, noun: str) -> str:
    """Write a number and its noun: `1 image`, `3 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    r"""Write control and format characters as escapes such as `\x1b`, so that a name cannot command a terminal."""
    return "".join(_visible(character) if category(character) in UNSAFE else character for character in text)


def one_line(text: str) -> str:
    """Write a name so that it stays in its line and column: as `printable` does, with line ends and tabs as escapes."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def _visible(character: str) -> str:
    return character if character in "\n\t" else ascii(character)[1:-1]
