"""The command under shells that close its streams and machines that give it little memory."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import jpeg

from gradcam_cli.errors import EnvironmentStop, UsageError
from gradcam_cli.process.ends import memory_stop
from gradcam_cli.process.signals import Stopped, exit_code_of, interruption_of
from gradcam_cli.text import printable

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


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_programs_own_help_ends_as_a_command_does(tmp_path: Path, option: str) -> None:
    ended = [shell(f"{sys.executable} {FAKE} {option} {stdout}", tmp_path) for stdout in (">&-", ">/dev/full")]
    assert [done.returncode for done in ended] == [141, 4]
    assert [done.stderr for done in ended] == [b"", b"Error: No space left on device.\n"]


def test_a_signal_during_a_native_import_is_an_interruption() -> None:
    def raised(cause: BaseException, error: BaseException) -> BaseException:
        error.__cause__ = cause
        return error

    native = raised(KeyboardInterrupt(), ImportError("initialization failed"))
    assert interruption_of(native) is native.__cause__
    told = raised(raised(Stopped(signal.SIGTERM), ImportError()), EnvironmentStop("cannot be imported"))
    stop = interruption_of(told)
    assert stop
    assert exit_code_of(stop) == 143
    # A disk that is full while an interrupted run ends is said.
    assert interruption_of(raised(KeyboardInterrupt(), EnvironmentStop("No space left on device."))) is None
    assert interruption_of(ImportError("no module")) is None


def interrupted(folder: Path, seconds_a_pass: str, *options: str) -> tuple[int, float, str]:
    """Run, send Ctrl-C once something was written, and give the exit code, the seconds it took, and stderr."""
    command = [sys.executable, str(FAKE), "explain", "photos", "-o", "out", *options]
    env = {**os.environ, "SECONDS_A_PASS": seconds_a_pass}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (folder / "out").exists() or (not options and not list((folder / "out").glob("*.json"))):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, err = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - started, err


def test_what_was_written_at_an_interruption_is_counted(photos: Path, tmp_path: Path) -> None:
    for seed in range(400):
        (photos / f"more{seed}.jpg").write_bytes(jpeg(seed=seed))
    code, _, err = interrupted(tmp_path, "0.05")
    assert code == 130, err
    run = json.loads((tmp_path / "out/run.json").read_text())
    written = len(list((tmp_path / "out").glob("*.jpg.json")))
    assert run["interrupted"]
    assert run["counts"]["total"] == written
    assert run["counts"]["asked"] == 404 == run["counts"]["left"] + written
    assert f"{written} images" in err


def test_ctrl_c_does_not_wait_for_a_long_batch(photos: Path, tmp_path: Path) -> None:
    # Two batches of 500 copies each: 100 seconds.
    code, seconds, err = interrupted(tmp_path, "0.1", "--smooth", "500")
    assert code == 130, err
    assert seconds < 5
    assert "all were done before" not in err
    assert "none of 4 images was explained" in err
    assert json.loads((tmp_path / "out/run.json").read_text())["counts"]["left"] == 4


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
        raised(EnvironmentStop("install OpenCV"), ImportError("libopenblas.so: failed to map segment")),
    ],
)
def test_memory_that_cannot_be_had_is_named(error: BaseException) -> None:
    stop = memory_stop(error)
    assert stop is not None
    assert stop[0] == 4
    assert "not enough memory" in stop[1]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        raised(UsageError("x"), BlockingIOError(11, "Resource temporarily unavailable")),
        ImportError("no module"),
        raised(EnvironmentStop("install OpenCV"), ImportError("libGL.so.1: cannot open shared object file")),
        raised(EnvironmentStop("Use a smaller --batch-size"), MemoryError()),
        RuntimeError("x"),
    ],
)
def test_other_errors_are_not_about_memory(error: BaseException) -> None:
    assert memory_stop(error) is None


def limited(megabytes: int) -> Callable[[], None]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 10**6, megabytes * 10**6))

    return limit


@pytest.mark.parametrize("death", ["os.abort()", "os.kill(os.getpid(), 9)", "os._exit(1)", "bytearray(10**10)"])
def test_a_library_that_aborts_for_want_of_memory_is_explained(death: str) -> None:
    code = (
        f"import os\nfrom gradcam_cli import cli\ncli.program.commands['schema'].callback = lambda: {death}\ncli.main()"
    )
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
