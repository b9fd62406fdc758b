"""The one import of OpenVINO: with its telemetry disabled, and without its converter, which is not needed here."""

import sys
from functools import cache
from typing import Any

CONVERTER, TELEMETRY = "openvino.tools.ovc", "openvino_telemetry"

if "openvino" not in sys.modules:
    # The converter tells its maker of every import, in a process of its own, wherever this package can be imported.
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    # A prediction needs no converter, and it is half of what importing OpenVINO costs.
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
    """Give the one `openvino.Core` of this process, for any thread.

    OpenVINO (2026.4) gives the thread that first uses a processor memory for its signal handlers, and frees
    it with the last `Core`. Where another thread releases that one, the next Ctrl-C ends the process by SIGSEGV. So the
    processor's plugin is never unloaded, which also loads it only once.
    """
    return openvino.Core()


__all__ = ["core", "openvino"]
