"""What did the image classifier look at? Grad-CAM++ and its family for Keras models.

The public names below are imported when they are first used, so that `import gradcam_cli` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcam_cli.errors import (
        EnvironmentStop,
        GradcamError,
        ImageError,
        MethodError,
        ModelError,
        Reason,
        UsageError,
    )
    from gradcam_cli.explainer import Explainer, explain_folder
    from gradcam_cli.explanation import ClassExplanation, Explanation
    from gradcam_cli.report.compare import Comparison, ImageChange, compare_runs
    from gradcam_cli.requests import ExplainRequest
    from gradcam_cli.results.merging import merge_runs
    from gradcam_cli.results.run import Run, read_run
    from gradcam_cli.runs.observer import RunObserver
    from gradcam_cli.settings import (
        EngineSettings,
        InputSettings,
        Limits,
        MethodOptions,
        ModelSettings,
        OverlaySettings,
        RunSettings,
        TargetSettings,
    )

__version__ = "0.2.0"

__all__ = [
    "ClassExplanation",
    "Comparison",
    "EngineSettings",
    "EnvironmentStop",
    "ExplainRequest",
    "Explainer",
    "Explanation",
    "GradcamError",
    "ImageChange",
    "ImageError",
    "InputSettings",
    "Limits",
    "MethodError",
    "MethodOptions",
    "ModelError",
    "ModelSettings",
    "OverlaySettings",
    "Reason",
    "Run",
    "RunObserver",
    "RunSettings",
    "TargetSettings",
    "UsageError",
    "compare_runs",
    "explain_folder",
    "merge_runs",
    "read_run",
]

_PLACES = {
    "errors": ("EnvironmentStop", "GradcamError", "ImageError", "MethodError", "ModelError", "Reason", "UsageError"),
    "explainer": ("Explainer", "explain_folder"),
    "explanation": ("ClassExplanation", "Explanation"),
    "report.compare": ("Comparison", "ImageChange", "compare_runs"),
    "requests": ("ExplainRequest",),
    "results.merging": ("merge_runs",),
    "results.run": ("Run", "read_run"),
    "runs.observer": ("RunObserver",),
    "settings": (
        "EngineSettings",
        "InputSettings",
        "Limits",
        "MethodOptions",
        "ModelSettings",
        "OverlaySettings",
        "RunSettings",
        "TargetSettings",
    ),
}
_HOMES = {name: home for home, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is used first."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
