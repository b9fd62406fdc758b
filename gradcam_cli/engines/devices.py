"""Whether TensorFlow can use a GPU on this machine, found out without importing TensorFlow where it cannot."""

import sys
from collections.abc import Callable
from pathlib import Path

from gradcam_cli.system import DEVICE_FILES
from gradcam_cli.versions import installed_version

# Devices of Linux through which a GPU computes: of NVIDIA's driver, of AMD's, and of Windows below its Linux.
DEVICES = ("nvidia[0-9]*", "kfd", "dxg")
# What gives TensorFlow the GPU of a Mac.
METAL = "tensorflow-metal"

HasGpu = Callable[[], bool]


def gpu_usable() -> bool:
    """Whether TensorFlow can use a GPU here; TensorFlow is imported only where such a device can exist."""
    if not gpu_possible():
        return False
    try:
        import tensorflow as tf
    except ImportError:
        # Beside a plan there need be none.
        return False
    return bool(tf.config.list_physical_devices("GPU"))


def gpu_possible(platform: str = sys.platform, devices: Path = DEVICE_FILES) -> bool:
    """Whether there may be a GPU that TensorFlow could use, as far as it is known without TensorFlow.

    On Linux that is a device file of a driver, on macOS an installed plugin. TensorFlow has no GPUs elsewhere.
    """
    if platform.startswith("linux"):
        return any(True for pattern in DEVICES for _ in devices.glob(pattern))
    return platform == "darwin" and installed_version(METAL) is not None
