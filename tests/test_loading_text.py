"""What a terminal shows while a model is loaded: the library whose import takes seconds, and the model."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngines

from gradcam_cli import explain_folder
from gradcam_cli.engines import cache, selection
from gradcam_cli.engines.selection import loading_text
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.settings import EngineSettings, ModelSettings

TENSORFLOW = "loading TensorFlow and the model m.keras"
OPENVINO = "loading OpenVINO and the model m.keras"


class Busy(RunObserver):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def busy(self, what: str) -> AbstractContextManager[None]:
        @contextmanager
        def shown() -> Iterator[None]:
            self.told.append(what)
            yield

        return shown()


def found(layers: tuple[str, ...] = (), plan: Path | None = None) -> ModelRequest:
    file = None if plan else Path("m.keras")
    return ModelRequest(ModelSettings(model="m.keras", layers=layers), None, file, None, None, "0" * 64, plan)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with OpenVINO and without a GPU, whose cache has the plans of these layers."""

    def have(*layers: str, openvino: bool = True, gpu: bool = False) -> None:
        monkeypatch.setattr(selection, "openvino_installed", lambda: openvino)
        monkeypatch.setattr(selection, "gpu_possible", lambda: gpu)
        monkeypatch.setattr(cache, "has_plan", lambda request: request.settings.layer in layers)

    return have


@pytest.mark.parametrize(
    ("layers", "options", "text"),
    [
        ((), {}, TENSORFLOW),
        (("auto",), {}, OPENVINO),
        (("auto",), {"engine": "openvino"}, OPENVINO),
        (("auto",), {"engine": "tensorflow"}, TENSORFLOW),
        (("auto",), {"cache": False}, TENSORFLOW),
    ],
)
def test_the_library_that_is_imported_is_named(
    machine: Callable[..., None], layers: tuple[str, ...], options: Any, text: str
) -> None:
    machine(*layers)
    assert loading_text(found(), EngineSettings(**options)) == text


def test_a_plan_in_the_cache_does_not_help_without_openvino_or_on_a_gpu(machine: Callable[..., None]) -> None:
    machine("auto", openvino=False)
    assert loading_text(found(), EngineSettings()) == TENSORFLOW
    machine("auto", gpu=True)
    assert loading_text(found(), EngineSettings()) == TENSORFLOW
    assert loading_text(found(), EngineSettings(precision="bfloat16")) == OPENVINO


def test_each_fused_layer_needs_a_plan(machine: Callable[..., None]) -> None:
    machine("a")
    assert loading_text(found(("a", "b")), EngineSettings()) == TENSORFLOW
    machine("a", "b")
    assert loading_text(found(("a", "b")), EngineSettings()) == OPENVINO


def test_a_plan_needs_openvino_only() -> None:
    assert loading_text(found(plan=Path("m.plan")), EngineSettings()) == "loading OpenVINO and the model m.plan"


def test_a_run_shows_it_once(photos: Path, tmp_path: Path) -> None:
    observer = Busy()
    explain_folder(photos, tmp_path / "out", engine="tensorflow", observer=observer, engines=FakeEngines())
    assert observer.told == ["loading TensorFlow and the model fake.keras"]
