"""Read the bytes of a source: from a file, an object store, stdin, or memory."""

from dataclasses import dataclass

from gradcam_cli.errors import ImageError, Reason, StorageError
from gradcam_cli.inputs.files import read_file, read_stdin
from gradcam_cli.inputs.sources import Source
from gradcam_cli.settings import Limits
from gradcam_cli.storage import Stat


def read_source(source: Source, limits: Limits) -> bytes:
    """Read the bytes of an image.

    Raises:
        ImageError: the bytes cannot be read, are empty, or are more than the limit.
    """
    if source.is_stdin:
        return read_stdin(limits)
    if source.stored is not None:
        return fetch(source, limits).data
    if source.content is None:
        return read_file(source.path, limits)
    if not source.content:
        raise ImageError(Reason.EMPTY, "there are no bytes")
    if len(source.content) > limits.max_file_bytes:
        raise _too_large(limits)
    return source.content


@dataclass(frozen=True, eq=False)
class Content:
    """The bytes of an object, and its properties in the store before they were read."""

    data: bytes
    stat: Stat


def fetch(source: Source, limits: Limits) -> Content:
    """Read the bytes of a source that is an object of a store.

    Raises:
        ImageError: there is no such object, access is refused, the store does not answer, or it is empty or too large.
    """
    stored = source.stored
    assert stored is not None  # noqa: S101 - sources of other kinds have no store
    try:
        stat = stored.stat()
        if stat.size > limits.max_file_bytes:
            raise _too_large(limits)
        data = stored.read()
    except StorageError as error:
        raise ImageError(error.reason, str(error)) from None
    if not data:
        raise ImageError(Reason.EMPTY, "the file is empty")
    # The object may have grown since it was listed.
    if len(data) > limits.max_file_bytes:
        raise _too_large(limits)
    return Content(data, stat)


def _too_large(limits: Limits) -> ImageError:
    return ImageError(Reason.TOO_LARGE, f"larger than {limits.max_file_bytes:,} bytes")
