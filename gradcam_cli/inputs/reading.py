"""The bytes of a source, wherever they are: in a file, on stdin, or in memory."""

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.decoding import read_file, read_stdin
from gradcam_cli.inputs.discovery import Source
from gradcam_cli.settings import Limits


def read_source(source: Source, limits: Limits) -> bytes:
    """Read the bytes of a picture.

    Raises:
        ImageError: they cannot be read, are none, or are more than the limit.
    """
    if source.is_stdin:
        return read_stdin(limits)
    if source.content is None:
        return read_file(source.path, limits)
    if not source.content:
        raise ImageError(Reason.EMPTY, "there are no bytes")
    if len(source.content) > limits.max_file_bytes:
        raise ImageError(Reason.TOO_LARGE, f"larger than {limits.max_file_bytes:,} bytes")
    return source.content
