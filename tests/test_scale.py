"""docs/scale.md: its Slurm script and its Kubernetes Job, run by a shell, with the fake engine on the machines."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Invoke, jpeg

PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
SHARDS = 8


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


class Machine:
    """A shell whose `gradcam-cli` notes its arguments, and ends with a code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = folder / "bin/gradcam-cli"
        self._program.parent.mkdir()
        self._program.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > called\nexit "$CODE"\n')
        self._program.chmod(0o755)

    def run(self, command: list[str], environment: Mapping[str, str], code: int = 0) -> tuple[list[str], int]:
        """Run a command, and give the arguments of `gradcam-cli` and the code that the command ends with."""
        path = f"{self._program.parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "CODE": str(code), **environment}
        done = subprocess.run(command, cwd=self.folder, env=env, check=False)
        return (self.folder / "called").read_text().split("\0")[:-1], done.returncode


@pytest.fixture
def machine(tmp_path: Path, photos: Path) -> Machine:
    for i in range(5):
        (photos / f"{i}.jpg").write_bytes(jpeg(seed=i))
    return Machine(tmp_path)


def job() -> tuple[dict[str, Any], dict[str, Any]]:
    """The specification of the Job, and of its container."""
    described = yaml.safe_load(block("yaml"))
    assert (described["apiVersion"], described["kind"]) == ("batch/v1", "Job")
    (container,) = described["spec"]["template"]["spec"]["containers"]
    return described["spec"], container


def test_the_slurm_array_explains_every_picture_once(invoke: Invoke, machine: Machine, tmp_path: Path) -> None:
    script = block("bash")
    ((first, last),) = re.findall(r"^#SBATCH --array=(\d+)-(\d+)$", script, re.MULTILINE)
    for task in range(int(first), int(last) + 1):
        args, code = machine.run(["bash", "-c", script], {"SLURM_ARRAY_TASK_ID": str(task)})
        assert code == 0
        invoke(*args)
    (merge,) = re.findall(r'--wrap "gradcam-cli (merge[^"]*)"', PAGE)
    invoke(*shlex.split(merge))
    assert_whole(tmp_path / "out", invoke)


def test_the_kubernetes_job_explains_every_picture_once(invoke: Invoke, machine: Machine, tmp_path: Path) -> None:
    spec, container = job()
    assert spec["completionMode"] == "Indexed"
    given = {each["name"]: each["value"] for each in container["env"]}
    for index in range(spec["completions"]):
        command = [*container["command"], *container["args"]]
        args, code = machine.run(command, given | {"JOB_COMPLETION_INDEX": str(index)})
        assert code == 0
        invoke(*args)
    invoke("merge", "out")
    assert_whole(tmp_path / "out", invoke)


def assert_whole(out: Path, invoke: Invoke) -> None:
    record = json.loads((out / "run.json").read_text())
    assert (record["counts"]["done"], len(record["shards"])) == (8, SHARDS)
    assert json.loads(invoke("verify", "out", "--json").stdout)["problems"] == []
    assert len(list(out.rglob("*.overlay.jpg"))) == 8


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 0), (2, 2), (4, 4), (143, 143)])
def test_only_failed_images_leave_a_pod_successful(machine: Machine, code: int, expected: int) -> None:
    _, container = job()
    environment = {"SHARDS": "8", "JOB_COMPLETION_INDEX": "0"}
    args, ended = machine.run([*container["command"], *container["args"]], environment, code)
    assert ended == expected
    assert args[-1] == "1/8"


def test_the_volumes_of_the_job_are_those_that_it_mounts() -> None:
    spec, container = job()
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
