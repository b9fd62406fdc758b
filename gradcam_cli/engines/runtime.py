"""The one import of OpenVINO: it reports to nobody, and leaves out the converter, which nobody here needs."""

import sys

CONVERTER = "openvino.tools.ovc"

if "openvino" not in sys.modules:
    # The converter tells its maker of every import, in a process of its own, wherever this package can be imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    # A prediction needs no converter, and it is half of what importing OpenVINO costs.
    sys.modules[CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[CONVERTER]
else:
    import openvino

__all__ = ["openvino"]
