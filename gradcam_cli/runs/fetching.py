"""Read objects of a store ahead of the decoder. A read mostly waits for the network, so many run at the same time.

The objects that are read or wait for the decoder have at most `BYTES_AHEAD` bytes in total, or there is only one.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import Final

from gradcam_cli.inputs.reading import Content, fetch
from gradcam_cli.inputs.sources import Source
from gradcam_cli.settings import Limits
from gradcam_cli.storage import Stored

FETCHES: Final = 16
BYTES_AHEAD: Final = 128 * 2**20
# Assumed size of an object of unknown size.
SOME_BYTES: Final = 8 * 2**20


class Fetches:
    """Reads the objects among the sources of a run ahead of their use; other sources are only passed on."""

    def __init__(self, pool: ThreadPoolExecutor, limits: Limits, bytes_ahead: int = BYTES_AHEAD) -> None:
        """Read nothing yet."""
        self._pool = pool
        self._limits = limits
        self._bytes_ahead = bytes_ahead
        self._waiting: dict[Source, Future[Content]] = {}
        self._bytes = 0
        self._taken = Condition()

    def ahead(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Give the sources in order; the read of an object starts when it is given, if there is space."""
        for source in sources:
            if source.stored is not None:
                self._begin(source)
            yield source

    def take(self, source: Source, limits: Limits) -> Content:
        """Wait for an object, and free its space for others.

        Raises:
            ImageError: the object cannot be read, is empty, or is larger than the limit.
        """
        with self._taken:
            fetch = self._waiting[source]
        try:
            return fetch.result()
        finally:
            with self._taken:
                del self._waiting[source]
                self._bytes -= _size(source.stored, limits)
                self._taken.notify_all()

    def end(self) -> None:
        """Stop retries: a read that fails raises at once."""
        with self._taken:
            for source in self._waiting:
                if source.stored is not None:
                    source.stored.store.end()

    def _begin(self, source: Source) -> None:
        size = _size(source.stored, self._limits)
        with self._taken:
            # Objects are taken in the order in which they are given, so space is freed by other threads.
            self._taken.wait_for(lambda: not self._waiting or self._bytes + size <= self._bytes_ahead)
            self._bytes += size
            self._waiting[source] = self._pool.submit(fetch, source, self._limits)


@contextmanager
def fetching(limits: Limits) -> Iterator[Fetches]:
    """Give the reader of objects; at the end of an interrupted run, reads that have not started are cancelled."""
    pool = ThreadPoolExecutor(FETCHES)
    fetches = Fetches(pool, limits)
    try:
        yield fetches
    except MemoryError:
        # The run continues with smaller batches and the same stores.
        raise
    except BaseException:
        fetches.end()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _size(stored: Stored | None, limits: Limits) -> int:
    if stored is None or stored.listed is None:
        return SOME_BYTES
    # Larger objects are refused without reading them.
    return stored.listed.size if stored.listed.size <= limits.max_file_bytes else 0
