"""Who may write into an output folder: one run alone, or several shards of one run, each of them once."""

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
# The file of a folder's lock, on systems where a folder itself cannot be locked.
FOLDER_LOCK: Final = f"{PREFIX}folder{LOCK_SUFFIX}"


class FolderLock:
    """The lock of an output folder; the end of the process releases it as well.

    A run locks the folder itself, so that no file of a lock is left behind by a run that was killed; on Windows it
    locks a file, which the next run takes over. Shards share that lock, and each has a file of its own besides, which
    is removed at its end.
    """

    def __init__(self, root: Path, shard: Shard | None = None) -> None:
        """Take nothing yet."""
        self._root = root
        self._shard = shard
        self._taken: list[tuple[int, Path | None]] = []

    def take(self) -> None:
        """Take the lock.

        Some network file systems lock no folders, and some not even files; a run there goes on without.

        Raises:
            UsageError: another run has it.
            OSError: the folder cannot be opened, or the file of the shard cannot be made.
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
        """Let another run have the folder."""
        while self._taken:
            system.close_lock(*self._taken.pop())

    def _drop(self) -> None:
        """Close what another run has locked; its file is that run's."""
        while self._taken:
            os.close(self._taken.pop()[0])

    def _take_file(self, path: Path) -> None:
        """Lock the file of the shard; where its last owner removed it just then, begin again with a new one."""
        while True:
            descriptor = system.open_to_lock(path)
            self._taken.append((descriptor, path))
            system.lock(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return
            os.close(self._taken.pop()[0])


def in_use(root: Path | Url, shard: Shard | None, why: str = "") -> UsageError:
    """Give the error of a run, or of a shard, whose folder another run has; `why` tells how that is known."""
    who = f"another run of shard {shard}, or of all shards," if shard else "another run"
    reason = f" ({why})" if why else ""
    return UsageError(f"{root}: {who} is writing to this folder{reason}. Wait for it, or choose another folder.")
