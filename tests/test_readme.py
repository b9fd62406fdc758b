"""The README against the program: every option it names exists, and every option of the program is in it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import ROOT, SAMPLES, Runner

from gradcam_cli.cli import program
from gradcam_cli.errors import Reason
from gradcam_cli.evaluation.measures import GROUPS, MEASURES
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.methods import METHODS
from gradcam_cli.results.sidecar import schema_text
from gradcam_cli.settings import BASELINES, FIT_MODES

PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
# The README is short; the pages that describe options, methods and sidecars to the full are read with it.
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "options",
            "sidecar",
            "runs",
            "glossary",
            "methods",
            "evaluate",
            "first-model",
            "comparison",
            "plans",
        )
    ),
)
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
LONGEST_README = 200
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]+|-[a-zA-Z0-9](?![\w-]))")
# Options of other programs in the README's one-liners.
FOREIGN = {"-9", "-c", "--no-deps", "-4", "-print0", "-name"}


def options_of(command: click.Command) -> set[str]:
    found = {name for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}
    if isinstance(command, click.Group):
        for child in command.commands.values():
            found |= options_of(child)
    return found | {"-h", "--help"}


def test_options() -> None:
    known = options_of(program)
    named = set(OPTION.findall(re.sub(r"```python.*?```", "", README, flags=re.DOTALL))) - FOREIGN
    assert named <= known, named - known
    assert known <= named, known - named


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.skipif(shutil.which("jq") is None, reason="a one-liner needs jq")
def test_the_one_liners_run_in_a_clone_as_they_stand(tmp_path: Path) -> None:
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("## Five one-liners\n")[1].split("```")[1]
    lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) == 5
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    program = f'gradcam-cli() {{ "{sys.executable}" -m gradcam_cli "$@"; }}\nset -eo pipefail\n'
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for line in lines:
        done = subprocess.run(
            ["/bin/bash", "-c", program + line], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "overlay.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert (tmp_path / "page" / "index.html").exists()


def test_words() -> None:
    for word in (*Reason, *METHODS, *PREPROCESSINGS, *FIT_MODES, *BASELINES, *GROUPS, *program.commands):
        assert re.search(rf"`(gradcam-cli )?{re.escape(word)}[` ]", README), word


def test_measures() -> None:
    for measure in MEASURES.values():
        assert f"`{measure.option}`" in README


def test_links() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target


def properties(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(properties, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    found = set(schema.get("properties", {}))
    return found.union(*(properties(value) for value in schema.values())) if schema else found


def test_every_field_of_the_sidecar_is_explained() -> None:
    for field in properties(json.loads(schema_text())) - {"x", "y"}:
        assert f"`{field}`" in README, field


def test_the_example_runs_as_it_is_written(run: Runner, tmp_path: Path) -> None:
    code = next(block for block in PYTHON.findall(README) if "keras.Model(" in block)
    assert len([line for line in code.splitlines() if line and not line.startswith(("#", "import", "from"))]) <= 20
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    listed = run("layers", "pets.keras").expect(0).out.decode().splitlines()
    shown = README.split("$ gradcam-cli layers pets.keras | tail -4\n")[1].split("\n\n")[0].splitlines()
    assert listed[-4:] == shown
    done = run("explain", SAMPLES, "-o", "out", "--model", "pets.keras").expect(0)
    assert next(line for line in done.err.splitlines() if line.startswith("pets.keras: ")) in README
    record = json.loads((tmp_path / "out" / "chelsea.jpg.json").read_text())
    assert record["classes"][0]["label"] in {"cat", "dog", "rabbit"}
    assert record["model"]["preprocess"] == "none"


@pytest.mark.parametrize("command", [program, *program.commands.values()], ids=lambda c: c.name)
def test_every_help_has_an_example(command: click.Command) -> None:
    text = command.get_help(click.Context(command))
    assert "Example" in text
    assert "gradcam-cli " in text


def test_the_python_of_the_documents_runs_as_it_is_written(tmp_path: Path) -> None:
    """All examples of the API in one process, one after the other, in a folder with the sample pictures."""
    blocks = [block for block in PYTHON.findall(README) if "Explainer(" in block]
    blocks += PYTHON.findall((ROOT / "docs/python.md").read_text(encoding="utf-8"))
    assert len(blocks) == 4
    (tmp_path / "sample_images").symlink_to(SAMPLES)
    code = "\n".join([*blocks, "assert explanation.best.map.min() >= 0"])
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Egyptian cat" in done.stdout
    assert "6 0" in done.stdout
