"""Runs whose results are tars or tables: the same records as files, each image once, whatever ends the run."""

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, jpeg
from fakes import FakeEngines
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli.errors import EnvironmentStop, ImageError, UsageError
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.options import explain_request
from gradcam_cli.report.compare import compare_runs
from gradcam_cli.report.report import write_report
from gradcam_cli.requests import ReportRequest
from gradcam_cli.results.merging import merge_runs
from gradcam_cli.results.packed_reading import RunFiles
from gradcam_cli.results.part_index import FileEntry, PartEntry, key_of_line, lines_of, read_entry, written_index
from gradcam_cli.results.part_names import key_of, member_of, part_name, place_of, split_member
from gradcam_cli.results.reading import records_below
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.tree import LocalTree
from gradcam_cli.results.verification import verify_folder
from gradcam_cli.runs.explain import preview, run_explain
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.settings import Limits

Json = dict[str, Any]
PACKINGS = ("webdataset", "parquet")


def explained(photos: Path, output: Path, observer: RunObserver | None = None, **options: Any) -> Run:
    return run_explain(explain_request([photos], output, options), observer, engines=FakeEngines())


def records_of(folder: Path) -> list[Json]:
    return list(read_run(folder).records())


def records_of_parts(folder: Path) -> list[Json]:
    """Read the records of a folder that may have no run.json."""
    return [record for _, record in records_below(LocalTree(folder))]


def without_overlays(record: Json) -> Json:
    classes = [{**each, "overlay": None} for each in record["classes"]]
    return {**record, "classes": classes, "files": []}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def members(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name not in found, f"{member.name} is there twice"
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


@pytest.fixture
def album(photos: Path) -> Path:
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "cat.v2.final.jpg").write_bytes(jpeg(24, 20, seed=9))
    (photos / "50%2E.jpg").write_bytes(jpeg(24, 21, seed=10))
    (photos / "sub" / "Käse.jpg").write_bytes(jpeg(24, 22, seed=11))
    Path(os.fsdecode(os.fsencode(photos) + b"/\xff.jpg")).write_bytes(jpeg(22, 24, seed=12))
    return photos


def test_tars_have_the_records_and_overlays_of_files(album: Path, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    one = explained(album, plain, top_k=2, save_maps=True)
    other = explained(album, packed, top_k=2, save_maps=True, format="webdataset", images_per_file=3)
    assert one.counts == other.counts
    assert (one.counts["done"], one.counts["failed"]) == (7, 1)
    assert records_of(packed) == records_of(plain)
    found = members(packed)
    dotted = [name for name in found if name.startswith("cat%2Ev2%2Efinal%2Ejpg.")]
    files = {path.read_bytes() for path in plain.rglob("*.overlay.jpg")} | {
        p.read_bytes() for p in plain.rglob("*.npy")
    }
    assert len(dotted) == 5
    assert {data for name, data in found.items() if not name.endswith(".json")} == files
    assert names(packed) == {
        *(f"part-0000{i}{suffix}" for i in range(3) for suffix in (".tar", ".index.jsonl")),
        *("run.json", "manifest.json"),
    }


def test_samples_are_grouped_as_webdataset_groups_them(album: Path, tmp_path: Path) -> None:
    """All members of an image share what stands before the first dot of the base name, and follow one another."""
    explained(album, tmp_path / "out", top_k=2, format="webdataset")
    keys = []
    with tarfile.open(tmp_path / "out" / "part-00000.tar") as tar:
        for member in tar:
            folder, _, base = member.name.rpartition("/")
            keys.append((folder, base.split(".", 1)[0]))
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
    changes = sum(one != other for one, other in itertools.pairwise(keys))
    assert changes == len(set(keys)) - 1 == 7


def test_the_same_run_writes_the_same_bytes(album: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        explained(album, tmp_path / name, format="webdataset", images_per_file=3)
    for path in (tmp_path / "one").glob("part-*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_tables_have_the_records_without_overlays(album: Path, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    explained(album, plain, top_k=2)
    explained(album, packed, top_k=2, format="parquet", images_per_file=3)
    assert records_of(packed) == [without_overlays(record) for record in records_of(plain)]


def test_the_command_of_duckdb_counts_the_labels_of_tables(photos: Path, tmp_path: Path) -> None:
    """The command of docs/formats.md, in the folder above the output."""
    program = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("duckdb-cli is not installed")
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ duckdb (.*)$", page, re.MULTILINE)
    (folder,) = re.findall(r"'(\w+)/\*\.parquet'", command)
    explained(photos, tmp_path / folder, format="parquet")
    arguments = [program, "-csv", "-noheader", *shlex.split(command)]
    counted = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert sum(int(line.rpartition(",")[2]) for line in counted.splitlines()) == 3


def test_tables_are_read_by_duckdb(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    explained(photos, tmp_path / "out", format="parquet")
    monkeypatch.chdir(tmp_path)
    counted = duckdb.sql("select label, count(*) from 'out/*.parquet' group by 1").fetchall()
    assert sum(count for _, count in counted) == 3
    rows = duckdb.sql("select path, map, map_height, map_width from 'out/*.parquet' order by path").fetchall()
    assert [row[0] for row in rows] == ["a.jpg", "b.jpg", "sub/a.jpg"]
    for _, heat, height, width in rows:
        assert len(heat) == height * width == 16
        assert max(heat) == 255


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_finished_run_is_not_repeated(packing: str, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(album, out, format=packing, images_per_file=3)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = explained(album, out, format=packing, images_per_file=3)
    assert again.counts["before"] == 7
    # The failure is tried again; it takes the place of its first record.
    assert len(records_of(out)) == 8
    assert sum(path.read_bytes() != before.get(path.name) for path in out.glob("*.json*")) >= 1


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_changed_image_takes_the_place_of_its_old_result(packing: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(photos, out, format=packing, images_per_file=2)
    (photos / "b.jpg").write_bytes(jpeg(44, 31, seed=77))
    run = explained(photos, out, format=packing, images_per_file=2)
    assert run.counts["before"] == 2
    found = records_of(out)
    assert [record["input"]["path"] for record in found] == ["a.jpg", "b.jpg", "sub/a.jpg"]
    assert found[1]["input"]["width"] == 44
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"] == {"images": 3, "explained": 3, "failed": 0}


@pytest.mark.parametrize("packing", PACKINGS)
def test_other_options_leave_no_result_of_the_first_run(packing: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(photos, out, format=packing, images_per_file=2)
    explained(photos, out, format=packing, images_per_file=2, method="gradcam")
    assert {record["method"]["name"] for record in records_of(out)} == {"gradcam"}
    assert len(records_of(out)) == 3


class Stopping(RunObserver):
    """Ends the run when so many records were reported."""

    def __init__(self, after: int, error: BaseException) -> None:
        self.after, self.error = after, error

    def record(self, record: Json, *, before: bool) -> None:
        self.after -= 1
        if self.after < 0:
            raise self.error


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), EnvironmentStop("stopped"), RuntimeError("a bug")])
def test_a_run_that_ends_early_keeps_what_it_reported(
    packing: str, error: BaseException, album: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(type(error)):
        explained(album, out, Stopping(5, error), format=packing, images_per_file=2)
    run = explained(album, out, format=packing, images_per_file=2)
    assert run.counts["before"] >= 4
    assert run.counts["done"] == 7
    assert len(records_of(out)) == 8


def test_a_killed_run_loses_the_open_part_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import os\nfrom fakes import FakeEngines\nfrom gradcam_cli.options import explain_request\n"
        "from gradcam_cli.runs.explain import run_explain\nfrom gradcam_cli.runs.observer import RunObserver\n"
        "class Kill(RunObserver):\n    left = 3\n    def record(self, record, *, before):\n"
        "        self.left -= 1\n        self.left or os._exit(9)\n"
        f"run_explain(explain_request([{str(photos)!r}], {str(out)!r},"
        " {'format': 'webdataset', 'images_per_file': 2}), Kill(), engines=FakeEngines())\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 9
    assert {name for name in names(out) if not name.startswith(".")} == {"part-00000.tar", "part-00000.index.jsonl"}
    run = explained(photos, out, format="webdataset", images_per_file=2)
    assert run.counts["before"] == 2
    assert len(records_of(out)) == 3
    assert not [name for name in names(out) if name.startswith(".")]


def test_an_index_that_is_lost_or_of_another_file_is_made_anew(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(album, out, format="webdataset", images_per_file=3)
    expected = records_of(out)
    (out / "part-00000.index.jsonl").unlink()
    (out / "part-00001.index.jsonl").write_bytes((out / "part-00002.index.jsonl").read_bytes())
    assert records_of(out) == expected
    assert explained(album, out, format="webdataset", images_per_file=3).counts["before"] == 7


@pytest.mark.parametrize(
    ("first", "then"), [("files", "webdataset"), ("webdataset", "files"), ("parquet", "webdataset")]
)
def test_a_folder_has_one_format(first: str, then: str, photos: Path, tmp_path: Path) -> None:
    explained(photos, tmp_path / "out", format=first)
    with pytest.raises(UsageError, match="Choose another folder, or the `format` of this folder"):
        explained(photos, tmp_path / "out", format=then)


def test_a_manifest_of_somebody_else_stays(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text('{"name": "my app"}')
    with pytest.raises(UsageError, match=r"manifest\.json already exists"):
        explained(photos, out, format="parquet")


@pytest.mark.parametrize(
    "options",
    [{"images_per_file": 5}, {"format": "parquet", "save_maps": True}, {"format": "parquet", "caption": True}],
)
def test_options_without_effect_are_refused(options: Json, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs `format=webdataset`|changes overlays or maps"):
        explained(photos, tmp_path / "out", **options)


def test_the_manifest_names_every_part(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(album, out, format="webdataset", images_per_file=3)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"] == {"images": 8, "explained": 7, "failed": 1}
    for part in manifest["parts"]:
        data = (out / part["name"]).read_bytes()
        assert (part["bytes"], part["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert [part["images"] for part in manifest["parts"]] == [3, 3, 2]


PLACES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
        lambda name: name not in {".", ".."}
    ),
    min_size=1,
    max_size=3,
).map("/".join)


@given(PLACES, st.sampled_from([".overlay.jpg", ".281.overlay.jpg", ".map.npy", ".7.map.npy"]))
def test_keys_and_members_can_be_read_back(place: str, tail: str) -> None:
    key = key_of(place)
    assert "." not in key.rpartition("/")[2]
    assert place_of(key) == place
    name = place.rpartition("/")[2] + tail
    assert split_member(member_of(place, name)) == (key, name)


def test_names_of_parts() -> None:
    assert [str(part_name(name)) for name in ("part-00012.tar", "part-2-of-8-00000.parquet")] == [
        "part-00012.tar",
        "part-2-of-8-00000.parquet",
    ]
    for other in ("part-1.tar", "part-00001.tar.gz", "part-000001.tar", "part-0-of-8-00000.tar", "xpart-00001.tar"):
        assert part_name(other) is None, other


def test_an_overlay_in_a_tar_is_a_picture(photos: Path, tmp_path: Path) -> None:
    explained(photos, tmp_path / "out", format="webdataset")
    photo = decode(members(tmp_path / "out")["a%2Ejpg.jpg"], Limits())
    assert (photo.size.width, photo.size.height) == (30, 20)


@pytest.mark.parametrize("packing", PACKINGS)
def test_verify_finds_nothing_wrong_with_a_whole_run(packing: str, album: Path, tmp_path: Path) -> None:
    explained(album, tmp_path / "out", format=packing, images_per_file=3)
    findings = verify_folder(tmp_path / "out", (os.fspath(album),))
    assert not findings.problems
    assert findings.sidecars == 8
    assert findings.foreign == 0


@pytest.mark.parametrize("packing", PACKINGS)
def test_verify_tells_a_damaged_and_a_missing_part(packing: str, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(album, out, format=packing, images_per_file=3)
    first, second, _ = sorted(out.glob("part-*.tar")) or sorted(out.glob("part-*.parquet"))
    data = bytearray(first.read_bytes())
    data[len(data) // 3] ^= 255
    first.write_bytes(data)
    second.unlink()
    problems = {problem.file: problem.problem for problem in verify_folder(out, (os.fspath(album),)).problems}
    assert problems[second.name] == "the manifest lists it, but it is missing"
    assert any(name == first.name for name in problems)


def test_verify_sees_that_an_overlay_is_another(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(photos, out, format="webdataset")
    path = out / "part-00000.tar"
    data = path.read_bytes()
    at = data.find(b"\xff\xd8\xff")
    path.write_bytes(data[: at + 300] + b"\x01\x02" + data[at + 302 :])
    problems = {problem.file: problem.problem for problem in verify_folder(out).problems}
    assert problems["a.jpg.overlay.jpg"] == "its content is different from the hash in its sidecar"


def test_a_table_has_no_overlays_whatever_its_index_says(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(photos, out, format="parquet")
    index = out / "part-00000.index.jsonl"
    tampered = index.read_bytes().replace(b'"files":[],"known"', b'"files":[["a.jpg.overlay.jpg",0,9]],"known"')
    assert tampered != index.read_bytes()
    index.write_bytes(tampered)
    with closing(RunFiles(LocalTree(out))) as files, pytest.raises(ImageError, match="a table has no overlays"):
        files.read("a.jpg.overlay.jpg", Limits())


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_report_of_a_packed_run(packing: str, album: Path, tmp_path: Path) -> None:
    """Where the photographs are gone, thumbnails are made of the overlays in the tars."""
    out = tmp_path / "out"
    explained(album, out, top_k=2, format=packing)
    shutil.rmtree(album)
    written = write_report(ReportRequest(out))
    assert written.total == 8
    assert len(list((out / "report").glob("*.jpg"))) == (7 if packing == "webdataset" else 0)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert ".overlay.jpg" not in page
    assert "cat.v2.final.jpg.json" not in page
    assert not verify_folder(out).problems or packing == "parquet"


def test_runs_of_two_formats_compare_as_equal(album: Path, tmp_path: Path) -> None:
    explained(album, tmp_path / "plain")
    for packing in PACKINGS:
        explained(album, tmp_path / packing, format=packing, images_per_file=3)
        comparison = compare_runs(read_run(tmp_path / "plain"), read_run(tmp_path / packing))
        assert len(comparison.images) == 7
        for change in comparison.images:
            assert change.base_best is not None
            assert change.new_best is not None
            assert change.base_best.index == change.new_best.index
            assert change.peak_shift == 0
            assert not change.input_changed


@pytest.mark.parametrize("packing", PACKINGS)
def test_shards_in_one_folder_become_one_run(packing: str, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explained(album, tmp_path / "whole", format=packing)
    for index in (1, 2):
        explained(album, out, format=packing, shard=(index, 2), images_per_file=2)
    before = {path.name: path.read_bytes() for path in out.glob("part-*")}
    merged = merge_runs([out])
    assert {path.name: path.read_bytes() for path in out.glob("part-*")} == before
    assert names(out) == {*before, "run.json", "manifest.json"}
    assert (merged.counts["done"], merged.counts["failed"]) == (7, 1)
    assert merge_runs([out]).record == merged.record
    assert records_of(out) == records_of(tmp_path / "whole")
    assert not verify_folder(out, (os.fspath(album),)).problems
    run = explained(album, out, format=packing)
    assert run.counts["before"] == 7
    assert records_of(out) == records_of(tmp_path / "whole")
    assert {name.split("-of-")[0] for name in before} == {"part-1", "part-2"}
    assert not verify_folder(out, (os.fspath(album),)).problems


def merged_shards(album: Path, root: Path, packing: str, **options: Any) -> Path:
    """Explain two shards into folders of their own, and merge them."""
    for index in (1, 2):
        explained(album, root / f"{index}", format=packing, shard=(index, 2), images_per_file=2, **options)
    merge_runs([root / "1", root / "2"], root / "out")
    return root / "out"


@pytest.mark.parametrize("packing", PACKINGS)
def test_shards_in_several_folders_become_one_run(packing: str, album: Path, tmp_path: Path) -> None:
    """Whole files get another name: no byte is copied, and the same merge again changes nothing."""
    explained(album, tmp_path / "whole", format=packing)
    out = merged_shards(album, tmp_path, packing)
    for path in out.glob("part-*"):
        shard = path.name.split("-")[1]
        assert path.samefile(tmp_path / shard / path.name)
    assert records_of(out) == records_of(tmp_path / "whole")
    assert names(out) == {"run.json", "manifest.json", *(path.name for path in out.glob("part-*-of-2-*"))}
    assert json.loads((out / "manifest.json").read_text())["counts"] == {"images": 8, "explained": 7, "failed": 1}
    assert not verify_folder(out, (os.fspath(album),)).problems
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    merge_runs([tmp_path / "1", tmp_path / "2"], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert explained(album, out, format=packing).counts["before"] == 7


@pytest.mark.parametrize("packing", PACKINGS)
def test_merged_parts_take_the_place_of_older_results_alone(packing: str, album: Path, tmp_path: Path) -> None:
    """An image of an earlier merge that is no input any more stays, and none is there twice."""
    (album / "gone.jpg").write_bytes(jpeg(20, 21, seed=33))
    merged_shards(album, tmp_path, packing)
    (album / "gone.jpg").unlink()
    shutil.rmtree(tmp_path / "1")
    shutil.rmtree(tmp_path / "2")
    out = merged_shards(album, tmp_path, packing, method="gradcam")
    found = {record["input"]["path"]: record["method"]["name"] for record in records_of(out)}
    assert len(records_of(out)) == len(found) == 9
    assert {path for path, method in found.items() if method == "gradcam++"} == {"gone.jpg"}
    problems = {problem.file: problem.problem for problem in verify_folder(out).problems}
    assert problems.keys() == {"gone.jpg.json"}


def test_a_part_with_results_of_an_older_run_is_not_taken_whole(album: Path, tmp_path: Path) -> None:
    """What is not of the merged shards stays behind: the same as of files."""
    (album / "gone.jpg").write_bytes(jpeg(20, 21, seed=33))
    for index in (1, 2):
        explained(album, tmp_path / f"{index}", format="webdataset", shard=(index, 2))
    (album / "gone.jpg").unlink()
    out = merged_shards(album, tmp_path, "webdataset", method="gradcam")
    assert {record["method"]["name"] for record in records_of(out)} == {"gradcam"}
    assert len(records_of(out)) == 8


def test_shards_of_several_formats_are_not_merged(album: Path, tmp_path: Path) -> None:
    explained(album, tmp_path / "1", format="webdataset", shard=(1, 2))
    explained(album, tmp_path / "2", shard=(2, 2))
    with pytest.raises(UsageError, match="Explain all shards with one `format`"):
        merge_runs([tmp_path / "1", tmp_path / "2"], tmp_path / "out")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_lost_part_is_missed_by_a_merge(packing: str, album: Path, tmp_path: Path) -> None:
    merged_shards(album, tmp_path, packing)
    next(path for path in (tmp_path / "1").iterdir() if path.suffix in {".tar", ".parquet"}).unlink()
    with pytest.raises(UsageError, match="Copy the whole folder"):
        merge_runs([tmp_path / "1", tmp_path / "2"], tmp_path / "other")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shards", [0, 2])
def test_pruning_takes_images_out_of_parts(packing: str, shards: int, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for index in range(1, shards + 1) or (None,):
        explained(album, out, format=packing, images_per_file=3, shard=index and (index, shards))
    others = [record for record in records_of_parts(out) if record["input"]["path"] != "b.jpg"]
    (album / "b.jpg").unlink()
    found = verify_folder(out, (os.fspath(album),), prune=True)
    assert found.pruned == 1
    assert not found.problems
    assert records_of_parts(out) == others
    assert not [name for name in members(out) if name.startswith("b%2Ejpg.")]
    assert verify_folder(out, (os.fspath(album),), prune=True).pruned == 0


def test_a_part_that_somebody_changed_is_not_pruned(album: Path, tmp_path: Path) -> None:
    """Its manifest would then list it as if nothing had happened."""
    explained(album, tmp_path / "out", format="webdataset")
    part = tmp_path / "out" / "part-00000.tar"
    part.write_bytes(part.read_bytes() + bytes(512))
    (album / "b.jpg").unlink()
    found = verify_folder(tmp_path / "out", (os.fspath(album),), prune=True)
    assert found.pruned == 0
    assert {problem.file for problem in found.problems} == {"part-00000.tar", "b.jpg.json"}


def test_tars_are_put_into_an_object_store(album: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    url = f"memory://bucket/{tmp_path.name}"
    for _ in range(2):
        run = run_explain(
            explain_request([album], url, {"format": "webdataset", "images_per_file": 3}), engines=FakeEngines()
        )
    assert run.counts["before"] == 7
    explained(album, tmp_path / "local", format="webdataset", images_per_file=3)
    assert list(read_run(url).records()) == records_of(tmp_path / "local")


@given(PLACES | st.just('a","place":"b","size":1'))
def test_the_place_of_a_line_is_that_of_its_entry(place: str) -> None:
    known = {"status": "ok", "input": {"path": place}, "files": [{"name": '"place":', "bytes": 1}]}
    line = written_index([PartEntry(place, 1, 2, (FileEntry('x,"size":"place":', 3, 4),), known)], 9, "")
    (_, only), *_ = lines_of(line)
    assert key_of_line(only) == read_entry(only).place.encode("utf-8", "surrogatepass")
    assert read_entry(only).place == place


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_preview_names_the_folder_of_the_parts(album: Path, tmp_path: Path, packing: str) -> None:
    """No sidecar of an image is a file of its own, and which part has it is not known before."""
    output = tmp_path / "out"
    # A preview finds nothing finished of a model whose weights are not at hand.
    options: dict[str, Any] = {"format": packing, "model": "efficientnetlite0"}
    request = explain_request([album], output, options)
    before = preview(request, engines=FakeEngines())
    assert {before.where(source) for source in before.pictures} == {str(output)}
    assert not output.exists()
    explained(album, output, **options)
    again = preview(request, engines=FakeEngines())
    assert [source.relative for source in again.pictures] == ["broken.png"]
    assert again.done_before == len(before.left) - 1
