"""Files that come with the package. `importlib.resources` would add a tenth to the time of a completion."""

from pathlib import Path

FOLDER = Path(__file__).parent / "data"


def data_text(*names: str) -> str:
    """Read a file of the folder `data`."""
    return FOLDER.joinpath(*names).read_text(encoding="utf-8")
