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
from github_actions import run_action

PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
SHARDS = 8


def script() -> str:
    """The script of the Slurm array."""
    (found,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def example(name: str) -> Any:
    """The example in YAML whose first line is this name, as a comment."""
    (found,) = re.findall(rf"```yaml\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)
    return yaml.safe_load(found)


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
        return self.called(), done.returncode

    def called(self) -> list[str]:
        """Give the arguments that `gradcam-cli` was called with last."""
        return (self.folder / "called").read_text().split("\0")[:-1]


@pytest.fixture
def machine(tmp_path: Path, photos: Path) -> Machine:
    for i in range(5):
        (photos / f"{i}.jpg").write_bytes(jpeg(seed=i))
    return Machine(tmp_path)


def job() -> tuple[dict[str, Any], dict[str, Any]]:
    """The specification of the Job, and of its container."""
    described = example("job.yaml")
    assert (described["apiVersion"], described["kind"]) == ("batch/v1", "Job")
    (container,) = described["spec"]["template"]["spec"]["containers"]
    return described["spec"], container


def test_the_slurm_array_explains_every_picture_once(invoke: Invoke, machine: Machine, tmp_path: Path) -> None:
    ((first, last),) = re.findall(r"^#SBATCH --array=(\d+)-(\d+)$", script(), re.MULTILINE)
    for task in range(int(first), int(last) + 1):
        args, code = machine.run(["bash", "-c", script()], {"SLURM_ARRAY_TASK_ID": str(task)})
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


def test_the_gitlab_jobs_explain_every_picture_once(invoke: Invoke, machine: Machine, tmp_path: Path) -> None:
    jobs = example(".gitlab-ci.yml")
    count = jobs["explain"]["parallel"]
    install, explain = jobs["explain"]["script"]
    assert install.startswith("pip install")
    for index in range(1, count + 1):
        args, _ = machine.run(["bash", "-c", explain], {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(count)})
        invoke(*args)
    args, _ = machine.run(["bash", "-c", jobs["merge"]["script"][-1]], {})
    invoke(*args)
    assert jobs["merge"]["needs"] == ["explain"]
    assert_whole(tmp_path / "out", invoke, count)


def test_the_github_matrix_explains_every_picture_once(invoke: Invoke, machine: Machine, tmp_path: Path) -> None:
    jobs = example(".github/workflows/shards.yml")["jobs"]
    shards = jobs["explain"]["strategy"]["matrix"]["shard"]
    _, action = jobs["explain"]["steps"]
    for name in ("python", "pip"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for shard in shards:
        given = {key: value.replace("${{ matrix.shard }}", str(shard)) for key, value in action["with"].items()}
        env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CODE": "0"}
        assert not run_action(ROOT / "action.yml", given, tmp_path, env).failed
        args = machine.called()
        assert "--report" not in args
        invoke(*args)
        (tmp_path / "gradcam-output").rename(tmp_path / given["artifact"])
    (tmp_path / "shards").mkdir()
    for folder in tmp_path.glob("shard-*"):
        folder.rename(tmp_path / "shards" / folder.name)
    (merge,) = [step["run"] for step in jobs["merge"]["steps"] if "gradcam-cli merge" in step.get("run", "")]
    args, _ = machine.run(["bash", "-c", merge], {})
    invoke(*args)
    assert_whole(tmp_path / "out", invoke, len(shards))


def assert_whole(out: Path, invoke: Invoke, shards: int = SHARDS) -> None:
    record = json.loads((out / "run.json").read_text())
    assert (record["counts"]["done"], len(record["shards"])) == (8, shards)
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
