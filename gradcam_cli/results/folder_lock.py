"""Who may write into an output folder: one run alone, or several shards of one run, each of them once."""

import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Final

from gradcam_cli.atomic import PREFIX
from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.urls import Url

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    # Windows has no such locks.
    fcntl = None

LOCK_SUFFIX: Final = ".lock"


class FolderLock:
    """The lock of an output folder; the end of the process releases it as well.

    A run locks the folder itself, so that no file of a lock is left behind by a run that was killed. Shards share that
    lock, and each has a file of its own besides, which is removed at its end.
    """

    def __init__(self, root: Path, shard: Shard | None = None) -> None:
        """Take nothing yet."""
        self._root = root
        self._shard = shard
        self._descriptors: list[int] = []
        self._file: Path | None = None

    def take(self) -> None:
        """Take the lock.

        Some network file systems lock no folders, and some not even files; a run there goes on without.

        Raises:
            UsageError: another run has it.
            OSError: the folder cannot be opened, or the file of the shard cannot be made.
        """
        if fcntl is None:
            return
        self._descriptors.append(os.open(self._root, os.O_RDONLY))
        try:
            _lock(fcntl, self._descriptors[0], fcntl.LOCK_SH if self._shard else fcntl.LOCK_EX)
            if self._shard:
                self._take_file(fcntl, self._root / f"{PREFIX}{self._shard.name}{LOCK_SUFFIX}")
        except BlockingIOError as error:
            self.release()
            raise in_use(self._root, self._shard) from error

    def release(self) -> None:
        """Let another run have the folder."""
        if self._file:
            # While the lock is held, the file of this name is this one.
            with suppress(OSError):
                self._file.unlink()
            self._file = None
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _take_file(self, locks: ModuleType, path: Path) -> None:
        """Lock the file of the shard; where its last owner removed it just then, begin again with a new one."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            self._descriptors.append(descriptor)
            _lock(locks, descriptor, locks.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    self._file = path
                    return
            os.close(self._descriptors.pop())


def in_use(root: Path | Url, shard: Shard | None, why: str = "") -> UsageError:
    """Give the error of a run, or of a shard, whose folder another run has; `why` tells how that is known."""
    who = f"another run of shard {shard}, or a run of all," if shard else "another run"
    reason = f" ({why})" if why else ""
    return UsageError(f"{root}: {who} is writing there{reason}. Wait for it, or choose another.")


def _lock(locks: ModuleType, descriptor: int, mode: int) -> None:
    """Lock a folder or a file, where the file system can.

    Raises:
        BlockingIOError: somebody else has it.
    """
    try:
        locks.flock(descriptor, mode | locks.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return
