"""The GitHub action: its steps are run as a shell runs them, with the program on a fake engine."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, jpeg
from github_actions import EXPRESSION, Job, load_yaml, run_action
from junitparser import JUnitXml

ACTION = ROOT / "action.yml"
Act = Callable[..., Job]


def stand_in(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.write_text("\n".join(["#!/bin/bash", *lines]) + "\n")
    path.chmod(0o755)


def note(tmp_path: Path) -> str:
    """A line of shell that notes the arguments of a call."""
    return f'printf "%s\\0" "$@" >> {tmp_path}/arguments; printf "\\n" >> {tmp_path}/arguments'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Stand-ins: `python -m pip` and `gradcam-cli` do nothing but note their arguments."""
    folder = tmp_path / "programs"
    folder.mkdir()
    stand_in(folder, "gradcam-cli", note(tmp_path), '[ "$1" != cache ] || echo /plans')
    stand_in(folder, "python", f'printf "%s\\0" "$@" >> {tmp_path}/pip')
    return folder


@pytest.fixture
def fake_program(tmp_path: Path, programs: Path) -> None:
    """Let `gradcam-cli` be the program on a fake engine."""
    program = shlex.join([sys.executable, str(ROOT / "tests" / "fake_program.py")])
    stand_in(programs, "gradcam-cli", note(tmp_path), f'{program} "$@"')


@pytest.fixture
def work(tmp_path: Path, photos: Path) -> Path:
    """The workspace of a job, with a folder of photographs."""
    folder = tmp_path / "work space"
    folder.mkdir()
    photos.rename(folder / "photos")
    return folder


@pytest.fixture
def act(tmp_path: Path, work: Path, programs: Path) -> Act:
    env = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }

    def run(**inputs: str) -> Job:
        return run_action(ACTION, {name.replace("_", "-"): value for name, value in inputs.items()}, work, env)

    return run


def arguments(tmp_path: Path) -> list[str]:
    """The arguments of the last call of the program."""
    return (tmp_path / "arguments").read_text().split("\0\n")[-2].split("\0")


@pytest.mark.usefixtures("fake_program")
def test_explain_writes_results_summary_and_artifact(act: Act, work: Path, tmp_path: Path) -> None:
    job = act(args="photos --top-k 2")
    out = work / "gradcam-output"
    assert set(job.codes.values()) == {0}, job.log
    assert {"junit.xml", "summary.md", "run.json", "index.html", "a.jpg.json"} <= {path.name for path in out.iterdir()}
    assert (work / ".summary").read_text() == (out / "summary.md").read_text() != ""
    assert job.uses["actions/upload-artifact"]["path"] == job.values["outputs.folder"] == str(out)
    assert job.values["outputs.exit-code"] == "0"
    assert JUnitXml.fromfile(job.values["outputs.junit"]).tests == 3
    assert len(json.loads((out / "a.jpg.json").read_text())["classes"]) == 2
    plans = job.uses["actions/cache/restore"]
    assert plans["path"] == job.uses["actions/cache/save"]["path"] == str(tmp_path / "cache" / "gradcam-cli" / "plans")
    assert plans["key"].startswith(plans["restore-keys"].strip())
    assert (tmp_path / "pip").read_text().split("\0")[:5] == ["-m", "pip", "install", "--quiet", f"{ROOT}[openvino]"]


@pytest.mark.usefixtures("fake_program")
def test_a_failing_gate_still_reaches_the_later_steps(act: Act, work: Path) -> None:
    act(args="photos", output="base")
    act(args="photos --class 0", output="current")
    job = act(command="compare", args="base current --fail-over class-changes=0", output="comparison")
    assert job.failed
    assert job.codes == {"Install gradcam-cli": 0, "Run gradcam-cli": 5, "Show the summary": 0}
    assert job.values["outputs.exit-code"] == "5"
    assert "gradcam-cli compare: failed" in (work / ".summary").read_text()
    assert job.uses["actions/upload-artifact"]["path"] == str(work / "comparison")
    assert "actions/cache/save" in job.uses
    assert {"index.html", "comparison.json", "junit.xml"} <= {path.name for path in (work / "comparison").iterdir()}


@pytest.mark.usefixtures("fake_program")
def test_a_failed_image_still_reaches_the_later_steps(act: Act, work: Path) -> None:
    (work / "photos" / "a.jpg").write_bytes(b"")
    job = act(args="photos")
    assert job.codes["Run gradcam-cli"] == 1
    assert "| a.jpg | empty |" in (work / ".summary").read_text()
    assert (work / "gradcam-output" / "index.html").is_file()


HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "; rm -rf photos",
    "&& touch pwned",
    "| tee pwned",
    "> pwned",
    "*",
    "~",
    "$HOME",
    "${IFS}",
    "a b  c",
    "it's",
    'say "yes"',
    "back\\slash",
    "--version",
    "-",
    "é \U0001f600",
    "#no comment",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_arguments_are_never_run(act: Act, work: Path, tmp_path: Path, hostile: str) -> None:
    before = sorted(path.name for path in work.iterdir())
    quoted = '"' + re.sub(r'(["\\])', lambda found: f'"\\{found[1]}"', hostile) + '"'
    act(args=f"photos --exclude {quoted} --limit 3\n--exclude {quoted}")
    assert arguments(tmp_path)[-7:] == ["photos", "--exclude", hostile, "--limit", "3", "--exclude", hostile]
    left = {path.name for path in work.iterdir()} - {".output", ".summary", ".step.sh", "gradcam-output"}
    assert sorted(left) == before
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("hostile", [text for text in HOSTILE if not {"'", '"', "\\"} & set(text)])
def test_text_without_quotes_is_split_at_spaces_only(act: Act, work: Path, tmp_path: Path, hostile: str) -> None:
    act(args=hostile, command="verify")
    assert arguments(tmp_path)[5:] == hostile.split()
    assert (work / "photos" / "a.jpg").is_file()
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("name", ["command", "model-sha256", "extras", "output", "artifact"])
def test_no_input_is_run(act: Act, work: Path, tmp_path: Path, name: str) -> None:
    for hostile in ("$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "a\ntouch pwned"):
        act(**{"args": "photos", name.replace("-", "_"): hostile})
    assert not list(tmp_path.rglob("pwned"))
    assert (work / "photos" / "a.jpg").is_file()


def test_quotes_that_do_not_end_fail_before_the_program_runs(act: Act, tmp_path: Path) -> None:
    job = act(args="photos 'unfinished")
    assert job.codes["Run gradcam-cli"] != 0
    assert "cache\0path" in (tmp_path / "arguments").read_text()
    assert "explain" not in (tmp_path / "arguments").read_text()


def test_another_command_is_refused(act: Act, tmp_path: Path) -> None:
    job = act(command="cache", args="clear")
    assert job.codes["Run gradcam-cli"] == 2
    assert "clear" not in (tmp_path / "arguments").read_text()
    assert not (tmp_path / "work space" / ".summary").exists()


@pytest.mark.parametrize("args", ["photos --shard 1/2", "--shard=1/2 photos"])
def test_a_shard_has_no_page(act: Act, tmp_path: Path, args: str) -> None:
    act(args=args)
    assert "--report" not in arguments(tmp_path)


def test_inputs_reach_the_program(act: Act, work: Path, tmp_path: Path) -> None:
    (work / "sub").mkdir()
    (work / "photos").rename(work / "sub" / "photos")
    job = act(args="photos", model_sha256="ab12", extras="", working_directory="sub", artifact="mine")
    assert arguments(tmp_path)[-4:] == ["--model-sha256", "ab12", "--report", "photos"]
    assert (tmp_path / "pip").read_text().split("\0")[4] == str(ROOT)
    assert job.values["outputs.folder"] == str(work / "sub" / "gradcam-output")
    assert job.uses["actions/upload-artifact"]["name"] == "mine"
    assert job.uses["actions/cache/restore"]["key"].endswith("-ab12")


@pytest.mark.usefixtures("fake_program")
def test_a_summary_of_an_earlier_run_is_not_shown(act: Act, work: Path) -> None:
    act(args="photos")
    (work / ".summary").unlink()
    job = act(args="photos --no-such-option")
    assert job.codes["Run gradcam-cli"] == 2
    assert not (work / ".summary").exists()
    assert "actions/upload-artifact" in job.uses


def steps() -> list[Any]:
    return list(load_yaml(ACTION)["runs"]["steps"])


def test_no_expression_stands_in_a_script() -> None:
    scripts = [step["run"] for step in steps() if "run" in step]
    assert len(scripts) == 3
    for script in scripts:
        assert "${{" not in script
        assert not re.search(r"\beval\b", script)


def test_every_input_is_used_and_described() -> None:
    text = ACTION.read_text(encoding="utf-8")
    used = set(re.findall(r"inputs\.([a-z0-9-]+)", " ".join(EXPRESSION.findall(text))))
    inputs = load_yaml(ACTION)["inputs"]
    assert used == inputs.keys()
    assert all(each["description"] for each in inputs.values())


def test_what_comes_after_a_failure_says_so() -> None:
    after = steps()[[step.get("id") for step in steps()].index("run") + 1 :]
    assert len(after) == 3
    assert all("always()" in step["if"] for step in after)


def test_photographs_are_there(work: Path) -> None:
    """The folder that the other tests look for is one that a command could remove."""
    assert (work / "photos" / "a.jpg").read_bytes() == jpeg(30, 20, seed=0)
