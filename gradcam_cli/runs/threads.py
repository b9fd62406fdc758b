"""Threads that work ahead: results in order, in bounded windows, and a quick end of interrupted runs."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from gradcam_cli.cores import available_cores

MOST_THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_threads() -> int:
    """Threads that decode, and threads that write: one a core, and a few at the most."""
    return min(available_cores(), MOST_THREADS)


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
