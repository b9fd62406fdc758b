"""The way of the data is one way, and help is instant: held by walking the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "gradcam_cli"

# In the order of the data: a room imports only from rooms above it. The outside world each may know is beside it.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "atomic": set(),
    "measures": set(),
    "settings": set(),
    "opencv": {"cv2"},
    "extras": set(),
    "formats": set(),
    "left_out": set(),
    "walk": {"pathspec"},
    "path_list": set(),
    "discovery": set(),
    "geometry": {"numpy"},
    "containers": set(),
    "tiff_header": set(),
    "decoder_choice": set(),
    "samples": {"numpy"},
    "bitfields": {"numpy"},
    "opencv_codec": {"numpy"},
    "pillow_codec": {"numpy", "PIL", "pillow_heif"},
    "tiff_codec": {"numpy", "tifffile", "imagecodecs"},
    "image_header": {"PIL"},
    "images": {"numpy"},
    "subprogram": set(),
    "isolation": {"numpy"},
    "preprocessing": {"numpy"},
    "labels": set(),
    "label_tables": set(),
    "label_files": {"numpy"},
    "network": {"numpy"},
    "watched_engine": set(),
    "other_inputs": {"numpy"},
    "methods": {"numpy"},
    "evidence": {"numpy"},
    "metrics": {"numpy"},
    "imputation": {"numpy"},
    "truth": {"numpy"},
    "heatmap": {"numpy"},
    "regions": {"numpy"},
    "overlay": {"numpy"},
    "ownership": set(),
    "painting": {"numpy"},
    "memory_budget": set(),
    "sidecar": {"numpy"},
    "output": {"numpy"},
    "resume": set(),
    "earlier_run": set(),
    "runs_found": set(),
    "verification": {"numpy", "jsonschema"},
    "models": {"numpy", "keras", "tensorflow", "h5py"},
    "engines": {"numpy", "tensorflow", "openvino", "platformdirs"},
    "job": {"numpy"},
    "threads": set(),
    "preparing": set(),
    "finishing": {"numpy"},
    "pipeline": {"numpy"},
    "evaluation": {"numpy"},
    "plot": {"numpy", "matplotlib"},
    "cli": {"click", "tqdm"},
}
ORDER = list(ROOMS)
# These know an engine by its Protocol alone.
FORBIDDEN = {
    (room, far) for room in ("preparing", "pipeline", "finishing", "evaluation") for far in ("models", "engines")
}
CODECS = {"imdecode", "imencode", "imread", "imwrite"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if room_of(p) not in {"__init__", "__main__"}]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_earlier_rooms(path: Path) -> None:
    room = room_of(path)
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "gradcam_cli":
            if not rest:
                continue
            assert ORDER.index(rest[0]) <= ORDER.index(room), f"{room} imports {name}"
            assert (room, rest[0]) not in FORBIDDEN, f"{room} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in ROOMS[room] | ({"tqdm"} if room == "cli" else set()), f"{room} imports {name}"


def test_one_module_knows_the_codecs() -> None:
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & CODECS
        assert not used or room_of(path) == "opencv_codec", path


def test_the_command_line_knows_no_arrays() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        assert not imported(path) & {"numpy", "cv2", "keras", "tensorflow"}, path


HEAVY = {"matplotlib", "tensorflow", "keras", "cv2", "numpy", "PIL", "h5py", "tqdm"}


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["explain", "--help"],
        ["evaluate", "--help"],
        ["layers", "--help"],
        ["models"],
        ["schema"],
        ["methods"],
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
