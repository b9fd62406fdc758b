"""The names of the optional parts of the program, and how they are installed."""

from typing import Final, Literal

Extra = Literal["fonts", "heif", "openvino", "parquet", "plot", "ray", "remote", "tiff"]

_PLACE: Final = "in a clone of gradcam-cli"


def install_hint(extra: Extra | None = None) -> str:
    """Give the install command of an extra, or of the program itself without one."""
    return f"pip install '.[{extra}]' {_PLACE}" if extra else f"pip install . {_PLACE}"
