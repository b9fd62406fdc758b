"""Detection of a GPU for TensorFlow. TensorFlow is imported only if there may be one."""

import sys
from collections.abc import Callable
from pathlib import Path

from gradcam_cli.system import DEVICE_FILES
from gradcam_cli.versions import installed_version

# Device files of GPUs on Linux: of NVIDIA's driver, of AMD's driver, and of WSL.
DEVICES = ("nvidia[0-9]*", "kfd", "dxg")
# The package that makes the GPU of a Mac available to TensorFlow.
METAL = "tensorflow-metal"

HasGpu = Callable[[], bool]


def gpu_usable() -> bool:
    """Whether TensorFlow can use a GPU here; TensorFlow is imported only if such a device may exist."""
    if not gpu_possible():
        return False
    try:
        import tensorflow as tf
    except ImportError:
        # A plan does not need TensorFlow.
        return False
    return bool(tf.config.list_physical_devices("GPU"))


def gpu_possible(platform: str = sys.platform, devices: Path = DEVICE_FILES) -> bool:
    """Whether there may be a GPU for TensorFlow, as far as this is known without importing TensorFlow.

    On Linux that is a device file of a driver, on macOS an installed plugin. TensorFlow has no GPUs elsewhere.
    """
    if platform.startswith("linux"):
        return any(True for pattern in DEVICES for _ in devices.glob(pattern))
    return platform == "darwin" and installed_version(METAL) is not None
