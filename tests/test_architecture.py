"""The way of the data is one way, and help is instant: held by walking the imports."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from tools.command_reference import TARGET, reference

PACKAGE = ROOT / "gradcam_cli"

# In the order of the data: a room imports only from rooms above it. The outside world that each may know is beside it.
# Decoding turns pictures upright, so the arithmetic of pixels comes before it; methods and models share the protocol of
# an engine, which comes before both.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "system": set(),
    "disk_table": set(),
    "extras": set(),
    "package_data": set(),
    "atomic": set(),
    "cores": set(),
    "urls": set(),
    "storage_errors": set(),
    "storage": {"fsspec"},
    "text": set(),
    "versions": set(),
    "subprogram": set(),
    "settings": set(),
    "requests": set(),
    "imaging": {"numpy", "cv2", "PIL"},
    "engines.protocol": {"numpy"},
    "inputs": {"numpy", "PIL", "pillow_heif", "tifffile", "imagecodecs", "pathspec"},
    "labels": {"numpy"},
    "methods": {"numpy"},
    "models": {"numpy", "keras", "tensorflow", "h5py"},
    "engines": {"numpy", "tensorflow", "openvino", "platformdirs"},
    "results": {"numpy", "jsonschema", "pyarrow"},
    "runs": {"numpy", "ray", "threadpoolctl"},
    "options": set(),
    "explanation": {"numpy"},
    "explainer": set(),
    "diagnosis": {"numpy", "tensorflow", "openvino"},
    "parsing": set(),
    "evaluation": {"numpy", "matplotlib"},
    "report": {"numpy", "jinja2"},
    "process": set(),
    "cli": {"click", "tqdm"},
}
# The one module of a room that may know it.
ALONE = {
    "fsspec": "storage",
    "ray": "runs.ray_pool",
    "cv2": "imaging.opencv",
    "PIL": "inputs.pillow_codec inputs.image_header inputs.pictures imaging.lettering",
    "pillow_heif": "inputs.pillow_codec",
    "tifffile": "inputs.tiff_codec",
    "imagecodecs": "inputs.tiff_codec",
    "pathspec": "inputs.walk",
    "threadpoolctl": "runs.native_threads",
    "jsonschema": "results.verification",
    "pyarrow": "results.parquet_part",
    "matplotlib": "evaluation.plot",
    "platformdirs": "engines.cache_folder",
    "jinja2": "report.page",
}
ORDER = list(ROOMS)
# These know an engine by its protocol alone.
FORBIDDEN = {(room, far) for room in ("runs", "evaluation") for far in ("models", "engines")}
# These wire the rooms of a run together: they alone open engines.
WIRING = {
    "runs.explain",
    "runs.engine_factory",
    "runs.queue",
    "runs.study_engines",
    "evaluation.preprocess_report",
}
CODECS = {"imdecode", "imencode", "imread", "imwrite"}


def dotted(path: Path) -> str:
    """Give the module's name within the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def room_of(module: str) -> str:
    """Give the room of a module; the protocol of an engine is a room of its own."""
    return next((room for room in ROOMS if room == module), module.split(".", maxsplit=1)[0])


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if dotted(p) not in {"__init__", "__main__"}]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_earlier_rooms(path: Path) -> None:
    module = dotted(path)
    room = room_of(module)
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "gradcam_cli":
            if not rest:
                continue
            assert ORDER.index(room_of(rest)) <= ORDER.index(room), f"{module} imports {name}"
            assert module in WIRING or (room, room_of(rest)) not in FORBIDDEN, f"{module} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in ROOMS[room], f"{module} imports {name}"
            assert module in ALONE.get(top, module).split(), f"{module} imports {name}"


def test_one_module_knows_the_codecs() -> None:
    for path in modules():
        tree = parsed(path)
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & CODECS
        assert not used or dotted(path) == "inputs.opencv_codec", path


# Options of other programs that messages tell people to run.
FOREIGN_OPTIONS = {"--force-reinstall", "--input_format", "--output_format"}


def library() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "cli" not in path.parents]


def options_named(tree: ast.AST) -> set[str]:
    """Give the options that a module's strings name, its docstrings included."""
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found = {option for text in strings for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}
    return found - FOREIGN_OPTIONS


def leaves_or_prints(tree: ast.Module) -> set[str]:
    """Give what a module calls, or raises, to print or to end the process; what runs it by `python -m` is left out."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))]
    nodes = [node for top in body for node in ast.walk(top)]
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    raised = {ast.unparse(node.exc) for node in nodes if isinstance(node, ast.Raise) and node.exc}
    return (called | raised) & {"print", "exit", "quit", "sys.exit", "SystemExit"}


def test_the_checks_of_the_library_find_what_they_look_for() -> None:
    assert options_named(ast.parse('x = f"{y}: use --max-side or --force-reinstall, not a--b"')) == {"--max-side"}
    assert leaves_or_prints(ast.parse("def f():\n print(1)\n raise SystemExit")) == {"print", "SystemExit"}
    assert not leaves_or_prints(ast.parse("if __name__ == '__main__':\n    sys.exit(main())"))


@pytest.mark.parametrize("path", library(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_names_options_prints_or_exits(path: Path) -> None:
    """Messages of the library name arguments in backticks; the command line shows them as options."""
    tree = parsed(path)
    assert not options_named(tree)
    assert not leaves_or_prints(tree)
    assert not imported(path) & {"click", "tqdm"}


def test_the_command_line_knows_no_arrays() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        assert not imported(path) & {"numpy", "cv2", "keras", "tensorflow"}, path


# Modules and names that only some operating systems have.
NOT_EVERYWHERE = {"fcntl", "resource", "msvcrt", "termios", "pwd", "grp"}
OF_ONE_SYSTEM = re.compile(
    r"os\.(O_\w+|name|fork|killpg|setsid|getuid|geteuid|sched_getaffinity|sysconf|fchmod|fchown|mkfifo|link|pread|uname"
    r"|statvfs|supports_dir_fd)|signal\.(SIG[A-Z0-9]+|alarm|setitimer)"
)
ARGUMENTS_OF_ONE_SYSTEM = {"dir_fd", "preexec_fn", "pass_fds", "start_new_session"}


def of_one_system(tree: ast.AST) -> set[str]:
    """Give what a module uses that only some operating systems have."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and OF_ONE_SYSTEM.fullmatch(ast.unparse(node)):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.keyword) and node.arg in ARGUMENTS_OF_ONE_SYSTEM:
            found.add(node.arg)
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "signal"}:
            found.update(alias.name for alias in node.names if OF_ONE_SYSTEM.fullmatch(f"{node.module}.{alias.name}"))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match(r"/(proc|dev|sys)\b", node.value)
        ):
            found.add(node.value)
    return found


def test_the_check_of_systems_finds_what_it_looks_for() -> None:
    code = (
        "import os\nfrom signal import SIGHUP\nos.open('/dev/x', os.O_RDWR, dir_fd=3)\nsignal.signal(signal.SIGTERM, f)"
    )
    assert of_one_system(ast.parse(code)) == {"SIGHUP", "os.O_RDWR", "dir_fd", "signal.SIGTERM", "/dev/x"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_module_knows_what_only_some_operating_systems_have(path: Path) -> None:
    if dotted(path) != "system":
        assert not imported(path) & NOT_EVERYWHERE
        assert not of_one_system(parsed(path))


def test_no_test_imports_another() -> None:
    """What several need is in conftest.py, fakes.py and nets.py."""
    for path in sorted((ROOT / "tests").glob("*.py")):
        assert not {name for name in imported(path) if name.startswith("test_")}, path


HEAVY = {"matplotlib", "tensorflow", "keras", "cv2", "numpy", "PIL", "h5py", "tqdm"}


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["explain", "--help"],
        ["evaluate", "--help"],
        ["compare", "--help"],
        ["snapshot", "--help"],
        ["layers", "--help"],
        ["models"],
        ["schema"],
        ["methods"],
        ["report", "--help"],
    ],
)
def test_nothing_heavy_is_imported_for(args: list[str]) -> None:
    """`schema` may read a record's module, `methods` their functions; nothing here may import TensorFlow."""
    code = (
        "import sys\nfrom gradcam_cli.cli import program\n"
        f"try:\n    program({args!r})\nexcept SystemExit:\n    pass\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    allowed = {"schema": {"numpy", "cv2", "PIL"}, "methods": {"numpy", "cv2"}}.get(args[0], set())
    assert not (loaded & HEAVY) - allowed


def test_a_run_imports_its_decoders_and_painters_while_the_network_is_read() -> None:
    code = "import sys, gradcam_cli.runs.explain\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    later = {"cv2", "PIL", "gradcam_cli.runs.pipeline", "gradcam_cli.inputs.decoding", "gradcam_cli.imaging.overlay"}
    assert not set(done.stdout.split()) & later


def test_every_command_and_option_of_the_program_is_made_by_its_own_module() -> None:
    """Else help has no group for an option, and the configuration does not know it."""
    for path in (PACKAGE / "cli").glob("*.py"):
        called = {ast.unparse(node.func) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)}
        assert not called & {"click.option", "click.command"} or path.name == "command.py", path


def test_the_command_reference_is_up_to_date() -> None:
    """It stands among the tests that run for every change, because any change of an option is one of the page."""
    assert TARGET == ROOT / "docs/commands.md"
    assert reference() == TARGET.read_text(encoding="utf-8"), "run `python -m tools.command_reference`"
