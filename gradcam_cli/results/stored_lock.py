"""The lock of a prefix of an object store: either one run writes there, or several shards of one run, each once.

A lock is an object that is created only if no object has its name. It contains the identifier of its run and the time
at which it expires. A thread renews the lock during the run. An expired lock is not replaced: the next run creates a
lock with the next number. If several runs find an expired lock at the same time, only one of them succeeds.
"""

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

from gradcam_cli.errors import EnvironmentStop, StorageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.results.folder_lock import in_use
from gradcam_cli.storage import Store
from gradcam_cli.urls import Url

FOLDER: Final = ".gradcam-locks"
ALL: Final = "all"
NAME: Final = re.compile(r"(all|\d+-of-\d+)\.(\d+)\.json")
# Seconds after which a lock expires, and after which it is renewed. The clocks of two machines must not differ by more
# than the difference.
EXPIRY: Final = 60.0
RENEWAL: Final = 15.0


@dataclass(frozen=True)
class _Lock:
    owner: str
    number: int
    url: str
    run: str
    expires: float

    @property
    def is_held(self) -> bool:
        return self.expires > time.time()


class StoredLock:
    """The lock of a prefix; `is_exclusive` is False if the store cannot create an object conditionally."""

    def __init__(self, store: Store, root: Url, shard: Shard | None = None) -> None:
        """Store the arguments; no request is made yet."""
        self.is_exclusive = True
        self._store = store
        self._root = root
        self._shard = shard
        self._owner = shard.name if shard else ALL
        self._run = secrets.token_hex(16)
        self._url = ""
        self._expires = 0.0
        self._lost = False
        self._ending = Event()
        self._renewing: Thread | None = None

    def take(self) -> None:
        """Take the lock, and renew it until `release`.

        Raises:
            UsageError: another run has the lock.
            StorageError: the store refuses access or does not answer.
        """
        before = list(self._others())
        self._refuse_held(before)
        number = 1 + max((lock.number for lock in before if lock.owner == self._owner), default=0)
        url = (self._root / FOLDER / f"{self._owner}.{number}.json").text
        self._put_new(url)
        self._url = url
        # Another run may have listed the locks before this lock was created. In this case both runs see it here.
        self._refuse_held(list(self._others()))
        self.is_exclusive = not self._store.put_if_absent(url, self._content())
        for lock in before:
            self._store.remove(lock.url)
        self._renewing = Thread(target=self._renew, name="gradcam-lock", daemon=True)
        self._renewing.start()

    def check(self) -> None:
        """Check that the lock is still held.

        Raises:
            EnvironmentStop: another run has taken the lock, or it could not be renewed in time.
        """
        if self._lost or time.time() > self._expires:
            raise EnvironmentStop(
                f"{self._root}: this run lost its lock, because the store or this machine did not respond in time."
            )

    def release(self) -> None:
        """Release the lock, so that another run can take it."""
        self._ending.set()
        if self._renewing is not None:
            self._renewing.join()
        if self._url and not self._lost:
            # If it cannot be removed, it expires.
            with suppress(StorageError):
                self._store.remove(self._url)
        self._url = ""

    def _put_new(self, url: str) -> None:
        content = self._content()
        put = self._store.put_if_absent(url, content)
        # The content decides: a store without conditions lets two runs create the object, and after a repeated request
        # the existing object may be the own one.
        if self._store.read(url) == content:
            return
        why = "the other run took the lock at the same time" if put else "the other run took the lock first"
        raise in_use(self._root, self._shard, why)

    def _refuse_held(self, locks: list[_Lock]) -> None:
        held = next((lock for lock in locks if lock.is_held), None)
        if held is None:
            return
        if self._url:
            self._store.remove(self._url)
            self._url = ""
        until = time.strftime("%H:%M:%S UTC", time.gmtime(held.expires))
        why = (
            f"its lock is valid until {until}, unless the other run renews it; the lock of a killed run "
            "expires at that time"
        )
        raise in_use(self._root, self._shard, why)

    def _content(self) -> bytes:
        self._expires = time.time() + EXPIRY
        return json.dumps({"run": self._run, "expires": self._expires}).encode("ascii")

    def _others(self) -> Iterator[_Lock]:
        """Give the locks of other runs that exclude this run; every lock excludes a run of all images."""
        for name, stored in self._store.list((self._root / FOLDER).text):
            found = NAME.fullmatch(name)
            if found is None or (self._shard and found[1] not in {ALL, self._owner}):
                continue
            lock = self._read(found[1], int(found[2]), stored.url)
            if lock is not None and lock.run != self._run:
                yield lock

    def _read(self, owner: str, number: int, url: str) -> _Lock | None:
        try:
            content = json.loads(self._store.read(url))
            return _Lock(owner, number, url, str(content["run"]), float(content["expires"]))
        except StorageError as error:
            if error.is_transient:
                raise
            # The lock was released after it was listed.
            return None
        except (ValueError, KeyError, TypeError):
            # An object that is not a lock does not exclude a run.
            return _Lock(owner, number, url, "", 0.0)

    def _renew(self) -> None:
        while not self._ending.wait(RENEWAL):
            # If the store does not answer, the next attempt may still be before the lock expires.
            with suppress(StorageError):
                if any(lock.is_held for lock in self._others()) or time.time() > self._expires:
                    self._lost = True
                    return
                expires = self._expires
                try:
                    self._store.put(self._url, self._content())
                except StorageError:
                    self._expires = expires
