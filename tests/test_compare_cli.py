"""`gradcam-cli compare` as people and CI see it: its table, its JSON, its files and its exit codes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Invoke, jpeg
from fakes import FakeEngines, OtherEngine

from gradcam_cli import explain_folder
from gradcam_cli.report.change_metrics import CHANGE_METRICS
from gradcam_cli.report.snapshot import OF_PROBABILITIES, TOLERANCE


@pytest.fixture
def runs(photos: Path, tmp_path: Path) -> Path:
    """Two runs, `one` and `two`, of two models."""
    explain_folder(photos, tmp_path / "one", engines=FakeEngines())
    explain_folder(photos, tmp_path / "two", engines=FakeEngines(kind=OtherEngine))
    return tmp_path


def classes(folder: Path) -> dict[str, str]:
    records = [json.loads(path.read_text()) for path in folder.rglob("*.jpg.json")]
    return {record["input"]["path"]: record["classes"][0]["label"] for record in records}


def test_two_models_are_compared_in_a_table(runs: Path, invoke: Invoke) -> None:
    shown = invoke("compare", "one", "two")
    before, after = classes(runs / "one"), classes(runs / "two")
    changed = [path for path in before if before[path] != after[path]]
    assert changed
    for path in changed:
        (line,) = [line for line in shown.stdout.splitlines() if line.startswith(f"{path} ")]
        assert f"{before[path]} -> {after[path]} *" in line
    assert f"3 images compared: 3 changed, {len(changed)} class change" in shown.stdout
    assert "* the best class changed" in shown.stdout
    assert shown.stderr == ""


def test_a_run_against_itself_has_no_table(runs: Path, invoke: Invoke) -> None:
    limits = ("class-changes=0", "worst-correlation-below=1", "worst-probability-change=0", "added=0", "removed=0")
    gates = [part for limit in limits for part in ("--fail-over", limit)]
    assert invoke("compare", "one", "one", *gates).stdout == "3 images compared: 0 changed, 0 class changes\n"


def test_a_crossed_gate_ends_with_5_and_a_warning_with_0(runs: Path, invoke: Invoke) -> None:
    warned = invoke("compare", "one", "two", "--warn-over", "class-changes=0", "-q")
    assert warned.stdout == ""
    assert warned.stderr.startswith("warning: class-changes is ")
    failed = invoke("compare", "one", "two", "--fail-over", "class-changes=0", "--fail-over", "removed=0", code=5)
    assert "crossed: class-changes is " in failed.stderr
    assert "removed" not in failed.stderr


def test_the_record_is_printed_and_written_alike(runs: Path, invoke: Invoke) -> None:
    asked = ("compare", "one", "two", "--json", "-o", "diff", "--fail-over", "class-changes=0", "--match", "sha256")
    shown = invoke(*asked, code=5).stdout
    written = (runs / "diff" / "comparison.json").read_text()
    assert shown == written
    record = json.loads(written)
    assert list(record) == sorted(record)
    assert record["figures"].keys() == CHANGE_METRICS.keys()
    assert record["match"] == "sha256"
    assert record["limits"]["fail_over"] == {"class-changes": 0}
    assert len(record["limits"]["crossed"]) == 1
    assert len(record["images"]) == 3
    assert record["base"]["layers"] == ["last"]
    assert str(runs) not in written
    invoke(*asked, code=5)
    assert (runs / "diff" / "comparison.json").read_text() == written
    shutil.move(runs / "two", runs / "moved")
    invoke("compare", "one", "moved", *asked[3:], code=5)
    assert (runs / "diff" / "comparison.json").read_text() == written


def test_a_file_of_others_is_not_replaced(runs: Path, invoke: Invoke) -> None:
    (runs / "comparison.json").write_text("{}")
    assert "did not write it" in invoke("compare", "one", "two", "-o", ".", code=2).stderr
    assert (runs / "comparison.json").read_text() == "{}"


def test_images_of_one_run_only_are_named(runs: Path, photos: Path, invoke: Invoke) -> None:
    (photos / "a.jpg").write_bytes(b"")
    (photos / "b.jpg").unlink()
    (photos / "z.jpg").write_bytes(jpeg())
    explain_folder(photos, runs / "three", engines=FakeEngines())
    shown = invoke("compare", "one", "three").stdout.splitlines()
    assert "added: z.jpg" in shown
    assert "removed: b.jpg" in shown
    assert "failed now: a.jpg (empty)" in shown
    assert "failed before: a.jpg (empty)" in invoke("compare", "three", "one").stdout.splitlines()
    assert "failed in both: a.jpg (empty)" in invoke("compare", "three", "three").stdout.splitlines()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("one",), "Give BASE and NEW"),
        (("one", "two", "one"), "Give BASE and NEW"),
        (("one", "photos"), "no run.json"),
        (
            ("one", "two", "--fail-over", "classes=0"),
            "--fail-over classes=0: write METRIC=VALUE, where METRIC is one of class-changes",
        ),
        (("one", "two", "--warn-over", "added=many"), "--warn-over added=many: 'many' is not a number"),
        (("one", "four"), "no image in common, so they cannot be compared. Try another --match"),
    ],
)
def test_what_cannot_be_compared_is_usage(runs: Path, invoke: Invoke, args: Any, message: str) -> None:
    (runs / "others").mkdir()
    (runs / "others" / "other.jpg").write_bytes(jpeg(seed=5))
    explain_folder(runs / "others", runs / "four", engines=FakeEngines())
    assert message in invoke("compare", *args, code=2).stderr


def test_names_are_harmless(tmp_path: Path, invoke: Invoke) -> None:
    """Names with markup, line ends and control characters stay one cell of one line, and ASCII in the JSON."""
    (tmp_path / "photos").mkdir()
    name = "<img src=x onerror=alert(1)>\x1b[31m\n\u202e.jpg"
    (tmp_path / "photos" / name).write_bytes(jpeg(seed=1))
    explain_folder(tmp_path / "photos", tmp_path / "one", engines=FakeEngines())
    explain_folder(tmp_path / "photos", tmp_path / "two", engines=FakeEngines(kind=OtherEngine))
    shown = invoke("compare", "one", "two", "--fail-over", "worst-correlation-below=0.8", "-o", "out", code=5)
    assert r"<img src=x onerror=alert(1)>\x1b[31m\n\u202e.jpg" in shown.stdout
    assert len(shown.stdout.splitlines()) == 3
    assert len(shown.stderr.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(shown.stdout + shown.stderr)
    data = (tmp_path / "out" / "comparison.json").read_bytes()
    assert json.loads(data)["images"][0]["path"] == name
    assert max(data) < 128


def altered(path: Path, **changes: Any) -> None:
    record = json.loads(path.read_text())
    record["classes"][0].update(changes)
    path.write_text(json.dumps(record))


def test_a_change_below_the_digits_of_the_table_is_none(runs: Path, invoke: Invoke) -> None:
    sidecar = runs / "two" / "a.jpg.json"
    shutil.copytree(runs / "two", runs / "three")
    probability = json.loads(sidecar.read_text())["classes"][0]["probability"]
    altered(sidecar, probability=probability + 0.0004)
    assert invoke("compare", "three", "two").stdout == "3 images compared: 0 changed, 0 class changes\n"
    assert "crossed" in invoke("compare", "three", "two", "--fail-over", "worst-probability-change=0", code=5).stderr
    altered(sidecar, probability=probability + 0.0006)
    assert invoke("compare", "three", "two").stdout.splitlines()[1].startswith("a.jpg ")


def test_a_file_with_other_bytes_is_named(runs: Path, invoke: Invoke) -> None:
    sidecar = runs / "one" / "b.jpg.json"
    shutil.copytree(runs / "one", runs / "three")
    record = json.loads(sidecar.read_text())
    record["input"]["sha256"] = "f" * 64
    sidecar.write_text(json.dumps(record))
    shown = invoke("compare", "three", "one").stdout
    assert shown == "input changed: b.jpg\n3 images compared: 0 changed, 0 class changes\n"


def test_only_the_worst_images_are_shown(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(23):
        (tmp_path / "photos" / f"{i:02}.jpg").write_bytes(jpeg(seed=i))
    explain_folder(tmp_path / "photos", tmp_path / "one", engines=FakeEngines())
    explain_folder(tmp_path / "photos", tmp_path / "two", engines=FakeEngines(kind=OtherEngine))
    lines = invoke("compare", "one", "two").stdout.splitlines()
    images = json.loads(invoke("compare", "one", "two", "--json").stdout)["images"]
    assert [line.split()[0] for line in lines[1:21]] == [image["path"] for image in images[:20]]
    assert lines[21] == "and 3 more changed images"
    order = [(not image["class_changed"], image["correlation"]) for image in images]
    assert order == sorted(order)
    assert len({changed for changed, _ in order}) == 2


def test_the_help_defines_every_metric(invoke: Invoke) -> None:
    text = " ".join(invoke("compare", "--help").stdout.split())
    for metric in CHANGE_METRICS.values():
        assert f"{metric.name}: {metric.definition}." in text


def test_the_page_names_every_metric_and_its_usual_tolerance() -> None:
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    for name in CHANGE_METRICS:
        assert f"`{name}`" in page, name
    for limit in (*TOLERANCE, OF_PROBABILITIES):
        (line,) = [line for line in page.splitlines() if f"`{limit.metric}`" in line and f" {limit.value:g}" in line]
        assert line.startswith("|")
