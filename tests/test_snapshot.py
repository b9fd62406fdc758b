"""Snapshots: the same run gives the same small file, and another model does not pass."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Invoke, jpeg
from fakes import FakeEngine, FakeEngines, OtherEngine

from gradcam_cli import explain_folder
from gradcam_cli.errors import UsageError
from gradcam_cli.report.compare import compare_sides, side_of_run
from gradcam_cli.report.snapshot import TOLERANCE, Snapshot, read_snapshot, snapshot_of, write_snapshot
from gradcam_cli.requests import ChangeLimit
from gradcam_cli.results.run import Run, read_run


class SlightlyOtherEngine(FakeEngine):
    """The fake network with one weight that is another one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kernel = self.kernel.copy()
        self.kernel[0, 0] += 1.0
        self.head = replace(self.head, weights=self.kernel)


def explained(photos: Path, out: Path, kind: type[FakeEngine] = FakeEngine) -> Run:
    explain_folder(photos, out, engines=FakeEngines(kind=kind))
    return read_run(out)


@pytest.fixture
def done(photos: Path, tmp_path: Path) -> Run:
    return explained(photos, tmp_path / "out")


def test_the_same_run_gives_the_same_bytes(done: Run, photos: Path, tmp_path: Path) -> None:
    again = explained(photos, tmp_path / "again")
    assert snapshot_of(done).as_text() == snapshot_of(again).as_text()
    text = snapshot_of(done).as_text()
    assert str(tmp_path) not in text
    assert len(text) < 2500
    assert list(json.loads(text)) == sorted(json.loads(text))
    lines = [line for line in text.splitlines() if '"path"' in line]
    assert [json.loads(line.rstrip(","))["path"] for line in lines] == ["a.jpg", "b.jpg", "sub/a.jpg"]


def test_a_snapshot_is_read_back_as_it_was_written(done: Run, tmp_path: Path) -> None:
    made = snapshot_of(done, [ChangeLimit("worst-peak-shift", 5)])
    write_snapshot(tmp_path / "new" / "s.json", made)
    assert read_snapshot(tmp_path / "new" / "s.json") == made
    found = {limit.metric: limit.value for limit in made.tolerance}
    assert found["worst-peak-shift"] == 5
    assert found["worst-probability-change"] == 0.01
    assert found.keys() >= {limit.metric for limit in TOLERANCE}


def test_a_snapshot_has_the_best_class_of_the_sidecar(done: Run) -> None:
    kept = snapshot_of(done).records
    for record, sidecar in zip(kept, done.records(), strict=True):
        assert record["classes"][0]["heat"] == sidecar["classes"][0]["heat"]
        assert record["classes"][0]["probability"] == sidecar["classes"][0]["probability"]
        assert record["input"]["sha256"] == sidecar["input"]["sha256"]


def test_a_run_equals_its_snapshot(done: Run) -> None:
    found = compare_sides(snapshot_of(done).side(), side_of_run(done, "new"))
    assert all(change.correlation == pytest.approx(1) and change.probability_change == 0 for change in found.images)
    assert len(found.images) == 3


def test_an_output_without_probabilities_has_no_limit_for_them(done: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "out").rglob("*.jpg.json"):
        record = json.loads(path.read_text())
        record["classes"][0].update(probability=None, value=3.0)
        path.write_text(json.dumps(record))
    assert {limit.metric for limit in snapshot_of(done).tolerance} == {limit.metric for limit in TOLERANCE}


def test_a_run_without_an_explained_image_has_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "empty.jpg").touch()
    with pytest.raises(UsageError, match="nothing to write"):
        snapshot_of(explained(tmp_path / "photos", tmp_path / "out"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("", "cannot be read"),
        ("{}", "is not a snapshot"),
        ("<<<<<<< HEAD", "is not a snapshot"),
        ("[" * 100_000, "is not a snapshot"),
        ('{"gradcam_snapshot": 2}', "version 2"),
        ('{"gradcam_snapshot": 1}', "incomplete snapshot"),
        ('{"gradcam_snapshot": 1, "images": [{}], "explained_with": [], "tolerance": {}}', "incomplete snapshot"),
        ('{"gradcam_snapshot": 1, "images": [], "explained_with": [], "tolerance": {"x": 1}}', "`tolerance=x=1`"),
        (
            '{"gradcam_snapshot": 1, "images": [], "explained_with": [], "tolerance": {"removed": NaN}}',
            "`tolerance=removed=nan`",
        ),
    ],
)
def test_a_file_that_is_no_snapshot_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "s.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_snapshot(path)


def test_a_file_of_others_is_not_replaced(done: Run, tmp_path: Path) -> None:
    path = tmp_path / "package.json"
    path.write_text('{"name": "mine"}')
    with pytest.raises(UsageError, match="did not write it"):
        write_snapshot(path, snapshot_of(done))
    assert path.read_text() == '{"name": "mine"}'


def test_a_changed_weight_fails_until_it_is_accepted(done: Run, photos: Path, tmp_path: Path, invoke: Invoke) -> None:
    invoke("snapshot", "out", "-o", "s.json", "--tolerance", "worst-area-change=0.5")
    first = Path("s.json").read_bytes()
    invoke("compare", "out", "--snapshot", "s.json")
    explained(photos, tmp_path / "new", SlightlyOtherEngine)
    failed = invoke("compare", "new", "--snapshot", "s.json", code=5)
    assert "crossed: worst-probability-change is" in failed.stderr
    assert Path("s.json").read_bytes() == first
    invoke("compare", "new", "--snapshot", "s.json", "--fail-over", "worst-probability-change=1", code=5)
    updated = invoke("compare", "new", "--snapshot", "s.json", "--update")
    assert "s.json: updated" in updated.stderr
    invoke("compare", "new", "--snapshot", "s.json")
    invoke("compare", "out", "--snapshot", "s.json", code=5)
    limits = {limit.metric: limit.value for limit in read_snapshot(Path("s.json")).tolerance}
    assert limits["worst-area-change"] == 0.5
    explain_folder(photos, tmp_path / "third", engines=FakeEngines(kind=OtherEngine))
    assert "class-changes is" in invoke("compare", "third", "--snapshot", "s.json", code=5).stderr


def test_changed_and_missing_pictures_fail(done: Run, photos: Path, tmp_path: Path, invoke: Invoke) -> None:
    invoke("snapshot", "out", "-o", "s.json", "-q")
    (photos / "a.jpg").unlink()
    (photos / "b.jpg").write_bytes(jpeg(31, 20, seed=9))
    (photos / "c.jpg").write_bytes(jpeg(31, 20, seed=9))
    explained(photos, tmp_path / "new")
    failed = invoke("compare", "new", "--snapshot", "s.json", code=5)
    assert "removed is 1, above 0: a.jpg" in failed.stderr
    assert "inputs-changed is 1, above 0: b.jpg" in failed.stderr
    assert "added: c.jpg" in failed.stdout
    assert "removed: a.jpg" in failed.stdout


def test_an_update_needs_a_snapshot(done: Run, invoke: Invoke) -> None:
    assert "--snapshot FILE" in invoke("compare", "out", "out", "--update", code=2).stderr
    assert "only NEW" in invoke("compare", "out", "out", "--snapshot", "s.json", code=2).stderr
    assert "s.json" in invoke("compare", "out", "--snapshot", "s.json", code=2).stderr
    assert isinstance(snapshot_of(done), Snapshot)
