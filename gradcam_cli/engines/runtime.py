"""The only import of OpenVINO, with telemetry disabled and without the converter, which is not needed here."""

import sys
from functools import cache
from typing import Any

CONVERTER, TELEMETRY = "openvino.tools.ovc", "openvino_telemetry"

if "openvino" not in sys.modules:
    # The converter reports every import to its vendor if this package can be imported.
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    # Inference does not need the converter, which takes half of the import time of OpenVINO.
    sys.modules[CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        for name in (CONVERTER, TELEMETRY):
            del sys.modules[name]
else:
    import openvino


@cache
def core() -> Any:
    """Give the single `openvino.Core` of this process; any thread may call this.

    OpenVINO (2026.4) allocates memory for signal handlers in the thread that first uses a device, and frees it with the
    last `Core`. If another thread releases the `Core`, the next Ctrl-C ends the process with SIGSEGV. So the plugin of
    the device is never unloaded.
    """
    return openvino.Core()


__all__ = ["core", "openvino"]
