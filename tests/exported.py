"""The networks of `tests/data/onnx`, as PyTorch's exporters wrote them and as OpenVINO's converter writes them."""

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from conftest import DATA

from gradcam_cli.engines.exchange.compiling import compile_exchange
from gradcam_cli.engines.exchange.network import Network, open_network
from gradcam_cli.engines.plan import Plan
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings

ONNX = DATA / "onnx"
BOTH = ["", "_dynamo"]
# The layers of each network whose gradient by PyTorch's autograd is kept.
LAYERS = {
    "pooled": ("last", "stem"),
    "flat": ("features", "features.1"),
    "vit": ("blocks.0", "blocks.1.norm1"),
    "mixed": ("stem", "stem.0"),
}


def file_of(name: str | Path) -> Path:
    """The file of a network: `vit` and `vit_dynamo` are exports, `vit_ir` is what OpenVINO's converter makes of one."""
    if isinstance(name, Path):
        return name
    return converted(name.removesuffix("_ir")) if name.endswith("_ir") else ONNX / f"{name}.onnx"


@cache
def converted(name: str) -> Path:
    """Give what OpenVINO's converter `ovc` makes of an ONNX model: it merges operations into larger ones."""
    # The converter reports its use to its maker wherever this package can be imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    from openvino.tools.ovc import convert_model

    path = Path(tempfile.mkdtemp()) / f"{name}.xml"
    openvino.save_model(convert_model(ONNX / f"{name}.onnx"), path, compress_to_fp16=False)
    return path


def network(name: str | Path, **settings: Any) -> Network:
    return open_network(locate_model(ModelSettings(model=str(file_of(name)), **settings), lambda *_: None))


def plan(name: str | Path, layer: str = "auto", **settings: Any) -> Plan:
    request = locate_model(ModelSettings(model=str(file_of(name)), layer=layer, **settings), lambda *_: None)
    return compile_exchange(request)
