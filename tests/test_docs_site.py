"""The documentation as a site: every page is in the navigation, every link leads somewhere, no warning."""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from conftest import ROOT

import gradcam_cli
from tools.site.source import FENCED, LINK, lay_out, sections, site_path

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/peers/README.md")),
    ROOT / ".github/PULL_REQUEST_TEMPLATE.md",
]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("\\", "") for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain}


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [str(path) for _, entries in sections() for _, path in entries]
    assert len(listed) == len(set(listed))
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - {"docs/index.md"}
    assert set(listed) == pages | {"CONTRIBUTING.md", "CHANGELOG.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        found = (page.parent / target).resolve() if target else page
        assert found.is_file(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_files_outside_of_docs_are_pages_of_the_site(tmp_path: Path) -> None:
    lay_out(tmp_path)
    readme = (tmp_path / "repository/README.md").read_text(encoding="utf-8")
    assert "](../images/tabby.jpg)" in readme
    assert "](../python.md)" in readme
    assert "](repository/README.md)" in (tmp_path / "index.md").read_text(encoding="utf-8")
    glossary = (tmp_path / "glossary.md").read_text(encoding="utf-8")
    assert "](repository/gradcam_cli/inputs/decoding.py.md)" in glossary
    for page in tmp_path.rglob("*.md"):
        if page.name.endswith(".py.md"):
            continue
        for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
            assert (page.parent / link).is_file(), (page, link)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/ci.md", "ci.md"),
        ("docs/images/tabby.jpg", "images/tabby.jpg"),
        ("docs/examples/train_and_explain.py", "repository/docs/examples/train_and_explain.py.md"),
        ("README.md", "repository/README.md"),
        ("sample_images/coffee.jpg", "repository/sample_images/coffee.jpg"),
    ],
)
def test_where_a_file_is_in_the_site(path: str, place: str) -> None:
    assert site_path(PurePosixPath(path)) == PurePosixPath(place)


def test_the_api_reference_has_every_public_name() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\.\. auto\w+:: gradcam_cli\.(\w+)$", text, re.MULTILINE)) == sorted(gradcam_cli.__all__)


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == gradcam_cli.__version__


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "tools.site", str(tmp_path), "dummy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
