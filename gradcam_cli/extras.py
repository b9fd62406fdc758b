"""How the optional parts of the program are installed: the one place where their names stand."""

from typing import Final, Literal

Extra = Literal["fonts", "heif", "openvino", "parquet", "plot", "ray", "remote", "tiff"]

_PLACE: Final = "in a clone of gradcam-cli"


def install_hint(extra: Extra | None = None) -> str:
    """Say how the libraries of an extra are installed; without one, those that the program always needs."""
    return f"pip install '.[{extra}]' {_PLACE}" if extra else f"pip install . {_PLACE}"
