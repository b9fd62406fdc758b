"""Shards of a run: disjoint, complete, stable; several write into one folder at once; none touches another's files."""

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Invoke, jpeg
from fakes import FakeEngines
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli import explain_folder
from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.shards import Shard, index_of, shard_of_record
from gradcam_cli.results.output import OutputFolder

FAKE = Path(__file__).parent / "fake_program.py"
# As names come from the file system: any bytes.
places = st.binary(min_size=1, max_size=30).map(os.fsdecode)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twelve pictures in two folders."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for i in range(12):
        (root / ("sub" if i % 3 == 0 else "") / f"{i}.jpg").write_bytes(jpeg(30 + i, 20, seed=i))
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the records of runs."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("run.")}


def sidecars(folder: Path) -> set[str]:
    return {name for name in contents(folder) if name.endswith(".json")}


def started(folder: Path, *args: str, seconds: str = "0") -> "subprocess.Popen[bytes]":
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SECONDS_A_PASS": seconds}
    return subprocess.Popen([sys.executable, FAKE, "explain", *args], cwd=folder, env=env, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("place", "count", "index"),
    # printf %s PLACE | sha256sum, as a hexadecimal number, modulo the count, plus 1.
    [("cat.jpg", 1, 1), ("cat.jpg", 8, 8), ("sub/cat.jpg", 8, 7), ("sub/cat.jpg", 1000, 311), ("é.png", 7, 6)],
)
def test_the_index_is_that_of_the_documented_hash(place: str, count: int, index: int) -> None:
    assert index_of(place, count) == index


def test_the_bytes_of_a_name_that_is_not_utf8_are_hashed() -> None:
    # printf '\xff.jpg' | sha256sum
    assert index_of(os.fsdecode(b"\xff.jpg"), 1000) == 726


@given(st.sets(places, max_size=20), st.integers(1, 50))
def test_shards_are_disjoint_and_complete(found: set[str], count: int) -> None:
    parts = [{place for place in found if Shard(count, index).has(place)} for index in range(1, count + 1)]
    assert sum(map(len, parts)) == len(found)
    assert set().union(*parts) == found


def test_large_sets_are_spread_evenly() -> None:
    counts = [sum(Shard(8, index).has(f"photos/{i}.jpg") for i in range(8000)) for index in range(1, 9)]
    # 1000 +- 30 is one standard deviation of a binomial distribution.
    assert all(850 < count < 1150 for count in counts)


@pytest.mark.parametrize("name", ["run.json", "run.0-of-2.json", "run.3-of-2.json", "run.1-of-2.json.json"])
def test_names_that_are_no_record_of_a_shard(name: str) -> None:
    assert shard_of_record(name) is None


def test_the_record_of_a_shard_has_its_name() -> None:
    assert Shard(8, 2).run_record == "run.2-of-8.json"
    assert shard_of_record("run.2-of-8.json") == Shard(8, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0/4", "counted from 1: 1/4 to 4/4"),
        ("5/4", "from 1/N to N/N"),
        ("0/0", "from 1/N to N/N"),
        ("4", "is not K/N"),
        ("a/b", "is not K/N"),
        ("-1/4", "is not K/N"),
    ],
)
def test_values_that_are_no_shard_end_with_2(invoke: Invoke, photos: Path, value: str, text: str) -> None:
    assert text in refused(invoke, "explain", "photos", "-o", "out", "--shard", value)


def test_each_shard_explains_its_own_and_says_so(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    explained = []
    for index in (1, 2, 3):
        invoke("explain", "photos", "-o", f"out{index}", "--shard", f"{index}/3")
        record = json.loads((tmp_path / f"out{index}/run.{index}-of-3.json").read_text())
        assert record["shard"] == {"index": index, "count": 3}
        assert not (tmp_path / f"out{index}/run.json").exists()
        explained.append(sidecars(tmp_path / f"out{index}"))
        assert record["counts"]["done"] == len(explained[-1])
    assert sum(map(len, explained)) == 12
    assert len(set().union(*explained)) == 12
    (many / "added.jpg").write_bytes(jpeg(seed=99))
    again = invoke("explain", "photos", "-o", "again", "--shard", "2/3", "--jsonl", "-")
    paths = {json.loads(line)["input"]["path"] for line in again.stdout.splitlines()}
    assert paths - {"added.jpg"} == {name.removesuffix(".json") for name in explained[1]}


def test_a_preview_lists_the_shard_only(invoke: Invoke, many: Path) -> None:
    lines = [invoke("explain", "photos", "--dry-run", "--shard", f"{k}/2").stdout.splitlines() for k in (1, 2)]
    assert sorted(lines[0] + lines[1]) == sorted(invoke("explain", "photos", "--dry-run").stdout.splitlines())
    assert lines[0]
    assert lines[1]


def test_lists_and_several_inputs_have_shards_by_their_place_in_the_output(
    invoke: Invoke, many: Path, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("photos/1.jpg\n./photos/sub/../2.jpg\nphotos/1.jpg\nphotos/sub\n")
    found = []
    for index in (1, 2):
        result = invoke("explain", "photos/sub", "photos/4.jpg", "--files-from", "list", "--jsonl", "-",
                        "--shard", f"{index}/2")  # fmt: skip
        shard = [json.loads(line)["input"]["path"] for line in result.stdout.splitlines()]
        assert {index_of(path, 2) for path in shard} == {index}
        found += shard
    whole = invoke("explain", "photos/sub", "photos/4.jpg", "--files-from", "list", "--jsonl", "-")
    assert sorted(found) == [json.loads(line)["input"]["path"] for line in whole.stdout.splitlines()]
    assert len(found) == 4 + 1 + 2 + 4


def test_a_limit_counts_before_shards_are_taken(invoke: Invoke, many: Path) -> None:
    shards = [invoke("explain", "photos", "--dry-run", "--limit", "5", "--shard", f"{k}/2").stdout for k in (1, 2)]
    assert sorted("".join(shards).splitlines()) == sorted(
        invoke("explain", "photos", "--dry-run", "--limit", "5").stdout.splitlines()
    )


def empty_shard(place: str) -> str:
    return f"{3 - index_of(place, 2)}/2"


def test_an_empty_shard_ends_well_without_a_model(
    invoke: Invoke, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakes.FakeEngines.open", None)
    shard = empty_shard("a.jpg")
    result = invoke("explain", "photos/a.jpg", "-o", "out", "--shard", shard, "--jsonl", "lines")
    assert f"Shard {shard.replace('/', ' of ')} has no images" in result.stderr
    record = json.loads((tmp_path / f"out/run.{shard.replace('/', '-of-')}.json").read_text())
    assert record["counts"]["asked"] == 0
    assert (tmp_path / "lines").read_text() == ""
    assert "0 images would be explained" in invoke("explain", "photos/a.jpg", "--dry-run", "--shard", shard).stderr


def test_nothing_found_at_all_is_an_error_in_every_shard(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        explain_folder(tmp_path / "empty", tmp_path / "out", engines=FakeEngines(), shard=(1, 2))


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_the_library_refuses_what_is_no_shard(photos: Path, tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"counted from 1|not a shard"):
        explain_folder(photos, tmp_path / "out", engines=FakeEngines(), shard=shard)


def test_options_that_a_shard_does_not_take(invoke: Invoke, photos: Path) -> None:
    explain = ("explain", "photos", "-o", "out", "--shard", "1/2")
    assert "merge" in refused(invoke, *explain, "--report")
    assert "--retry-failed cannot be used with --shard" in refused(invoke, *explain, "--retry-failed")


def refused(invoke: Invoke, *args: str) -> str:
    return invoke(*args, code=2).stderr


def test_shards_share_a_folder_and_exclude_runs_of_all_and_their_own_second_run(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, Shard(2, 1)).held(), OutputFolder(tmp_path, Shard(2, 2)).held():
        with pytest.raises(UsageError, match="another run of shard 1 of 2"):
            OutputFolder(tmp_path, Shard(2, 1)).prepare()
        with pytest.raises(UsageError, match="another run is writing"):
            OutputFolder(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []
    with (
        OutputFolder(tmp_path).held(),
        pytest.raises(UsageError, match="shard 1 of 2, or of all shards, is writing"),
    ):
        OutputFolder(tmp_path, Shard(2, 1)).prepare()
    OutputFolder(tmp_path, Shard(2, 1)).prepare()


def test_file_systems_that_lock_no_folders_still_lock_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Linux client of NFS, which locks only what is open for writing."""
    real = fcntl.flock

    def flock(descriptor: int, mode: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, mode)

    monkeypatch.setattr(fcntl, "flock", flock)
    with OutputFolder(tmp_path, Shard(2, 1)).held(), OutputFolder(tmp_path, Shard(2, 2)).held():
        with pytest.raises(UsageError, match="another run of shard 1 of 2"):
            OutputFolder(tmp_path, Shard(2, 1)).prepare()
        with OutputFolder(tmp_path, Shard(4, 1)).held():
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_refused_folder_is_free_again(tmp_path: Path) -> None:
    (tmp_path / "run.1-of-2.json").write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="did not write it"), OutputFolder(tmp_path, Shard(2, 1)).held():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run.1-of-2.json"]
    with OutputFolder(tmp_path).held():
        pass


def test_shards_inside_of_a_run_are_a_run_of_their_own(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    invoke("explain", "photos", "-o", "out/nested", "--method", "gradcam", "--shard", "1/2")
    found = json.loads(invoke("verify", "out", "--json").stdout)
    assert found["problems"] == []
    assert found["sidecars"] == 12 + len(places_of_shard_1(many))
    before = contents(tmp_path / "out/nested")
    invoke("verify", "out", "--prune")
    assert contents(tmp_path / "out/nested") == before


def test_a_shard_sweeps_its_own_temporaries_only(tmp_path: Path) -> None:
    own, other, whole = (f".gradcam-{owner}0123456789abcdef.tmp" for owner in ("1-of-2-", "2-of-2-", ""))
    lock, foreign = ".gradcam-2-of-2.lock", ".gradcam-mine.lock"
    for name in (own, other, whole, lock, foreign):
        (tmp_path / name).touch()
    with OutputFolder(tmp_path, Shard(2, 1)).held():
        pass
    assert {path.name for path in tmp_path.iterdir()} == {other, whole, lock, foreign}
    with OutputFolder(tmp_path).held():
        pass
    assert {path.name for path in tmp_path.iterdir()} == {foreign}


def test_shards_that_run_at_the_same_time_write_what_one_run_writes(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    """Three processes and one folder: every picture once, byte for byte."""
    # Products of matrices may differ in the last bit with the size of a batch.
    options = ("--save-maps", "--batch-size", "1", "-q")
    invoke("explain", "photos", "-o", "plain", *options)
    running = [
        started(tmp_path, "photos", "-o", "out", *options, "--shard", f"{k}/3", seconds="0.05") for k in (1, 2, 3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    assert sorted(path.name for path in (tmp_path / "out").glob("run.*")) == [f"run.{k}-of-3.json" for k in (1, 2, 3)]
    assert not list((tmp_path / "out").rglob(".gradcam-*"))
    assert json.loads(invoke("verify", "out", "--json").stdout)["problems"] == []


def test_a_killed_shard_goes_on_and_leaves_the_others_alone(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "plain", "--batch-size", "1")
    invoke("explain", "photos", "-o", "out", "--batch-size", "1", "--shard", "2/2")
    before = contents(tmp_path / "out")
    killed = started(tmp_path, "photos", "-o", "out", "--batch-size", "1", "--shard", "1/2", seconds="0.2")
    while len(sidecars(tmp_path / "out")) == len(before) // 2:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (tmp_path / "out/.gradcam-1-of-2.lock").exists()
    (tmp_path / "out/sub").mkdir(exist_ok=True)
    (tmp_path / "out/sub/.gradcam-1-of-2-0123456789abcdef.tmp").touch()
    # Sidecars of a shard without a record are nobody's to remove.
    found = json.loads(invoke("verify", "out", "--prune", "--json", code=1).stdout)
    left = {
        problem["file"] for problem in found["problems"] if "no sidecar contains this name" not in problem["problem"]
    }
    assert left >= {".gradcam-1-of-2.lock", "sub/.gradcam-1-of-2-0123456789abcdef.tmp"}
    assert all(".gradcam-1-of-2" in name for name in left)
    assert found["pruned"] == 0
    result = invoke("explain", "photos", "-o", "out", "--batch-size", "1", "--shard", "1/2")
    assert "of them before" in result.stderr
    assert not list((tmp_path / "out").rglob(".gradcam-*"))
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    assert before.items() <= contents(tmp_path / "out").items()


def places_of_shard_1(photos: Path) -> list[str]:
    found = [path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg")]
    return [place for place in found if index_of(place, 2) == 1]


def test_a_shard_that_is_done_needs_no_model_and_counts_anew(
    invoke: Invoke, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("explain", "photos", "-o", "out", "--shard", "1/2")
    first = json.loads((tmp_path / "out/run.1-of-2.json").read_text())
    gone = next(path for path in many.rglob("*.jpg") if index_of(path.relative_to(many).as_posix(), 2) == 1)
    gone.unlink()
    monkeypatch.setattr("fakes.FakeEngines.open", None)
    result = invoke("explain", "photos", "-o", "out", "--shard", "1/2")
    assert "all were done before" in result.stderr
    again = json.loads((tmp_path / "out/run.1-of-2.json").read_text())
    assert again["counts"]["asked"] == again["counts"]["before"] == first["counts"]["asked"] - 1
    assert again["model"] == first["model"]
    assert again["options"] == first["options"]


def test_other_options_replace_sidecars_of_the_shard_only(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    for index in (1, 2):
        invoke("explain", "photos", "-o", "out", "--shard", f"{index}/2")
    before = contents(tmp_path / "out")
    result = invoke("explain", "photos", "-o", "out", "--shard", "1/2", "--method", "gradcam")
    own = len(places_of_shard_1(many))
    assert f"{own} sidecars will be replaced.\n" in result.stderr
    after = contents(tmp_path / "out")
    changed = {name.removesuffix(".json") for name in after if name.endswith(".json") and after[name] != before[name]}
    assert sorted(changed) == sorted(places_of_shard_1(many))
    # Each shard's sidecars have the options of its own record.
    assert json.loads(invoke("verify", "out", "--json").stdout)["problems"] == []


def test_verify_names_what_a_shard_has_of_gone_inputs(invoke: Invoke, many: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out", "--shard", "1/2")
    invoke("explain", "photos", "-o", "out", "--shard", "2/2")
    (tmp_path / "out/run.2-of-2.json").unlink()
    for path in many.rglob("*.jpg"):
        path.unlink()
    found: Any = json.loads(invoke("verify", "out", "--json", code=1).stdout)
    gone = {problem["file"].removesuffix(".json") for problem in found["problems"]}
    assert "its input no longer exists" in {problem["problem"] for problem in found["problems"]}
    assert {index_of(place, 2) for place in gone} == {1}
    invoke("verify", "out", "--prune")
    assert {index_of(name.removesuffix(".json"), 2) for name in sidecars(tmp_path / "out")} == {2}


def test_a_picture_whose_sidecar_would_be_a_record_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "run.1-of-2").write_bytes(jpeg())
    assert "the name of the record of a run" in refused(invoke, "explain", "run.1-of-2", "-o", "out")


def test_records_beside_photographs_are_outputs(invoke: Invoke, photos: Path) -> None:
    invoke("explain", "photos", "-o", "photos", "--shard", "1/1")
    result = invoke("explain", "photos", "-o", "photos", "--shard", "1/1")
    assert "other file" not in result.stderr
