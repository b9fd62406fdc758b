"""The report of a command for a CI system: test cases as JUnit XML, and a summary in Markdown."""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gradcam_cli.atomic import atomically, refuse_device, temporary_beside
from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.results.junit import Case, CaseList, Suite, junit_xml
from gradcam_cli.results.markdown import Page, Table, markdown_text

PROGRAM = "gradcam-cli"


@dataclass(frozen=True, eq=False)
class CiReport:
    """The outcome of one command.

    Attributes:
        command: the name of the command.
        images: a test case for each image.
        outcome: the outcome in one line.
        gates: a test case for each requested limit.
        notes: more facts, one line each.
        tables: tables of the summary, in addition to the table of failures.
        stop: the reason why the command stopped early; '' if it was completed.
    """

    command: str
    images: CaseList
    outcome: str = ""
    gates: tuple[Case, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    stop: str = ""

    def stopped(self, stop: str) -> "CiReport":
        """Give the same report for a command that stopped early, with the reason."""
        return replace(self, stop=stop)

    @property
    def is_passed(self) -> bool:
        """Whether nothing failed."""
        return not (self.stop or self.images.failed or any(gate.outcome != "passed" for gate in self.gates))

    def suite(self, seconds: float) -> Suite:
        """Give the test cases: the reason of an early stop, then the gates, then the images."""
        stops = [Case("run", "run", "error", "stopped", self.stop, self.stop)] if self.stop else []
        return Suite(f"{PROGRAM}.{self.command}", (*stops, *self.gates, *self.images.cases()), seconds)

    def page(self) -> Page:
        """Give the summary: the outcome, the gates, the failures, and the command's own tables."""
        word = "passed" if self.is_passed else "failed"
        lines = [line for line in (self.stop, self.outcome, *self.notes) if line]
        failed = self.images.failed
        total = self.images.counts["failure"] + self.images.counts["error"]
        tables = (
            Table("Gates", ("gate", "outcome", "message"), tuple(map(_gate_row, _worst_first(self.gates)))),
            Table("Failed", (self.images.noun, "reason", "message"), tuple(map(_failure_row, failed)), total),
            *self.tables,
        )
        return Page(f"{PROGRAM} {self.command}: {word}", tuple(lines), tables)


def gate_case(name: str, crossed: Iterable[str], text: str = "") -> Case:
    """Make the test case of one gate; `crossed` has one line for each crossing, and is empty if the gate passed."""
    lines = list(crossed)
    if not lines:
        return Case(name, "gates")
    return Case(name, "gates", "failure", "crossed", "; ".join(lines), "\n".join([*lines, text]).rstrip("\n"))


def check_writable(path: Path) -> None:
    """Create the folder of a file, and check that the file can be written there.

    Raises:
        EnvironmentStop: the file cannot be written, or its path is a folder or a device.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_device(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        probe = temporary_beside(path)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise EnvironmentStop(f"{path}: the file cannot be written: {error.strerror}.") from error


def write_junit(path: Path, report: CiReport, seconds: float) -> None:
    """Write the test cases as JUnit XML, atomically.

    Raises:
        EnvironmentStop: the file cannot be written.
    """
    _write(path, junit_xml(report.suite(seconds)))


def write_markdown(path: Path, report: CiReport) -> None:
    """Write the summary as Markdown, atomically.

    Raises:
        EnvironmentStop: the file cannot be written.
    """
    _write(path, markdown_text(report.page()).encode("utf-8"))


def _write(path: Path, data: bytes) -> None:
    try:
        with atomically(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise EnvironmentStop(f"{path}: the file cannot be written: {error.strerror}.") from error


def _worst_first(gates: Iterable[Case]) -> list[Case]:
    return sorted(gates, key=lambda gate: gate.outcome == "passed")


def _gate_row(gate: Case) -> tuple[str, ...]:
    return gate.name, "passed" if gate.outcome == "passed" else "crossed", gate.message


def _failure_row(case: Case) -> tuple[str, ...]:
    return case.name, case.kind, case.message
