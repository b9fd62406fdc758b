"""Files of a model in an object store. They are downloaded for the duration of a run, and checked like local files."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import EnvironmentStop, ModelError, StorageError
from gradcam_cli.settings import ModelSettings
from gradcam_cli.storage import Stored, Stores
from gradcam_cli.urls import Url, is_stored

MOST_BYTES: Final = 8 * 2**30
MOST_LABEL_BYTES: Final = 16 * 2**20
# The number of bytes that are in memory at a time.
PART_BYTES: Final = 16 * 2**20

# Shows a download: takes the name and the size of a file, and gives a function that takes the size of each part.
Show = Callable[[str, int], AbstractContextManager[Callable[[int], Any]]]


def is_remote(settings: ModelSettings) -> bool:
    """Whether a file of the model is given as the URL of an object."""
    given = (settings.weights, settings.labels)
    return is_stored(settings.model) or any(isinstance(each, Url) for each in given)


@contextmanager
def fetched(settings: ModelSettings, stores: Stores, show: Show) -> Iterator[ModelSettings]:
    """Give the settings with local files instead of URLs. The files are removed when the block ends.

    Raises:
        UsageError: a URL is not that of an object store, or the library for the store is not installed.
        ModelError: the object does not exist, access is refused, it is too large, or it changed during the download.
        StorageError: the store does not answer.
        EnvironmentStop: the file cannot be written to the temporary folder, for example because the disk is full.
    """
    if not is_remote(settings):
        yield settings
        return
    model, weights, labels = settings.model, settings.weights, settings.labels
    with tempfile.TemporaryDirectory(prefix="gradcam-") as folder:
        urls: dict[str, str] = {}

        def fetch(url: str, kind: str, most: int) -> Path:
            # Each file has its own folder, so that a model cannot find other files as its labels or weights.
            own = Path(folder, kind)
            own.mkdir()
            path = _fetch(stores.object(url), own, most, show)
            urls[str(path)] = url
            return path

        if is_stored(model):
            settings = replace(settings, model=str(fetch(model, "model", MOST_BYTES)))
        if isinstance(weights, Url):
            settings = replace(settings, weights=fetch(weights.text, "weights", MOST_BYTES))
        if isinstance(labels, Url):
            settings = replace(settings, labels=fetch(labels.text, "labels", MOST_LABEL_BYTES))
        try:
            yield settings
        except ModelError as error:
            # The user knows the URL, but not the name of the temporary file.
            message = str(error)
            for path, url in urls.items():
                message = message.replace(path, url)
            raise ModelError(message) from error


def _fetch(stored: Stored, folder: Path, most: int, show: Show) -> Path:
    path = folder / stored.url.rsplit("/", 1)[-1]
    try:
        stat = stored.stat()
        if stat.size > most:
            raise ModelError(
                f"{Url(stored.url)}: its {stat.size:,} bytes are more than the limit of {most:,}. It was not read."
            )
        with show(path.name, stat.size) as advance, path.open("xb") as file:
            for start in range(0, stat.size, PART_BYTES):
                part = stored.store.read(stored.url, start, min(start + PART_BYTES, stat.size))
                file.write(part)
                advance(len(part))
        if path.stat().st_size != stat.size or stored.stat() != stat:
            raise ModelError(f"{Url(stored.url)}: it changed during the download. Run the command again.")
    except StorageError as error:
        raise (error if error.is_transient else ModelError(str(error))) from None
    except OSError as error:
        raise EnvironmentStop(f"{Url(stored.url)}: it cannot be downloaded to {folder}: {error.strerror}.") from error
    return path
