"""The README against the program: every option it names exists, and every option of the program is in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import ROOT, SAMPLES

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


def test_words() -> None:
    for word in (*Reason, *METHODS, *PREPROCESSINGS, *FIT_MODES, *BASELINES, *GROUPS, *program.commands):
        assert re.search(rf"`(gradcam-cli )?{re.escape(word)}[` ]", README), word


def test_measures() -> None:
    for measure in MEASURES.values():
        assert f"`{measure.option}`" in README


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


@pytest.mark.parametrize("command", [program, *program.commands.values()], ids=lambda c: c.name)
def test_every_help_has_an_example(command: click.Command) -> None:
    text = command.get_help(click.Context(command))
    assert "Example" in text
    assert "gradcam-cli " in text


def test_the_python_of_the_documents_runs_as_it_is_written(tmp_path: Path) -> None:
    """All examples of the API in one process, one after the other, in a folder with the sample pictures."""
    blocks = [block for block in PYTHON.findall(README) if "Explainer(" in block]
    for page in ("python", "notebooks"):
        blocks += PYTHON.findall((ROOT / f"docs/{page}.md").read_text(encoding="utf-8"))
    assert len(blocks) == 7
    (tmp_path / "sample_images").symlink_to(SAMPLES)
    code = "\n".join([*blocks, "assert explanation.best.map.min() >= 0"])
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Egyptian cat" in done.stdout
    assert "6 0" in done.stdout
