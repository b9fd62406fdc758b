"""Test results as JUnit XML, in the format of Maven Surefire, which Jenkins, GitLab and others read."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from gradcam_cli.text import counted, one_line, printable

# `failure`: an image or a gate failed. `error`: the run stopped early. `skipped`: it could not be checked.
Outcome = Literal["passed", "failure", "error", "skipped"]

# GitLab reads files of at most 30 MB and 250,000 XML objects. With these limits, a file has at most 18 MB, even if
# each character is written as an entity of six bytes.
MOST_CASES = 1000
LONGEST_LINE = 300
LONGEST_TEXT = 2000
CUT = "..."
# Characters that XML 1.0 does not allow, even as entities.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SUMMED = {"passed": "passed", "failure": "failed", "error": "ended in an error", "skipped": "were skipped"}


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        name: the name of the tested object, such as the path of an image.
        group: the group of the case, such as `images` or `gates`.
        outcome: the result of the test.
        kind: the kind of failure in one word; '' if the case passed.
        message: the failure in one line.
        text: all details of the failure; it may have several lines.
    """

    name: str
    group: str
    outcome: Outcome = "passed"
    kind: str = ""
    message: str = ""
    text: str = ""


@dataclass(frozen=True)
class Suite:
    """The test cases of one command, and its wall time in seconds."""

    name: str
    cases: tuple[Case, ...]
    seconds: float = 0.0


@dataclass(eq=False)
class CaseList:
    """Test cases of one group; memory and the size of the file are bounded.

    If there are more than `MOST_CASES` passed cases, one case replaces them, and its name contains their number. The
    first `MOST_CASES` other cases are kept. For the rest there is one case for each outcome, whose name contains their
    number.

    Attributes:
        group: the group of all cases.
        noun: the noun for a case, used in the names of the cases that replace others.
        counts: the number of added cases for each outcome.
    """

    group: str = "images"
    noun: str = "image"
    counts: Counter[Outcome] = field(default_factory=Counter)
    _passed: list[Case] = field(default_factory=list)
    _others: list[Case] = field(default_factory=list)
    _rest: Counter[Outcome] = field(default_factory=Counter)

    def add(self, name: str, outcome: Outcome = "passed", *, kind: str = "", message: str = "", text: str = "") -> None:
        """Add one case."""
        self.counts[outcome] += 1
        kept = self._passed if outcome == "passed" else self._others
        if len(kept) < MOST_CASES:
            # Text that would be cut in the file is not kept.
            kept.append(Case(name, self.group, outcome, kind, message[:LONGEST_TEXT], text[:LONGEST_TEXT]))
        elif outcome != "passed":
            self._rest[outcome] += 1

    def add_failed_image(self, path: str, reason: str, message: str) -> None:
        """Add an image that failed for a reason."""
        text = f"image: {path}\nreason: {reason}\n{message}"
        self.add(path, "failure", kind=reason, message=message, text=text)

    @property
    def failed(self) -> list[Case]:
        """The kept cases with the outcome `failure` or `error`."""
        return [case for case in self._others if case.outcome in {"failure", "error"}]

    def cases(self) -> tuple[Case, ...]:
        """All listed cases; passed cases are last."""
        return (*self._others, *self._summed_rest(), *self._listed_passed())

    def _summed_rest(self) -> Iterator[Case]:
        for outcome, number in self._rest.items():
            name = f"{counted(number, f'more {self.noun}')} {SUMMED[outcome]}"
            yield Case(name, self.group, outcome, "summed", name, f"The first {MOST_CASES} are listed one by one.")

    def _listed_passed(self) -> list[Case]:
        if self.counts["passed"] <= MOST_CASES:
            return self._passed
        return [Case(f"{counted(self.counts['passed'], self.noun)} {SUMMED['passed']}", self.group)]


def junit_xml(suite: Suite) -> bytes:
    """Write a suite as XML, encoded in UTF-8.

    All names are unique, even after control characters are escaped and long names are cut.
    """
    outcomes = Counter(case.outcome for case in suite.cases)
    counts = {"tests": len(suite.cases), "failures": outcomes["failure"], "errors": outcomes["error"]}
    attributes = {name: str(number) for name, number in counts.items()} | {"time": f"{suite.seconds:.3f}"}
    root = ET.Element("testsuites", {"name": suite.name, **attributes})
    element = ET.SubElement(root, "testsuite", {"name": suite.name, **attributes, "skipped": str(outcomes["skipped"])})
    for case in _with_unique_names(suite.cases):
        named = {"name": case.name, "classname": f"{suite.name}.{case.group}"}
        _add_outcome(ET.SubElement(element, "testcase", named), case)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _add_outcome(element: ET.Element, case: Case) -> None:
    if case.outcome == "passed":
        return
    outcome = ET.SubElement(element, case.outcome, {"type": _line(case.kind), "message": _line(case.message)})
    outcome.text = _cut(_xml(printable(case.text[: LONGEST_TEXT + 1])), LONGEST_TEXT) or None


def _with_unique_names(cases: Iterable[Case]) -> Iterator[Case]:
    taken: set[str] = set()
    for case in cases:
        cleaned = _name(case.name)
        name, number = cleaned, 1
        while name in taken:
            number += 1
            name = f"{cleaned} ({number})"
        taken.add(name)
        yield replace(case, name=name)


def _name(text: str) -> str:
    """Clean a name. The end of a long path is kept, because it is more informative than the beginning."""
    name = _xml(one_line(text[-LONGEST_LINE - 1 :]))
    return name if len(name) <= LONGEST_LINE else f"{CUT}{name[-LONGEST_LINE:]}"


def _line(text: str) -> str:
    return _cut(_xml(one_line(text[: LONGEST_LINE + 1])), LONGEST_LINE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}{CUT}"


def _xml(text: str) -> str:
    return NOT_XML.sub("", text)
