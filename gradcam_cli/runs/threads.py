"""Threads that work ahead: results in order, in bounded windows, and a quick end of interrupted runs."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

MOST_THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_threads() -> int:
    """Threads that decode, and threads that write: one a core, and a few at the most."""
    return min(os.cpu_count() or 1, MOST_THREADS)


def even_batch_size(images: int, wanted: int, streams: int) -> int:
    """Choose a batch size, at most the wanted one and at least half of it, that leaves no stream idle at the end.

    The last batch is padded to full size, and an odd one runs alone: what counts is how many images the busiest
    stream computes. Of equal choices the largest batch wins.
    """

    def busiest(size: int) -> int:
        return math.ceil(math.ceil(images / size) / streams) * size

    largest = max(1, min(images, wanted))
    return min(range(largest, max(1, largest // 2) - 1, -1), key=busiest)


@contextmanager
def workers(threads: int, patience: float | None = None) -> Iterator[ThreadPoolExecutor]:
    """Give a pool; at the end of an interrupted run, what has not begun is cancelled.

    With `patience`, what is still running after so many seconds is left alone: the process is about to end.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _join(pool, patience)
        raise
    pool.shutdown()


def _join(pool: ThreadPoolExecutor, patience: float | None) -> None:
    deadline = None if patience is None else time.monotonic() + patience
    for thread in pool._threads:  # noqa: SLF001 - there is no public way to wait for a pool for a limited time
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Generator[Result]:
    """Map in threads, in order, never more than `window` items ahead of the result being waited for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
