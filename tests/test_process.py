"""The command under shells that close its streams and machines that give it little memory."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import jpeg

from gradcam_cli.cli.console import printable
from gradcam_cli.cli.process import memory_stop

# The command with the fake engine, in a process of its own.
FAKE = Path(__file__).parent / "fake_program.py"


def shell(command: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["/bin/bash", "-c", command], cwd=folder, capture_output=True, check=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    (folder / "bad.jpg").write_bytes(b"bad")
    return folder


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "0<&- 2>&-", "2> >(true)"])
def test_the_work_is_done_where_stderr_takes_nothing(photos: Path, tmp_path: Path, closed: str) -> None:
    done = shell(f"{sys.executable} {FAKE} explain photos -o out {closed}", tmp_path)
    assert done.returncode == 1, done.stderr
    assert len(list((tmp_path / "out").glob("*.overlay.jpg"))) == 3
    counts = json.loads((tmp_path / "out/run.json").read_text())["counts"]
    assert (counts["ok"], counts["error"]) == (3, 1)
    # No message may have gone into a file that took the closed descriptor.
    assert all(json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize("command", ["explain photos --jsonl -", "explain photos/0.jpg -o - --jsonl r.jsonl"])
def test_a_closed_stdout_ends_as_a_closed_pipe_does(photos: Path, tmp_path: Path, command: str) -> None:
    for closed in (">&-", "| (exec <&-; sleep 0.1); exit ${PIPESTATUS[0]}"):
        done = shell(f"{sys.executable} {FAKE} {command} {closed}", tmp_path)
        assert done.returncode == 141, done.stderr
        assert b"r.jsonl" not in done.stderr


def test_where_nothing_goes_to_stdout_it_may_be_closed(photos: Path, tmp_path: Path) -> None:
    assert shell(f"{sys.executable} {FAKE} explain photos/0.jpg -o out >&-", tmp_path).returncode == 0


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        raised(ValueError("cannot load this model"), MemoryError()),
    ],
)
def test_memory_that_cannot_be_had_is_named(error: BaseException) -> None:
    stop = memory_stop(error)
    assert stop is not None
    assert stop[0] == 4
    assert "not enough memory" in stop[1]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ImportError("no module"), RuntimeError("x")])
def test_other_errors_are_not_about_memory(error: BaseException) -> None:
    assert memory_stop(error) is None


def limited(megabytes: int) -> Callable[[], None]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 10**6, megabytes * 10**6))

    return limit


@pytest.mark.parametrize("death", ["os.abort()", "os.kill(os.getpid(), 9)", "os._exit(1)", "bytearray(10**10)"])
def test_a_library_that_aborts_for_want_of_memory_is_explained(death: str) -> None:
    code = f"import os\nfrom gradcam_cli import cli\ncli.schema.callback = lambda: {death}\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "schema"],
        capture_output=True,
        preexec_fn=limited(2000),
        env={**os.environ, "PYTHONFAULTHANDLER": ""},
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert b"not enough memory (this process may use 2000 MB of address space" in done.stderr


def test_names_cannot_command_a_terminal() -> None:
    assert printable("a\x1b[31m\x07b\u202ec\x9bd\te\nf é") == "a\\x1b[31m\\x07b\\u202ec\\x9bd\te\nf é"
