"""--workers: several processes give what one gives, and one that ends costs no image but that which ended it."""

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import invoked, jpeg
from deadly_engine import DeadlyEngines, EndingEngines, RefusingEngines, SlowEngines
from fakes import FakeEngines
from listening import Listening, files, pictures_and_one_bad, white

from gradcam_cli.errors import EnvironmentStop, ModelError, UsageError
from gradcam_cli.methods import METHODS, Method
from gradcam_cli.options import explain_request
from gradcam_cli.runs.explain import run_explain

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers import the fake engines."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return pictures_and_one_bad(tmp_path / "in", 20)


def test_workers_write_what_one_process_writes(pictures: Path, tmp_path: Path) -> None:
    seen = {}
    for name, workers in (("one", None), ("two", 2)):
        options = {"workers": workers, "batch_size": 4, "save_maps": True}
        observer = Listening()
        run = run_explain(explain_request([pictures], tmp_path / name, options), observer, engines=FakeEngines())
        assert (run.exit_status, observer.total) == (1, 21)
        seen[name] = observer.records
    assert seen["two"] == seen["one"]
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.parametrize("at", [10])
def test_a_picture_that_ends_its_process_is_found_and_the_others_are_explained(
    pictures: Path, tmp_path: Path, at: int
) -> None:
    white(pictures / f"{at:03}.jpg")
    observer = Listening()
    request = explain_request([pictures], tmp_path / "out", {"workers": 2, "batch_size": 4})
    run = run_explain(request, observer, engines=DeadlyEngines())
    places = [record["input"]["path"] for record in observer.records]
    assert places == sorted(places)
    assert len(set(places)) == len(places) == 21
    failed = {record["input"]["path"]: record for record in observer.records if record["status"] == "error"}
    assert {place: record["reason"] for place, record in failed.items()} == {
        f"{at:03}.jpg": "crashed",
        "bad.jpg": "not_an_image",
    }
    assert failed[f"{at:03}.jpg"]["message"] == (
        "processes crashed while they explained only this image; the last one by exit code 9"
    )
    assert run.counts["failed"] == 2
    invoked(FakeEngines(), "verify", str(tmp_path / "out"), code=0)
    # Its sidecar is the same record, and the same command tries it again.
    assert json.loads((tmp_path / "out" / f"{at:03}.jpg.json").read_text()) == failed[f"{at:03}.jpg"]
    again = run_explain(request, engines=FakeEngines())
    assert (again.counts["failed"], again.counts["before"]) == (1, 19)


def test_an_interrupted_run_leaves_whole_files_and_goes_on(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = explain_request([pictures], out, {"workers": 2, "batch_size": 1})
    with pytest.raises(KeyboardInterrupt):
        run_explain(request, Listening(stop_after=3), engines=SlowEngines())
    record = json.loads((out / "run.json").read_text())
    sidecars = [path for path in out.glob("*.json") if path.name != "run.json"]
    assert record["interrupted"]
    assert record["counts"]["total"] == len(sidecars) < 21
    assert not list(out.glob(".gradcam-*"))
    again = run_explain(request, engines=FakeEngines())
    assert again.counts["total"] == 21
    plain = run_explain(explain_request([pictures], tmp_path / "plain", {"batch_size": 1}), engines=FakeEngines())
    assert plain.counts["total"] == 21
    kept = {name: data for name, data in files(out).items() if name != "run.json"}
    assert kept == {name: data for name, data in files(tmp_path / "plain").items() if name != "run.json"}


def test_a_refused_model_is_refused_as_in_one_process(pictures: Path) -> None:
    with pytest.raises(ModelError, match="the model is refused"):
        run_explain(explain_request([pictures], None, {"workers": 2}), engines=RefusingEngines())


def test_workers_that_end_while_they_load_stop_the_run(pictures: Path) -> None:
    with pytest.raises(
        EnvironmentStop, match="3 workers crashed while they loaded the model, the last one by exit code 7"
    ):
        run_explain(explain_request([pictures], None, {"workers": 2}), engines=EndingEngines())


def test_a_method_that_cannot_be_sent_is_refused(pictures: Path) -> None:
    method: Any = METHODS["gradcam"]

    @dataclass(frozen=True)
    class Local(Method):
        pass

    local = Local(**{name: getattr(method, name) for name in method.__dataclass_fields__})
    with pytest.raises(UsageError, match="can be sent to other processes"):
        run_explain(
            explain_request([pictures], None, {"workers": 2, "method": "mine"}),
            engines=FakeEngines(),
            methods={"mine": local},
        )


def test_the_command_reads_stdin_and_lists_for_its_workers(pictures: Path, tmp_path: Path) -> None:
    listed = "".join(f"{pictures / name}\n" for name in ("000.jpg", "001.jpg", "002.jpg"))
    args = ("explain", "--files-from", "-", "--workers", "2", "--jsonl", "-", "-q")
    ran = invoked(FakeEngines(), *args, stdin=listed)
    assert [json.loads(line)["input"]["path"].rsplit("/", 1)[-1] for line in ran.stdout.splitlines()] == [
        "000.jpg",
        "001.jpg",
        "002.jpg",
    ]
    out = tmp_path / "out"
    invoked(
        FakeEngines(), "explain", "-", str(pictures / "000.jpg"), "--workers", "2", "-o", str(out), stdin=jpeg(seed=5)
    )
    invoked(FakeEngines(), "explain", "-", "-o", str(tmp_path / "plain"), stdin=jpeg(seed=5))
    assert (out / "stdin.json").read_bytes() == (tmp_path / "plain" / "stdin.json").read_bytes()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_workers_read_photographs_in_tars(pictures: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"shard{suffix}"
    with tarfile.open(path, "w:gz" if suffix == ".tar.gz" else "w") as tar:
        for photo in sorted(pictures.iterdir()):
            tar.add(photo, photo.name)
    for name, workers in (("one", None), ("two", 2)):
        request = explain_request([path], tmp_path / name, {"workers": workers, "batch_size": 1})
        assert run_explain(request, engines=FakeEngines()).counts["ok"] == 20
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_options_of_actors_need_a_cluster(pictures: Path) -> None:
    ran = invoked(FakeEngines(), "explain", str(pictures), "--jsonl", "-", "--ray-cpus", "2", code=2)
    assert "--ray-cpus needs --ray: it is an option of the Ray actors." in ran.stderr
