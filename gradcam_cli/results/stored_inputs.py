"""The objects of the inputs of a run that were given as URLs: each URL is listed once."""

from collections.abc import Iterable
from functools import cached_property

from gradcam_cli.errors import Reason, StorageError, UsageError
from gradcam_cli.inputs.discovery import mirrored
from gradcam_cli.inputs.objects import is_pattern, matching
from gradcam_cli.inputs.tar_inputs import TAR_SUFFIXES
from gradcam_cli.storage import Stored, Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import is_url, shown


def opened(paths: Iterable[str]) -> tuple[list["StoredInputs"], list[str]]:
    """Open those of the inputs that are URLs.

    Returns:
        The inputs that exist, and one message for each URL that does not exist or cannot be opened.

    Raises:
        StorageError: a store fails again and again.
    """
    found, missing = [], []
    for path in paths:
        if not is_url(path):
            continue
        try:
            inputs = StoredInputs(path)
            if inputs.exists:
                found.append(inputs)
            else:
                missing.append(f"{shown(path)} cannot be found")
        except UsageError as error:
            missing.append(str(error).rstrip("."))
    return found, missing


class StoredInputs:
    """The objects of one URL that was given as an input, by their places in the output tree."""

    def __init__(self, url: str, stores: Stores | None = None) -> None:
        """Store the URL; no request is made yet.

        Raises:
            UsageError: the URL is not one of an object store, or the library of the store is not installed.
        """
        self.url = url
        self._store = (stores or Stores()).of(url)

    def find(self, place: str) -> Stored | None:
        """Give the object of an image; None if there is none."""
        return self._objects.get(place)

    def has(self, place: str) -> bool:
        """Whether the input of an image exists: an object, or a tar that may contain it."""
        names = place.split("/")
        above = ("/".join(names[:i]) for i in range(1, len(names)))
        tars = (name for name in above if name.lower().endswith(TAR_SUFFIXES))
        return place in self._objects or any(name in self._objects for name in tars)

    @property
    def exists(self) -> bool:
        """Whether there is an object with this URL, or an object below it.

        Raises:
            UsageError: the store refuses access.
            StorageError: the store fails again and again.
        """
        return bool(self._objects)

    @cached_property
    def _objects(self) -> dict[str, Stored]:
        try:
            found = {mirrored(name): stored for name, stored in self._store.list(self.url)}
            if not found and is_pattern(self.url):
                found = dict(matching(self._store, self.url))
            if not found:
                found = {self.url.rsplit("/", 1)[-1]: Stored(self._store, self.url, self._store.stat(self.url))}
        except StorageError as error:
            if error.reason is Reason.VANISHED:
                return {}
            raise refusal(error) from None
        return found
