"""How the optional parts of the program are installed: the one place where their names stand."""

from typing import Final, Literal

Extra = Literal["fonts", "heif", "parquet", "ray", "remote", "tiff"]

_COMMAND: Final = "pip install '.[{extra}]' in a clone of gradcam-cli"


def install_hint(extra: Extra) -> str:
    """Say how the libraries of an extra are installed."""
    return _COMMAND.format(extra=extra)
