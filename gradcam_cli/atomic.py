"""Files that appear whole or not at all."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".gradcam-"
TEMPORARY_SUFFIX = ".tmp"


def temporary_beside(path: Path) -> Path:
    """Name a file that is not there, in the folder of `path`."""
    return path.parent / f"{PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; what was written there takes the place of `path` if all went well.

    A reader sees the old file or the new one, never half of one; after an error nothing is left.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
