"""Runs a composite GitHub action here, as far as this can be done: its `run:` steps are run, its `uses:` are listed.

Of the language of expressions there is what action.yml needs: values, `||`, `&&`, `!=`, `always()` and strings.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
RUNNER = {"runner.os": "Linux", "runner.arch": "X64", "github.sha": "0" * 40}


@dataclass
class Job:
    """What became of an action: steps that ran, with their exit codes; steps that use others, with their inputs."""

    codes: dict[str, int] = field(default_factory=dict)
    uses: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    log: str = ""
    failed: bool = False


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def run_action(action: Path, inputs: Mapping[str, str], workspace: Path, env: Mapping[str, str]) -> Job:
    """Run the steps in their order; after a failure only those that run `always()`."""
    loaded = load_yaml(action)
    job = Job(values=dict(RUNNER))
    unknown = inputs.keys() - loaded["inputs"].keys()
    assert not unknown, unknown
    for name, described in loaded["inputs"].items():
        assert name in inputs or not described.get("required"), f"{name} is required"
        job.values[f"inputs.{name}"] = str(inputs.get(name, described.get("default", "")))
    for step in loaded["runs"]["steps"]:
        condition = step.get("if", "success()")
        if job.failed and "always()" not in condition:
            continue
        if condition == "success()" or evaluated(condition, job.values):
            _run_step(step, job, action, workspace, env)
    for name, described in loaded["outputs"].items():
        job.values[f"outputs.{name}"] = filled(described["value"], job.values)
    return job


def _run_step(step: Mapping[str, Any], job: Job, action: Path, workspace: Path, env: Mapping[str, str]) -> None:
    if "uses" in step:
        job.uses[step["uses"].split("@")[0]] = {k: filled(v, job.values) for k, v in step.get("with", {}).items()}
        job.values |= {f"steps.{step.get('id')}.outputs.cache-primary-key": "key"}
        return
    output, summary = workspace / ".output", workspace / ".summary"
    output.write_text("")
    runner = {"GITHUB_OUTPUT": output, "GITHUB_STEP_SUMMARY": summary, "GITHUB_ACTION_PATH": action.parent}
    own = {name: filled(value, job.values) for name, value in step.get("env", {}).items()}
    script = workspace / ".step.sh"
    script.write_text(step["run"])
    assert step["shell"] == "bash"
    folder = workspace / filled(step.get("working-directory", "."), job.values)
    done = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        cwd=folder,
        env={**os.environ, **env, **{name: str(path) for name, path in runner.items()}, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    job.codes[step["name"]] = done.returncode
    job.log += done.stdout + done.stderr
    job.failed |= done.returncode != 0
    for line in output.read_text().splitlines():
        name, _, value = line.partition("=")
        job.values[f"steps.{step['id']}.outputs.{name}"] = value


def filled(text: str, values: Mapping[str, str]) -> str:
    return EXPRESSION.sub(lambda found: evaluated(found[1], values), str(text))


def evaluated(expression: str, values: Mapping[str, str]) -> str:
    """Give the value of an expression, '' where it is false."""
    if " && " in expression:
        parts = [evaluated(part, values) for part in expression.split(" && ")]
        return parts[-1] if all(parts) else ""
    if " || " in expression:
        return next(filter(None, (evaluated(part, values) for part in expression.split(" || "))), "")
    if " != " in expression:
        one, other = (evaluated(part, values) for part in expression.split(" != "))
        return "true" if one != other else ""
    if expression == "always()":
        return "true"
    if expression.startswith("'"):
        return expression.strip("'")
    # GitHub gives '' for an output that was not set, and for a name that does not exist.
    assert expression in values or re.fullmatch(r"steps\.[a-z]+\.outputs\.[a-z-]+", expression), expression
    return values.get(expression, "")
