"""The shell blocks of the documentation, and the marks of those that are not run.

A mark is an HTML comment in the line above the fence: `<!-- not run: REASON -->`, or `<!-- needs: PROGRAM -->` for a
block that is left out where the program is not installed.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|needs): (?P<text>[^\n]*?) -->\n)?^```(?:console|bash|sh|shell|zsh)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"<!-- (?:not run|needs)\b")
# Text that is written by a program, and that test_command_reference compares.
GENERATED = ROOT / "docs/commands.md"
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    if page != GENERATED
]


@dataclass(frozen=True)
class Block:
    """The commands of a shell block, or why they are not run, or which program they need."""

    commands: str
    not_run: str = ""
    needs: str = ""

    @property
    def is_run(self) -> bool:
        return not self.not_run and (not self.needs or shutil.which(self.needs) is not None)


def blocks_of(page: Path) -> list[Block]:
    """Give the shell blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        mark = match["mark"] or ""
        found.append(
            Block(
                commands=commands_of(match["body"]),
                not_run=match["text"] if mark == "not run" else "",
                needs=match["text"] if mark == "needs" else "",
            )
        )
    return found


def commands_of(body: str) -> str:
    """Give the commands of a block, without prompts and without output.

    A block without any prompt is a script. Otherwise a command goes on in the next line after a backslash.
    """
    lines = body.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return body
    commands = []
    continued = False
    for line in lines:
        if continued or line.startswith("$ "):
            commands.append(line if continued else line.removeprefix("$ "))
            continued = line.endswith("\\")
    return "\n".join(commands)
