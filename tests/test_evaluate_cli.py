"""`gradcam-cli evaluate` as a stranger meets it: most of it on a fake engine in this process."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import DATA, SAMPLES, Invoke, Runner, invoked, jpeg
from fakes import EVERYTHING, HEAD, FakeEngine, FakeModel, OtherEngine, study
from junitparser import JUnitXml
from lxml import etree

from gradcam_cli.cli import program
from gradcam_cli.engines.protocol import RandomisedEngine
from gradcam_cli.engines.selection import Engines
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import ModelError, Reason, StorageError
from gradcam_cli.evaluation.measures import CONVENTIONS, MEASURES
from gradcam_cli.evaluation.plot import Curves, curves_png
from gradcam_cli.inputs.sources import Source
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.results.output import OutputFolder
from gradcam_cli.results.sidecar import RunCard
from gradcam_cli.results.stored_lock import StoredLock
from gradcam_cli.runs.pipeline import explain_sources
from gradcam_cli.settings import EngineSettings, ModelSettings
from gradcam_cli.storage import Store, Stores
from gradcam_cli.urls import Url

SCHEMA = etree.XMLSchema(etree.parse(DATA / "junit" / "junit-10.xsd"))
PAIR = ("--method", "gradcam", "--method", "gradcam++")


@dataclass
class FakeStudyEngines(Engines):
    """Finds one fake model and opens fake engines of it; keeps what it was asked for."""

    located: list[ModelSettings] = field(default_factory=list)
    layers: list[str | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    has_one_size: bool = False
    plan: Path | None = None

    def locate(
        self, settings: ModelSettings, downloading: Any, *, cache: bool = True, need_weights: bool = True
    ) -> ModelRequest:
        self.located.append(settings)
        return ModelRequest(settings, None, None, None, None, None, self.plan)

    def of_model(self, request: ModelRequest, choice: EngineSettings) -> Any:
        return self

    def open(self, work: Work, layer: str | None = None) -> Any:  # type: ignore[override]
        self.layers.append(layer)
        return _fake_engine(work, layer, (8, 8)), FakeModel()

    def open_larger(self, work: Work, layer: str, size: tuple[int, int]) -> FakeEngine:
        self.sizes.append(size)
        if self.has_one_size:
            raise ModelError("its input is 8x8 and cannot be changed")
        return _fake_engine(work, layer, size)

    def open_randomised(self, work: Work, layer: str, batch_size: int) -> Iterator[RandomisedEngine]:
        for stage in (HEAD, EVERYTHING):
            yield RandomisedEngine(stage.layers, stage.of, stage.back_to, OtherEngine(batch_size=batch_size))


def _fake_engine(work: Work, layer: str | None, size: tuple[int, int]) -> FakeEngine:
    engine = FakeEngine(batch_size=min(4, work.image_count), side=size[0], cells=size[0] // 2)
    engine.layer = replace(engine.layer, path="last" if layer == "auto" else str(layer))
    return engine


@pytest.fixture
def engines() -> FakeStudyEngines:
    return FakeStudyEngines()


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: FakeStudyEngines) -> Invoke:
    monkeypatch.chdir(tmp_path)

    return partial(invoked, engines, "evaluate")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for i in range(6):
        (root / ("sub" if i == 5 else ".") / f"{i}.jpg").write_bytes(jpeg(30 + i, 20, seed=i))
    return root


def read(folder: Path) -> Any:
    return json.loads((folder / "evaluation.json").read_text())


def rows(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "evaluation.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("photos")
def test_a_table_on_stdout_and_nothing_else(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("photos", *PAIR)
    lines = result.stdout.splitlines()
    assert lines[0] == "layer last"
    assert lines[1].split() == ["better", "gradcam", "gradcam++", "count"]
    assert [line.split("  ")[0] for line in lines[2:8]] == [
        "drop %",
        "increase %",
        "win %",
        "complexity",
        "coherency",
        "ADCC",
    ]
    assert all(line.endswith("     6") for line in lines[2:8])
    assert "6 images x 2 methods in " in result.stderr
    assert "images/s" in result.stderr
    assert "no files were written" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.usefixtures("photos")
def test_everything_in_a_folder_and_the_same_twice(invoke: Invoke, tmp_path: Path) -> None:
    args = ("photos", *PAIR, "--metrics", "all", "--steps", "5", "-o")
    invoke(*args, "a")
    invoke(*args, "b")
    names = ["curves.png", "evaluation.json", "evaluation.jsonl"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    record = read(tmp_path / "a")
    assert record["conventions"] == CONVENTIONS
    assert record["counts"] == {"asked": 6, "done": 6, "failed": 0, "ok": 6, "error": 0}
    assert [result["method"] for result in record["results"]] == ["gradcam", "gradcam++"]
    for result in record["results"]:
        assert result["metrics"].keys() == record["definitions"].keys()
        assert all(figure["count"] == 6 for figure in result["metrics"].values())
        assert len(result["curves"]["deletion"]) == 6
        assert [stage["back_to"] for stage in result["sanity"]] == ["head", "stem"]
    kinds = [row["kind"] for row in rows(tmp_path / "a")]
    assert {kind: kinds.count(kind) for kind in kinds} == {"image": 12, "sanity": 24}


@pytest.mark.usefixtures("photos")
def test_rows_are_what_the_figures_are_means_of(invoke: Invoke, tmp_path: Path) -> None:
    invoke("photos", *PAIR, "-o", "out", "--layer", "auto", "--layer", "other")
    record = read(tmp_path / "out")
    assert [(r["layer"], r["method"]) for r in record["results"]] == [
        (layer, method) for layer in ("last", "other") for method in ("gradcam", "gradcam++")
    ]
    assert [model["layer"] for model in record["models"]] == ["last", "other"]
    for result in record["results"]:
        found = [r for r in rows(tmp_path / "out") if (r["layer"], r["method"]) == (result["layer"], result["method"])]
        for name, figure in result["metrics"].items():
            assert figure["mean"] == pytest.approx(sum(row[name] for row in found) / 6, abs=1e-5)
    assert found[0]["file"] == "0.jpg"
    assert found[0]["class"]["label"] == f"class {found[0]['class']['index']}"


@pytest.mark.usefixtures("photos")
def test_one_layer_by_two_names_is_refused(invoke: Invoke) -> None:
    result = invoke("photos", "--layer", "auto", "--layer", "last", code=2)
    assert "--layer last is last, which is already one of the layers" in result.stderr


def test_a_bad_picture_is_told_once_and_the_run_ends_with_1(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (photos / "2.jpg").write_bytes(b"no picture")
    result = invoke("photos", *PAIR, "-o", "out", "--layer", "auto", "--layer", "other", code=1)
    assert result.stderr.count("not_an_image") == 1
    assert "6 images: 5 measured, 1 failed -> out" in result.stderr
    errors = [row for row in rows(tmp_path / "out") if row["kind"] == "error"]
    assert [(row["file"], row["reason"]) for row in errors] == [("2.jpg", "not_an_image")]
    assert read(tmp_path / "out")["counts"] == {"asked": 6, "done": 5, "failed": 1, "ok": 5, "error": 1}


def test_when_nothing_can_be_measured(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"")
    result = invoke("photos", "-o", "out", code=1)
    assert result.stdout == ""
    assert read(tmp_path / "out")["counts"] == {"asked": 6, "done": 0, "failed": 6, "ok": 0, "error": 6}


@pytest.mark.usefixtures("photos")
def test_gates(invoke: Invoke, tmp_path: Path) -> None:
    invoke("photos", *PAIR, "--fail-under", "average-drop=100", "--fail-under", "adcc=0")
    result = invoke(
        "photos", *PAIR, "-o", "out", "--fail-under", "gradcam:adcc=1", "--fail-under", "increase=0", code=5
    )
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("--fail-under")]
    assert line.startswith("--fail-under: gradcam at last: adcc is 0.")
    assert line.endswith(", below 1")
    assert read(tmp_path / "out")["gates"] == {
        "asked": ["gradcam:adcc=1", "increase=0"],
        "crossed": [line.removeprefix("--fail-under: ")],
    }
    assert "ADCC" in result.stdout


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "There is no INPUT"),
        (("-",), "more than once"),
        (("photos", "-o", "-"), "-o must be a folder"),
        (("photos", "-0"), "-0 needs --files-from"),
        (("photos", "--metrics", "drop,dorp"), "there is no metric 'dorp'"),
        (("photos", "--grid", "1x1"), "is not a grid"),
        (("photos", "--grid", "9x9"), "is not a grid"),
        (("photos", "--fail-under", "drop"), "METRIC=VALUE"),
        (("photos", "--fail-under", "sharpness=3"), "one of average-drop, increase"),
        (("photos", "--fail-under", "increase=nan"), "'nan' is not a finite number"),
        (("photos", "--fail-under", "increase=-inf"), "'-inf' is not a finite number"),
        (("photos", "--fail-under", "adcc=high"), "'high' is not a number"),
        (("photos", "--fail-under", "deletion=0.5"), "Select it with --metrics deletion"),
        (("photos", "--fail-under", "grid=0.5"), "Select it with --grid"),
        (("photos", "--fail-under", "layercam:adcc=0.5"), "there is no --method layercam"),
        (("photos", "--method", "gradcam", "--fail-under", "win-rate=50"), "Give a second --method"),
        (("photos", "--boxes-csv", "none.csv"), "cannot be read"),
        (("missing",), "no such file"),
    ],
)
def test_what_cannot_be_meant(invoke: Invoke, args: tuple[str, ...], message: str, engines: FakeStudyEngines) -> None:
    assert message in invoke(*args, code=2).stderr
    assert not engines.located


@pytest.mark.usefixtures("photos")
def test_boxes(invoke: Invoke, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x0,y0,x1,y1\n0.jpg,0,0,30,20\nsub/5.jpg,0,0,1,1\nunknown.jpg,0,0,1,1\n")
    result = invoke("photos", *PAIR, "-o", "out", "--boxes-csv", "boxes.csv")
    metrics = read(tmp_path / "out")["results"][0]["metrics"]
    assert metrics["pointing"]["count"] == metrics["energy"]["count"] == 2
    assert [row["energy"] for row in rows(tmp_path / "out") if row["file"] == "0.jpg"] == [1.0, 1.0]
    assert "pointing" in result.stdout
    boxes.write_text("file,x0,y0,x1,y1\n5.jpg,0,0,30,20\n")
    assert "no box belongs to these images" in invoke("photos", "--boxes-csv", "boxes.csv", code=2).stderr


@pytest.mark.usefixtures("photos")
def test_grid(invoke: Invoke, tmp_path: Path, engines: FakeStudyEngines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.evaluation.run.SURE", 0.0)
    invoke("photos", *PAIR, "-o", "out", "--grid", "1x2")
    assert engines.sizes == [(8, 16)]
    record = read(tmp_path / "out")
    cells = [row for row in rows(tmp_path / "out") if row["kind"] == "cell"]
    assert record["grid"]["candidates"] == 6
    assert len(cells) == record["grid"]["collages"] * 2 * 2 > 0
    assert record["results"][0]["metrics"]["grid"]["count"] == len(cells) / 2


@pytest.mark.usefixtures("photos")
def test_a_grid_without_sure_pictures_is_told(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.evaluation.run.SURE", 1.1)
    result = invoke("photos", "-o", "out", "--grid", "2x2", "--fail-under", "grid=0.1", code=5)
    assert "needs more images" in result.stderr
    assert "grid was not measured on any image" in result.stderr
    assert read(tmp_path / "out")["grid"] == {"candidates": 0, "collages": 0}


@pytest.mark.usefixtures("photos")
def test_a_model_of_one_size_cannot_play_the_grid(invoke: Invoke, engines: FakeStudyEngines) -> None:
    engines.has_one_size = True
    result = invoke("photos", "--grid", "2x2", code=3)
    assert "--grid 2x2 needs the same network at 16x16 pixels, which this network does not accept" in result.stderr
    assert "its input is 8x8 and cannot be changed" in result.stderr


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(("option", "value"), [("--grid", "2x2"), ("--metrics", "sanity")])
def test_a_plan_can_neither_grow_nor_forget(invoke: Invoke, engines: FakeStudyEngines, option: str, value: str) -> None:
    engines.plan = Path("my.plan")
    assert "Use the model that it was compiled from" in invoke("photos", option, value, code=3).stderr
    assert not engines.layers


@pytest.mark.usefixtures("photos")
def test_without_matplotlib_there_is_a_hint(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.evaluation.run.find_spec", lambda _name: None)
    result = invoke("photos", "-o", "out", "--metrics", "deletion")
    assert "pip install '.[plot]'" in result.stderr
    assert not (tmp_path / "out" / "curves.png").exists()


@pytest.mark.usefixtures("photos")
def test_many_methods_make_several_blocks(invoke: Invoke) -> None:
    names = ["gradcam", "gradcam++", "gradcam++-paper", "cam", "layercam", "hirescam", "xgradcam"]
    result = invoke("photos", *[word for name in names for word in ("--method", name)])
    blocks = [block.splitlines()[1].split()[1:-1] for block in result.stdout.split("\n\n")[:-1]]
    assert blocks == [names[:6], names[6:]]


def test_help_has_every_definition() -> None:
    text = " ".join(CliRunner().invoke(program, ["evaluate", "--help"]).stdout.split())
    for definition in (*CONVENTIONS.values(), *(measure.definition for measure in MEASURES.values())):
        assert " ".join(definition.split()) in text


def test_a_plot_is_a_png_and_the_same_twice() -> None:
    curves = [
        Curves(
            layer,
            f"method {i}",
            {"deletion": [0.9, 0.4, 0], "insertion": [0, 0.5, 0.9]},
            {"deletion": 0.4, "insertion": 0.5},
        )
        for layer in ("a", "b")
        for i in range(9)
    ]
    data = curves_png("title", curves)
    assert data.startswith(b"\x89PNG")
    assert data == curves_png("title", curves)


def test_a_real_network(inside: Runner, tmp_path: Path) -> None:
    """Real weights: the map of the last layer follows its head for gradcam, hardly for gradcam++; and the grid."""
    done = inside(
        "evaluate",
        SAMPLES,
        *PAIR,
        "--model",
        "efficientnetlite0",
        "--metrics",
        "drop,sanity",
        "--grid",
        "1x2",
        "-o",
        "out",
    ).expect(0)
    gradcam, plus = (result["metrics"] for result in read(tmp_path / "out")["results"])
    assert gradcam["sanity_head"]["mean"] < 0.5
    assert plus["sanity_head"]["mean"] > 0.8
    assert "gradcam++ at top_activation hardly changes when the weights of the last 1 of 99 layers" in done.err
    record = read(tmp_path / "out")
    assert [stage["layers"] for stage in record["results"][0]["sanity"]] == [1, 10, 25, 50, 99]
    assert record["grid"]["collages"] >= 1
    assert gradcam["grid"]["mean"] > plus["grid"]["mean"]
    assert gradcam["average_drop"]["count"] == 6


def test_an_evaluation_of_somebody_elses_is_left_alone(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study/evaluation.json").write_text('{"mine": true}')
    assert "did not write it" in invoke("photos", *PAIR, "-o", "study", code=2).stderr
    assert (tmp_path / "study/evaluation.json").read_text() == '{"mine": true}'


def test_the_record_has_what_was_asked_for_and_left_out(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (photos / "notes.txt").write_text("no picture")
    (photos / ".hidden.jpg").write_bytes(jpeg())
    (photos / "broken.jpg").write_text("no picture")
    invoke("photos", *PAIR, "-o", "study", "--range", "3:99", code=1)
    record = read(tmp_path / "study")
    assert record["options"]["sample_range"] == [3.0, 99.0]
    assert record["left_out"]["files"] == {"hidden": {".jpg": 1}, "other": {".txt": 1}}
    assert record["inputs"] == {"list": False, "paths": ["photos"]}
    assert record["counts"] == {"asked": 7, "done": 6, "failed": 1, "ok": 6, "error": 1}


def test_an_evaluation_beside_sidecars_does_not_disturb_verify(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    """`verify` is content with a folder that a run and an evaluation share, and `--prune` removes nothing of it."""
    del photos
    items = [Source(path.name, str(path)) for path in sorted((tmp_path / "photos").glob("*.jpg"))]
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    made = list(explain_sources(items, replace(study().job, run=RunCard("0" * 64, {})), FakeEngine(), folder))
    folder.write_run({"schema_version": 2, "versions": {}, "options_sha256": made[0]["options_sha256"], "counts": {}})
    folder.release()
    invoke("photos", *PAIR, "-o", "out", "--metrics", "all", "--steps", "3")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert {"evaluation.json", "evaluation.jsonl", "curves.png", "run.json"} <= set(before)
    for more in ([], ["--prune"]):
        result = CliRunner().invoke(program, ["verify", "out", *more])
        assert (result.exit_code, result.stdout) == (0, f"{len(items)} sidecars, 0 files: no problems\n"), result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("place", "message"), [("explain", "Interrupted. The rows that were written stay valid"), ("open", "Interrupted.")]
)
def test_an_interruption(
    invoke: Invoke, engines: FakeStudyEngines, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    def interrupt(*_args: Any, **_options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine if place == "explain" else FakeStudyEngines, place, interrupt)
    assert message in invoke("photos", code=130).stderr


def read_junit(path: Path) -> dict[str, Any]:
    SCHEMA.assertValid(etree.parse(path))
    (suite,) = JUnitXml.fromfile(str(path))
    return {case.name: case for case in suite}


def test_gates_and_images_are_test_cases(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (photos / "1.jpg").write_bytes(b"")
    gates = ("--fail-under", "gradcam:average-drop=0", "--fail-under", "increase=0", "--fail-under", "adcc=0.99")
    files = ("--junit", "ci/junit.xml", "--markdown", "ci/summary.md")
    done = invoke("photos", *PAIR, *gates, "-o", "out", *files, code=5)
    found = read_junit(tmp_path / "ci" / "junit.xml")
    failed = {name: case.result[0] for name, case in found.items() if case.result}
    images = {row["file"] for row in rows(tmp_path / "out")}
    assert found.keys() == images | {"gradcam:average-drop=0", "increase=0", "adcc=0.99"}
    assert failed.keys() == {"1.jpg", "gradcam:average-drop=0", "adcc=0.99"}
    assert [f"--fail-under: {line}" in done.stderr for line in failed["adcc=0.99"].message.split("; ")] == [True] * 2
    assert f"--fail-under: {failed['gradcam:average-drop=0'].message}" in done.stderr
    assert failed["1.jpg"].type == "empty"
    assert found["increase=0"].classname == "gradcam-cli.evaluate.gates"
    text = (tmp_path / "ci" / "summary.md").read_text()
    assert text.startswith("## gradcam-cli evaluate: failed\n\n6 images: 5 measured, 1 failed\n")
    drops = [row for row in rows(tmp_path / "out") if row["kind"] == "image"]
    worst = sorted(drops, key=lambda row: -row["average_drop"])
    listed = text.split("### Worst drop %")[1].strip().splitlines()[2:]
    assert [line.split(" | ")[0] for line in listed] == [f"| {row['file']}" for row in worst]
    assert len(text.split("### Figures")[1].split("###")[0].strip().splitlines()) == 4


@pytest.mark.usefixtures("photos")
def test_a_refused_study_is_an_error(invoke: Invoke, tmp_path: Path, engines: FakeStudyEngines) -> None:
    engines.has_one_size = True
    done = invoke("photos", *PAIR, "--grid", "2x2", "--junit", "junit.xml", code=3)
    (error,) = read_junit(tmp_path / "junit.xml").values()
    assert error.result[0].message in done.stderr


def test_objects_of_a_store_are_measured_as_files(engines: FakeStudyEngines, photos: Path) -> None:
    pytest.importorskip("fsspec", reason="the extra gradcam-cli[remote] is not installed")
    store, url = Stores().of("memory://"), "memory://measured/photos"
    for path in photos.rglob("*.jpg"):
        store.put(f"{url}/{path.relative_to(photos).as_posix()}", path.read_bytes())
    here = invoked(engines, "evaluate", str(photos), *PAIR)
    assert "gradcam++" in here.stdout
    assert invoked(engines, "evaluate", url, *PAIR).stdout == here.stdout
    for _, stored in list(store.list("memory://measured")):
        store.remove(stored.url)


@pytest.mark.usefixtures("photos")
def test_everything_below_a_prefix_of_a_store(invoke: Invoke, tmp_path: Path, bucket: str) -> None:
    """The objects are the files of a folder; those of others stay, and a run there excludes another."""
    args = ("photos", *PAIR, "--metrics", "all", "--steps", "5", "-o")
    invoke(*args, "a")
    invoke(*args, f"{bucket}/study")
    store = Stores().of(bucket)
    found = {name: stored.read() for name, stored in store.list(f"{bucket}/study")}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    invoke(*args, f"{bucket}/study")
    store.put(f"{bucket}/other/evaluation.jsonl", b"mine")
    assert "did not write it" in invoke(*args, f"{bucket}/other", code=2).stderr
    lock = StoredLock(store, Url(f"{bucket}/study"))
    lock.take()
    assert "another run is writing to this folder" in invoke(*args, f"{bucket}/study", code=2).stderr
    lock.release()


@pytest.mark.usefixtures("photos")
def test_a_store_that_takes_no_figures(invoke: Invoke, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(store: Store, url: str, path: Path) -> None:
        raise StorageError(Reason.UNREADABLE, f"{url}: the store failed 8 times (SlowDown).")

    monkeypatch.setattr(Store, "put_file", fails)
    result = invoke("photos", *PAIR, "-o", f"{bucket}/study", code=4)
    assert f"{bucket}/study/evaluation.jsonl: the store failed 8 times (SlowDown)." in result.stderr
