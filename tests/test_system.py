"""What differs between operating systems: on this one, and on a stand-in for Windows."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import windows
from conftest import ROOT, jpeg
from github_actions import load_yaml

from gradcam_cli import system
from gradcam_cli.errors import EnvironmentStop, ImageError, Reason, UsageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.output import OutputFolder, translated

TESTS = Path(__file__).parent


@pytest.fixture
def windows_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_fcntl", None)
    monkeypatch.setattr(system, "_msvcrt", windows.msvcrt())


@pytest.fixture(params=["posix", "windows"])
def either(request: pytest.FixtureRequest) -> str:
    """Run a test on this system, and on the stand-in."""
    if request.param == "windows":
        request.getfixturevalue("windows_locks")
    return str(request.param)


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "IS_WINDOWS", True)


@pytest.mark.usefixtures("either")
def test_one_run_at_a_time_has_a_folder(tmp_path: Path) -> None:
    with OutputFolder(tmp_path).held():
        for second in (OutputFolder(tmp_path), OutputFolder(tmp_path, Shard(2, 1))):
            with pytest.raises(UsageError, match="is writing to this folder"):
                second.prepare()
    with OutputFolder(tmp_path).held():
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("either")
def test_shards_share_a_folder_and_each_runs_once(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, Shard(2, 1)).held(), OutputFolder(tmp_path, Shard(2, 2)).held():
        with pytest.raises(UsageError, match="another run of shard 1 of 2"):
            OutputFolder(tmp_path, Shard(2, 1)).prepare()
        with pytest.raises(UsageError, match="another run is writing to this folder"):
            OutputFolder(tmp_path).prepare()
    with OutputFolder(tmp_path).held():
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("windows_locks")
def test_no_more_than_a_lock_has_bytes_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "MOST_SHARES", 2)
    taken = [OutputFolder(tmp_path, Shard(3, k)) for k in (1, 2)]
    for folder in taken:
        folder.prepare()
    with pytest.raises(UsageError, match="another run of shard 3 of 3"):
        OutputFolder(tmp_path, Shard(3, 3)).prepare()
    taken[0].release()
    with OutputFolder(tmp_path, Shard(3, 3)).held():
        pass
    taken[1].release()


def test_a_file_system_without_locks_stops_no_run(
    tmp_path: Path, windows_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(descriptor: int, mode: int, count: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(system._msvcrt, "locking", refused)
    with OutputFolder(tmp_path).held():
        pass


def test_a_decoder_that_takes_too_long_is_ended_with_and_without_a_signal_for_it() -> None:
    for gone in ("pass", "del signal.alarm"):
        code = (
            f"import signal\n{gone}\nfrom gradcam_cli import system\nsystem.end_after(1)\nimport time\ntime.sleep(30)"
        )
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == (-signal.SIGALRM if gone == "pass" else 1), done.stderr
        assert time.monotonic() - began < 20


def test_a_limit_of_time_can_be_taken_back_with_and_without_a_signal_for_it() -> None:
    for gone in ("pass", "del signal.alarm"):
        code = (
            f"import signal\n{gone}\nfrom gradcam_cli import system\nsystem.end_after(1)\nsystem.end_after(None)\n"
            "import time\ntime.sleep(1.3)"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exit code 0"),
        (7, "exit code 7"),
        (-11, "SIGSEGV"),
        (-250, "signal 250"),
        (3221225477, "exit code 0xC0000005"),
    ],
)
def test_the_end_of_a_process_has_a_name(code: int, said: str) -> None:
    assert system.ending(code) == said


REFUSED = ["aux.jpg", "CON", "x/nul.tar.jpg", "com1", "LPT9.png", "com².jpg", "con .jpg", "a:b.jpg", "what?.png", "a*b"]
REFUSED += ["a\\b.jpg", "tab\t.jpg", '"x".jpg', "a<b", "a>b", "a|b", "dir./x.jpg", "dir /x.jpg", "x.", "sub/aux/x.jpg"]
ALLOWED = [
    "a.jpg",
    "sub/a b.jpg",
    ".hidden.jpg",
    "auxiliary.jpg",
    "com10.jpg",
    "com.jpg",
    "..a/b.jpg",
    "conin.jpg",
    "ü.png",
]


@pytest.mark.usefixtures("on_windows")
@pytest.mark.parametrize("name", REFUSED)
def test_names_that_windows_would_lose_are_refused(name: str, tmp_path: Path) -> None:
    assert system.refused_name(name)
    with OutputFolder(tmp_path).held() as folder, pytest.raises(ImageError) as caught:
        folder._folder_of(Source(name, name))
    assert caught.value.reason is Reason.NAME_REFUSED
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("on_windows")
@pytest.mark.parametrize("name", ALLOWED)
def test_other_names_are_taken_on_windows(name: str) -> None:
    assert system.refused_name(name) is None


def test_this_system_takes_all_names() -> None:
    assert [name for name in REFUSED if system.refused_name(name)] == []


def test_a_name_that_only_the_disk_refuses_fails_one_image() -> None:
    """As Linux says for a colon on a disk with FAT."""
    error = translated(OSError(22, "Invalid argument"), Path("a:b.jpg"))
    assert isinstance(error, ImageError)
    assert error.reason is Reason.NAME_REFUSED


@pytest.mark.usefixtures("on_windows")
def test_a_path_that_is_too_long_for_windows_fails_one_image() -> None:
    missing = OSError(2, "No such file or directory")
    long = translated(missing, Path("/x") / ("y" * 260))
    assert isinstance(long, ImageError)
    assert long.reason is Reason.NAME_TOO_LONG
    assert isinstance(translated(missing, Path("/x/y")), EnvironmentStop)


def upper_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `exists` ignore the case of names, as the file systems of macOS and Windows do."""
    monkeypatch.setattr(
        Path, "exists", lambda self: self.name.lower() in {path.name.lower() for path in self.parent.iterdir()}
    )


def test_inputs_that_differ_in_case_alone_are_refused_where_one_would_replace_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [
        Source("sub/A.jpg", "in/sub/A.jpg"),
        Source("sub/b.jpg", "in/sub/b.jpg"),
        Source("Sub/a.jpg", "in/Sub/a.jpg"),
    ]
    with OutputFolder(tmp_path).held() as folder:
        folder.refuse_same_names(sources)
    upper_is_lower(monkeypatch)
    with OutputFolder(tmp_path).held() as folder:
        folder.refuse_same_names(sources[:2])
        with pytest.raises(UsageError, match=r"in/sub/A\.jpg and in/Sub/a\.jpg would replace each other"):
            folder.refuse_same_names(sources)
        with pytest.raises(UsageError, match="would replace each other"):
            folder.refuse_same_names([Source("\u00e9.jpg", "1"), Source("e\u0301.jpg", "2")])


Windows = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def as_on_windows(tmp_path: Path) -> Windows:
    """Run the command with the fake engine, and all processes that it starts, on the stand-in for Windows."""
    (tmp_path / "sitecustomize.py").write_text("import windows\nwindows.pretend()\n")
    path = os.pathsep.join([str(tmp_path), str(TESTS), str(ROOT)])

    def run(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(TESTS / "fake_program.py"), *args]
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    root = tmp_path / "inputs"
    root.mkdir()
    for seed in range(4):
        (root / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    (root / "bad.jpg").write_bytes(b"bad")
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        for name in ("fine.jpg", "aux.jpg", "dir./x.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg())
            tar.addfile(member, BytesIO(jpeg()))
    return root


# platformdirs, which names the folder of the cache, is that of Linux here and imports `os.getuid`.
NO_CACHE = "--no-cache"


def test_a_whole_run_passes_without_anything_that_windows_lacks(
    as_on_windows: Windows, inputs: Path, tmp_path: Path
) -> None:
    done = as_on_windows("explain", "inputs", "odd.tar", "-o", "out", "--isolate-decoder", "--save-maps", NO_CACHE)
    assert done.returncode == 1, done.stderr
    counts = json.loads((tmp_path / "out/run.json").read_text())["counts"]
    assert (counts["ok"], counts["error"]) == (5, 3)
    assert done.stderr.count("name_refused") == 2
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.overlay.jpg"))
    assert found == [*(f"{seed}.jpg.overlay.jpg" for seed in range(4)), "odd.tar/fine.jpg.overlay.jpg"]
    assert not list((tmp_path / "out").glob(".gradcam-*"))
    assert as_on_windows("verify", "out").returncode == 0
    again = as_on_windows("explain", "inputs", "odd.tar", "-o", "out", "--isolate-decoder", "--save-maps", NO_CACHE)
    assert "5 of them before" in again.stderr, again.stderr


def test_shards_run_without_anything_that_windows_lacks(as_on_windows: Windows, inputs: Path, tmp_path: Path) -> None:
    codes = [as_on_windows("explain", "inputs", "-o", "out", "--shard", f"{k}/2", NO_CACHE).returncode for k in (1, 2)]
    assert set(codes) <= {0, 1}
    assert len(list((tmp_path / "out").glob("*.overlay.jpg"))) == 4


def test_the_workflow_runs_the_same_commands_on_every_system_as_a_developer_does() -> None:
    jobs = load_yaml(ROOT / ".github/workflows/tests.yml")["jobs"]
    assert {name.partition("-")[0] for name in jobs["tests"]["strategy"]["matrix"]["os"]} == {
        "ubuntu",
        "macos",
        "windows",
    }
    commands = {step["run"] for step in jobs["tests"]["steps"] if "run" in step}
    assert {"make check", "make test-all"} < commands
    (without_make,) = commands - {"make check", "make test-all"}
    recipes = [line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "$(BIN)/" in line]
    programs = [recipe.replace("$(BIN)/", ".venv/Scripts/") for recipe in recipes]
    assert [line for line in without_make.splitlines()[2:] if line.strip() not in programs] == []
