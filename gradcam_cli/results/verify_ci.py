"""The report of `verify` for a CI system."""

from collections.abc import Container

from gradcam_cli.results.ci_report import CiReport
from gradcam_cli.results.junit import CaseList
from gradcam_cli.results.verification import Findings


def verify_report(findings: Findings | None) -> CiReport:
    """Make the report of a verification; `findings` is None if the verification stopped early.

    Each sidecar is a test case with the name of its image. All problems of a sidecar and its files are one failure. A
    problem of any other file is a separate test case.
    """
    cases = CaseList()
    if findings is None:
        return CiReport("verify", cases)
    images = set(findings.images)
    problems: dict[str, list[str]] = {}
    for problem in findings.problems:
        problems.setdefault(_image_of(problem.file, images), []).append(f"{problem.file}: {problem.problem}")
    for name, lines in problems.items():
        cases.add(name, "failure", kind="not_whole", message=lines[0], text="\n".join(lines))
    for image in findings.images:
        if image not in problems:
            cases.add(image)
    return CiReport("verify", cases, findings.verdict(), notes=tuple(findings.unchecked))


def _image_of(file: str, images: Container[str]) -> str:
    """Give the image that a file belongs to, by removing suffixes from its name; the file itself if there is none.

    `a.jpg.json` and `a.jpg.281.overlay.jpg` belong to `a.jpg`.
    """
    name = file
    while name:
        name, dot, _ = name.rpartition(".")
        if dot and name in images:
            return name
    return file
