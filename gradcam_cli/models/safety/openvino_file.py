"""Check a model in the OpenVINO format (.xml and .bin) before OpenVINO reads it."""

import math
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

from gradcam_cli.errors import ModelError, first_line

# The file of Swin-L, one of the largest networks, has 5 MB.
MAX_XML_BYTES = 64 * 2**20
MAX_ELEMENTS = 5_000_000
MAX_LAYERS = 200_000
STANDARD = re.compile(r"opset\d+")
BITS = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i64": 64, "u64": 64, "i32": 32, "u32": 32, "i16": 16, "u16": 16,
    "i8": 8, "u8": 8, "boolean": 8, "i4": 4, "u4": 4, "u1": 1, "nf4": 4, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8,
    "f4e2m1": 4, "u2": 2, "u3": 3, "u6": 6,
}  # fmt: skip


def check_openvino(xml: Path, weights: Path) -> None:
    """Refuse a model in the OpenVINO format that is damaged, needs custom operators, or lacks weights.

    Raises:
        ModelError: the file is refused. The message says what is wrong.
    """
    if xml.stat().st_size > MAX_XML_BYTES:
        raise ModelError(f"{xml}: more than {MAX_XML_BYTES:,} bytes of XML. Refused.")
    reader = _Reader(xml, weights.stat().st_size)
    try:
        reader.parser.Parse(xml.read_bytes(), True)
    except (expat.ExpatError, ValueError) as error:
        raise ModelError(f"{xml}: the file is truncated or damaged ({first_line(error)}). Copy it again.") from error
    if not reader.layers:
        raise ModelError(f"{xml}: this is not a network in the format of OpenVINO.")


class _Reader:
    """Counts elements, and compares each constant with the file of weights."""

    def __init__(self, path: Path, available: int) -> None:
        self.path, self.available = path, available
        self.layers = self.elements = 0
        self.parser: Any = expat.ParserCreate()
        self.parser.StartElementHandler = self._element
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse

    def _refuse(self, *_: object) -> None:
        raise ModelError(f"{self.path}: its XML declares a document type or entities. Refused.")

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise ModelError(f"{self.path}: more than {MAX_ELEMENTS:,} elements. Refused.")
        if name == "layer":
            self._layer(attributes)
        elif name == "data" and "offset" in attributes:
            self._constant(attributes)

    def _layer(self, attributes: dict[str, str]) -> None:
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise ModelError(f"{self.path}: more than {MAX_LAYERS:,} operations. Refused.")
        version = attributes.get("version", "opset1")
        if not STANDARD.fullmatch(version):
            raise ModelError(
                f"{self.path}: the operator '{version}::{attributes.get('type', '')}' is not a standard "
                "operator. Custom operators run code, "
                "so they are not loaded. Export the model with standard operators only."
            )

    def _constant(self, attributes: dict[str, str]) -> None:
        offset, size = int(attributes["offset"]), int(attributes.get("size", 0))
        if min(offset, size) < 0 or offset + size > self.available:
            raise ModelError(
                f"{self.path}: a constant ends at byte {offset + size:,} of its weights, but the weights "
                f"have only {self.available:,} bytes. Copy both files again."
            )
        bits = BITS.get(attributes.get("element_type", ""))
        shape = [int(side) for side in attributes.get("shape", "").split(",") if side.strip()]
        if bits and math.prod(shape) * bits // 8 > size:
            raise ModelError(f"{self.path}: a constant declares more numbers than its {size:,} bytes contain. Refused.")
