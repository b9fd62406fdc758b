"""Output folders made by hand: sidecars with the maps that a test wants, without a run."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from conftest import jpeg
from numpy.typing import NDArray

from gradcam_cli.imaging.figure import FigurePlan, plan_figure
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.decoding import encode_jpeg
from gradcam_cli.settings import OverlaySettings

PHOTO = (60, 40)


def spot(row: int, column: int, side: int = 7) -> NDArray[np.uint8]:
    """A map with one hot cell."""
    heat = np.zeros((side, side), np.uint8)
    heat[row, column] = 255
    return heat


def class_record(label: str | None, heat: NDArray[np.uint8], index: int = 0, **others: Any) -> dict[str, Any]:
    """One class of a sidecar."""
    encoded = base64.b64encode(heat.tobytes()).decode()
    return {
        "index": index,
        "label": label,
        "wnid": None,
        "logit": 2.5,
        "probability": 0.5,
        "value": None,
        "overlay": None,
        "map": None,
        "heat": {"height": heat.shape[0], "width": heat.shape[1], "uint8": encoded},
        "peak": {"x": 30, "y": 20},
        "area": 0.25,
        "boxes": None,
        "flat": False,
    } | others


def sidecar(path: str, classes: Iterable[dict[str, Any]], **others: Any) -> dict[str, Any]:
    """A sidecar of an image of `PHOTO` pixels, squashed into 224 x 224."""
    return {
        "schema_version": 2,
        "options_sha256": "0" * 64,
        "versions": {},
        "status": "ok",
        "reason": None,
        "message": None,
        "files": [],
        "classes": list(classes),
        "input": {"path": path, "sha256": "1" * 64, "bytes": 1, "width": PHOTO[0], "height": PHOTO[1]},
        "model": {"layer": "last", "fit": "squash", "geometry": None, "input_size": {"width": 224, "height": 224}},
        "method": {"name": "gradcam++"},
    } | others


def failure(path: str, message: str) -> dict[str, Any]:
    """The sidecar of an image that failed."""
    return sidecar(path, [], status="error", reason="truncated_or_corrupt", message=message)


def write_run(root: Path, records: Iterable[dict[str, Any]], *, photos: bool = True) -> Path:
    """Write a folder of photographs, and the output folder `root/out` of a run over it."""
    inputs, out = root / "photos", root / "out"
    out.mkdir()
    inputs.mkdir()
    for record in records:
        path = record["input"]["path"]
        for folder in (inputs, out):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if photos:
            data = jpeg(*PHOTO)
            (inputs / path).write_bytes(data)
            record["input"]["bytes"] = len(data)
        (out / f"{path}.json").write_text(json.dumps(record))
    run = {
        "schema_version": 2,
        "versions": {},
        "options_sha256": "0" * 64,
        "counts": {"failed": 0},
        "options": {"overlay": {"alpha": 0.4, "colormap": "viridis"}},
        "inputs": {"paths": [str(inputs)], "list": False},
        "model": {"name": "net", "engine": "fake", "preprocess": "tf", "fit": "squash"},
        "images_per_second": 12.0,
    }
    (out / "run.json").write_text(json.dumps(run))
    return out


def data_of(page: Path) -> Any:
    """The data of a page, read back out of its HTML."""
    text = page.read_text(encoding="utf-8")
    begin = text.index('<script type="application/json" id="data">') + len('<script type="application/json" id="data">')
    return json.loads(text[begin : text.index("</script>", begin)])


def write_run_of_a_figure(tmp_path: Path, style: OverlaySettings) -> tuple[Path, FigurePlan]:
    """Write a run without photographs, whose one overlay is a figure with a red panel; and give its plan."""
    plan = plan_figure(Size(240, 160), style)
    assert plan is not None
    figure = np.zeros((plan.size.height, plan.size.width, 3), np.uint8)
    figure[plan.overlay.top : plan.overlay.bottom, plan.overlay.left : plan.overlay.right] = (200, 40, 40)
    record = sidecar("a.jpg", [class_record("cat", spot(3, 3), overlay="a.jpg.overlay.jpg")])
    record["input"] |= {"width": 240, "height": 160}
    out = write_run(tmp_path, [record], photos=False)
    run = json.loads((out / "run.json").read_text())
    run["options"]["overlay"] |= {"layout": style.layout, "caption": style.caption, "colorbar": style.colorbar}
    (out / "run.json").write_text(json.dumps(run))
    (out / "a.jpg.overlay.jpg").write_bytes(encode_jpeg(figure, 95))
    return out, plan
