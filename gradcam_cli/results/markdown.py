"""A short summary in GitHub Flavored Markdown, for example for the summary of a job."""

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gradcam_cli.text import counted, one_line

# GitHub shows at most 1 MiB of a summary.
MOST_BYTES = 1_000_000
MOST_ROWS = 20
LONGEST_CELL = 200
CUT = "..."
# Characters that may begin or end markup, a link, a formula or a mention: each is replaced by an entity. An underscore
# between letters or digits is no markup.
MARKUP = re.compile(
    r"""[\\`*{}\[\]<#|~&!@$^"]|^>|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=\S)|(?<=www)\.""", re.IGNORECASE
)
# The beginning of a line that Markdown may read as a list, a quotation, a rule or a heading.
NO_PARAGRAPH = re.compile(r"(?![A-Za-z0-9])|\d+[.)]")
# A zero-width space. GitHub looks for mentions and addresses after it has replaced entities; this space ends them.
NO_WIDTH = "&#8203;"

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Table:
    """A table with a title; only the first `MOST_ROWS` of its `total` rows are shown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int = 0


@dataclass(eq=False)
class Worst(Generic[Kept]):
    """The `MOST_ROWS` worst of many rows, in bounded memory.

    Attributes:
        count: the number of added rows.
    """

    count: int = 0
    # A heap of (badness, -number, row): the first entry is the best of the kept rows.
    _kept: list[tuple[float, int, Kept]] = field(default_factory=list)

    def add(self, badness: float, row: Kept) -> None:
        """Add a row; among equally bad rows, the earlier ones are kept."""
        self.count += 1
        entry = (badness, -self.count, row)
        if len(self._kept) < MOST_ROWS:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def rows(self) -> list[Kept]:
        """Give the rows, the worst first."""
        return [row for _, _, row in sorted(self._kept, key=lambda entry: entry[:2], reverse=True)]


@dataclass(frozen=True)
class Page:
    """A title, lines of text, and tables in the order of their importance."""

    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def markdown_text(page: Page) -> str:
    """Write a page in less than `MOST_BYTES` bytes of UTF-8; it ends before the first table that does not fit."""
    kept, size = [], 0
    for block in _blocks(page):
        size += len(block.encode("utf-8")) + len("\n\n")
        if size >= MOST_BYTES:
            break
        kept.append(block)
    return "\n\n".join(kept) + "\n"


def escaped(text: str) -> str:
    """Escape a text so that Markdown shows it literally, in one line: no markup, link, image or mention."""
    line = one_line(text[: LONGEST_CELL + 1]).encode("utf-8", "replace").decode("utf-8")
    line = line if len(line) <= LONGEST_CELL else f"{line[:LONGEST_CELL]}{CUT}"
    return MARKUP.sub(_entity, line)


def _entity(found: re.Match[str]) -> str:
    entity = f"&#{ord(found[0])};"
    return f"{entity}{NO_WIDTH}" if found[0] == "@" else entity


def _blocks(page: Page) -> Iterator[str]:
    yield f"## {escaped(page.title)}"
    for line in page.lines[:MOST_ROWS]:
        yield _paragraph(line)
    for table in page.tables:
        if table.rows:
            yield _table(table)


def _paragraph(text: str) -> str:
    line = escaped(text.strip())
    return f"{NO_WIDTH}{line}" if NO_PARAGRAPH.match(line) else line


def _table(table: Table) -> str:
    shown = table.rows[:MOST_ROWS]
    lines = [f"### {escaped(table.title)}", "", _row(table.head), _row("---" for _ in table.head), *map(_row, shown)]
    more = max(table.total, len(table.rows)) - len(shown)
    if more:
        lines += ["", f"{counted(more, 'more row')} not shown."]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
