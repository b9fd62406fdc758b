"""Lay out the source of the site: the pages of docs/, and the files outside of docs/ that they link to.

The pages are written for GitHub: their links are relative to the repository. In the site, a file outside of docs/ is a
page below `repository/`: Markdown as it is, source code in a code block. The navigation is the list of links of
docs/index.md, section by section.
"""

import os.path
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent.parent
DOCS = PurePosixPath("docs")
INDEX = DOCS / "index.md"
# Files of docs/ that are no pages.
EXAMPLES = DOCS / "examples"
REPOSITORY = PurePosixPath("repository")
PICTURES = {".jpg", ".png", ".svg"}
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=(?:#[^)\s]*)?\))")
FENCED = re.compile(r"^(?P<fence>```+).*?^(?P=fence)$", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)]+)\)", re.MULTILINE)
# A fence of five: source code may hold shorter ones.
SOURCE_PAGE = """---
orphan: true
---
# `{path}`

`````{language}
{text}
`````
"""
TOCTREE = """
```{{toctree}}
:hidden:
:caption: {caption}

{entries}
```
"""


def lay_out(folder: Path) -> None:
    """Write the source of the site into a folder."""
    waiting = [DOCS / path.relative_to(ROOT / DOCS).as_posix() for path in sorted((ROOT / DOCS).glob("*.md"))]
    written = set(waiting)
    in_navigation = {target for _, entries in sections() for _, target in entries}
    while waiting:
        page = waiting.pop()
        place = folder / site_path(page)
        place.parent.mkdir(parents=True, exist_ok=True)
        if page.suffix in PICTURES:
            shutil.copyfile(ROOT / page, place)
            continue
        text = (ROOT / page).read_text(encoding="utf-8")
        place.write_text(_page(text, page, in_navigation=page in in_navigation), encoding="utf-8")
        if page.suffix == ".md":
            found = [target for target in targets(text, page) if (ROOT / target).is_file() and target not in written]
            waiting += found
            written.update(found)


def sections() -> Iterator[tuple[str, list[tuple[str, PurePosixPath]]]]:
    """Give the sections of the navigation, each with the title and the file of its pages."""
    parts = (ROOT / INDEX).read_text(encoding="utf-8").split("\n## ")
    for part in parts[1:]:
        caption, _, body = part.partition("\n")
        yield caption, [(title, resolved(link, INDEX)) for title, link in ENTRY.findall(body)]


def targets(text: str, page: PurePosixPath) -> Iterator[PurePosixPath]:
    """Give the path, from the root of the repository, of each file that a Markdown text links to."""
    for link in LINK.findall(FENCED.sub("", text)):
        yield resolved(link, page)


def resolved(link: str, page: PurePosixPath) -> PurePosixPath:
    """Give the path, from the root of the repository, that a link of a page leads to."""
    return PurePosixPath(os.path.normpath(page.parent / link))


def site_path(path: PurePosixPath) -> PurePosixPath:
    """Give the place of a file of the repository below the source of the site."""
    if path.is_relative_to(DOCS) and not path.is_relative_to(EXAMPLES):
        return path.relative_to(DOCS)
    return REPOSITORY / (path if path.suffix in {".md", *PICTURES} else f"{path}.md")


def _page(text: str, page: PurePosixPath, *, in_navigation: bool) -> str:
    if page.suffix != ".md":
        return SOURCE_PAGE.format(path=page, language=LANGUAGES.get(page.suffix, "text"), text=text.rstrip())
    text = LINK.sub(lambda match: _site_link(match[0], page), text)
    if page == INDEX:
        return text + "".join(map(_toctree, *zip(*sections(), strict=True)))
    return text if in_navigation else f"---\norphan: true\n---\n{text}"


def _site_link(link: str, page: PurePosixPath) -> str:
    target = resolved(link, page)
    # A link that leads nowhere stays: Sphinx names it.
    if not (ROOT / target).is_file():
        return link
    return PurePosixPath(os.path.relpath(site_path(target), site_path(page).parent)).as_posix()


def _toctree(caption: str, entries: list[tuple[str, PurePosixPath]]) -> str:
    lines = [f"{title} <{site_path(path).with_suffix('')}>" for title, path in entries]
    return TOCTREE.format(caption=caption, entries="\n".join(lines))
