"""What a second run does: nothing twice, nothing mixed, and nobody else's files; on a fake engine."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA, ROOT, Invoke, Runner, jpeg
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli.cli import observer
from gradcam_cli.inputs.discovery import as_text, from_text
from gradcam_cli.inputs.sources import Source
from gradcam_cli.process.signals import PIPE_CLOSED
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.runs.pipeline import explain_sources
from gradcam_cli.runs.resume import Wanted, is_finished


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but run.json, whose rate differs from run to run."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "run.json"}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: a rewritten file has another."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def rewritten(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_second_run_rewrites_nothing_and_needs_no_engine(
    invoke: Invoke, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = invoke("explain", "photos", "-o", "out", "--jsonl", "-")
    before = stamps(tmp_path / "out")
    monkeypatch.setattr("fakes.FakeEngines.open", None)
    again = invoke("explain", "photos", "-o", "out", "--jsonl", "-")
    assert stamps(tmp_path / "out") == before
    assert again.stdout == first.stdout
    assert "all were done before" in again.stderr


@pytest.mark.parametrize(
    "option",
    [
        ["--alpha", "0.9"],
        ["--method", "gradcam"],
        ["--layer", "other"],
        ["--top-k", "2"],
        ["--class", "1"],
        ["--fit", "crop"],
        ["--min-score", "0.1"],
        ["--save-maps"],
        ["--max-side", "20"],
        ["--boxes", "0.5"],
        ["--preprocess", "unit"],
        ["--precision", "bfloat16"],
        ["--engine", "tensorflow"],
    ],
)
def test_other_options_are_another_run(invoke: Invoke, photos: Path, tmp_path: Path, option: list[str]) -> None:
    invoke("explain", "photos", "-o", "out")
    before = stamps(tmp_path / "out")
    invoke("explain", "photos", "-o", "out", *option)
    sidecars = {name for name in before if name.endswith(".json")}
    assert sidecars <= rewritten(before, stamps(tmp_path / "out"))
    invoke("verify", "out")


@pytest.mark.parametrize("option", [["--batch-size", "2"], ["--max-pixels", "5000"], ["--no-cache"], ["-v"]])
def test_options_that_change_no_file_are_the_same_run(
    invoke: Invoke, photos: Path, tmp_path: Path, option: list[str]
) -> None:
    invoke("explain", "photos", "-o", "out")
    before = stamps(tmp_path / "out")
    invoke("explain", "photos", "-o", "out", *option)
    assert stamps(tmp_path / "out") == before


def test_exactly_what_changed_is_explained_again(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    invoke("explain", "photos", "-o", "out")
    whole = contents(out)
    # One input replaced, one overlay cut off, one sidecar broken: one after the other.
    (photos / "a.jpg").write_bytes(jpeg(50, 30, seed=9))
    before = stamps(out)
    invoke("explain", "photos", "-o", "out")
    assert rewritten(before, stamps(out)) == {"a.jpg.json", "a.jpg.overlay.jpg"}
    assert contents(out)["a.jpg.json"] != whole["a.jpg.json"]
    overlay = out / "b.jpg.overlay.jpg"
    overlay.write_bytes(overlay.read_bytes()[:-10])
    before = stamps(out)
    invoke("explain", "photos", "-o", "out")
    assert rewritten(before, stamps(out)) == {"b.jpg.json", "b.jpg.overlay.jpg"}
    assert contents(out)["b.jpg.overlay.jpg"] == whole["b.jpg.overlay.jpg"]
    sidecar = whole["sub/a.jpg.json"]
    for broken in (sidecar[:100], b"", json.dumps({**json.loads(sidecar), "files": 7}).encode()):
        (out / "sub/a.jpg.json").write_bytes(broken)
        before = stamps(out)
        invoke("explain", "photos", "-o", "out")
        assert rewritten(before, stamps(out)) == {"sub/a.jpg.json", "sub/a.jpg.overlay.jpg"}
        assert contents(out)["sub/a.jpg.json"] == whole["sub/a.jpg.json"]


def test_verify_sees_what_sizes_and_times_do_not(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    stamp = (photos / "a.jpg").stat()
    data = bytearray((photos / "a.jpg").read_bytes())
    data[-20] ^= 1
    (photos / "a.jpg").write_bytes(data)
    os.utime(photos / "a.jpg", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    overlay = tmp_path / "out/b.jpg.overlay.jpg"
    data = bytearray(overlay.read_bytes())
    data[-20] ^= 1
    overlay.write_bytes(data)
    before = stamps(tmp_path / "out")
    invoke("explain", "photos", "-o", "out")
    assert stamps(tmp_path / "out") == before
    invoke("explain", "photos", "-o", "out", "--verify")
    changed = rewritten(before, stamps(tmp_path / "out"))
    assert changed == {"a.jpg.json", "a.jpg.overlay.jpg", "b.jpg.json", "b.jpg.overlay.jpg"}


def test_overwrite_redoes_all(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    before, whole = stamps(tmp_path / "out"), contents(tmp_path / "out")
    invoke("explain", "photos", "-o", "out", "--overwrite")
    assert rewritten(before, stamps(tmp_path / "out")) == before.keys()
    assert contents(tmp_path / "out") == whole


def test_failures_are_tried_again_and_alone_where_that_is_asked_for(
    invoke: Invoke, photos: Path, tmp_path: Path
) -> None:
    good = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(good[:200])
    invoke("explain", "photos", "-o", "out", code=1)
    # Still broken: tried again, and told again.
    assert "truncated_or_corrupt" in invoke("explain", "photos", "-o", "out", code=1).stderr
    (photos / "b.jpg").write_bytes(good)
    (photos / "new.jpg").write_bytes(jpeg(33, 33))
    before = stamps(tmp_path / "out")
    invoke("explain", "photos", "-o", "out", "--retry-failed")
    assert rewritten(before, stamps(tmp_path / "out")) == {"b.jpg.json", "b.jpg.overlay.jpg"}
    assert "no image failed in the earlier run" in invoke("explain", "photos", "-o", "out", "--retry-failed").stderr


def test_files_that_are_no_longer_made_are_removed(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out", "--top-k", "3", "--save-maps")
    assert len(contents(tmp_path / "out")) == 3 * (1 + 3 + 3)
    invoke("explain", "photos", "-o", "out")
    names = [f"{name}{end}" for name in ("a.jpg", "b.jpg", "sub/a.jpg") for end in (".json", ".overlay.jpg")]
    assert sorted(contents(tmp_path / "out")) == sorted(names)


def test_what_a_run_with_other_options_replaces_is_announced(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    assert "earlier run" not in invoke("explain", "photos", "-o", "out").stderr
    assert "earlier run" not in invoke("explain", "photos", "-o", "out", "--batch-size", "2").stderr
    assert "earlier run" not in invoke("explain", "photos/a.jpg", "-o", "out").stderr
    said = invoke("explain", "photos/a.jpg", "-o", "out", "--method", "gradcam", "--mask", "0.5").stderr
    assert re.search(r"had other options \(method: gradcam\+\+, now gradcam; .*overlay.mask: None, now 0.5\)", said)
    assert "1 sidecar will be replaced; 2 others stay as they are" in said
    # The record of the last run agrees with this one, but two sidecars are of the run before it.
    said = invoke("explain", "photos", "-o", "out", "--method", "gradcam", "--mask", "0.5").stderr
    assert "out: 2 sidecars of an earlier run with other options will be replaced." in said
    assert "earlier run" not in invoke("explain", "photos", "-o", "out", "--method", "layercam", "-q").stderr
    (tmp_path / "out" / "run.json").unlink()
    assert "3 sidecars of an earlier run" in invoke("explain", "photos", "-o", "out").stderr


def test_a_layer_or_a_fit_that_was_asked_for_is_named(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    said = invoke("explain", "photos", "-o", "out", "--layer", "first", "--fit", "crop", "--preprocess", "caffe").stderr
    assert "fit: squash, now crop; layer: last, now first; " in said
    assert "preprocess: tf, now caffe)" in said


def test_another_time_of_the_same_bytes_changes_nothing(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    before = stamps(tmp_path / "out")
    # As a checkout or a restored cache does.
    for path in photos.rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    assert "all were done before" in invoke("explain", "photos", "-o", "out").stderr
    assert stamps(tmp_path / "out") == before
    same_size = bytearray((photos / "a.jpg").read_bytes())
    same_size[-1] ^= 1
    (photos / "a.jpg").write_bytes(same_size)
    os.utime(photos / "a.jpg", ns=(2, 2))
    assert "2 of them before" in invoke("explain", "photos", "-o", "out").stderr
    assert rewritten(before, stamps(tmp_path / "out")) == {"a.jpg.json", "a.jpg.overlay.jpg"}


def test_stop_after_so_many_failures(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (photos / name).write_bytes(b"no picture")
    result = invoke("explain", "photos", "-o", "out", "--fail-fast", code=1)
    assert re.search(r"Stopped after [12] failures?: [01] images? not reached", result.stderr)
    counts = json.loads((tmp_path / "out/run.json").read_text())["counts"]
    # What was being written at that moment is counted, too.
    assert counts["total"] == len(list((tmp_path / "out").rglob("*.jpg.json")))
    assert counts["asked"] == 3 == counts["total"] + counts["left"]
    assert counts["total"] == counts["done"] + counts["failed"]
    result = invoke("explain", "photos", "-o", "out", "--max-failures", "3", code=1)
    assert "Stopped" not in result.stderr
    invoke("explain", "photos", "-o", "out", "--fail-fast", "--max-failures", "3", code=2)


def test_limits(invoke: Invoke, photos: Path) -> None:
    assert "too_many_pixels" in invoke("explain", "photos", "-o", "out", "--max-pixels", "100", code=1).stderr
    assert "too_large" in invoke("explain", "photos", "-o", "out2", "--max-file-bytes", "100", code=1).stderr


def test_two_runs_on_one_output(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "out")
    folder.prepare()
    assert "another run" in invoke("explain", "photos", "-o", "out", code=2).stderr
    folder.release()
    invoke("explain", "photos", "-o", "out")
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]  # noqa: PTH208 - names


def test_what_killed_runs_left_is_swept(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    (tmp_path / "out/sub/.gradcam-0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "out/sub/a.jpg.json").unlink()
    assert "no sidecar contains this name" in invoke("verify", "out", code=1).stdout
    invoke("explain", "photos", "-o", "out")
    invoke("verify", "out")


@pytest.mark.parametrize("foreign", ["a.jpg.json", "run.json"])
def test_json_of_others_is_left_alone(invoke: Invoke, photos: Path, tmp_path: Path, foreign: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / foreign).write_text('{"mine": true}')
    invoke("explain", "photos", "-o", "out", code=2 if foreign == "run.json" else 1)
    assert (tmp_path / "out" / foreign).read_text() == '{"mine": true}'


def test_what_stands_in_the_way_of_one_image_stops_no_other(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").write_text("a file, not a folder")
    (tmp_path / "out/a.jpg.json").mkdir()
    os.mkfifo(tmp_path / "out/b.jpg.json")
    result = invoke("explain", "photos", "-o", "out", "--jsonl", "-", code=1)
    assert [json.loads(line)["reason"] for line in result.stdout.splitlines()] == ["output_not_ours"] * 3


def test_planted_links_are_not_followed(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    victim, elsewhere = tmp_path / "victim", tmp_path / "elsewhere"
    victim.write_text("precious")
    elsewhere.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.jpg.overlay.jpg").symlink_to(victim)
    (tmp_path / "out/b.jpg.json").symlink_to(victim)
    (tmp_path / "out/sub").symlink_to(elsewhere)
    result = invoke("explain", "photos", "-o", "out", "--jsonl", "-", code=1)
    reasons = [json.loads(line)["reason"] for line in result.stdout.splitlines()]
    # The link at the place of a sidecar leads to a file that is not ours, so it stays.
    assert reasons == [None, "output_not_ours", "output_not_ours"]
    assert (tmp_path / "out/b.jpg.json").is_symlink()
    assert victim.read_text() == "precious"
    assert not list(elsewhere.iterdir())
    # A link to an overlay that has the right size is no overlay of ours either.
    overlay = tmp_path / "out/a.jpg.overlay.jpg"
    moved = overlay.rename(tmp_path / "moved.jpg")
    overlay.symlink_to(moved)
    invoke("explain", "photos", "-o", "out", code=1)
    assert not overlay.is_symlink()


def test_output_inside_the_input_twice(invoke: Invoke, photos: Path) -> None:
    invoke("explain", "photos", "-o", "photos/out")
    before = stamps(photos)
    invoke("explain", "photos", "-o", "photos/out")
    assert stamps(photos) == before
    invoke("explain", "photos", "-o", "photos")
    names = set(contents(photos))
    invoke("explain", "photos", "-o", "photos")
    assert set(contents(photos)) == names


def test_out_of_memory_halves_the_batch_once(
    invoke: Invoke, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(8):
        (photos / f"{i}.jpg").write_bytes(jpeg(30, 30, seed=i))
    invoke("explain", "photos", "-o", "whole")

    def short(sources: Any, job: Any, engine: Any, sink: Any, calls_at_once: int) -> Any:
        for i, record in enumerate(explain_sources(sources, job, engine, sink)):
            if engine.batch_size > limit and i == 2:
                raise MemoryError
            yield record

    monkeypatch.setattr("gradcam_cli.runs.pipeline.explain_sources", short)
    limit = 5
    result = invoke("explain", "photos", "-o", "out", "--batch-size", "10")
    assert "not enough memory for batches of 10; continuing with batches of 5" in result.stderr
    assert "11 images: 11 ok" in result.stderr
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()
    limit = 1
    result = invoke("explain", "photos", "-o", "out", "--batch-size", "10", "--overwrite", code=4)
    assert "--batch-size" in result.stderr
    invoke("explain", "photos", "-o", "one", "--batch-size", "1")


def test_a_closed_stdout_ends_quietly(photos: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(observer, "write_line", closed)
    result = invoke("explain", "photos", "--jsonl", "-", "-q", code=PIPE_CLOSED)
    assert result.stderr == ""


def test_a_full_disk_under_the_records_ends_with_4(invoke: Invoke, photos: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    assert "/dev/full: No space left" in invoke("explain", "photos", "--jsonl", "/dev/full", code=4).stderr


def test_stdout_may_be_closed_or_full() -> None:
    program = f"{sys.executable} -m gradcam_cli models"
    closed = subprocess.run(["/bin/sh", "-c", f"{program} >&-"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (closed.returncode, closed.stderr) == (141, "")
    if Path("/dev/full").exists():
        full = ["/bin/sh", "-c", f"{program} > /dev/full"]
        done = subprocess.run(full, capture_output=True, text=True, check=False, cwd=ROOT)
        assert (done.returncode, done.stderr) == (4, "Error: No space left on device.\n")


def test_packages_that_a_plan_does_not_need_may_be_missing(
    invoke: Invoke, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradcam_cli.versions.installed_version", lambda _name: None)
    invoke("explain", "photos", "-o", "out")


def test_a_second_signal_ends_at_once() -> None:
    code = (
        "import os, signal\n"
        "from gradcam_cli.process.signals import stopped_by_signals\n"
        "with stopped_by_signals():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except KeyboardInterrupt:\n"
        "        print('unwinding', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('still here', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("unwinding\n", 128 + signal.SIGINT)


def test_a_closed_terminal_stops_a_run_unless_that_is_ignored() -> None:
    code = (
        "import os, signal, sys\n"
        "from gradcam_cli.process.signals import exit_code_of, stopped_by_signals\n"
        "signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))\n"
        "try:\n"
        "    with stopped_by_signals():\n"
        "        os.kill(os.getpid(), signal.SIGHUP)\n"
        "except KeyboardInterrupt as stop:\n"
        "    sys.exit(exit_code_of(stop))\n"
    )
    ended = [
        subprocess.run([sys.executable, "-c", code, handler], check=False, cwd=ROOT).returncode
        for handler in ("SIG_DFL", "SIG_IGN")
    ]
    assert ended == [128 + signal.SIGHUP, 0]


def test_verify_names_every_problem(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    invoke("explain", "photos", "-o", "out", "--save-maps")
    assert json.loads(invoke("verify", "out", "--json").stdout) == {
        "sidecars": 3,
        "files": 6,
        "foreign": 0,
        "problems": [],
        "unchecked": [],
        "pruned": 0,
    }
    (out / "mine.json").write_text("[1, 2]")
    (out / "a.jpg.overlay.jpg").unlink()
    (out / "b.jpg.map.npy").write_bytes(b"x" * (out / "b.jpg.map.npy").stat().st_size)
    record = json.loads((out / "sub/a.jpg.json").read_text())
    (out / "sub/a.jpg.json").write_text(json.dumps(record | {"status": "fine"}))
    (out / "old.overlay.jpg").write_bytes(jpeg())
    (out / "cut.jpg.json").write_text((out / "a.jpg.json").read_text()[:50])
    (out / "moved.jpg.json").write_text((out / "b.jpg.json").read_text())
    found = json.loads(invoke("verify", "out", "--json", code=1).stdout)
    assert found["foreign"] == 1
    problems = {problem["file"]: problem["problem"] for problem in found["problems"]}
    assert problems.keys() == {
        "a.jpg.overlay.jpg",
        "b.jpg.map.npy",
        "sub/a.jpg.json",
        "sub/a.jpg.overlay.jpg",
        "sub/a.jpg.map.npy",
        "old.overlay.jpg",
        "cut.jpg.json",
        "moved.jpg.json",
    }
    assert "status" in problems["sub/a.jpg.json"]
    assert "content is different" in problems["b.jpg.map.npy"]
    assert "b.jpg" in problems["moved.jpg.json"]
    lines = invoke("verify", "out", code=1).stdout.splitlines()
    assert len(lines) == len(found["problems"]) + 1, "a line a problem, and the verdict"
    invoke("verify", "nowhere", code=2)


names = st.binary(min_size=1, max_size=40).filter(lambda b: b"/" not in b and b"\0" not in b)


@given(names)
def test_names_survive_the_way_through_text(name: bytes) -> None:
    path = os.fsdecode(name)
    text = as_text(path)
    assert text.encode("utf-8").decode("utf-8") == text
    try:
        assert text == name.decode("utf-8")
        assert from_text(text, escaped=False) == path
    except UnicodeDecodeError:
        assert from_text(text, escaped=True) == path


@given(names, names)
def test_no_two_names_look_alike_unless_one_tells_its_bytes(one: bytes, other: bytes) -> None:
    first, second = os.fsdecode(one), os.fsdecode(other)
    if first != second and as_text(first) == as_text(second):
        # One of them is UTF-8 and stands for itself; the other has `path_b64` beside it.
        assert (as_text(first) == first) != (as_text(second) == second)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["status", "input", "model", "files", "options_sha256", "versions", "schema_version"]),
)
def test_no_sidecar_makes_resume_stumble(tmp_path_factory: pytest.TempPathFactory, value: Any, key: str) -> None:
    """Whatever stands in a sidecar, the answer is no error; and no, unless it is as this program writes it."""
    root = tmp_path_factory.mktemp("out")
    photo = root / "photo.jpg"
    photo.write_bytes(b"x")
    stat = photo.stat()
    record = {
        "schema_version": 2,
        "versions": {},
        "status": "ok",
        "options_sha256": "o",
        "model": {"sha256": "m"},
        "input": {"bytes": 1, "mtime_ns": stat.st_mtime_ns, "sha256": None},
        "files": [],
    }
    source, folder, wanted = Source("photo.jpg", str(photo)), LocalFolder(root), Wanted("o", "m")
    sidecar = root / "photo.jpg.json"
    sidecar.write_text(json.dumps(record))
    assert is_finished(folder, source, wanted)
    sidecar.write_text(json.dumps(record | {key: value}))
    # What versions say is no part of the rule.
    same = key == "versions" or (key == "files" and value == []) or (key == "schema_version" and value == 2)
    assert is_finished(folder, source, wanted) == same


def test_names_that_are_no_text(run: Runner, tmp_path: Path) -> None:
    """Through the real program: bytes that are no UTF-8, newlines, dashes, emoji, twins, and one that is too long.

    An ONNX file is explained without TensorFlow, whose import takes longer than all the rest.
    """
    photos = tmp_path / "photos"
    photos.mkdir()
    names = [
        b"\xff\\.jpg",
        b"a\nb.jpg",
        b"-rf.jpg",
        "\N{SMILING FACE WITH OPEN MOUTH}.jpg".encode(),
        b"x" * 251 + b".jpg",
    ]
    names += [b"caf\xc3\xa9.jpg", b"cafe\xcc\x81.jpg"]
    for name in names:
        Path(os.fsdecode(os.fsencode(photos) + b"/" + name)).write_bytes(jpeg())
    args = ("explain", photos, "-o", tmp_path / "out", "--model", DATA / "onnx/pooled.onnx", "--jsonl", "-")
    done = run(*args).expect(1)
    records = {record["input"]["path"]: record for record in map(json.loads, done.out.splitlines())}
    assert len(records) == len(names)
    assert records.pop("x" * 251 + ".jpg")["reason"] == "name_too_long"
    assert {record["status"] for record in records.values()} == {"ok"}
    assert [path for path in records if "path_b64" in records[path]["input"]] == [r"\xff\\.jpg"]
    assert (tmp_path / os.fsdecode(b"out/\xff\\.jpg.overlay.jpg")).is_file()
    run("verify", tmp_path / "out").expect(0)
    # Another locale sees the same names, and nothing is left to do but the one that is too long.
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    again = run(*args, env=ascii_only).expect(1)
    assert [json.loads(line) for line in sorted(again.out.splitlines())] == [
        json.loads(line) for line in sorted(done.out.splitlines())
    ]
    assert "6 of them before" in again.err


def test_an_unwritable_output_is_known_at_once(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    done = run("explain", "a.jpg", "-o", "file/out").expect(2)
    assert "cannot be written" in done.err
