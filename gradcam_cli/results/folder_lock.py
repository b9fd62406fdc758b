"""The lock of an output folder: either one run writes there, or several shards of one run, each of them once."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gradcam_cli import system
from gradcam_cli.atomic import PREFIX
from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.urls import Url

LOCK_SUFFIX: Final = ".lock"
# The lock file of a folder, on systems that cannot lock the folder itself.
FOLDER_LOCK: Final = f"{PREFIX}folder{LOCK_SUFFIX}"


class FolderLock:
    """The lock of an output folder; the end of the process releases it too.

    A run locks the folder itself, so a killed run leaves no lock file. On Windows it locks a file, and the next run
    reuses that file. Shards share the lock of the folder. In addition, each shard locks its own file, which it removes
    at its end.
    """

    def __init__(self, root: Path, shard: Shard | None = None) -> None:
        """Store the arguments; nothing is locked yet."""
        self._root = root
        self._shard = shard
        self._taken: list[tuple[int, Path | None]] = []

    def take(self) -> None:
        """Take the lock.

        Some network file systems cannot lock folders, and some cannot lock files. There, a run continues without a
        lock.

        Raises:
            UsageError: another run has the lock.
            OSError: the folder cannot be opened, or the lock file of the shard cannot be created.
        """
        if not system.can_lock():
            return
        self._taken.append(system.open_folder_to_lock(self._root, FOLDER_LOCK))
        try:
            system.lock(self._taken[0][0], shared=self._shard is not None)
            if self._shard:
                self._take_file(self._root / f"{PREFIX}{self._shard.name}{LOCK_SUFFIX}")
        except BlockingIOError as error:
            self._drop()
            raise in_use(self._root, self._shard) from error

    def release(self) -> None:
        """Release the lock, so that another run can take it."""
        while self._taken:
            system.close_lock(*self._taken.pop())

    def _drop(self) -> None:
        """Close the files without removing them, because another run has locked them."""
        while self._taken:
            os.close(self._taken.pop()[0])

    def _take_file(self, path: Path) -> None:
        """Lock the file of the shard; if its last owner has just removed it, create it again."""
        while True:
            descriptor = system.open_to_lock(path)
            self._taken.append((descriptor, path))
            system.lock(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return
            os.close(self._taken.pop()[0])


def in_use(root: Path | Url, shard: Shard | None, why: str = "") -> UsageError:
    """Make the error for a folder that another run has locked; `why` gives the evidence."""
    who = f"another run of shard {shard}, or of all shards," if shard else "another run"
    reason = f" ({why})" if why else ""
    return UsageError(f"{root}: {who} is writing to this folder{reason}. Wait for it, or choose another folder.")
