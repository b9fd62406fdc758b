"""The one import of cv2: single-threaded, silent, and helpful where it cannot be imported."""

from gradcam_cli.errors import EnvironmentStop

try:
    import cv2
except ImportError as error:
    raise EnvironmentStop(
        f"OpenCV cannot be imported ({error}). Install the build that needs no screen and no libGL: "
        "pip uninstall -y opencv-python opencv-contrib-python; "
        "pip install --force-reinstall opencv-python-headless"
    ) from error

# The pipeline decodes and draws in threads of its own: more threads below them only fight for the cores.
cv2.setNumThreads(1)
# A broken file is reported once, by its record, not also by the codec.
SILENT = 0
# OpenCV 4 has this at the top, OpenCV 5 in a module.
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(SILENT)

__all__ = ["cv2"]
