"""A limit of memory in bytes: large images wait for each other, for any number of threads."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

# Bytes for all images that are decoded or painted at the same time. An image that needs more runs alone.
AT_WORK: Final = 400 * 2**20
# Bytes for images that wait for their overlays, as pixels or as the bytes of their files.
KEPT: Final = 256 * 2**20


class MemoryBudget:
    """Two limits in bytes: for memory that threads wait for, and for memory that is refused above the limit."""

    def __init__(self, at_work: int = AT_WORK, kept: int = KEPT) -> None:
        """Set the two limits in bytes."""
        self.at_work = at_work
        self._kept = kept
        self._used = 0
        self._changed = Condition()
        self._queue: deque[Lease] = deque()

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """Give an empty lease that can be extended; its bytes are released at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            with self._changed:
                self._used -= lease.held
                self._changed.notify_all()

    def keep(self, size: int) -> bool:
        """Reserve bytes until `free`; False if this would exceed the limit."""
        with self._changed:
            if size > self._kept:
                return False
            self._kept -= size
            return True

    def free(self, size: int) -> None:
        """Release kept bytes."""
        with self._changed:
            self._kept += size

    def _extend(self, lease: "Lease", size: int) -> None:
        with self._changed:
            # Its bytes are released first: a waiting thread holds no bytes, so there is no deadlock.
            self._used -= lease.held
            lease.held = 0
            self._queue.append(lease)
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._queue[0] is lease and self._has_room(size))
                self._used += size
                lease.held = size
            finally:
                self._queue.remove(lease)
                self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self.at_work


class Lease:
    """The bytes of one image while it is decoded or painted."""

    def __init__(self, budget: MemoryBudget) -> None:
        """Hold nothing yet."""
        self._budget = budget
        self.held = 0

    def take(self, size: int) -> None:
        """Hold at least this number of bytes: wait, in order of requests, until there is space or no other lease."""
        if size > self.held:
            self._budget._extend(self, size)  # noqa: SLF001 - the two are one

    def take_all(self) -> None:
        """Wait until the other leases hold no or few bytes."""
        self.take(self._budget.at_work)
