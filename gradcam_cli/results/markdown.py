"""A short summary as Markdown of GitHub's flavour, such as the summary of a job shows."""

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
# Characters that may begin or end markup, a link, a formula or a mention: each becomes an entity, which does neither.
# An underscore between letters or digits is only that.
MARKUP = re.compile(
    r"""[\\`*{}\[\]<#|~&!@$^"]|^>|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=\S)|(?<=www)\.""", re.IGNORECASE
)
# What would make a line that stands alone a list, a quotation, a rule or a heading.
NO_PARAGRAPH = re.compile(r"(?![A-Za-z0-9])|\d+[.)]")
# A space without width. GitHub looks for mentions and addresses after it has read the entities: this ends them.
NO_WIDTH = "&#8203;"

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Table:
    """A table with a title; of its `total` rows only the first `MOST_ROWS` are shown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int = 0


@dataclass(eq=False)
class Worst(Generic[Kept]):
    """The `MOST_ROWS` worst of many rows, in bounded memory.

    Attributes:
        count: how many rows were added.
    """

    count: int = 0
    # As (badness, -number, row): the first is the best of them.
    _kept: list[tuple[float, int, Kept]] = field(default_factory=list)

    def add(self, badness: float, row: Kept) -> None:
        """Add a row; of rows that are equally bad the earlier ones are kept."""
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
    """A title, some lines, and tables, in the order of their importance."""

    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def markdown_text(page: Page) -> str:
    """Write a page in less than `MOST_BYTES` bytes of UTF-8; tables at the end that do not fit are left out."""
    kept, size = [], 0
    for block in _blocks(page):
        size += len(block.encode("utf-8")) + len("\n\n")
        if size >= MOST_BYTES:
            break
        kept.append(block)
    return "\n\n".join(kept) + "\n"


def escaped(text: str) -> str:
    """Write any text so that Markdown shows it as it is, in one line: no markup, no link, no picture, no mention."""
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
