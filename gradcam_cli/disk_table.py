"""A sorted table on disk, for the millions of rows that a run may have: memory does not grow with their number.

SQLite, which comes with Python, sorts them, looks them up, and gives them page by page to any thread. A temporary
database stays in memory until it has `CACHE_KIB`. Then it goes to a file without a name in the folder for temporary
files (`SQLITE_TMPDIR`, else `TMPDIR`, else `/var/tmp` or `/tmp`), which disappears with the process, also if the
process is killed. A merge sort over files would need a format, and could not look up a row.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gradcam_cli.errors import EnvironmentStop

CACHE_KIB: Final = 8 * 1024
PAGE: Final = 1_000

# The value of a row, besides its two keys.
Value = bytes | int | None
Row = tuple[bytes, bytes, Value]

_SETTINGS: Final = (
    f"PRAGMA cache_size = -{CACHE_KIB}",
    # The database is temporary, so journals and synchronous writes are not needed.
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE rows (key BLOB, second BLOB, value, PRIMARY KEY (key, second)) WITHOUT ROWID",
)
_PUT: Final = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)"
_GET: Final = "SELECT value FROM rows WHERE key = ? AND second = ?"
_REMOVE: Final = "DELETE FROM rows WHERE key = ? AND second = ?"
_COUNT: Final = "SELECT count(*) FROM rows"
_AFTER: Final = "SELECT * FROM rows WHERE (key, second) > (?, ?) ORDER BY key, second LIMIT ?"
_SHARED: Final = "SELECT key FROM rows WHERE key > ? GROUP BY key HAVING count(*) > 1 LIMIT ?"
_OF_KEY: Final = "SELECT * FROM rows WHERE key = ? ORDER BY second"


class DiskTable:
    """Rows of a key, a second key and a value; the pair of keys is unique.

    Errors of all calls are `EnvironmentStop`: the folder for temporary files is full, or cannot be written.
    """

    def __init__(self) -> None:
        """Make an empty table."""
        # Imported here, so that help and completion start faster.
        import sqlite3

        self._error = sqlite3.Error
        self._lock = threading.Lock()
        # An empty name is a temporary database.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        for statement in _SETTINGS:
            self._all(statement)

    def put(self, rows: Iterable[Row]) -> int:
        """Insert rows; a row replaces one with the same two keys. Give the number of rows.

        The rows may be a generator; if it raises, the rows before the exception are kept.
        """
        try:
            with self._lock:
                self._database.execute("BEGIN")
                try:
                    return self._database.executemany(_PUT, rows).rowcount
                finally:
                    self._database.execute("COMMIT")
        except self._error as error:
            raise _stopped(error) from None

    def get(self, key: bytes, second: bytes = b"") -> Value:
        """Give the value of a row; None where there is none."""
        found = self._all(_GET, key, second)
        value: Value = found[0][0] if found else None
        return value

    def remove(self, key: bytes, second: bytes = b"") -> None:
        """Remove a row, if it exists."""
        self._all(_REMOVE, key, second)

    def rows(self) -> Iterator[Row]:
        """Give all rows in the order of their bytes. The caller may remove rows that it has received."""
        after: tuple[bytes, bytes] = (b"", b"")
        while page := self._all(_AFTER, *after, PAGE):
            yield from page
            after = page[-1][:2]

    def sharing(self) -> Iterator[list[Row]]:
        """Give the rows of each key that occurs more than once. The caller may remove rows that it has received."""
        after = b""
        while page := self._all(_SHARED, after, PAGE):
            for (key,) in page:
                yield self._all(_OF_KEY, key)
            after = page[-1][0]

    def __len__(self) -> int:
        """Count the rows; this reads all of them."""
        return int(self._all(_COUNT)[0][0])

    def _all(self, statement: str, *values: Value) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(statement, values).fetchall()
        except self._error as error:
            raise _stopped(error) from None


def key_of(text: str) -> bytes:
    """Encode a text as a key: bytes that sort as the texts do. Names that are not UTF-8 can be encoded too."""
    return text.encode("utf-8", "surrogatepass")


def text_of(key: bytes) -> str:
    """Decode a key to its text."""
    return key.decode("utf-8", "surrogatepass")


def _stopped(error: Exception) -> EnvironmentStop:
    return EnvironmentStop(
        f"The list of the run's files cannot be written to the folder for temporary files ({error}). Set the "
        "environment variable TMPDIR to another folder."
    )
