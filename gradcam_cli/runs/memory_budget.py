"""Memory bounded by bytes: large pictures wait for each other, whatever the number of threads."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

# What pictures that are decoded or painted take at a time. A picture that takes more runs alone.
AT_WORK: Final = 400 * 2**20
# What pictures that wait for their overlays take, as pixels or as the bytes of their files.
KEPT: Final = 256 * 2**20


class MemoryBudget:
    """Shares out bytes of memory: so many at work, for which threads wait, and so many kept, which are refused."""

    def __init__(self, at_work: int = AT_WORK, kept: int = KEPT) -> None:
        """Set the two bounds, in bytes."""
        self.at_work = at_work
        self._kept = kept
        self._used = 0
        self._changed = Condition()
        self._queue: deque[Lease] = deque()

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """Give a lease of no bytes, to be extended; its bytes are given back at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            with self._changed:
                self._used -= lease.held
                self._changed.notify_all()

    def keep(self, size: int) -> bool:
        """Take so many bytes until `free`; False where the bound would be crossed."""
        with self._changed:
            if size > self._kept:
                return False
            self._kept -= size
            return True

    def free(self, size: int) -> None:
        """Give kept bytes back."""
        with self._changed:
            self._kept += size

    def _extend(self, lease: "Lease", size: int) -> None:
        with self._changed:
            # What it held is given back first: who waits holds nothing, so that nobody waits for ever.
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
    """Bytes that one picture holds while it is decoded or painted."""

    def __init__(self, budget: MemoryBudget) -> None:
        """Hold nothing yet."""
        self._budget = budget
        self.held = 0

    def take(self, size: int) -> None:
        """Hold at least so many bytes: waits, in order of asking, until there is room or nobody else holds any."""
        if size > self.held:
            self._budget._extend(self, size)  # noqa: SLF001 - the two are one

    def take_all(self) -> None:
        """Wait until nobody else holds any bytes, or few enough."""
        self.take(self._budget.at_work)
