"""The only import of cv2, with a helpful error message, and a context where it uses one thread and prints nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradcam_cli.errors import EnvironmentStop

try:
    import cv2
except ImportError as error:
    raise EnvironmentStop(
        f"OpenCV cannot be imported ({error}). Install the build without a graphical interface: "
        "pip uninstall -y opencv-python opencv-contrib-python; "
        "pip install --force-reinstall opencv-python-headless"
    ) from error

# OpenCV 4 has these at the top, OpenCV 5 in a module.
_LOGGING: Any = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
SILENT = 0

__all__ = ["cv2", "quiet_single_thread"]


@contextmanager
def quiet_single_thread() -> Iterator[None]:
    """Let OpenCV use one thread, and print nothing, until the block ends.

    The pipeline decodes and draws in its own threads. A broken file is reported by its record, so the codec need not
    print it.
    """
    threads, level = cv2.getNumThreads(), _LOGGING.getLogLevel()
    cv2.setNumThreads(1)
    _LOGGING.setLogLevel(SILENT)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        _LOGGING.setLogLevel(level)
