"""Files of the package. They are read without `importlib.resources`, which would slow down a completion by 10 %."""

from pathlib import Path

FOLDER = Path(__file__).parent / "data"


def data_text(*names: str) -> str:
    """Read a file of the folder `data`."""
    return FOLDER.joinpath(*names).read_text(encoding="utf-8")
