"""The cache folder of this program, and its access rights. Nothing heavy is imported here."""

import stat
from pathlib import Path

from platformdirs import user_cache_path

from gradcam_cli.system import user_id

PRIVATE = 0o700


def cache_root() -> Path:
    """Give the path of the cache folder."""
    return user_cache_path("gradcam-cli")


def make_private_folder(folder: Path) -> None:
    """Make a folder of the cache that no other user can open."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=PRIVATE, exist_ok=True)
    # An older version of this program, or a permissive umask, may have given access to others.
    folder.chmod(PRIVATE)


def is_private(path: Path) -> bool:
    """Whether a file of the cache belongs to this user and no other user can write it."""
    user = user_id()
    if user is None:
        return True
    file, folder = path.lstat(), path.parent.stat()
    if {file.st_uid, folder.st_uid} != {user}:
        return False
    closed = not folder.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return closed or not (file.st_mode | folder.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
