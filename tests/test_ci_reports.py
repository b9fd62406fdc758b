"""`--junit` and `--markdown` of each command: a case for each image and gate, whatever the end of the command is."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, ROOT, Invoke, jpeg
from fakes import FakeEngines, OtherEngine
from junitparser import JUnitXml, TestCase, TestSuite
from lxml import etree
from PIL import Image

from gradcam_cli import explain_folder
from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.process.signals import INTERRUPTED
from gradcam_cli.results.ci_report import CiReport, write_junit, write_markdown
from gradcam_cli.results.junit import CaseList

SCHEMA = etree.XMLSchema(etree.parse(DATA / "junit" / "junit-10.xsd"))
# Classes of junitparser are no tests.
TestCase.__test__ = TestSuite.__test__ = False
FILES = ("--junit", "ci/junit.xml", "--markdown", "ci/summary.md")


def cases(path: Path) -> dict[str, Any]:
    """Read the cases by name, after the file was validated."""
    SCHEMA.assertValid(etree.parse(path))
    (suite,) = JUnitXml.fromfile(str(path))
    return {case.name: case for case in suite}


def outcomes(path: Path) -> dict[str, str]:
    return {
        name: type(case.result[0]).__name__.lower() if case.result else "passed" for name, case in cases(path).items()
    }


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    return tmp_path / "ci"


def test_explain_an_image_is_a_case_and_a_failed_one_a_failure(photos: Path, ci: Path, invoke: Invoke) -> None:
    (photos / "b.jpg").write_bytes(b"")
    invoke("explain", "photos", "-o", "out", *FILES, code=1)
    assert outcomes(ci / "junit.xml") == {"b.jpg": "failure", "a.jpg": "passed", "sub/a.jpg": "passed"}
    failed = cases(ci / "junit.xml")["b.jpg"]
    record = json.loads((photos.parent / "out" / "b.jpg.json").read_text())
    assert failed.classname == "gradcam-cli.explain.images"
    assert failed.result[0].type == record["reason"] == "empty"
    assert failed.result[0].message == record["message"]
    assert record["message"] in failed.result[0].text
    text = (ci / "summary.md").read_text()
    assert text.startswith("## gradcam-cli explain: failed\n\n3 images: 2 ok, 1 failed\n")
    assert "### Failed\n\n| image | reason | message |\n| --- | --- | --- |\n| b.jpg | empty | " in text
    assert "method gradcam++" in text


def test_explain_the_least_probable_images_come_first(photos: Path, ci: Path, invoke: Invoke) -> None:
    for i in range(3, 28):
        (photos / f"{i}.jpg").write_bytes(jpeg(seed=i))
    lines = invoke("explain", "photos", "--jsonl", "-", *FILES).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    rank = sorted(records, key=lambda record: record["classes"][0]["probability"])
    text = (ci / "summary.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and ".jpg" in line]
    assert [row[0].removeprefix("| ") for row in rows] == [record["input"]["path"] for record in rank[:20]]
    assert "8 more rows not shown." in text
    assert text.startswith("## gradcam-cli explain: passed\n")


def test_what_an_earlier_run_has_done_is_a_case_too(photos: Path, ci: Path, invoke: Invoke) -> None:
    invoke("explain", "photos", "-o", "out", *FILES)
    first = cases(ci / "junit.xml").keys()
    (photos / "new.jpg").write_bytes(jpeg(seed=9))
    invoke("explain", "photos", "-o", "out", *FILES)
    assert cases(ci / "junit.xml").keys() == first | {"new.jpg"}


def test_explain_above_1000_images_is_one_case(tmp_path: Path, ci: Path, invoke: Invoke) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "0.jpg").write_bytes(jpeg(8, 8))
    for i in range(1001):
        os.link(tmp_path / "0.jpg", tmp_path / "photos" / f"{i}.jpg")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"")
    invoke("explain", "photos", "--jsonl", "-", "-q", *FILES, code=1)
    assert outcomes(ci / "junit.xml") == {"bad.jpg": "failure", "1001 images passed": "passed"}


def test_a_stop_after_failures_is_an_error(photos: Path, ci: Path, invoke: Invoke) -> None:
    (photos / "a.jpg").write_bytes(b"")
    for i in range(300):
        os.link(photos / "b.jpg", photos / f"c{i}.jpg")
    invoke("explain", "photos", "-o", "out", "--fail-fast", "--batch-size", "1", *FILES, code=1)
    found = outcomes(ci / "junit.xml")
    assert found["run"] == "error"
    assert found["a.jpg"] == "failure"
    left = 303 - (len(found) - 1)
    assert left > 100
    assert f"Stopped: {left} images not reached." in (ci / "summary.md").read_text()


def test_an_error_replaces_the_file_of_an_earlier_run(photos: Path, ci: Path, invoke: Invoke) -> None:
    invoke("explain", "photos", "-o", "out", *FILES)
    shutil.rmtree(photos)
    done = invoke("explain", "photos", "-o", "out", *FILES, code=2)
    (error,) = cases(ci / "junit.xml").values()
    assert error.result[0].message in done.stderr
    assert "photos" in error.result[0].message
    assert (ci / "summary.md").read_text().startswith("## gradcam-cli explain: failed\n")


def test_messages_speak_of_options(photos: Path, ci: Path, invoke: Invoke) -> None:
    Image.fromarray(np.ones((8, 8), np.float32)).save(photos / "float.tiff")
    invoke("explain", "photos", "--jsonl", "records.jsonl", *FILES, code=1)
    assert "with --range" in cases(ci / "junit.xml")["float.tiff"].result[0].message
    assert "with --range" in (ci / "summary.md").read_text()
    (photos / "float.tiff").unlink()
    explain_folder(photos / "sub", "one", engines=FakeEngines())
    (photos / "sub" / "a.jpg").rename(photos / "sub" / "other.jpg")
    explain_folder(photos / "sub", "two", engines=FakeEngines())
    invoke("compare", "one", "two", *FILES, code=2)
    assert cases(ci / "junit.xml")["run"].result[0].message.endswith("Try another --match.")


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
@pytest.mark.parametrize("path", ["file/junit.xml", "photos", "pipe"])
def test_a_file_that_cannot_be_written_ends_with_4_before_the_run(
    photos: Path, invoke: Invoke, option: str, path: str
) -> None:
    """A pipe stands for devices, too: a test that named one would replace it if the check failed."""
    root = photos.parent
    (root / "file").write_text("mine")
    os.mkfifo(root / "pipe")
    assert path in invoke("explain", "photos", "-o", "out", option, path, code=4).stderr
    assert not (root / "out").exists()
    assert (root / "file").read_text() == "mine"
    assert (root / "pipe").is_fifo()


def test_nothing_is_left_beside_the_files(photos: Path, ci: Path, invoke: Invoke) -> None:
    invoke("explain", "photos", "-o", "out", *FILES)
    assert sorted(path.name for path in ci.iterdir()) == ["junit.xml", "summary.md"]


@pytest.mark.parametrize("write", [partial(write_junit, seconds=0), write_markdown])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fill(self: Path, data: bytes) -> None:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(EnvironmentStop, match="file: the file cannot be written: No space left"):
        write(path, CiReport("explain", CaseList()))
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--junit", "a", "--markdown", "a"), "name the same file"),
        (("--junit", "-"), "need the name of a file"),
        (("--markdown", "s3://bucket/a"), "URLs are not supported"),
    ],
)
def test_files_that_cannot_be_meant(photos: Path, invoke: Invoke, args: Any, message: str) -> None:
    assert message in invoke("explain", "photos", "-o", "out", *args, code=2).stderr
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize(("name", "code"), [("SIGINT", INTERRUPTED), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupted_run_writes_what_it_has(photos: Path, name: str, code: int) -> None:
    for i in range(20):
        (photos / f"x{i}.jpg").write_bytes(jpeg(seed=i))
    command = [sys.executable, str(ROOT / "tests" / "fake_program.py"), "explain", "photos", "-o", "out", *FILES]
    command += ["--batch-size", "1", "--jsonl", "records.jsonl"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SECONDS_A_PASS": "0.3"}
    root = photos.parent
    with subprocess.Popen(command, cwd=root, env=env, stderr=subprocess.PIPE) as process:
        records = root / "records.jsonl"
        deadline = time.monotonic() + 60
        while not (records.exists() and records.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=60)
    assert process.returncode == code
    found = outcomes(root / "ci" / "junit.xml")
    written = [json.loads(line)["input"]["path"] for line in records.read_text().splitlines()]
    assert found == {"run": "error", **dict.fromkeys(written, "passed")}
    assert 0 < len(written) < 23
    assert "Interrupted" in (root / "ci" / "summary.md").read_text()


@pytest.fixture
def runs(photos: Path, tmp_path: Path) -> Path:
    """Two runs, `one` and `two`, of two models."""
    explain_folder(photos, tmp_path / "one", engines=FakeEngines())
    explain_folder(photos, tmp_path / "two", engines=FakeEngines(kind=OtherEngine))
    return tmp_path


def test_compare_a_crossed_gate_is_a_failure(runs: Path, ci: Path, invoke: Invoke) -> None:
    gates = ("--fail-over", "class-changes=0", "--fail-over", "removed=0", "--warn-over", "added=0")
    done = invoke("compare", "one", "two", *gates, *FILES, code=5)
    assert outcomes(ci / "junit.xml") == {
        "class-changes=0": "failure",
        "removed=0": "passed",
        **dict.fromkeys(("a.jpg", "b.jpg", "sub/a.jpg"), "passed"),
    }
    crossed = cases(ci / "junit.xml")["class-changes=0"]
    assert crossed.classname == "gradcam-cli.compare.gates"
    assert f"crossed: {crossed.result[0].message}" in done.stderr
    assert set(crossed.result[0].text.splitlines()[1:]) == set(crossed.result[0].message.split(": ")[1].split(", "))
    text = (ci / "summary.md").read_text()
    assert text.startswith("## gradcam-cli compare: failed\n\n3 images compared")
    assert "| class-changes=0 | crossed | class-changes is " in text
    assert "| removed=0 | passed |  |" in text
    worst = next(line for line in done.stdout.splitlines() if ".jpg" in line).split()[0]
    assert text.split("### Changed most")[1].splitlines()[4].startswith(f"| {worst} | ")


def test_compare_images_of_one_run_only_are_skipped(runs: Path, photos: Path, ci: Path, invoke: Invoke) -> None:
    (photos / "a.jpg").write_bytes(b"")
    (photos / "b.jpg").unlink()
    (photos / "z.jpg").write_bytes(jpeg())
    (photos / "bad.jpg").write_bytes(b"")
    explain_folder(photos, runs / "three", engines=FakeEngines())
    both = {"b.jpg": "skipped", "z.jpg": "skipped", "sub/a.jpg": "passed"}
    invoke("compare", "one", "three", *FILES)
    assert outcomes(ci / "junit.xml") == {**both, "a.jpg": "failure", "bad.jpg": "failure"}
    assert "| b.jpg | only in BASE |" in (ci / "summary.md").read_text()
    invoke("compare", "three", "one", *FILES)
    assert outcomes(ci / "junit.xml") == {**both, "a.jpg": "skipped", "bad.jpg": "skipped"}
    invoke("compare", "three", "three", *FILES)
    assert Counter(outcomes(ci / "junit.xml").values()) == {"skipped": 2, "passed": 2}


def test_the_tolerance_of_a_snapshot_is_a_gate(runs: Path, ci: Path, invoke: Invoke) -> None:
    invoke("snapshot", "one", "-o", "golden.json", "--tolerance", "class-changes=0")
    invoke("compare", "one", "--snapshot", "golden.json", *FILES)
    assert set(outcomes(ci / "junit.xml").values()) == {"passed"}
    invoke("compare", "two", "--snapshot", "golden.json", *FILES, code=5)
    assert outcomes(ci / "junit.xml")["class-changes=0"] == "failure"


def test_verify_what_is_wrong_with_the_files_of_an_image_is_its_failure(runs: Path, ci: Path, invoke: Invoke) -> None:
    invoke("verify", "one", *FILES)
    assert outcomes(ci / "junit.xml") == dict.fromkeys(("a.jpg", "b.jpg", "sub/a.jpg"), "passed")
    (runs / "one" / "a.jpg.overlay.jpg").write_bytes(b"changed")
    (runs / "one" / "sub" / "a.jpg.281.overlay.jpg").write_bytes(jpeg())
    (runs / "one" / "other.overlay.jpg").write_bytes(jpeg())
    (runs / "photos" / "a.jpg").unlink()
    done = invoke("verify", "one", *FILES, code=1)
    expected = dict.fromkeys(("a.jpg", "other.overlay.jpg", "sub/a.jpg"), "failure") | {"b.jpg": "passed"}
    assert outcomes(ci / "junit.xml") == expected
    text = cases(ci / "junit.xml")["a.jpg"].result[0].text
    assert len(text.splitlines()) == 2
    assert sum(line.replace("\t", ": ") in text for line in done.stdout.splitlines()) == 2
    assert "4 problems" in (ci / "summary.md").read_text()


def test_verify_a_folder_that_is_not_there(ci: Path, invoke: Invoke) -> None:
    invoke("verify", "nowhere", *FILES, code=2)
    assert outcomes(ci / "junit.xml") == {"run": "error"}
