"""A summary in Markdown: any text is shown as it is, and the file stays below what GitHub shows."""

import html
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gradcam_cli.results.markdown import MOST_BYTES, MOST_ROWS, Page, Table, escaped, markdown_text

GFM = MarkdownIt("gfm-like", {"linkify": False})
HOSTILE = [
    "a|b",
    "a\nb\r\n# c",
    "`code` ``two``",
    "<img src=x onerror=alert(1)>",
    "<!-- comment",
    "![x](data:image/png;base64,AAAA)",
    "[x](javascript:alert(1))",
    "*a* _b_ **c** ~~d~~",
    "@octocat and @github/team",
    "https://example.org www.example.org a@example.org",
    "&lt; &#64; &amp;",
    "\\| \\`",
    "$x$ :tada: #12",
    "\u202egpj.exe\x1b[31m",
    "- list\n1. list\n> quote\n---",
    "\ud800",
]
TEXTS = (
    st.text(st.characters(), max_size=60)
    | st.text(st.sampled_from("|`<>[]()!@&#*_~\\-+.:\n\r\t aw"))
    | st.sampled_from(HOSTILE)
)


def cells(markdown: str) -> list[str]:
    """Render, and give the texts of all cells of tables; fail where a cell holds anything else than text."""
    found = []
    tokens = GFM.parse(markdown)
    for before, token in pairwise(tokens):
        if before.type in {"td_open", "th_open"}:
            found.append("".join(map(text_of, token.children or [])))
    assert not [token for token in tokens if token.type in {"html_block", "fence", "code_block", "blockquote_open"}]
    return found


def text_of(token: Token) -> str:
    assert token.type in {"text", "text_special"}, token
    return token.content


def shown(text: str) -> str:
    """What a reader sees of a text; spaces at its ends are no part of a cell."""
    return text.replace("\u200b", "").strip()


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_any_text_is_plain_text_of_its_cell(rows: list[tuple[str, str]]) -> None:
    text = markdown_text(Page("title", (), (Table("Table", ("one", "two"), tuple(rows)),)))
    found = cells(text)
    assert found[:2] == ["one", "two"]
    assert len(found) == 2 + 2 * len(rows)
    for cell in found:
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", cell)


@given(TEXTS)
@example("- a").via("a list")
@example("12) a").via("a numbered list")
@example("> a").via("a quotation")
@example("---").via("a rule")
@example("    a").via("code")
def test_any_line_is_a_paragraph(text: str) -> None:
    tokens = GFM.parse(markdown_text(Page("title", ("before", text, "after"))))
    assert [token.type for token in tokens if token.type.endswith("_open")] == ["heading_open", *["paragraph_open"] * 3]
    for token in tokens:
        "".join(map(text_of, token.children or []))


def test_plain_names_stay_as_they_are() -> None:
    for name in (
        "photos/cat_and_coffee-2 (1).jpg",
        "top_activation",
        "0.5 -> 0.7",
        "n02123045_1.JPEG",
        "a, b; c's + 50 %",
    ):
        assert escaped(name) == name


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    markdown = markdown_text(Page(text, (text,), (Table(text, (text,), ((text,),)),)))
    assert "data:" not in markdown
    assert not re.search(r"@\w", markdown)
    assert not re.search(r"<|`|https?:|www\.", markdown)
    _, cell = cells(markdown)
    # GitHub looks for mentions in the text that is shown.
    assert not re.search(r"@\w", cell)
    visible = text.encode("utf-8", "replace").decode()
    visible = visible.replace("\n", r"\n").replace("\r", r"\r").replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert shown(cell) == visible
    assert html.unescape(escaped(text)).replace("\u200b", "") == visible
    headings = [t for t in GFM.parse(markdown) if t.type == "heading_open"]
    assert [t.tag for t in headings] == ["h2", "h3"]


def test_only_the_first_20_rows_are_shown() -> None:
    rows = tuple((str(i),) for i in range(23))
    text = markdown_text(Page("t", (), (Table("T", ("n",), rows, 500),)))
    assert cells(text) == ["n", *map(str, range(20))]
    assert "480 more rows not shown." in text
    assert "more" not in markdown_text(Page("t", (), (Table("T", ("n",), rows[:20], 20),)))
    assert "1 more row not shown." in markdown_text(Page("t", (), (Table("T", ("n",), rows[:21]),)))


def test_what_is_written() -> None:
    table = Table("Failed", ("image", "reason"), (("a|b.jpg", "empty"),), 1)
    assert markdown_text(Page("gradcam-cli explain: failed", ("2 images: 1 ok, 1 failed",), (table,))) == (
        "## gradcam-cli explain: failed\n\n2 images: 1 ok, 1 failed\n\n"
        "### Failed\n\n| image | reason |\n| --- | --- |\n| a&#124;b.jpg | empty |\n"
    )


@pytest.mark.parametrize("character", ["@", "`", "\U0001f600", "\x01", "\U000e0001"])
def test_the_largest_file_is_small_enough(character: str) -> None:
    row = (character * 5000,) * 12
    tables = tuple(Table(row[0], row, (row,) * 50) for _ in range(9))
    data = markdown_text(Page(row[0], row * 5, tables)).encode("utf-8")
    assert 100_000 < len(data) < MOST_BYTES
    assert len(re.findall(rb"(?m)^\| ", data)) <= 9 * (MOST_ROWS + 2)


def test_a_table_without_rows_is_left_out() -> None:
    assert markdown_text(Page("t", (), (Table("T", ("n",), ()),))) == "## t\n"
