"""The one import of OpenVINO: with its telemetry disabled, and without its converter, which is not needed here."""

import sys

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

__all__ = ["openvino"]
