"""What a shell user sees of inputs: what was left out, what is refused, and records of what cannot be read."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import pytest
from click.testing import CliRunner
from conftest import Invoke, Runner, jpeg

from gradcam_cli.cli import program
from gradcam_cli.engines.protocol import LayerInfo
from gradcam_cli.models.listed import layers_table
from gradcam_cli.options import explain_request
from gradcam_cli.runs.text_observer import TextObserver
from gradcam_cli.text import counted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and modes are those of POSIX")


def put(*names: str, data: bytes | None = None) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(8, 8) if data is None else data)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry(*args: str, stdin: bytes = b"") -> tuple[int, list[str], list[str]]:
    """The code, the sources and what is said of a dry run, without a process of its own."""
    done = CliRunner().invoke(program, ["explain", *args, "-o", "out", "--dry-run"], input=stdin)
    return done.exit_code, [line.split("\t")[0] for line in done.stdout.splitlines()], done.stderr.splitlines()


def test_what_is_left_out_is_said(here: Path) -> None:
    put("in/a.jpg")
    put("in/b.jxl", data=b"\xff\x0a\xfa\x1f")
    put("in/c.jpg_large", "in/d", data=b"no picture")
    put("in/.e.jpg", "in/.git/f.jpg", "in/Thumbs.db", "far/g.jpg")
    Path("in/link").symlink_to("../far")
    code, sources, said = dry("in")
    assert (code, sources) == (0, ["in/a.jpg"])
    assert said == [
        "3 other files left out: 1 .jpg_large, 1 .jxl, 1 without a suffix",
        "JPEG XL: convert it to PNG or JPEG",
        "2 hidden or system files and 1 hidden or system folder left out (use --hidden to include them)",
        "1 link to a folder left out (use --follow-links to include them)",
        "left out: 'in/.e.jpg' (hidden)",
        "left out: 'in/.git' (hidden)",
        "left out: 'in/Thumbs.db' (hidden)",
        "left out: 'in/b.jxl' (other, JPEG XL)",
        "left out: 'in/c.jpg_large' (other, text file)",
        "left out: 'in/d' (other, text file)",
        "left out: 'in/link' (link to folder)",
        "1 image would be explained; nothing was written.",
    ]
    assert dry("in", "-q")[2] == []
    assert dry("in", "--hidden", "--follow-links", "-q")[1] == [
        "in/.e.jpg",
        "in/.git/f.jpg",
        "in/a.jpg",
        "in/link/g.jpg",
    ]
    assert dry("in", "--hidden", "--exclude", ".git", "--include", ".*", "-q")[1] == ["in/.e.jpg"]
    code, _, said = dry("in", "--include", "*.png")
    assert code == 2
    assert "the inputs contain no images" in said[-1]
    assert any("4 files left out by --include" in line for line in said)


def test_many_kinds_of_suffixes_are_summed_up(here: Path) -> None:
    put("in/a.jpg")
    put(*(f"in/a.{letter}xx" for letter in "bcdefghijklmnop"), "in/x.\x1bxx", data=b"")
    line = dry("in")[2][0]
    assert line.startswith("16 other files left out: ")
    assert line.endswith("of 5 other kinds")
    assert "\x1b" not in "".join(dry("in", "--exclude", "*.[b-m]xx")[2])


def test_files_that_are_named_are_always_taken(here: Path) -> None:
    put(".a.jpg", "._b.jpg", ".git/c", "Thumbs.db", "d.txt")
    named = [".a.jpg", "._b.jpg", ".git/c", "Thumbs.db", "d.txt"]
    assert sorted(dry(*named, "--exclude", "*")[1]) == sorted(named)
    assert sorted(dry("--files-from", "-", "--exclude", "*", stdin="\n".join(named).encode())[1]) == sorted(named)


@pytest.mark.parametrize(
    ("args", "stdin", "message"),
    [
        (["https://x/a.jpg"], b"", "https://x/a.jpg: this kind of URL is not supported"),
        (["--files-from", "-"], b"https://x/a.jpg\n", "https://x/a.jpg: this kind of URL is not supported"),
        (["--files-from", "https://x/list"], b"", "https://x/list: this kind of URL is not supported"),
        (["a.jpg", "--junit", "s3://b/r.xml"], b"", "s3://b/r.xml: URLs are not supported"),
        (["--files-from", "-"], b"a.jpg\0b.jpg\0", "NUL bytes"),
        (["--files-from", "-", "-0"], b"a.jpg\nb.jpg\n", "2 lines and no NUL bytes. Do not use -0"),
        (["--files-from", "-"], b"nosuch/..\n", "is not a file"),
        (["a.jpg", "-q", "-v"], b"", "contradict each other"),
        (["a.jpg", "--exclude", ""], b"", "is not a pattern"),
    ],
)
def test_what_is_refused(args: list[str], stdin: bytes, message: str, here: Path) -> None:
    put("a.jpg")
    code, sources, said = dry(*args, stdin=stdin)
    assert (code, sources) == (2, [])
    assert message in said[-1]
    assert [path.name for path in here.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(
    ("command", "url"), [(["explain", "a.jpg"], "https://x/out"), (["evaluate", "a.jpg"], "https://x/out")]
)
def test_some_urls_are_no_output_folder(command: list[str], url: str, here: Path) -> None:
    put("a.jpg")
    done = CliRunner().invoke(program, [*command, "-o", url])
    assert done.exit_code == 2
    assert "not supported" in done.stderr
    assert [path.name for path in here.iterdir()] == ["a.jpg"]


def test_a_dot_in_a_list_is_walked(here: Path) -> None:
    put("a.jpg", "x/b.jpg")
    for entry in (b".", b"./", b".\r\n"):
        assert dry("--files-from", "-", stdin=entry)[:2] == (0, ["./a.jpg", "./x/b.jpg"])


def test_a_terminal_is_not_waited_for(here: Path) -> None:
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "gradcam_cli", "explain", "-", "--jsonl", "-"]
    done = subprocess.run(command, stdin=terminal, capture_output=True, timeout=60, check=False)
    os.close(master)
    os.close(terminal)
    assert done.returncode == 2
    assert b"is a terminal" in done.stderr


def test_help_has_no_escapes() -> None:
    for command in ([], *([name] for name in program.commands)):
        assert "\\b" not in CliRunner().invoke(program, [*command, "--help"]).stdout


def test_counts_have_their_nouns() -> None:
    assert [counted(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(count, "pass") for count in (0, 1, 2)] == ["0 passes", "1 pass", "2 passes"]


UNREADABLE = """
import os, runpy, sys
real = os.scandir
def scandir(path="."):
    if str(path).endswith("secret"):
        raise PermissionError(13, "Permission denied", path)
    return real(path)
os.scandir = scandir
sys.argv[0] = "gradcam-cli"
runpy.run_module("gradcam_cli", run_name="__main__")
"""


def test_what_cannot_be_read_has_a_record(run: Runner, here: Path) -> None:
    """A folder without permission, folders and broken links in a list: records, exit code 1, and no leaks."""
    put("in/a.jpg", "in/secret/b.jpg")
    put("in/c.txt", data=b"text")
    Path("in/gone.jpg").symlink_to("nowhere.jpg")
    nets.gap_dense().save("m.keras")
    command = [sys.executable, "-c", UNREADABLE, "explain", "in", "-o", "out", "--model", "m.keras"]
    command += ["--engine", "tensorflow", "--jsonl", "-"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(here / "cache")}
    for extra in ([], ["--retry-failed"]):
        done = subprocess.run([*command, *extra], capture_output=True, check=False, env=environment)
        assert done.returncode == 1, done.stderr
        records = [json.loads(line) for line in done.stdout.splitlines()]
        outcome = {record["input"]["path"]: record["reason"] for record in records}
        failed = {"gone.jpg": "vanished", "secret": "permission"}
        assert outcome == (failed if extra else {"a.jpg": None, **failed})
    assert b"a broken link: nowhere.jpg does not exist" in done.stderr
    assert b"'secret': permission: the folder cannot be listed" in done.stderr
    written = sorted(str(path) for path in Path("out").rglob("*"))
    assert written == ["out/a.jpg.json", "out/a.jpg.overlay.jpg", "out/gone.jpg.json", "out/run.json"]
    record = json.loads(Path("out/run.json").read_text())
    assert record["counts"]["error"] == 2
    assert record["left_out"] == {"files": {"other": {".txt": 1}}, "folders": {}}


def test_an_input_below_a_folder_that_cannot_be_searched(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    """Nobody knows whether it exists, so that it has a record. Root may search every folder: the refusal is played."""

    def refused(path: Any, *_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    put("in/a.jpg")
    for given in ("in/secret/b.jpg", "in/secret"):
        with monkeypatch.context() as patched:
            patched.setattr(os, "lstat", _only_below("in/secret", os.lstat, refused))
            patched.setattr(os, "open", _only_below("in/secret", os.open, refused))
            result = invoke("explain", given, "-o", "out", code=1)
        assert "permission: cannot be read: Permission denied" in result.stderr
    assert "there is no such file" in invoke("explain", "in/none.jpg", "-o", "out", code=2).stderr
    assert "there is no such file" in invoke("explain", "in/a.jpg/b.jpg", "-o", "out", code=2).stderr


def _only_below(folder: str, real: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    def called(path: Any, *args: Any, **options: Any) -> Any:
        return (instead if str(path).startswith(folder) else real)(path, *args, **options)

    return called


@pytest.mark.parametrize(
    "args",
    [
        ("explain", "-o", "memory://x"),
        ("explain", "--jsonl", "Memory://x/r.jsonl"),
        *((command, "-o", "memory://x") for command in ("evaluate", "merge", "report", "snapshot", "compare")),
    ],
    ids=" ".join,
)
def test_results_are_not_written_to_a_memory_that_ends_with_the_command(args: tuple[str, ...], here: Path) -> None:
    put("a.jpg")
    command, *options = args
    done = CliRunner().invoke(program, [command, "a.jpg", *options])
    assert done.exit_code == 2
    assert "a store in memory is lost" in done.stderr


@pytest.mark.parametrize("target", ["records.jsonl", "s3://no-such-bucket/records.jsonl"])
def test_a_dry_run_writes_no_records(invoke: Invoke, here: Path, target: str) -> None:
    put("in/a.jpg")
    before = sorted(Path().rglob("*"))
    done = invoke("explain", "in", "-o", "out", "--dry-run", "--jsonl", target)
    assert done.stdout == "in/a.jpg\tout/a.jpg.json\n"
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("target", ["memory://x/r.jsonl", "https://example.org/r.jsonl", "s3:/bucket/r.jsonl"])
def test_a_dry_run_refuses_what_the_run_would_refuse(invoke: Invoke, here: Path, target: str) -> None:
    put("in/a.jpg")
    assert target in invoke("explain", "in", "-o", "out", "--dry-run", "--jsonl", target, code=2).stderr


def test_a_name_in_a_model_stays_in_its_line_and_column() -> None:
    name = "evil\n\x1b[31m\tred\u202e"
    table = layers_table([LayerInfo(name, "Conv2D", 7, 7, 8, 1, auto=True, note=name)])
    _, line = table.split("\n")
    assert line.count(r"evil\n\x1b[31m\tred\u202e") == 2


def test_names_in_a_record_stay_in_one_line() -> None:
    lines: list[str] = []
    observer = TextObserver(explain_request(["a.jpg"], "out"), lines.append, verbose=True)
    seen = {"label": "cat\n::error::\u202e", "index": 0, "probability": 0.5}
    record: Any = {"input": {"path": "a.jpg"}, "status": "ok", "classes": [seen]}
    observer.record(record, before=False)
    assert lines == [r"'a.jpg': cat\n::error::\u202e 0.500"]
