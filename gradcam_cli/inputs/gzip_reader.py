"""Read bytes of a gzip file at any offset, without decompressing it to a disk.

While the file is read for the first time, the state of the decoder is stored at regular distances. A later read starts
at the last of these points before its offset.
"""

import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

CHUNK: Final = 256 * 1024
# The distance of two points in decompressed bytes. Each point takes about 40 kB of memory.
BETWEEN_POINTS: Final = 8 * 2**20
# Photographs can hardly be compressed. A file that grows by a larger factor is a decompression bomb.
LARGEST_RATIO: Final = 100
ALWAYS_ALLOWED: Final = 2**30
_GZIP: Final = 31


class GzipError(ValueError):
    """The file is damaged, or is a decompression bomb."""


def _decoder() -> Any:
    return zlib.decompressobj(_GZIP)


@dataclass
class _Point:
    """A position of the decoder: its offsets in the file and in the decompressed bytes, and its state."""

    read: int = 0
    given: int = 0
    decoder: Any = field(default_factory=_decoder)
    is_fresh: bool = True

    def copy(self) -> "_Point":
        return _Point(self.read, self.given, self.decoder.copy(), self.is_fresh)


class GzipReader:
    """Reads one file; `packed(offset, count)` gives its compressed bytes. It may be used by several threads."""

    def __init__(self, packed: Callable[[int, int], bytes]) -> None:
        """Start without reading."""
        self._packed = packed
        self._points = [_Point()]
        self._now = _Point()
        # The last decompressed bytes. They end at the position of the decoder.
        self._last = b""
        self._lock = threading.Lock()

    def read(self, at: int, count: int) -> bytes:
        """Give up to `count` decompressed bytes from an offset; fewer at the end.

        Raises:
            GzipError: the file is damaged, or is a decompression bomb.
        """
        with self._lock:
            self._go_near(at)
            found = bytearray()
            while True:
                start = self._now.given - len(self._last)
                found += self._last[max(0, at + len(found) - start) : max(0, at + count - start)]
                if len(found) >= count or not self._step():
                    return bytes(found)

    def _go_near(self, at: int) -> None:
        """Move to the last point before the offset if the decoder is before that point or has passed the offset."""
        number = bisect_right(self._points, at, key=lambda point: point.given) - 1
        if at < self._now.given - len(self._last) or self._points[number].given > self._now.given:
            self._now, self._last = self._points[number].copy(), b""

    def _step(self) -> bool:
        """Decompress the next bytes, and say whether there were any."""
        now = self._now
        tail = now.decoder.unconsumed_tail
        data = tail or self._packed(now.read, CHUNK)
        now.read += 0 if tail else len(data)
        if not data and now.is_fresh and now.given:
            return False
        try:
            self._last = now.decoder.decompress(data, CHUNK)
        except zlib.error:
            if now.is_fresh and now.given:
                # gzip itself ignores zeros or other bytes after the end.
                now.read -= len(data)
                self._last = b""
                return False
            raise GzipError("it is damaged") from None
        if not data and not self._last:
            raise GzipError("it is truncated")
        now.given += len(self._last)
        now.is_fresh = now.decoder.eof
        if now.decoder.eof:
            # A gzip file may have several members, one after the other.
            now.read -= len(now.decoder.unused_data)
            now.decoder = _decoder()
        if now.given > max(ALWAYS_ALLOWED, LARGEST_RATIO * now.read):
            raise GzipError(f"it grows to more than {LARGEST_RATIO} times its size")
        if now.given - self._points[-1].given >= BETWEEN_POINTS:
            self._points.append(now.copy())
        return True
