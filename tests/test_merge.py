"""One run out of its shards: what one run over all pictures would have written; anything else is refused by name."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke, jpeg
from fakes import FakeEngine, FakeEngines

from gradcam_cli import explain_folder, merge_runs, read_run
from gradcam_cli.engines.protocol import Forward
from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.shards import Shard, index_of
from gradcam_cli.results import merging
from gradcam_cli.results.output import OutputFolder

# Products of matrices may differ in the last bit with the size of a batch.
PLAIN = ("--save-maps", "--batch-size", "1")
# How long a run took, and what it was made of.
OWN_FIELDS = {"images_per_second", "seconds", "shards"}
# The first picture.
BROKEN = "00.jpg"


class StoppedEngine(FakeEngine):
    """Ctrl-C comes in the first pass."""

    def explain(self, *args: Any, **kwargs: Any) -> Forward:
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def many(tmp_path: Path) -> Path:
    """Twelve pictures in two folders, one of them damaged."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for i in range(12):
        (root / ("sub" if i % 3 == 0 else "") / f"{i}.jpg").write_bytes(jpeg(30 + i, 20, seed=i))
    (root / BROKEN).write_bytes(jpeg()[:200])
    return root


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "run.json"}


def record_of(folder: Path, name: str = "run.json") -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / name).read_text())
    return record


def different(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Name the fields that differ."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def explain(invoke: Invoke, out: str, shard: str | None, *args: str) -> None:
    index, count = map(int, (shard or "1/1").split("/"))
    given = ("--shard", shard) if shard else ()
    fails = index_of(BROKEN, count) == index
    invoke("explain", "photos", "-o", out, *PLAIN, *given, *args, code=int(fails))


def shards(invoke: Invoke, count: int, folder: str = "out") -> list[str]:
    """Explain all shards, each into `folder`, or into one of its own where its name has a place for the index."""
    names = [folder.format(index) for index in range(1, count + 1)]
    for index, name in enumerate(names, 1):
        explain(invoke, name, f"{index}/{count}")
    return list(dict.fromkeys(names))


def refused(invoke: Invoke, *args: str) -> str:
    return invoke("merge", *args, code=2).stderr


@pytest.mark.parametrize("folder", ["out", "part{}"])
def test_a_merged_run_is_what_one_run_writes(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    explain(invoke, "plain", None)
    names = shards(invoke, 3, folder)
    result = invoke("merge", *names, *(["-o", "out"] if len(names) > 1 else []))
    assert "3 shards, 13 images: 12 explained, 1 failed -> out" in result.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    merged, plain = record_of(tmp_path / "out"), record_of(tmp_path / "plain")
    assert "shards" in different(merged, plain) <= OWN_FIELDS
    assert merged["counts"] == {
        "asked": 13, "done": 12, "failed": 1, "left": 0, "total": 13, "ok": 12, "flat": 0, "error": 1, "before": 0,
    }  # fmt: skip
    assert [share["index"] for share in merged["shards"]] == [1, 2, 3]
    assert sum(share["counts"]["asked"] for share in merged["shards"]) == 13
    assert merged["seconds"] == pytest.approx(sum(share["seconds"] for share in merged["shards"]), abs=0.002)
    assert json.loads(invoke("verify", "out", "--json").stdout)["problems"] == []
    # Only what failed is tried again.
    again = invoke("explain", "photos", "-o", "out", *PLAIN, code=1)
    assert "12 of them before" in again.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    (tmp_path / "photos" / BROKEN).unlink()
    monkeypatch.setattr("fakes.FakeEngines.open", None)
    assert "all were done before" in invoke("explain", "photos", "-o", "out", *PLAIN).stderr


def test_several_folders_are_linked_and_left_as_they_are(invoke: Invoke, tmp_path: Path) -> None:
    names = shards(invoke, 2, "part{}")
    before = [contents(tmp_path / name) for name in names]
    invoke("merge", *names, "-o", "out")
    assert [contents(tmp_path / name) for name in names] == before
    (first,) = [name for name in names if (tmp_path / name / "1.jpg.json").exists()]
    for file in ("1.jpg.json", "1.jpg.overlay.jpg", "1.jpg.map.npy"):
        assert (tmp_path / "out" / file).samefile(tmp_path / first / file)


def test_without_links_outputs_are_copied(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(self: Path, target: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    names = shards(invoke, 2, "part{}")
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    invoke("merge", *names, "-o", "out")
    explain(invoke, "plain", None)
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    assert not any((tmp_path / "out/1.jpg.json").samefile(path) for path in tmp_path.glob("part*/1.jpg.json"))


def test_report_compare_and_snapshot_read_a_merged_run(invoke: Invoke, tmp_path: Path) -> None:
    explain(invoke, "plain", None)
    shards(invoke, 2)
    assert "gradcam-cli merge" in invoke("report", "out", code=2).stderr
    result = invoke("merge", "out", "--report")
    assert "Report of 13 images" in result.stderr
    assert (tmp_path / "out/index.html").is_file()
    found = json.loads(invoke("compare", "plain", "out", "--json", "--fail-over", "class-changes=0").stdout)
    assert found["figures"]["class-changes"] == 0
    invoke("snapshot", "out", "-o", "golden.json")
    assert read_run("out").counts["done"] == 12


def test_other_options_in_the_merged_folder_are_announced(invoke: Invoke, many: Path) -> None:
    names = shards(invoke, 2, "part{}")
    invoke("merge", *names, "-o", "out")
    assert "other options" not in invoke("merge", *names, "-o", "out").stderr
    invoke("explain", "photos/1.jpg", "photos/2.jpg", "-o", "other", "--method", "gradcam")
    (many / "2.jpg").rename(many / "new.jpg")
    for index in (1, 2):
        explain(invoke, names[index - 1], f"{index}/2")
    assert invoke("merge", *names, "-o", "other", "-q").stderr == ""
    invoke("explain", "photos/1.jpg", "-o", "other", "--method", "gradcam")
    assert "Its results of the same images are replaced" in invoke("merge", *names, "-o", "other").stderr


def test_an_empty_shard_is_part_of_the_run(invoke: Invoke, tmp_path: Path) -> None:
    for index in (1, 2):
        invoke("explain", "photos/1.jpg", "-o", "out", "--shard", f"{index}/2")
    invoke("explain", "photos/1.jpg", "-o", "plain")
    invoke("merge", "out")
    merged, plain = record_of(tmp_path / "out"), record_of(tmp_path / "plain")
    assert "shards" in different(merged, plain) <= OWN_FIELDS


def test_missing_and_unfinished_shards_are_named(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    explain(invoke, "out", "2/4")
    assert "Shards 1/4, 3/4, 4/4 have no record: run --shard 1/4" in refused(invoke, "out")
    explain(invoke, "out", "1/4")
    explain(invoke, "out", "3/4")
    assert "Shard 4/4 has no record: run --shard 4/4" in refused(invoke, "out")
    assert not (tmp_path / "out/run.json").exists()
    explain(invoke, "out", "4/4")
    shard = index_of("1.jpg", 4), 4
    with pytest.raises(KeyboardInterrupt):
        explain_folder(
            many, "out", engines=FakeEngines(StoppedEngine), shard=shard, save_maps=True, batch_size=1,
            resume="overwrite",
        )  # fmt: skip
    record = record_of(tmp_path / "out", f"run.{shard[0]}-of-4.json")
    assert record["interrupted"]
    assert f"{record['counts']['left']} images not reached. Run --shard {shard[0]}/4 again" in refused(invoke, "out")
    explain(invoke, "out", f"{shard[0]}/4")
    invoke("merge", "out", "-q")


def test_many_missing_shards_are_counted(invoke: Invoke) -> None:
    explain(invoke, "out", "1/20")
    assert "2/20, 3/20, 4/20, 5/20, 6/20, 7/20, 8/20, 9/20 and 11 more have no record" in refused(invoke, "out")


def test_shards_with_other_options_models_or_counts_are_refused(invoke: Invoke, tmp_path: Path) -> None:
    explain(invoke, "out", "1/2")
    explain(invoke, "out", "2/2", "--method", "gradcam")
    assert "other options" in refused(invoke, "out")
    assert "method: gradcam++, now gradcam" in refused(invoke, "out")
    explain(invoke, "out", "2/2")
    path = tmp_path / "out/run.2-of-2.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "model": {**record["model"], "engine": "other"}}))
    assert "engine: fake, now other" in refused(invoke, "out")
    path.write_text(json.dumps(record))
    explain(invoke, "out", "3/3")
    assert "run.1-of-2.json" in refused(invoke, "out")
    assert "run.3-of-3.json" in refused(invoke, "out")
    (tmp_path / "out/run.3-of-3.json").unlink()
    invoke("merge", "out")


def change(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda record: {**record, name: None}


@pytest.mark.parametrize(
    "damage",
    [
        *map(change, ("counts", "inputs", "model", "seconds", "left_out", "shard")),
        lambda record: {**record, "shard": {"index": 2, "count": 2}},
        lambda record: {**record, "counts": {**record["counts"], "done": "12"}},
    ],
)
def test_records_that_no_shard_has_written_are_refused(
    invoke: Invoke, tmp_path: Path, damage: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    shards(invoke, 2)
    path = tmp_path / "out/run.1-of-2.json"
    path.write_text(json.dumps(damage(record_of(tmp_path / "out", "run.1-of-2.json"))))
    assert "not the record of shard 1 of 2" in refused(invoke, "out")


def test_the_same_shard_twice_is_accepted_where_both_agree(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    names = shards(invoke, 2, "part{}")
    for path in many.rglob("*.jpg"):
        # Another checkout gives the same photographs another time.
        os.utime(path, (1, 1))
    explain(invoke, "again", "1/2")
    invoke("merge", *names, "again", "-o", "out")
    explain(invoke, "plain", None)
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "plain").keys()
    place = next(p.name for p in many.glob("*.jpg") if index_of(p.name, 2) == 1 and p.name != BROKEN)
    (many / place).write_bytes(jpeg(seed=77))
    explain(invoke, "again", "1/2")
    text = refused(invoke, *names, "again", "-o", "other")
    assert "different results of shard 1 of 2" in text
    assert place in text
    assert not (tmp_path / "other").exists()


def test_results_of_other_shards_options_and_runs_are_left(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    """Each machine may begin with the results of all, restored from a cache."""
    explain(invoke, "cache", None)
    (many / "gone.jpg").write_bytes(jpeg(seed=50))
    explain(invoke, "cache", None, "--method", "gradcam")
    (many / "gone.jpg").unlink()
    explain(invoke, "cache", None)
    invoke("explain", "photos/1.jpg", "-o", "cache/nested")
    for index in (1, 2):
        shutil.copytree(tmp_path / "cache", tmp_path / f"part{index}")
        explain(invoke, f"part{index}", f"{index}/2")
    invoke("merge", "part1", "part2", "-o", "out")
    explain(invoke, "plain", None)
    found, expected = contents(tmp_path / "out"), contents(tmp_path / "plain")
    assert found.keys() == expected.keys()
    assert record_of(tmp_path / "out")["counts"]["before"] == 12


@pytest.mark.parametrize("gone", ["1.jpg.json", "1.jpg.overlay.jpg"])
@pytest.mark.parametrize("how", ["removed", "cut off", "linked"])
def test_folders_that_are_not_whole_are_refused(invoke: Invoke, tmp_path: Path, gone: str, how: str) -> None:
    names = shards(invoke, 2, "part{}")
    (path,) = [tmp_path / name / gone for name in names if (tmp_path / name / gone).exists()]
    data = path.read_bytes()
    path.unlink()
    if how == "cut off":
        path.write_bytes(data[: len(data) // 2])
    if how == "linked":
        path.symlink_to(tmp_path / "photos/1.jpg")
    text = refused(invoke, *names, "-o", "out")
    assert "1.jpg" in text or "sidecars can be found" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["run.json", "thesis.docx", "2.jpg.overlay.jpg"])
def test_a_planted_sidecar_brings_no_file_of_others(invoke: Invoke, tmp_path: Path, name: str) -> None:
    names = shards(invoke, 2, "part{}")
    (path,) = tmp_path.glob("part*/1.jpg.json")
    path.with_name(name).write_text("planted")
    sidecar = json.loads(path.read_text())
    sidecar["files"].append({"name": name, "bytes": 7, "sha256": "0" * 64})
    path.write_text(json.dumps(sidecar))
    assert f"{name} is not a file of this image" in refused(invoke, *names, "-o", "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_make_no_sense_are_refused(invoke: Invoke, tmp_path: Path) -> None:
    names = shards(invoke, 2, "part{}")
    assert "with --out" in refused(invoke, *names)
    assert "one of these folders is inside the other" in refused(invoke, *names, "-o", "part1/out")
    assert "one of these folders is inside the other" in refused(invoke, *names, "-o", "part1")
    assert "one of these folders is inside the other" in refused(invoke, *names, "-o", ".")
    assert "no such folder" in refused(invoke, "part1", "nowhere", "-o", "out")
    explain(invoke, "plain", None)
    assert "no run.K-of-N.json" in refused(invoke, "plain")
    with pytest.raises(UsageError, match="Name the output folders"):
        merge_runs([])
    (tmp_path / "out/1.jpg.json").parent.mkdir()
    (tmp_path / "out/1.jpg.json").write_text('{"label": "cat"}')
    assert "did not write it" in refused(invoke, *names, "-o", "out")
    assert not (tmp_path / "out/run.json").exists()


def test_a_folder_that_is_written_to_is_not_merged(invoke: Invoke, tmp_path: Path) -> None:
    shards(invoke, 2)
    with OutputFolder(tmp_path / "out", Shard(2, 1)).held():
        assert "is writing to this folder" in refused(invoke, "out")
        assert "is writing to this folder" in refused(invoke, "out", "-o", "other")
    invoke("merge", "out")


def test_merging_twice_changes_nothing(invoke: Invoke, tmp_path: Path) -> None:
    shards(invoke, 2)
    invoke("merge", "out")
    before = (tmp_path / "out/run.json").read_bytes()
    assert "2 shards, 13 images" in invoke("merge", "out").stderr
    assert (tmp_path / "out/run.json").read_bytes() == before


def test_a_killed_merge_goes_on(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = shards(invoke, 3, "part{}")
    real = OutputFolder.link_image
    calls: list[int] = []

    def killed(self: OutputFolder, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(OutputFolder, "link_image", killed)
    invoke("merge", *names, "-o", "out", code=130)
    assert not (tmp_path / "out/run.json").exists()
    invoke("merge", *names, "-o", "out")
    explain(invoke, "plain", None)
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_a_merge_that_was_killed_while_it_removed_records_goes_on(invoke: Invoke, tmp_path: Path) -> None:
    shards(invoke, 3)
    kept = (tmp_path / "out/run.3-of-3.json").read_bytes()
    invoke("merge", "out")
    (tmp_path / "out/run.3-of-3.json").write_bytes(kept)
    before = (tmp_path / "out/run.json").read_bytes()
    invoke("merge", "out")
    assert (tmp_path / "out/run.json").read_bytes() == before
    assert not list(tmp_path.glob("out/run.*-of-*"))
    # A new run of one shard is not taken for what was left: the others are missing.
    explain(invoke, "out", "3/3", "--overwrite")
    assert "1/3, 2/3 have no record" in refused(invoke, "out")


def test_the_next_night(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    """Shards run again into a merged folder, and explain only what is new; then they are merged again."""
    shards(invoke, 2)
    invoke("merge", "out")
    (many / "new.jpg").write_bytes(jpeg(seed=31))
    shards(invoke, 2)
    invoke("merge", "out")
    counts = record_of(tmp_path / "out")["counts"]
    assert (counts["asked"], counts["before"], counts["done"]) == (14, 12, 13)


def test_inputs_of_all_shards_are_recorded(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("photos/1.jpg\n")
    for index in (1, 2):
        invoke("explain", "photos/sub", "photos/2.jpg", "-o", "out", "--shard", f"{index}/2")
    invoke("merge", "out")
    assert record_of(tmp_path / "out")["inputs"] == {"list": False, "paths": ["photos/sub", "photos/2.jpg"]}
    for index in (1, 2):
        invoke("explain", "--files-from", "list", "-o", "out", "--shard", f"{index}/2")
    invoke("merge", "out")
    assert record_of(tmp_path / "out")["inputs"] == {"list": True, "paths": ["photos/sub", "photos/2.jpg"]}


def test_the_largest_count_of_what_was_left_out_stands() -> None:
    counts = [
        {"files": {"other": {".md": 1}}, "folders": {}},
        {"files": {"other": {".md": 3, ".txt": 1}}, "folders": {}},
    ]
    assert merging._largest(counts) == {"files": {"other": {".md": 3, ".txt": 1}}, "folders": {}}
