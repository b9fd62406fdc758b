"""Objects are read ahead of the decoder: many at a time, in bounded memory, and in any order of answers."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gradcam_cli.errors import ImageError, Reason, StorageError
from gradcam_cli.inputs.sources import Source
from gradcam_cli.runs.fetching import Fetches, fetching
from gradcam_cli.settings import Limits
from gradcam_cli.storage import Backoff, Stat, Store, Stored

LIMITS = Limits(max_file_bytes=100)


class Slow:
    """A store whose objects come when they are let go; it counts what is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()

    def cat_file(self, path: str, start: Any = None, end: Any = None) -> bytes:
        self.asked.append(path)
        assert self.gate.wait(10)
        return path.encode("ascii")


def objects(files: Any, *sizes: int) -> list[Source]:
    store = Store("s3", files, Backoff(tries=3, first=3600, longest=3600))
    return [
        Source(f"{i}.jpg", f"s3://b/{i}.jpg", stored=Stored(store, f"s3://b/{i}.jpg", Stat(size, f"e{i}")))
        for i, size in enumerate(sizes)
    ]


def settled(files: Slow, count: int) -> int:
    """How many objects are asked for, once so many are or nothing more comes."""
    until = time.monotonic() + 5
    while len(files.asked) < count and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.05)
    return len(files.asked)


def test_as_many_bytes_are_ahead_as_the_bound_allows() -> None:
    files = Slow()
    sources = objects(files, 40, 40, 40, 90, 10)
    given: list[Source] = []
    with ThreadPoolExecutor(16) as pool:
        fetches = Fetches(pool, LIMITS, bytes_ahead=100)

        def feed() -> None:
            given.extend(fetches.ahead(sources))

        thread = threading.Thread(target=feed)
        thread.start()
        assert settled(files, 2) == 2
        files.gate.set()
        for i, source in enumerate(sources):
            while len(given) <= i and thread.is_alive():
                time.sleep(0.001)
            content = fetches.take(source, LIMITS)
            assert (content.data, content.stat.etag) == (f"b/{i}.jpg".encode("ascii"), f"e{i}")
        thread.join(5)
    assert given == sources


def test_one_object_larger_than_the_bound_is_read_alone() -> None:
    files = Slow()
    files.gate.set()
    with ThreadPoolExecutor(4) as pool:
        fetches = Fetches(pool, LIMITS, bytes_ahead=50)
        for source in fetches.ahead(objects(files, 90, 90)):
            assert fetches.take(source, LIMITS).data
    assert len(files.asked) == 2


def test_what_is_too_large_is_refused_unread() -> None:
    files = Slow()
    (source,) = objects(files, 101)
    with fetching(LIMITS) as fetches:
        assert list(fetches.ahead([source])) == [source]
        with pytest.raises(ImageError, match="larger than 100 bytes") as raised:
            fetches.take(source, LIMITS)
    assert raised.value.reason is Reason.TOO_LARGE
    assert files.asked == []


def test_files_pass_by() -> None:
    source = Source("a.jpg", "/nowhere/a.jpg")
    with fetching(LIMITS) as fetches:
        assert list(fetches.ahead([source])) == [source]


class Failing(Slow):
    """A store that is down."""

    def cat_file(self, path: str, start: Any = None, end: Any = None) -> bytes:
        self.asked.append(path)
        raise TimeoutError


def test_an_interrupted_run_does_not_wait_for_a_store_that_is_down() -> None:
    """The next try of its calls would come within an hour."""
    files = Failing()
    sources = objects(files, *[1] * 16)
    begun = time.monotonic()

    def interrupted() -> None:
        with fetching(LIMITS) as fetches:
            list(fetches.ahead(sources))
            assert settled(files, 16) == 16
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sources[0].stored is not None
    with pytest.raises(StorageError):
        sources[0].stored.read()
    assert time.monotonic() - begun < 10
