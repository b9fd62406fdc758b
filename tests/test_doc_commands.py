"""Every command of the documentation is run as it is written, or has a mark that says why not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLES
from doc_blocks import MARK, PAGES, Block, blocks_of, commands_of

# The pages that a reader follows from top to bottom: their commands are run on the network that they name. Those of the
# other pages are run on the fake engine.
WITH_THE_NETWORK = {"README", "cookbook", "evaluate", "scale"}
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
FIRST_MODEL = ROOT / "docs/first-model.md"
# The names that the pages use for pictures of the reader's own.
PHOTOS = ("cat_and_coffee.jpg", "chelsea.jpg", "coffee.jpg")
# The line and the command of the first failure, in front of what the command said.
PRELUDE = "set -eE -o pipefail\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n"


def names_a_model_file(page: Path) -> bool:
    """Whether a page runs commands on the model of first-model.md: they need TensorFlow."""
    return any(".keras" in block.commands for block in blocks_of(page) if block.is_run)


SHELL_PAGES = [page for page in PAGES if any(not block.not_run for block in blocks_of(page))]
KERAS_PAGES = [page for page in SHELL_PAGES if names_a_model_file(page)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled plans of all pages: a model is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader has: the sample pictures of the clone, and some pictures of their own."""
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    (tmp_path / "photos").mkdir()
    for name in PHOTOS:
        shutil.copyfile(SAMPLES / name, tmp_path / "photos" / name)
    shutil.copyfile(SAMPLES / "chelsea.jpg", tmp_path / "cat.jpg")
    return tmp_path


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the first example of first-model.md was run: it has pets.keras and its labels."""
    folder = tmp_path_factory.mktemp("pets")
    code = PYTHON.findall(FIRST_MODEL.read_text(encoding="utf-8"))[0]
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    return folder


def run_page(page: Path, folder: Path, cache: Path, program: str = "-m gradcam_cli") -> None:
    """Run the blocks of a page in one shell. A command that names no model takes the small one."""
    programs = folder / ".programs"
    programs.mkdir()
    (programs / "gradcam-cli").write_text(f'#!/bin/sh\nexec "{sys.executable}" {program} "$@"\n')
    (programs / "gradcam-cli").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(cache),
        "GRADCAM_CLI_MODEL": "efficientnetlite0",
    }
    blocks = blocks_of(page)
    script = PRELUDE + "\n".join(block.commands for block in blocks if block.is_run)
    done = subprocess.run(["/bin/bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page.name}: {done.stderr}"
    missing = sorted({block.needs for block in blocks if not block.is_run and not block.not_run})
    if missing:
        pytest.skip(f"run, but for the commands that need {', '.join(missing)}")


@pytest.mark.parametrize("page", [page for page in SHELL_PAGES if page not in KERAS_PAGES], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, clone: Path, cache: Path) -> None:
    program = "-m gradcam_cli" if page.stem in WITH_THE_NETWORK else f'"{ROOT}/tests/fake_page_program.py"'
    run_page(page, clone, cache, program)
    if page.stem == "README":
        assert (clone / "overlay.jpg").read_bytes()[:2] == b"\xff\xd8"
        assert (clone / "page" / "index.html").exists()


@pytest.mark.parametrize("page", KERAS_PAGES, ids=lambda page: page.stem)
def test_the_commands_for_a_model_file_run(page: Path, clone: Path, cache: Path, pets: Path) -> None:
    for file in pets.iterdir():
        shutil.copyfile(file, clone / file.name)
    run_page(page, clone, cache)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_mark_belongs_to_a_block_and_has_a_reason(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert len(MARK.findall(outside)) == len([block for block in blocks if block.not_run or block.needs])
    assert all(len(block.not_run.split()) > 1 for block in blocks if block.not_run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_in_shell_blocks(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    others = re.sub(r"^```[a-z]+\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^ *(\$ )?(gradcam-cli|pip|make|python3?) [a-z-]", others, re.MULTILINE)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "benchmarks/peers/README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_no_command_is_followed_by_a_comment(page: Path) -> None:
    """An interactive zsh passes the words of a comment to the command. A comment is a line without a prompt."""
    consoles = re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for console in consoles for line in console.splitlines()]
    assert [line for line in lines if line.startswith("$ ") and re.search(r"\s#", line)] == []
    # The site reads the words of a comment as those of a command: a single quote would be a warning.
    assert [line for line in lines if line.startswith("#") and re.search("['\"`]", line)] == []


def test_commands_are_told_from_output() -> None:
    body = "$ one --a \\\n    --b\noutput\n$ two <<'EOF' \n"
    assert commands_of(body) == "one --a \\\n    --b\ntwo <<'EOF' "
    assert commands_of("one\ntwo\n") == "one\ntwo\n"


def test_a_missing_program_leaves_its_block_out() -> None:
    assert Block("true", needs="bash").is_run
    assert not Block("true", needs="no-such-program").is_run
    assert not Block("true", not_run="a reason").is_run
