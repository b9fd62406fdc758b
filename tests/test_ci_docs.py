"""docs/ci.md: its examples are parsed, and what they run is run, with the program on a fake engine."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Invoke
from github_actions import load_yaml, run_action
from junitparser import JUnitXml

from gradcam_cli.results.junit import LONGEST_LINE, MOST_CASES
from gradcam_cli.results.markdown import MOST_BYTES, MOST_ROWS

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
EXAMPLES = {
    text.splitlines()[0].strip("# "): yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
}
GITHUB, GITLAB = EXAMPLES[".github/workflows/explanations.yml"], EXAMPLES[".gitlab-ci.yml"]
ACTION = ROOT / "action.yml"


@pytest.fixture
def work(photos: Path, invoke: Invoke) -> Path:
    """A repository with photographs, a model and a golden file."""
    root = photos.parent
    (root / "models").mkdir()
    (root / "models" / "pets.keras").write_bytes(b"")
    invoke("explain", "photos", "-o", "golden", "--top-k", "3", "--model", "models/pets.keras")
    invoke("snapshot", "golden", "-o", "explanations.json")
    return root


@pytest.fixture
def env(work: Path) -> dict[str, str]:
    """An environment in which `gradcam-cli` is the program on a fake engine, and nothing is installed."""
    folder = work / "programs"
    folder.mkdir()
    fake = shlex.join([sys.executable, str(ROOT / "tests" / "fake_program.py")])
    for name, line in {"gradcam-cli": f'{fake} "$@"', "python": "true", "pip": 'echo "$@" >> pip.txt'}.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "CI_PROJECT_DIR": str(work)}


def gitlab(work: Path, env: dict[str, str]) -> int:
    """Run the script of the job as GitLab's runner does: in one shell that ends at the first command that fails."""
    variables = {
        name: value.replace("$CI_PROJECT_DIR", str(work)) for name, value in GITLAB["explanations"]["variables"].items()
    }
    script = "\n".join(GITLAB["explanations"]["script"])
    command = ["/bin/bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=work, env={**os.environ, **env, **variables}, check=False).returncode


def test_github(work: Path, env: dict[str, str]) -> None:
    checkout, *steps = GITHUB["jobs"]["explanations"]["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    for step in steps:
        assert step["uses"].startswith("OWNER/gradcam-cli@")
        job = run_action(ACTION, step["with"], work, env)
        assert not job.failed, job.log
    assert "gradcam-cli explain: passed" in (work / ".summary").read_text()
    assert "gradcam-cli compare: passed" in (work / ".summary").read_text()
    assert "| failed-now=0 | passed |" in (work / ".summary").read_text()


def test_gitlab(work: Path, env: dict[str, str]) -> None:
    assert gitlab(work, env) == 0
    job = GITLAB["explanations"]
    for path in job["artifacts"]["paths"]:
        assert (work / path).is_dir(), path
    reports = sorted(work.glob(job["artifacts"]["reports"]["junit"]))
    assert [path.name for path in reports] == ["compare.xml", "explain.xml"]
    assert all(JUnitXml.fromfile(str(path)).failures == 0 for path in reports)
    assert "gradcam-cli[openvino]" in (work / "pip.txt").read_text()
    assert job["artifacts"]["when"] == "always"


def test_gitlab_where_the_model_looks_elsewhere(work: Path, env: dict[str, str], invoke: Invoke) -> None:
    invoke("explain", "photos", "-o", "other", "--class", "0", "--method", "eigencam")
    invoke("compare", "other", "--snapshot", "explanations.json", "--update")
    assert gitlab(work, env) == 5
    assert JUnitXml.fromfile(str(work / "ci" / "compare.xml")).failures > 0
    assert "gradcam-cli compare: failed" in (work / "ci" / "compare.md").read_text()


def test_the_inputs_and_outputs_of_the_action_are_listed() -> None:
    action: Any = load_yaml(ACTION)
    rows = {
        row[0].strip(" `"): row[2].strip()
        for row in (line.split("|")[1:] for line in PAGE.splitlines())
        if len(row) == 4
    }
    for name, described in action["inputs"].items():
        assert name in rows, name
        if described.get("default") not in {None, "", "."}:
            assert rows[name] == f"`{described['default']}`"
    for name in action["outputs"]:
        assert f"`{name}`" in PAGE


def test_the_figures_of_the_page_are_those_of_the_program() -> None:
    assert f"More than {MOST_CASES:,} images" in PAGE
    assert f"Names of more than {LONGEST_LINE} characters" in PAGE
    assert f"less than {MOST_BYTES:,} bytes" in PAGE
    assert f"worst {MOST_ROWS} images" in PAGE
