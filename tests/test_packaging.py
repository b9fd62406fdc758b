"""The wheel: what is in it, and whether it works where there is no clone."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLES

import gradcam_cli

pytest.importorskip("build")
PACKAGE = ROOT / "gradcam_cli"
NAME = f"gradcam_cli-{gradcam_cli.__version__}"


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command, fail with all that it said, and give its stdout."""
    # The clone must not be importable.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the sdist: so the sdist has all that a wheel needs."""
    folder = tmp_path_factory.mktemp("dist")
    # Without --wheel and --sdist, build makes the wheel of the sdist.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert (folder / f"{NAME}.tar.gz").is_file()
    return folder / f"{NAME}-py3-none-any.whl"


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    own = {name for name in names if not name.startswith(f"{NAME}.dist-info/")}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert own == {path.relative_to(ROOT).as_posix() for path in files}
    kinds = {path.suffix for path in files}
    assert kinds == {"", ".py", ".typed", ".json", ".csv", ".jpg", ".css", ".js", ".j2"}
    assert {path.name for path in files if not path.suffix} == {"bash", "fish", "zsh"}
    assert "gradcam_cli/py.typed" in own
    assert f"{NAME}.dist-info/licenses/LICENSE" in names


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which borrows the dependencies of the tests' own environment."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(run(found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", found, "install", *options, wheel, cwd=folder)
    libraries = {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    # An editable install is a .pth file of that folder, which is not read here: only its packages are found.
    (site / "dependencies.pth").write_text("\n".join(sorted(libraries)))
    return found


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_clone(python: Path, tmp_path: Path) -> None:
    program = python.parent / "gradcam-cli"
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    home = run(python, "-c", "import gradcam_cli; print(gradcam_cli.__file__)", cwd=tmp_path).strip()
    assert Path(home).is_relative_to(python.parent.parent)
    assert run(program, "--version", cwd=tmp_path).split()[-1] == gradcam_cli.__version__
    (tmp_path / "cat.jpg").write_bytes((SAMPLES / "chelsea.jpg").read_bytes())
    run(program, "explain", "cat.jpg", "-o", "out", "-m", "efficientnetlite0", "--report", cwd=tmp_path, **env)
    record = json.loads((tmp_path / "out" / "cat.jpg.json").read_text())
    assert record["classes"][0]["label"] == "Egyptian cat"
    assert "<html" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Egyptian" not in run(program, "schema", cwd=tmp_path)
    assert run(program, "verify", "out", cwd=tmp_path)
    assert "gradcam-cli" in run(program, "completion", "bash", cwd=tmp_path)
    found = json.loads(run(program, "doctor", "--json", cwd=tmp_path, **env))
    assert found["versions"]["gradcam-cli"] == gradcam_cli.__version__
