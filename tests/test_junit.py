"""JUnit XML as Jenkins and GitLab read it: valid by the schema, read back whole, and never too large."""

import re
from itertools import pairwise

import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree

from gradcam_cli.results.junit import MOST_CASES, Case, CaseList, Outcome, Suite, junit_xml

SCHEMA = etree.XMLSchema(etree.parse(DATA / "junit" / "junit-10.xsd"))
OUTCOMES: tuple[Outcome, ...] = ("passed", "failure", "error", "skipped")
# All code points, lone surrogates included: names of files may have them.
TEXTS = st.text(st.characters(), max_size=40) | st.text(st.sampled_from("a\x00\x01\x1b\r\n\t<&\"' \ud800\ufffe\u202e"))
CASES = st.builds(Case, TEXTS, st.sampled_from(["images", "gates"]), st.sampled_from(OUTCOMES), TEXTS, TEXTS, TEXTS)


def parsed(data: bytes) -> "etree._Element":
    root = etree.fromstring(data)
    SCHEMA.assertValid(root)
    return root


def names(data: bytes) -> list[str]:
    return [str(case.get("name")) for case in parsed(data).iter("testcase")]


@given(st.lists(CASES, max_size=12))
def test_any_text_is_valid_and_names_are_unique(cases: list[Case]) -> None:
    data = junit_xml(Suite("program.command", tuple(cases), 1.25))
    found = names(data)
    assert len(found) == len(set(found)) == len(cases)
    text = data.decode("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\ufffe]", text)
    assert not re.search("&#(x0*)?[0-8];", text)


@given(st.lists(CASES, max_size=12))
def test_it_is_read_back(cases: list[Case]) -> None:
    (suite,) = JUnitXml.fromstring(junit_xml(Suite("program.command", tuple(cases), 1.25)))
    kinds = {"failure": Failure, "error": Error, "skipped": Skipped}
    assert suite.tests == len(cases)
    assert (suite.failures, suite.errors, suite.skipped) == tuple(
        sum(case.outcome == outcome for case in cases) for outcome in ("failure", "error", "skipped")
    )
    assert suite.time == 1.25
    for case, back in zip(cases, suite, strict=True):
        assert back.classname == f"program.command.{case.group}"
        assert [type(each) for each in back.result] == ([] if case.outcome == "passed" else [kinds[case.outcome]])


def test_what_is_written() -> None:
    cases = (
        Case("a & b.jpg", "images"),
        Case("c.jpg", "images", "failure", "empty", 'the "file" is <empty>', "image: c.jpg\nreason: empty"),
    )
    assert junit_xml(Suite("gradcam-cli.explain", cases, 0.5)).decode() == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<testsuites name="gradcam-cli.explain" tests="2" failures="1" errors="0" time="0.500">\n'
        '  <testsuite name="gradcam-cli.explain" tests="2" failures="1" errors="0" time="0.500" skipped="0">\n'
        '    <testcase name="a &amp; b.jpg" classname="gradcam-cli.explain.images" />\n'
        '    <testcase name="c.jpg" classname="gradcam-cli.explain.images">\n'
        '      <failure type="empty" message="the &quot;file&quot; is &lt;empty&gt;">image: c.jpg\nreason: empty'
        "</failure>\n"
        "    </testcase>\n"
        "  </testsuite>\n"
        "</testsuites>\n"
    )


def test_names_that_are_one_after_cleaning_are_told_apart() -> None:
    given = ["a\ud800", "a", "a (2)", "a\ud801", "a (2)", "b\x1b", r"b\x1b"]
    found = names(junit_xml(Suite("s", tuple(Case(name, "images") for name in given))))
    assert found == ["a", "a (2)", "a (2) (2)", "a (3)", "a (2) (3)", r"b\x1b", r"b\x1b (2)"]


def test_long_names_are_cut_at_the_front_and_stay_unique() -> None:
    given = [f"{letter}{'/folder' * 400}/cat.jpg" for letter in "ab"]
    one, other = names(junit_xml(Suite("s", tuple(Case(name, "images") for name in given))))
    assert one.startswith("...")
    assert one.endswith("/folder/cat.jpg")
    assert other == f"{one} (2)"
    assert len(one) < 400


@pytest.mark.parametrize(("passed", "listed"), [(0, 0), (1, 1), (1000, 1000), (1001, 1), (5000, 1)])
def test_above_1000_passed_images_are_one_case(passed: int, listed: int) -> None:
    cases = CaseList()
    cases.add("bad.jpg", "failure")
    for i in range(passed):
        cases.add(f"{i}.jpg")
    found = cases.cases()
    assert len(found) == 1 + listed
    assert found[0].name == "bad.jpg"
    if passed > 1000:
        assert found[1] == Case(f"{passed} images passed", "images")


def test_failures_above_the_limit_are_summed() -> None:
    cases = CaseList()
    for i in range(1500):
        cases.add(f"{i}.jpg", "failure", kind="empty")
        cases.add(f"new/{i}.jpg", "skipped")
    found = cases.cases()
    assert [case.name for case in found[:3]] == ["0.jpg", "new/0.jpg", "1.jpg"]
    assert [(case.name, case.outcome) for case in found[1000:]] == [
        ("1000 more images failed", "failure"),
        ("1000 more images were skipped", "skipped"),
    ]
    assert cases.counts == {"failure": 1500, "skipped": 1500}


@pytest.mark.parametrize("character", ['"', "\U000e0001"])
def test_the_largest_file_is_small_enough(character: str) -> None:
    """GitLab reads 30 MB and 250,000 XML objects; docs/ci.md promises less. Entities and escapes are longest."""
    cases = CaseList()
    long = character * 5000
    for i in range(1000):
        cases.add(f"{i}{long}")
        cases.add(f"{long}{i}", "failure", kind=long, message=long, text=long)
    for _ in range(MOST_CASES):
        cases.add(long, "error", kind=long, message=long, text=long)
    data = junit_xml(Suite("s", cases.cases()))
    assert len(data) < 18_000_000
    objects = sum(1 + len(each.attrib) for each in parsed(data).iter())
    assert objects < 13_000
    found = names(data)
    assert len(found) == len(set(found)) == 2001


def test_cases_come_in_their_order() -> None:
    cases = CaseList()
    for i in range(30):
        cases.add(f"{i:02}")
    assert all(one.name < other.name for one, other in pairwise(cases.cases()))
