"""Where this program keeps what it can make again, and who may write there. Nothing heavy is imported here."""

import os
import stat
from pathlib import Path

from platformdirs import user_cache_path

PRIVATE = 0o700


def cache_root() -> Path:
    """Tell where everything is kept."""
    return user_cache_path("gradcam-cli")


def make_private_folder(folder: Path) -> None:
    """Make a folder of the cache that nobody else can look into."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=PRIVATE, exist_ok=True)
    # An older version of this program, or a lax umask, may have let others in.
    folder.chmod(PRIVATE)


def is_private(path: Path) -> bool:
    """Whether a file of the cache belongs to this user, and nobody else can write it."""
    if not hasattr(os, "getuid"):  # Windows keeps the profiles of its users apart
        return True
    file, folder = path.lstat(), path.parent.stat()
    if {file.st_uid, folder.st_uid} != {os.getuid()}:
        return False
    closed = not folder.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return closed or not (file.st_mode | folder.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
