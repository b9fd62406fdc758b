"""Groups of images for workers: records are returned in order, and an image that crashes workers is isolated.

A worker takes one group. If the worker crashes, another worker gets the images that have no record. After three crashes
the group is halved, until the image that crashes workers is alone. It counts as crashed only after two crashes alone,
because a node may also fail during another image.
"""

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition
from typing import Final

from gradcam_cli.inputs.sources import Source, SourceList
from gradcam_cli.results.sidecar import Record

MOST_CRASHES: Final = 3


@dataclass(eq=False)
class Task:
    """A group of images for one worker; `crashes` counts the workers that crashed with it."""

    sources: Sequence[Source]
    crashes: int = 0
    recorded: int = 0
    is_finished: bool = False
    records: deque[Record] = field(default_factory=deque)


class TaskLine:
    """Gives groups of `size` images to threads, and their records, in order, to the thread of the run.

    At most `ahead` groups are started but not reported; only their records are kept in memory. No group is given before
    `servers` threads have joined.
    """

    def __init__(self, sources: SourceList, size: int, ahead: int, servers: int = 1) -> None:
        """Hand out nothing yet."""
        self._sources = iter(sources)
        self._count = len(sources)
        self._size = size
        self._ahead = ahead
        self._missing = servers
        self._begun = 0
        self._line: list[Task] = []
        self._again: deque[Task] = deque()
        self._changed = Condition()
        self._closed = False
        self._error: BaseException | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the run has ended."""
        return self._closed

    def join(self) -> None:
        """Count a thread whose worker is ready."""
        with self._changed:
            self._missing -= 1
            self._changed.notify_all()

    def take(self) -> Task | None:
        """Wait for a group; None if no group is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_through() or self._has_task())
            if self._closed or not self._has_task():
                return None
            if self._again:
                return self._again.popleft()
            task = Task(list(islice(self._sources, self._size)))
            self._begun += len(task.sources)
            self._line.append(task)
            return task

    def add(self, task: Task, record: Record) -> None:
        """Add the record of the next image of a group."""
        with self._changed:
            task.records.append(record)
            task.recorded += 1
            self._changed.notify_all()

    def finish(self, task: Task) -> None:
        """Report the end of a group."""
        with self._changed:
            task.is_finished = True
            self._changed.notify_all()

    def crashed(self, task: Task) -> Task | None:
        """Report the crash of a worker: other workers get its images, except an image that crashes workers alone.

        Returns:
            The group of that one image; the caller passes its record to `add` and then calls `finish`.
        """
        with self._changed:
            left, crashes = task.sources[task.recorded :], task.crashes + 1
            task.is_finished = True
            alone = len(task.sources) == 1 and crashes >= MOST_CRASHES and bool(left)
            after = [Task(part, _counted(part, task, crashes)) for part in _parts(left, crashes)]
            place = self._line.index(task) + 1
            self._line[place:place] = after
            if not alone:
                self._again.extendleft(reversed(after))
            self._changed.notify_all()
            return after[0] if alone else None

    def stop(self, error: BaseException) -> None:
        """End the run with an error."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """Give no more groups."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def records(self) -> Generator[Record]:
        """Give the records of all images, in order.

        Raises:
            BaseException: the error that was passed to `stop`.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._error or self._is_through() or self._is_ready())
                if self._error:
                    raise self._error
                if self._is_through():
                    return
                head = self._line[0]
                ready = [head.records.popleft() for _ in range(len(head.records))]
                if head.is_finished:
                    del self._line[0]
                    self._changed.notify_all()
            yield from ready

    def _is_through(self) -> bool:
        return self._begun == self._count and not self._line

    def _is_ready(self) -> bool:
        return bool(self._line) and (bool(self._line[0].records) or self._line[0].is_finished)

    def _has_task(self) -> bool:
        is_new = self._begun < self._count and len(self._line) < self._ahead
        return self._missing <= 0 and (bool(self._again) or is_new)


def _counted(sources: Sequence[Source], task: Task, crashes: int) -> int:
    """Count the crashes of the images of `task`: a smaller group has at least one more attempt, a single image two."""
    if len(sources) == len(task.sources):
        return crashes
    return min(crashes, MOST_CRASHES - (2 if len(sources) == 1 else 1))


def _parts(sources: Sequence[Source], crashes: int) -> list[Sequence[Source]]:
    """Halve the images of a group that has crashed too often; leave out empty groups."""
    middle = (len(sources) + 1) // 2 if crashes >= MOST_CRASHES else len(sources)
    return [part for part in (sources[:middle], sources[middle:]) if part]
