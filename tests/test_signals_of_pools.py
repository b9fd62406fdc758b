"""Signals to a run that explains in other processes: a quick end, whole outputs, and no process left behind."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import invoked
from fakes import FakeEngines
from listening import files, pictures_and_one_bad

from gradcam_cli.options import explain_request
from gradcam_cli.runs.explain import run_explain

TESTS = Path(__file__).parent
PROGRAM = "from deadly_engine import SlowEngines; from gradcam_cli import cli; cli.main(SlowEngines())"
SECONDS_TO_END = 5

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")


@dataclass
class Started:
    """A run as a program of its own, in a group of processes of its own, as a shell starts it."""

    process: "subprocess.Popen[str]"
    mark: str

    def family(self) -> set[int]:
        """The processes that have its environment, so that they were started by it or by one of them."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                is_one = self.mark.encode() in (folder / "environ").read_bytes()
                is_over = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if is_one and not is_over:
                found.add(int(folder.name))
        return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return pictures_and_one_bad(tmp_path / "in", 60)


@pytest.fixture
def begun() -> Iterator[list[Started]]:
    """Runs that a test has started; none outlives it."""
    runs: list[Started] = []
    yield runs
    for run in runs:
        for pid in run.family():
            os.kill(pid, signal.SIGKILL)
        run.process.communicate()


def start(begun: list[Started], pictures: Path, out: Path, pool: tuple[str, ...]) -> Started:
    mark = f"GRADCAM_RUN={uuid.uuid4()}"
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    env = {**os.environ, "PYTHONPATH": paths, **dict([mark.split("=")])}
    command = [sys.executable, "-c", PROGRAM, "explain", str(pictures), "-o", str(out), "--batch-size", "1", *pool]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    begun.append(Started(process, mark))
    return begun[-1]


def wait_for_images(out: Path, count: int, run: Started) -> None:
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.overlay.jpg"))) < count:
        assert run.process.poll() is None, run.process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


WORKERS, RAY = ("--workers", "2"), ("--ray", "local", "--workers", "2")


@pytest.mark.parametrize(
    ("pool", "number", "code", "whole_group"),
    [
        pytest.param(WORKERS, signal.SIGTERM, 143, False, id="workers-sigterm"),
        pytest.param(WORKERS, signal.SIGINT, 130, False, id="workers-sigint"),
        pytest.param(WORKERS, signal.SIGINT, 130, True, id="workers-ctrl-c"),
        pytest.param(RAY, signal.SIGTERM, 143, False, id="ray-sigterm", marks=pytest.mark.ray),
        pytest.param(RAY, signal.SIGINT, 130, True, id="ray-ctrl-c", marks=pytest.mark.ray),
    ],
)
def test_a_signal_ends_all_processes_and_the_run_goes_on_from_there(
    pictures: Path,
    tmp_path: Path,
    begun: list[Started],
    pool: tuple[str, ...],
    number: int,
    code: int,
    whole_group: bool,
) -> None:
    """Ctrl-C in a terminal goes to the whole group of processes."""
    if "--ray" in pool:
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    out = tmp_path / "out"
    run = start(begun, pictures, out, pool)
    wait_for_images(out, 4, run)
    assert len(run.family()) > 2
    began = time.monotonic()
    (os.killpg if whole_group else os.kill)(run.process.pid, number)
    _, stderr = run.process.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert run.process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert seconds < SECONDS_TO_END
    # The children of a process that has ended may need a moment to notice.
    deadline = time.monotonic() + SECONDS_TO_END
    while run.family() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.family() == set()
    record = json.loads((out / "run.json").read_text())
    assert record["interrupted"]
    assert 4 <= record["counts"]["total"] < 61
    invoked(FakeEngines(), "verify", str(out))
    request = explain_request([pictures], out, {"batch_size": 1})
    assert run_explain(request, engines=FakeEngines()).counts["done"] == 60
    run_explain(explain_request([pictures], tmp_path / "plain", {"batch_size": 1}), engines=FakeEngines())
    kept, plain = files(out), files(tmp_path / "plain")
    assert {name: kept[name] for name in kept if name != "run.json"} == {
        name: plain[name] for name in plain if name != "run.json"
    }
