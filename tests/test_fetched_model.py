"""Files of a model in an object store: fetched whole, checked as local files are, named by their URL, and removed."""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Invoke, invoked
from fakes import FakeEngines

from gradcam_cli.cli import program
from gradcam_cli.errors import ModelError, Reason, StorageError, UsageError
from gradcam_cli.inputs import fetched_model
from gradcam_cli.inputs.fetched_model import fetched
from gradcam_cli.models.request import ModelRequest, locate_model
from gradcam_cli.settings import EngineSettings, ModelSettings
from gradcam_cli.storage import Store, Stores
from gradcam_cli.urls import Url

pytest.importorskip("fsspec", reason="the extra gradcam-cli[remote] is not installed")


def silent(name: str, size: int) -> AbstractContextManager[Any]:
    return nullcontext(lambda count: None)


def test_files_are_fetched_in_parts_and_removed_at_the_end(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched_model, "PART_BYTES", 7)
    store = Stores().of(bucket)
    for name, data in {"m.keras": bytes(range(100)), "w.h5": b"weights", "labels.txt": b"cat\ndog\n"}.items():
        store.put(f"{bucket}/{name}", data)
    settings = ModelSettings(
        model=f"{bucket}/m.keras", weights=Url(f"{bucket}/w.h5"), labels=Url(f"{bucket}/labels.txt"), layer="x"
    )
    seen: list[int] = []
    with fetched(settings, Stores(), lambda name, size: nullcontext(seen.append)) as here:
        model = Path(here.model)
        assert (model.name, model.read_bytes()) == ("m.keras", bytes(range(100)))
        assert isinstance(here.weights, Path)
        assert here.weights.read_bytes() == b"weights"
        assert isinstance(here.labels, Path)
        assert here.labels.read_text() == "cat\ndog\n"
        assert [path.name for path in model.parent.iterdir()] == ["m.keras"]
        assert here.layer == "x"
    assert not model.exists()
    assert seen == [7] * 14 + [2] + [7] + [7, 1]


def test_settings_without_urls_pass_as_they_are() -> None:
    settings = ModelSettings(model="m.keras", weights=Path("w.h5"))
    with fetched(settings, Stores(), silent) as here:
        assert here is settings


def test_what_is_too_large_or_not_there_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched_model, "MOST_BYTES", 9)
    store = Stores().of(bucket)
    store.put(f"{bucket}/m.keras", bytes(10))
    for name, told in (("m.keras", "more than the limit of 9"), ("none.keras", "there is no such object")):
        with (
            pytest.raises(ModelError, match=f"{bucket}/{name}: .*{told}"),
            fetched(ModelSettings(model=f"{bucket}/{name}"), Stores(), silent),
        ):
            pytest.fail("it was fetched")


def test_a_model_that_is_put_again_meanwhile_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = Stores().of(bucket), Store.read
    store.put(f"{bucket}/m.keras", bytes(10))

    def swapped(self: Store, url: str, start: int | None = None, end: int | None = None) -> bytes:
        data = read(self, url, start, end)
        self.put(url, b"another sz")
        return data

    monkeypatch.setattr(Store, "read", swapped)
    with (
        pytest.raises(ModelError, match="it changed during the download"),
        fetched(ModelSettings(model=f"{bucket}/m.keras"), Stores(), silent),
    ):
        pytest.fail("it was fetched")


def test_a_store_that_does_not_answer_is_no_fault_of_the_model(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Store, url: str) -> None:
        raise StorageError(Reason.UNREADABLE, f"{url}: the store failed 8 times (SlowDown).")

    monkeypatch.setattr(Store, "stat", fails)
    with pytest.raises(StorageError), fetched(ModelSettings(model=f"{bucket}/m.keras"), Stores(), silent):
        pytest.fail("it was fetched")


class Hashing(FakeEngines):
    """Keeps the hash and the name of the model file that it was asked to locate."""

    hashed: str = ""
    named: str = ""

    def locate(self, settings: ModelSettings, *args: Any, **options: Any) -> ModelRequest:
        path = Path(settings.model)
        self.hashed, self.named = hashlib.sha256(path.read_bytes()).hexdigest(), path.name
        return super().locate(settings, *args, **options)

    def open(self, request: ModelRequest, choice: EngineSettings, work: Any) -> Any:
        # When the engine is opened, the file is still there.
        assert Path(request.settings.model).is_file()
        return super().open(request, choice, work)


def test_a_run_takes_a_model_from_a_store(bucket: str, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    Stores().of(bucket).put(f"{bucket}/pets.keras", b"model")
    engines = Hashing()
    invoked(engines, "explain", "photos", "-o", "out", "--model", f"{bucket}/pets.keras")
    assert engines.named == "pets.keras"
    assert engines.hashed == hashlib.sha256(b"model").hexdigest()
    result = invoked(engines, "explain", "photos", "-o", "out", "--model", f"{bucket}/no.keras", code=3)
    assert f"{bucket}/no.keras: there is no such object" in result.stderr


def test_a_hostile_model_is_refused_by_the_name_of_its_url(
    bucket: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes through the checks of local files: this one is no archive."""
    monkeypatch.chdir(photos.parent)
    Stores().of(bucket).put(f"{bucket}/bad.keras", b"PK\x03\x04 and nothing more")
    args = ["explain", "photos", "-o", "out", "--model", f"{bucket}/bad.keras"]
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 3
    assert f"{bucket}/bad.keras" in result.stderr
    assert "/tmp" not in result.stderr  # noqa: S108 - it is looked for, and not used


def test_commands_that_fetch_nothing_say_so(bucket: str, invoke: Invoke) -> None:
    for settings in (
        ModelSettings(weights=Url(f"{bucket}/w.h5")),
        ModelSettings(labels=Url(f"{bucket}/l.txt")),
    ):
        with pytest.raises(UsageError, match="URLs are not supported here"):
            locate_model(settings, silent)
    with pytest.raises(ModelError, match="a model must be a local file"):
        locate_model(ModelSettings(model=f"{bucket}/m.keras"), silent)
    result = invoke("explain", "x.jpg", "-o", "out", "--labels", "https://example.org/l.txt", code=2)
    assert "this kind of URL is not supported" in result.stderr
