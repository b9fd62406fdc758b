"""Completion: what the program offers, and what bash, zsh and fish make of it on a terminal."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, invoked
from fakes import FakeEngines

from gradcam_cli.cli import program
from gradcam_cli.cli.completion import SHELLS, complete
from gradcam_cli.engines.layer_names import known_layers, layers_folder, remember_layers
from gradcam_cli.settings import COLORMAPS, METHOD_CHOICES

WAIT_SECONDS = 60
TO_THE_FRONT = "\x01"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    return tmp_path


def offered(line: str) -> list[str]:
    """Give the values for the end of a line; `<file>` and `<dir>` where the shell completes paths."""
    rows = [row.split("\t") for row in complete(program, {"COMP_LINE": line}).splitlines()]
    return [value if kind == "plain" else f"<{kind}>" for kind, value, _ in rows]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("gradcam-cli expl", ["explain"]),
        ("gradcam-cli help ch", ["check-preprocess"]),
        ("gradcam-cli cache cl", ["clear"]),
        ("gradcam-cli explain --colorm", ["--colormap"]),
        ("gradcam-cli explain --colormap ", list(COLORMAPS)),
        ("gradcam-cli explain --method ", list(METHOD_CHOICES)),
        ("gradcam-cli explain --method=layer", ["layercam"]),
        ("gradcam-cli explain cat.jpg", ["<file>"]),
        ("gradcam-cli explain ", ["<file>"]),
        ("gradcam-cli report ", ["<file>"]),
        ("gradcam-cli explain -o ", ["<dir>"]),
        ("gradcam-cli explain --labels-from ", ["<dir>"]),
        ("gradcam-cli explain --jsonl ", ["<file>"]),
        ("gradcam-cli explain -m efficientnetl", ["efficientnetlite0", "<file>"]),
        ("gradcam-cli layers efficientnetl", ["efficientnetlite0", "<file>"]),
        ("gradcam-cli explain --class egyptian", ["Egyptian cat"]),
        ("gradcam-cli explain --class 'Egyptian c", ["Egyptian cat"]),
        ("gradcam-cli explain --top-k ", []),
        ("gradcam-cli completion z", ["zsh"]),
    ],
)
def test_what_is_offered(line: str, values: list[str]) -> None:
    assert offered(line) == values


def test_all_commands_are_offered_without_importing_them() -> None:
    assert offered("gradcam-cli ") == list(program.commands)


def test_class_names_are_those_of_the_model(folder: Path) -> None:
    Path("pets.keras").touch()
    Path("pets.labels.json").write_text(json.dumps(["cat", "guinea pig", "bad\x1b[2Jname"]))
    Path("other.txt").write_text("dog\nrabbit\n")
    assert offered("gradcam-cli explain -m pets.keras --class ") == ["cat", "guinea pig"]
    assert offered("gradcam-cli explain -m pets.keras --labels other.txt --class ") == ["dog", "rabbit"]
    for name in ("bird", "fish"):
        Path("train", name).mkdir(parents=True)
    assert offered("gradcam-cli explain --labels-from train --class ") == ["bird", "fish"]
    Path("pets.labels.json").write_text("{")
    assert offered("gradcam-cli explain -m pets.keras --class ") == []


def test_layers_are_those_that_were_seen_before(folder: Path) -> None:
    Path("my.keras").write_bytes(b"1")
    assert offered("gradcam-cli explain -m my.keras --layer ") == ["auto"]
    remember_layers("my.keras", ["stem", "backbone/out_relu"])
    remember_layers("ResNet50", ["conv1"])
    assert offered("gradcam-cli explain -m my.keras --layer b") == ["backbone/out_relu"]
    assert offered(f"gradcam-cli evaluate -m {folder}/my.keras --layer s") == ["stem"]
    assert offered("gradcam-cli explain --layers ") == ["auto", "conv1"]
    Path("my.keras").write_bytes(b"another model")
    assert offered("gradcam-cli explain -m my.keras --layer ") == ["auto"]


def test_layers_that_others_could_write_are_not_offered() -> None:
    remember_layers("resnet50", ["conv1"])
    (kept,) = layers_folder().iterdir()
    assert layers_folder().stat().st_mode & 0o777 == 0o700
    layers_folder().chmod(0o777)
    assert known_layers("resnet50") == ()
    layers_folder().chmod(0o700)
    kept.write_text("[]")
    assert known_layers("resnet50") == ()


def test_clearing_the_cache_forgets_the_layers() -> None:
    remember_layers("resnet50", ["conv1"])
    invoked(FakeEngines(), "cache", "clear")
    assert known_layers("resnet50") == ()


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)  # noqa: S606 - a shell is what is tested
        self.seen = ""

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Read until the pattern is there, and give what its group is."""
        end = time.monotonic() + WAIT_SECONDS
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{pattern} was not seen in {self.seen!r}"
            data = os.read(self.fd, 65536).decode(errors="replace")
            if "\x1b[c" in data or "\x1b[0c" in data:
                # What kind of terminal is this? fish waits for an answer.
                self.send("\x1b[?62;c")
            self.seen += data
        self.seen = self.seen[found.end() :]
        return found[1]

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)


STARTS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], 'eval "$(gradcam-cli completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(gradcam-cli completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "gradcam-cli completion fish | source"),
}
# Each line is typed, completed, and given to a program that prints its arguments.
TYPED = [
    ("gradcam-cli expl\t", ["gradcam-cli", "explain"]),
    ("gradcam-cli explain phot\t", ["gradcam-cli", "explain", "photos"]),
    ("gradcam-cli explain 'a pic\t", ["gradcam-cli", "explain", "a picture.jpg"]),
    ("gradcam-cli explain --colorm\tvir\t", ["gradcam-cli", "explain", "--colormap", "viridis"]),
    ("gradcam-cli explain --method hires\t", ["gradcam-cli", "explain", "--method", "hirescam"]),
    ("gradcam-cli explain --model=efficientnetl\t", ["gradcam-cli", "explain", "--model=efficientnetlite0"]),
    ("gradcam-cli explain -m my\t", ["gradcam-cli", "explain", "-m", "my_model.keras"]),
    ("gradcam-cli explain --class Egyp\t", ["gradcam-cli", "explain", "--class", "Egyptian cat"]),
    (
        "gradcam-cli explain -m my_model.keras --layer back\t",
        ["gradcam-cli", "explain", "-m", "my_model.keras", "--layer", "backbone/out_relu"],
    ),
    ("gradcam-cli explain -o resu\t", ["gradcam-cli", "explain", "-o", "results"]),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, folder: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for name in ("photos", "results", "bin"):
        (folder / name).mkdir()
    for name in ("a picture.jpg", "my_model.keras"):
        (folder / name).touch()
    remember_layers("my_model.keras", ["backbone/out_relu"])
    for name, text in (
        ("gradcam-cli", f'#!/bin/sh\nexec "{sys.executable}" -m gradcam_cli "$@"\n'),
        ("shown", f"#!{sys.executable}\nimport json, sys\nprint('SHOWN', json.dumps(sys.argv[1:]), 'END')\n"),
    ):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    argv, start = STARTS[shell]
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "TERM": "xterm", "HOME": str(folder), "COLUMNS": "500"}
    terminal = Terminal(argv, {key: value for key, value in env.items() if key not in {"EDITOR", "VISUAL"}})
    try:
        terminal.send(f"{start}; stty cols 400; shown ready\r")
        assert terminal.wait_for(r'SHOWN (\["ready"\]) END')
        got = []
        for line, _ in TYPED:
            terminal.send(f"{line}{TO_THE_FRONT}shown \r")
            got.append(json.loads(terminal.wait_for(r"SHOWN (\[.*?\]) END")))
        # zsh takes the slash behind a folder away where the word ends.
        assert [[word.rstrip("/") for word in words] for words in got] == [expected for _, expected in TYPED]
    finally:
        terminal.send("\x03\x04")
        terminal.close()


@pytest.mark.parametrize(
    "line", ["explain --class Egyp", "explain --layer conv", "explain -m eff", "explain --method g"]
)
def test_nothing_heavy_is_imported_to_complete(line: str) -> None:
    code = (
        "import os, sys\nfrom gradcam_cli.cli import main\nend = os._exit\n"
        "os._exit = lambda code: (print(*sys.modules, file=sys.stderr, flush=True), end(code))\nmain()"
    )
    env = {**os.environ, "_GRADCAM_CLI_COMPLETE": "bash", "COMP_LINE": f"gradcam-cli {line}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "gradcam_cli.cli.completion" in loaded
    assert not loaded & {
        "numpy",
        "cv2",
        "PIL",
        "h5py",
        "keras",
        "tensorflow",
        "openvino",
        "hashlib",
        "importlib.resources",
    }
