"""Every command on an object store, in memory: it gives what it gives on a folder."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke, invoked, jpeg
from fakes import FakeEngines

from gradcam_cli import compare_runs, merge_runs, read_run
from gradcam_cli.errors import Reason, StorageError, UsageError
from gradcam_cli.results.stored_lock import FOLDER, StoredLock
from gradcam_cli.results.verification import verify_folder
from gradcam_cli.storage import Store, Stores
from gradcam_cli.urls import Url

pytest.importorskip("fsspec", reason="the extra gradcam-cli[remote] is not installed")

FORMATS = ("files", "webdataset", "parquet")
Put = Callable[[Path, str], str]


def put_folder(folder: Path, url: str) -> str:
    """Put the files of a folder below a prefix."""
    store = Stores().of(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return url


def contents(url: str) -> dict[str, bytes]:
    return {name: stored.read() for name, stored in Stores().of(url).list(url)}


def read(url: str) -> bytes:
    return Stores().object(url).read()


@pytest.fixture
def album(photos: Path) -> Path:
    """Five photographs and a damaged one."""
    for i, name in enumerate(("c.jpg", "d.jpg"), 5):
        (photos / name).write_bytes(jpeg(30 + i, 24, seed=i))
    (photos / "broken.jpg").write_bytes(jpeg()[:200])
    return photos


@pytest.fixture
def inside(bucket: str, album: Path) -> str:
    return put_folder(album, f"{bucket}/in")


@pytest.fixture(params=FORMATS)
def out(request: pytest.FixtureRequest, bucket: str, inside: str, invoke: Invoke) -> str:
    """A run of the objects, in each format, and the same as a copy on this machine: `copy`."""
    invoke("explain", inside, "-o", f"{bucket}/out", "--format", request.param, code=1)
    for name, data in contents(f"{bucket}/out").items():
        path = Path("copy") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return f"{bucket}/out"


def test_verify(out: str, inside: str, bucket: str, invoke: Invoke) -> None:
    """The inputs are looked for in the store as well; what is damaged is named as in a folder."""
    stored = json.loads(invoke("verify", out, "--json").stdout)
    assert stored == json.loads(invoke("verify", "copy", "--json").stdout)
    assert (stored["sidecars"], stored["problems"], stored["unchecked"]) == (6, [], [])
    Stores().of(inside).remove(f"{inside}/d.jpg")
    result = invoke("verify", out, code=1)
    assert result.stdout == invoke("verify", "copy", code=1).stdout
    assert result.stdout.startswith("d.jpg.json\tits input no longer exists\n")
    victim = next(name for name in contents(out) if name.endswith((".overlay.jpg", ".tar", ".parquet")))
    data = read(f"{out}/{victim}")
    Stores().of(out).put(f"{out}/{victim}", data[:-700])
    Path("copy", victim).write_bytes(data[:-700])
    result = invoke("verify", out, code=1)
    assert result.stdout == invoke("verify", "copy", code=1).stdout
    assert victim in result.stdout


def test_prune(out: str, inside: str, invoke: Invoke) -> None:
    Stores().of(inside).remove(f"{inside}/d.jpg")
    assert "1 sidecar removed" in invoke("verify", out, "--prune").stdout
    assert not [name for name in contents(out) if name.startswith(("d.jpg", FOLDER))]
    assert [each["input"]["path"] for each in read_run(out).records()] == [
        *("a.jpg", "b.jpg", "broken.jpg", "c.jpg", "sub/a.jpg")
    ]
    invoke("verify", out)


def test_inputs_that_moved(out: str, inside: str, bucket: str, album: Path, invoke: Invoke) -> None:
    moved = put_folder(album, f"{bucket}/moved")
    for name in contents(inside):
        Stores().of(inside).remove(f"{inside}/{name}")
    assert f"{inside} cannot be found: not checked" in invoke("verify", out).stderr
    assert not invoke("verify", out, "--inputs", moved).stderr
    assert not invoke("verify", out, "--inputs", "photos").stderr


def test_pruning_needs_the_lock(out: str, inside: str, invoke: Invoke) -> None:
    Stores().of(inside).remove(f"{inside}/d.jpg")
    lock = StoredLock(Stores().of(out), Url(out))
    lock.take()
    before = contents(out)
    assert "another run is writing to this folder" in invoke("verify", out, "--prune", code=2).stderr
    assert contents(out) == before
    lock.release()


def test_report(out: str, inside: str, invoke: Invoke) -> None:
    """The page and its thumbnails are below the prefix, and are those of the copy but for links to photographs."""
    invoke("report", out)
    invoke("report", "copy")
    there = {name: data for name, data in contents(out).items() if name.startswith("report/")}
    here = {path.relative_to("copy").as_posix(): path.read_bytes() for path in Path("copy/report").iterdir()}
    assert there == here
    assert len(there) == 6
    page = read(f"{out}/index.html").decode()
    assert page.startswith("<!doctype html>\n<!-- gradcam-cli report -->")
    assert '"photo":"../in/a.jpg"' in page
    assert "photograph not found" not in page
    invoke("verify", out)
    # A second page, which stands alone, is made on this machine.
    invoke("report", out, "-o", "page.html", "--self-contained")
    assert "data:image/jpeg" in Path("page.html").read_text()
    assert "Use --self-contained" in invoke("report", out, "-o", "page.html", code=2).stderr
    assert {name for name in contents(out) if name.startswith("report/")} == set(there)


def test_a_report_without_photographs_shows_overlays(out: str, inside: str, invoke: Invoke) -> None:
    for name in contents(inside):
        Stores().of(inside).remove(f"{inside}/{name}")
    invoke("report", out)
    invoke("report", "copy")
    page = Path("copy/index.html").read_bytes().replace(b"<title>copy", b"<title>out").replace(b">copy<", b">out<")
    assert contents(out)["index.html"] == page


def test_a_page_of_others_stays(out: str, invoke: Invoke) -> None:
    Stores().of(out).put(f"{out}/index.html", b"<html>mine")
    assert "this program did not write it" in invoke("report", out, code=2).stderr
    assert read(f"{out}/index.html") == b"<html>mine"


def test_a_run_with_its_report(inside: str, bucket: str, invoke: Invoke) -> None:
    invoke("explain", inside, "-o", f"{bucket}/out", "--report", code=1)
    assert read(f"{bucket}/out/index.html").startswith(b"<!doctype html>")
    Stores().of(bucket).put(f"{bucket}/mine/index.html", b"<html>mine")
    result = invoke("explain", inside, "-o", f"{bucket}/mine", "--report", code=2)
    assert "this program did not write it" in result.stderr


def test_compare_and_snapshot(out: str, inside: str, bucket: str, invoke: Invoke) -> None:
    """Of two runs in the store, of one here and one there, and of a snapshot in either place."""
    invoke("explain", inside, "-o", f"{bucket}/other", "--method", "gradcam", code=1)
    told = invoke("compare", out, f"{bucket}/other", "--json").stdout
    assert len(json.loads(told)["images"]) == 5
    assert invoke("compare", "copy", f"{bucket}/other", "--json").stdout == told
    invoke("compare", out, f"{bucket}/other", "-o", f"{bucket}/compared")
    invoke("compare", "copy", f"{bucket}/other", "-o", "compared")
    for name in ("comparison.json", "index.html"):
        assert read(f"{bucket}/compared/{name}") == Path("compared", name).read_bytes()
    invoke("snapshot", out, "-o", f"{bucket}/golden.json")
    invoke("snapshot", "copy", "-o", "golden.json")
    assert read(f"{bucket}/golden.json") == Path("golden.json").read_bytes()
    invoke("compare", out, "--snapshot", f"{bucket}/golden.json")
    invoke("compare", "copy", "--snapshot", f"{bucket}/golden.json")
    invoke("compare", f"{bucket}/other", "--snapshot", f"{bucket}/golden.json", "--update")
    assert read(f"{bucket}/golden.json") != Path("golden.json").read_bytes()
    found = compare_runs(read_run(out), read_run("copy"))
    assert len(found.images) == 5


@pytest.mark.parametrize("packing", FORMATS)
@pytest.mark.parametrize(("one", "other", "whole"), ["sss", "lss", "ssl"])
def test_merge(
    packing: str, one: str, other: str, whole: str, inside: str, bucket: str, album: Path, invoke: Invoke
) -> None:
    """Shards in the store, or one here and one there, become one run in either place."""
    places = {"s": f"{bucket}/", "l": ""}
    folders = [f"{places[one]}one", f"{places[other]}two"]
    for index, folder in enumerate(folders, 1):
        failing = 1 if index == (1 if (album / "broken.jpg").name in _of_shard(1, album) else 2) else 0
        invoke("explain", inside, "-o", folder, "--format", packing, "--shard", f"{index}/2", code=failing)
    merged = f"{places[whole]}whole"
    assert "2 shards, 6 images: 5 explained, 1 failed" in invoke("merge", *folders, "-o", merged, "--report").stderr
    invoke("explain", inside, "-o", "plain", "--format", packing, code=1)
    assert list(read_run(merged).records()) == list(read_run("plain").records())
    if packing == "files":
        found = contents(merged) if whole == "s" else _files(Path(merged))
        own = {name for name in found if name.startswith("report/")} | {"run.json", "index.html"}
        assert {name: data for name, data in found.items() if name not in own} == {
            name: data for name, data in _files(Path("plain")).items() if name != "run.json"
        }
    invoke("verify", merged)
    before = read_run(merged).record
    invoke("merge", *folders, "-o", merged)
    assert read_run(merged).record == before
    assert "5 of them before" in invoke("explain", inside, "-o", merged, "--format", packing, code=1).stderr


def _of_shard(index: int, album: Path) -> list[str]:
    from gradcam_cli.inputs.shards import Shard

    names = [path.relative_to(album).as_posix() for path in album.rglob("*.jpg")]
    return [name for name in names if Shard(2, index).has(name)]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("packing", FORMATS)
def test_merge_below_one_prefix(packing: str, inside: str, bucket: str, album: Path, invoke: Invoke) -> None:
    for index in (1, 2):
        code = int("broken.jpg" in _of_shard(index, album))
        invoke("explain", inside, "-o", f"{bucket}/out", "--format", packing, "--shard", f"{index}/2", code=code)
    assert "Merge them" in invoke("report", f"{bucket}/out", code=2).stderr
    merge_runs([f"{bucket}/out"])
    assert not [name for name in contents(f"{bucket}/out") if "-of-2.json" in name or FOLDER in name]
    assert len(list(read_run(f"{bucket}/out").records())) == 6
    invoke("verify", f"{bucket}/out")


def test_a_merge_below_its_source_is_refused(inside: str, bucket: str, invoke: Invoke) -> None:
    for index in (1, 2):
        invoke("explain", f"{inside}/a.jpg", "-o", f"{bucket}/{index}", "--shard", f"{index}/2")
    message = "one of these folders is inside the other"
    assert message in invoke("merge", f"{bucket}/1", f"{bucket}/2", "-o", f"{bucket}/1/out", code=2).stderr
    assert message in invoke("merge", f"{bucket}/1", f"{bucket}/2", "-o", bucket, code=2).stderr


def test_records_go_to_an_object(inside: str, bucket: str, invoke: Invoke) -> None:
    invoke("explain", inside, "-o", "out", "--jsonl", f"{bucket}/rows.jsonl", code=1)
    lines = invoke("explain", inside, "-o", "again", "--jsonl", "-", code=1).stdout
    assert read(f"{bucket}/rows.jsonl").decode() == lines
    assert len(lines.splitlines()) == 6


def test_records_of_a_run_that_was_stopped_are_put(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "put", "out/c.jpg.overlay.jpg")
    invoke("explain", inside, "-o", f"{bucket}/out", "--jsonl", f"{bucket}/rows.jsonl", code=4)
    told = [json.loads(line)["input"]["path"] for line in read(f"{bucket}/rows.jsonl").splitlines()]
    assert told[:3] == ["a.jpg", "b.jpg", "broken.jpg"]
    assert "c.jpg" not in told


def failing(monkeypatch: pytest.MonkeyPatch, name: str, part: str, reason: Reason = Reason.UNREADABLE) -> None:
    """Let a call fail for objects whose URL has this part."""
    call = getattr(Store, name)

    def fails(store: Store, url: str, *args: Any, **options: Any) -> Any:
        if part in url:
            raise StorageError(reason, f"{url}: the store failed 8 times (SlowDown).")
        return call(store, url, *args, **options)

    monkeypatch.setattr(Store, name, fails)


COMMANDS = {
    "verify": ("verify", "{}/out"),
    "report": ("report", "{}/out"),
    "compare": ("compare", "{}/out", "{}/out"),
    "snapshot": ("snapshot", "{}/out", "-o", "golden.json"),
    "merge": ("merge", "{}/out", "-o", "merged"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("call", ["list", "read"])
@pytest.mark.parametrize(("reason", "code"), [(Reason.UNREADABLE, 4), (Reason.PERMISSION, 2)])
def test_a_store_that_fails(
    command: str, call: str, reason: Reason, code: int, inside: str, bucket: str, invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every command says so and ends with 4; with 2 where access is refused."""
    invoke("explain", f"{inside}/a.jpg", "-o", f"{bucket}/out", *(("--shard", "1/1") if command == "merge" else ()))
    failing(monkeypatch, call, f"{bucket}/out", reason)
    result = invoke(*(part.format(bucket) for part in COMMANDS[command]), code=code)
    assert "the store failed 8 times (SlowDown)" in result.stderr
    assert not Path("golden.json").exists()
    assert not Path("merged", "run.json").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_prefix(command: str, bucket: str, invoke: Invoke) -> None:
    result = invoke(*(part.format(bucket) for part in COMMANDS[command]), code=2)
    told = "there is no object" if command in {"verify", "merge"} else "this folder has no run.json"
    assert f"{bucket}/out: {told}" in result.stderr


def test_the_python_api_takes_urls(inside: str, bucket: str, invoke: Invoke) -> None:
    invoke("explain", inside, "-o", f"{bucket}/out", code=1)
    assert verify_folder(f"{bucket}/out").exit_status == 0
    assert read_run(f"{bucket}/out").counts["done"] == 5
    assert read_run(Url(f"{bucket}/out")).counts["done"] == 5
    with pytest.raises(UsageError, match="there is no object below this name"):
        verify_folder(f"{bucket}/nothing")


def test_names_that_are_no_utf8(bucket: str, photos: Path, invoke: Invoke) -> None:
    """Objects have escaped names; the inputs are found by the names that they have."""
    Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg")).write_bytes(jpeg())
    for index in (1, 2):
        invoke("explain", "photos", "-o", f"{bucket}/{index}", "--shard", f"{index}/2")
    invoke("merge", f"{bucket}/1", f"{bucket}/2", "-o", f"{bucket}/out")
    assert r"caf\xe9.jpg.overlay.jpg" in contents(f"{bucket}/out")
    assert json.loads(invoke("verify", f"{bucket}/out", "--json").stdout)["unchecked"] == []
    invoke("report", f"{bucket}/out")
    Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg")).unlink()
    assert "1 sidecar removed" in invoke("verify", f"{bucket}/out", "--prune").stdout
    assert not [name for name in contents(f"{bucket}/out") if name.startswith("caf")]


def test_local_commands_do_not_import_fsspec(photos: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders need no library of object stores, and lose no time for it."""
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    run = partial(invoked, FakeEngines())
    for packing in FORMATS:
        for index in (1, 2):
            run("explain", "photos", "-o", f"{packing}{index}", "--format", packing, "--shard", f"{index}/2")
        run("merge", f"{packing}1", f"{packing}2", "-o", packing, "--report")
        run("verify", packing, "--prune")
        run("compare", packing, packing, "-o", f"compared-{packing}")
        run("snapshot", packing, "-o", f"{packing}.json")
        run("explain", "photos", "-o", packing, "--format", packing, "--jsonl", "rows.jsonl")
    with pytest.raises(UsageError, match="object stores need more packages"):
        read_run("s3://bucket/out")
