"""Fixtures: pictures made here, and one way to run the program whose failures tell the whole story."""

import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import hypothesis
import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEngines
from numpy.typing import NDArray

from gradcam_cli.cli import program
from gradcam_cli.engines.selection import Engines
from gradcam_cli.inputs.decoding import encode_jpeg
from gradcam_cli.inputs.image_containers import PNG_MAGIC
from gradcam_cli.inputs.sources import Source
from gradcam_cli.storage import Stores

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What a developer has configured for themselves must not change a test.
for variable in [name for name in os.environ if name.startswith("GRADCAM_CLI_")]:
    del os.environ[variable]
os.environ["GRADCAM_CLI_ISOLATED"] = "1"
# Hundreds of tests start the program in a process of its own: only the first one should compile its modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Machines that run the tests are shared: an example that waits for a processor is no failure.
hypothesis.settings.register_profile("no deadline", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("no deadline")

# These tests call `fcntl`, `resource` or pseudo-terminals themselves.
POSIX_ONLY = ("completion", "preflight_hdf5", "preflight_sizes", "process", "shards", "system")
collect_ignore = [f"test_{name}.py" for name in POSIX_ONLY] if os.name == "nt" else []

# Twenty seconds of a core or more each, the longest first.
LONGEST = (
    *("test_applications", "test_gradient_zoo", "test_shapes", "test_doc_commands", "test_ray", "test_s3"),
    *("test_openvino", "test_explainer", "test_evaluate_cli", "test_output_kind", "test_lite0", "test_readme"),
    *("test_several_inputs", "test_gradient_engine", "test_report_page", "test_signals_of_pools", "test_engine"),
)

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
SAMPLES = ROOT / "sample_images"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process of `--dist loadfile` ends with one of them alone."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip a test that itself calls what only POSIX systems have; the program has such calls behind conditions."""
    try:
        return (yield)
    except AttributeError as error:
        if error.obj in {os, signal} and not hasattr(os, "fork"):
            pytest.skip(f"this system has no {error.name}")
        raise


def picture(width: int = 40, height: int = 30, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth coloured picture, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, 3))
    rows = np.linspace(0, 2, height).round().astype(int)
    columns = np.linspace(0, 3, width).round().astype(int)
    return np.asarray(coarse[rows][:, columns], np.uint8)


def jpeg(width: int = 40, height: int = 30, seed: int = 0) -> bytes:
    """The same as the bytes of a JPEG."""
    return encode_jpeg(picture(width, height, seed), 90)


@pytest.fixture(autouse=True)
def seeded_keras() -> None:
    """Give each test the same random weights, whatever ran before it. Keras is not imported for that."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@dataclass(frozen=True)
class Ran:
    """A finished run of the program."""

    args: tuple[str, ...]
    code: int
    out: bytes
    err: str

    def expect(self, code: int) -> "Ran":
        """Fail with everything that is known unless the exit code is this one."""
        if self.code != code:
            pytest.fail(f"gradcam-cli {self.args} ended with {self.code}, not {code}\n{self.out[-2000:]!r}\n{self.err}")
        return self


Runner = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Run the program as a stranger does: in a process of its own."""

    def runner(*args: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
        env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), **(env or {})}
        command = [sys.executable, "-m", "gradcam_cli", *map(str, args)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, cwd=tmp_path, env={**os.environ, **env}, check=False
        )
        return Ran(tuple(map(str, args)), done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    return runner


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Run the whole program in this process, for tests that need no process of their own.

    The import of TensorFlow takes more time than most of the runs that need it, and is needed once here.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def runner(*args: str | Path) -> Ran:
        done = CliRunner().invoke(program, [str(arg) for arg in args], catch_exceptions=False)
        return Ran(tuple(map(str, args)), done.exit_code, done.stdout_bytes, done.stderr)

    return runner


def sources(root: Path, count: int) -> list[Source]:
    """As many pictures, each of its own size and content."""
    found = []
    for i in range(count):
        path = root / f"{i:03}.jpg"
        path.write_bytes(jpeg(30 + i, 24, seed=i))
        found.append(Source(path.name, str(path)))
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return PNG_MAGIC + header + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


Invoke = Callable[..., Result]


def invoked(engines: Engines, *args: str, code: int = 0, stdin: bytes | str | None = None) -> Result:
    """Run a command in this process with these engines, and fail with everything that is known unless it ends so."""
    result = CliRunner().invoke(program, [*args], input=stdin, obj=engines, catch_exceptions=False)
    assert result.exit_code == code, (args, result.stdout, result.stderr)
    return result


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process, in an empty folder, with the fake engine in TensorFlow's place."""
    monkeypatch.chdir(tmp_path)

    return partial(invoked, FakeEngines())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for i, name in enumerate(["a.jpg", "b.jpg", "sub/a.jpg"]):
        (root / name).write_bytes(jpeg(30 + i, 20, seed=i))
    return root


@pytest.fixture
def memory_outlives_command() -> Iterator[None]:
    """Let commands write to a store in memory: here it is the memory of the tests."""
    # A patch of its own: a test may undo those of its fixture `monkeypatch`.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradcam_cli.cli.options.LOST_AT_THE_END", "forgotten://")
        yield


@pytest.fixture
def bucket(memory_outlives_command: None) -> Iterator[str]:
    """A bucket in memory that no other test has."""
    url = f"memory://bucket-{uuid4().hex}"
    yield url
    store = Stores().of(url)
    for _, stored in list(store.list(url)):
        store.remove(stored.url)
