"""Object stores, with the six calls that the program needs: list, stat, read, put, put-if-absent and remove.

Only this module uses fsspec. Local paths are not handled here. A call that fails temporarily is repeated with
exponential back-off and jitter.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import Any, Final, Protocol, TypeVar

from gradcam_cli.errors import Reason, StorageError, UsageError
from gradcam_cli.extras import install_hint
from gradcam_cli.storage_errors import failure_of
from gradcam_cli.urls import check_url, shown

# s3fs and botocore retry calls too. That is switched off, so that only this module retries.
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "s3": {
        "max_concurrency": 1,
        "config_kwargs": {
            "retries": {"max_attempts": 0},
            "connect_timeout": 10,
            "read_timeout": 30,
            # One connection for each concurrent read and write; the default of botocore is 10.
            "max_pool_connections": 40,
        },
    },
}
# The prefixes of the environment variables that clients read.
_VARIABLES: Final = ("AWS_", "AZURE_", "BOTO", "FSSPEC_", "GCE_", "GOOGLE_", "OCI_", "OSS_", "HOME")
_ETAGS: Final = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES: Final = ("LastModified", "last_modified", "updated", "mtime", "created")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Stat:
    """The properties of an object: its size, and its ETag or, without an ETag, its time."""

    size: int
    etag: str | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True)
class Backoff:
    """The number of attempts, and the wait between them: a random time up to `first` * 2^n, at most `longest`."""

    tries: int = 8
    first: float = 0.2
    longest: float = 20.0

    def wait(self, attempt: int) -> float:
        """Give the seconds to wait after a failed attempt; attempts are counted from 0."""
        # Imported here: help and completion must not wait for it.
        import random

        return random.uniform(0, min(self.longest, self.first * 2**attempt))  # noqa: S311 - jitter is no secret


class ObjectReader(Protocol):
    """Reads objects: a store, or a tar file whose members are objects at an offset."""

    def stat(self, url: str) -> Stat:
        """Give the size of an object, and its ETag or time."""

    def read(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read an object, or a range of its bytes."""

    def end(self) -> None:
        """Stop retries: a call that fails raises at once."""


@dataclass(frozen=True)
class Stored:
    """One object: its store, its URL, and its properties if it was listed.

    A member of a tar file was listed; `at` is the offset of its bytes in the tar file.
    """

    store: ObjectReader
    url: str
    listed: Stat | None = None
    at: int | None = None

    def stat(self) -> Stat:
        """Give its size and ETag. An object that was listed needs no request.

        Raises:
            StorageError: the object does not exist, or the store does not respond.
        """
        return self.listed or self.store.stat(self.url)

    def read(self) -> bytes:
        """Read the whole object.

        Raises:
            StorageError: the object does not exist, or the store does not respond.
        """
        if self.at is None or self.listed is None:
            return self.store.read(self.url)
        return self.store.read(self.url, self.at, self.at + self.listed.size)


@dataclass(frozen=True, eq=False)
class Store:
    """One object store, for any thread. Errors of all calls are `StorageError`, whose message has no secrets."""

    scheme: str
    files: Any
    backoff: Backoff = field(default_factory=Backoff)
    _ended: Event = field(default_factory=Event, repr=False)

    def end(self) -> None:
        """Stop retries: the run ends, so that a call that fails must raise at once."""
        self._ended.set()

    def list(self, url: str) -> Iterator[tuple[str, Stored]]:
        """Give the objects below a prefix with their names relative to it; pages are requested when they are needed.

        The objects of one folder follow each other without objects of other folders between them. A prefix that does
        not exist has none.
        """
        root = self._path(url).rstrip("/")
        entries = self._pages(url, root) if hasattr(self.files, "call_s3") else self._folders(url, root)
        for path, found in entries:
            relative = path.removeprefix(root).removeprefix("/")
            # Some tools show a folder by an empty object whose name ends with a slash.
            if relative and not relative.endswith("/"):
                yield relative, Stored(self, self._url(path), found)

    def stat(self, url: str) -> Stat:
        """Give size and ETag of an object; a prefix is not an object."""
        if hasattr(self.files, "call_s3"):
            bucket, _, key = self._path(url).partition("/")
            # The `info` of s3fs also lists the prefix where there is no object.
            head = self._call(url, self.files.call_s3, "head_object", Bucket=bucket, Key=key)
            return _stat({**head, "size": head["ContentLength"]})
        found = self._call(url, self.files.info, self._path(url))
        if found.get("type") == "directory":
            raise StorageError(Reason.VANISHED, f"{shown(url)}: there is no such object.")
        return _stat(found)

    def has(self, url: str) -> bool:
        """Whether there is such an object."""
        try:
            self.stat(url)
        except StorageError as error:
            if error.reason is Reason.VANISHED:
                return False
            raise
        return True

    def read(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read an object, or a range of its bytes; a range may extend beyond the end of the object."""
        data = self._call(url, self.files.cat_file, self._path(url), start=start, end=end)
        return bytes(data)

    def put(self, url: str, data: bytes) -> None:
        """Write an object; it replaces an existing one."""
        self._call(url, self.files.pipe_file, self._path(url), data)

    def put_file(self, url: str, path: Path) -> None:
        """Write the contents of a local file as an object, without reading a large file into memory."""
        self._call(url, self.files.put_file, str(path), self._path(url))

    def put_if_absent(self, url: str, data: bytes) -> bool:
        """Write an object unless it already exists, and tell whether it was written.

        A store without such a condition may put it in any case. The first try of a call
        that was repeated may have put it: read it back where that matters.
        """
        try:
            self._call(url, self.files.pipe_file, self._path(url), data, mode="create")
        except StorageError as error:
            if error.reason is Reason.UNSUPPORTED and not self.has(url):
                self.put(url, data)
                return True
            if error.reason not in {Reason.OUTPUT_NOT_OURS, Reason.UNSUPPORTED}:
                raise
            return False
        return True

    def remove(self, url: str) -> None:
        """Remove an object, if it exists."""
        try:
            self._call(url, self.files.rm_file, self._path(url))
        except StorageError as error:
            if error.reason is not Reason.VANISHED:
                raise

    def _path(self, url: str) -> str:
        return url.split("://", 1)[1]

    def _url(self, path: str) -> str:
        return f"{self.scheme}://{path}"

    def _pages(self, url: str, root: str) -> Iterator[tuple[str, Stat]]:
        """List all objects below a prefix of S3, a thousand per request, in the order of their names."""
        bucket, _, prefix = root.partition("/")
        asked = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        while True:
            page = self._call(url, self.files.call_s3, "list_objects_v2", **asked)
            for found in page.get("Contents", ()):
                yield f"{bucket}/{found['Key']}", _stat({**found, "size": found["Size"]})
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _folders(self, url: str, root: str) -> Iterator[tuple[str, Stat]]:
        """List all objects below a prefix, folder by folder."""
        folders = [root]
        while folders:
            try:
                entries = self._call(url, self.files.ls, folders.pop(), detail=True)
            except StorageError as error:
                if error.reason is not Reason.VANISHED:
                    raise
                continue
            entries = sorted(entries, key=lambda entry: str(entry["name"]))
            for entry in entries:
                if entry.get("type") != "directory":
                    yield entry["name"].lstrip("/"), _stat(entry)
            inner = [entry["name"].strip("/") for entry in entries if entry.get("type") == "directory"]
            folders.extend(reversed(inner))

    def _call(self, url: str, call: Callable[..., Result], *args: Any, **options: Any) -> Result:
        for attempt in range(self.backoff.tries):
            try:
                return call(*args, **options)
            except Exception as error:  # noqa: BLE001 - each store's library has errors of its own
                failure, is_transient = failure_of(shown(url), error, attempt + 1)
            if not is_transient or attempt + 1 == self.backoff.tries or self._ended.wait(self.backoff.wait(attempt)):
                # The library's own error may name credentials, also in a traceback.
                raise failure from None
        raise AssertionError  # pragma: no cover - the last attempt has raised


@dataclass
class Stores:
    """Opens the stores of a run, each once."""

    backoff: Backoff = field(default_factory=Backoff)
    _opened: dict[str, Store] = field(default_factory=dict)

    def of(self, url: str) -> Store:
        """Give the store of a URL.

        Raises:
            UsageError: the URL is not of an object store or has credentials, or the library of the store is not
            installed.
        """
        check_url(url)
        scheme = url.split("://", 1)[0].lower()
        if scheme not in self._opened:
            self._opened[scheme] = Store(scheme, _opened(scheme, url), self.backoff)
        return self._opened[scheme]

    def object(self, url: str) -> Stored:
        """Give an object without a request to the store."""
        return Stored(self.of(url), url)


def _opened(scheme: str, url: str) -> Any:
    try:
        import fsspec  # noqa: F401 - it is looked for here, and used by the client
    except ImportError:
        raise UsageError(f"{url}: object stores need more packages: {install_hint('remote')}.") from None
    options = _OPTIONS.get("s3" if scheme == "s3a" else scheme, {})
    try:
        return _client(scheme, json.dumps(options), os.getpid(), _environment())
    except ImportError:
        raise UsageError(f"{url}: {_missing(scheme)}") from None
    except Exception as error:  # noqa: BLE001 - each store's library has errors of its own
        raise UsageError(f"{url}: the store cannot be opened ({type(error).__name__}). Check its settings.") from None


@lru_cache(maxsize=4)
def _client(scheme: str, options: str, process: int, environment: tuple[tuple[str, str], ...]) -> Any:
    """Open a client of a store, once for the same settings: each takes a second of CPU time.

    Connections do not survive a fork, and credentials are in the environment: so both are part of the key.
    """
    import fsspec

    del process, environment
    files = fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **json.loads(options))
    if hasattr(files, "call_s3"):
        files.retries = 1
    return files


def _environment() -> tuple[tuple[str, str], ...]:
    """Give the variables that clients of stores read."""
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES)))


def _missing(scheme: str) -> str:
    """Name the package that a scheme needs, as fsspec knows it."""
    from fsspec.registry import known_implementations

    package = str(known_implementations.get(scheme, {}).get("class", "")).split(".", 1)[0]
    if package in {"", "s3fs"}:
        return f"{scheme}:// needs more packages: {install_hint('remote')}."
    return f"{scheme}:// needs the package {package}: pip install {package}"


def _stat(found: dict[str, Any]) -> Stat:
    etag = next((str(found[name]).strip('"') for name in _ETAGS if found.get(name)), None)
    time = next((found[name] for name in _TIMES if found.get(name)), None)
    return Stat(int(found["size"] or 0), etag, None if etag else _nanoseconds(time))


def _nanoseconds(time: object) -> int | None:
    """Convert a time to nanoseconds since 1970; None if it is not a time."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if isinstance(time, datetime):
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000
    # Seconds as a double have a precision of microseconds.
    return round(time * 10**6) * 1000 if isinstance(time, (int, float)) else None
