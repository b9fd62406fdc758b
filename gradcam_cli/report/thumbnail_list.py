"""The list of the thumbnails of each page: thumbnails that no page uses any more are removed, and no other files."""

import os
import posixpath
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.inputs.walk import THUMBNAIL_SUFFIX
from gradcam_cli.report.own_files import read_own, write_own
from gradcam_cli.results.ownership import REPORT_MARK
from gradcam_cli.results.sidecar import to_json
from gradcam_cli.results.tree import Tree, tree_of
from gradcam_cli.urls import Url, is_url

LIST: Final = "thumbnails.json"
VERSION: Final = 1
# Only files with the name of a thumbnail are removed, even if a list names others.
NAME: Final = re.compile(rf"[0-9a-f]{{24}}{re.escape(THUMBNAIL_SUFFIX)}")


def keep_thumbnails(tree: Tree, folder: str, page: Path | Url, sources: Iterable[str | None]) -> None:
    """Store the thumbnails of a page, and remove listed thumbnails that no page uses now.

    Args:
        tree: the folder of the run.
        folder: the folder of the thumbnails below it.
        page: the page that was written.
        sources: addresses of its thumbnails; None and data URIs are not files.

    Raises:
        EnvironmentStop: the list cannot be written.
    """
    own = sorted({name for source in sources if source and NAME.fullmatch(name := source.rpartition("/")[2])})
    before = _pages(tree.root / folder)
    place = _relative(page, tree.root / folder)
    pages = {each: names for each, names in before.items() if each != place and _is_there(tree.root / folder, each)}
    if own:
        pages[place] = own
    if not pages and not before:
        return
    try:
        write_own(tree.root / folder / LIST, to_json({REPORT_MARK: VERSION, "pages": pages}, indent=None), REPORT_MARK)
    except UsageError:
        # Another program's file has the name of the list, so nothing is removed.
        return
    shown = {name for names in pages.values() for name in names}
    for name in {name for names in before.values() for name in names} - shown:
        with suppress(OSError):
            tree.remove(f"{folder}/{name}")


def _relative(page: Path | Url, folder: Path | Url) -> str:
    """Give the path of a page relative to the folder of the thumbnails."""
    if isinstance(page, Path) and isinstance(folder, Path):
        return os.path.relpath(page, folder).replace(os.sep, "/")
    if isinstance(page, Url) and isinstance(folder, Url):
        return posixpath.relpath(f"/{page.text.partition('://')[2]}", f"/{folder.text.partition('://')[2]}")
    # A self-contained page shows no thumbnails of this folder.
    return str(page)


def _is_there(folder: Path | Url, page: str) -> bool:
    if isinstance(folder, Path):
        return (folder / page).is_file()
    scheme, _, path = folder.text.partition("://")
    where = Url(f"{scheme}:/{posixpath.normpath(f'/{path}/{page}')}")
    return not is_url(page) and tree_of(where.parent).size(where.name) is not None


def _pages(folder: Path | Url) -> dict[str, list[str]]:
    """Read the list: the names of thumbnails by page; empty if there is no list, or it is damaged."""
    try:
        record = read_own(folder / LIST, REPORT_MARK)
    except ImageError:
        return {}
    pages: Any = (record or {}).get("pages")
    if not isinstance(pages, dict):
        return {}
    return {
        page: [name for name in names if isinstance(name, str) and NAME.fullmatch(name)]
        for page, names in pages.items()
        if isinstance(names, list)
    }
