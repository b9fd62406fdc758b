"""Runs that write to an object store, in memory: what is promised of a folder holds for a prefix."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke, jpeg
from fakes import FakeEngines

from gradcam_cli import read_run
from gradcam_cli.errors import EnvironmentStop, Reason, StorageError, UsageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.options import explain_request
from gradcam_cli.results.stored_folder import StoredFolder
from gradcam_cli.results.stored_lock import FOLDER, StoredLock
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.storage import Store, Stores
from gradcam_cli.urls import Url

pytest.importorskip("fsspec", reason="the extra gradcam-cli[remote] is not installed")


@pytest.fixture
def inside(bucket: str, photos: Path) -> str:
    """The three photographs as objects below a prefix."""
    store = Stores().of(bucket)
    for path in sorted(photos.rglob("*.jpg")):
        store.put(f"{bucket}/in/{path.relative_to(photos).as_posix()}", path.read_bytes())
    return f"{bucket}/in"


def contents(url: str) -> dict[str, bytes]:
    """Every object below a prefix but run.json, whose rate differs from run to run."""
    return {name: stored.read() for name, stored in Stores().of(url).list(url) if name != "run.json"}


class Calls:
    """The calls that change a store, or read an object of it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, str]] = []
        for name in ("put", "remove", "read", "put_if_absent", "stat"):
            monkeypatch.setattr(Store, name, self._watched(name, getattr(Store, name)))

    def _watched(self, name: str, call: Any) -> Any:
        def watched(store: Store, url: str, *args: Any, **options: Any) -> Any:
            if f"/{FOLDER}/" not in url:
                self.made.append((name, url))
            return call(store, url, *args, **options)

        return watched

    def take(self) -> list[tuple[str, str]]:
        made, self.made = self.made, []
        return made


def test_a_prefix_gets_what_a_folder_gets(inside: str, bucket: str, invoke: Invoke, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out", "--top-k", "2", "--save-maps")
    result = invoke("explain", "photos", "-o", f"{bucket}/out", "--top-k", "2", "--save-maps")
    assert "3 images: 3 ok" in result.stderr
    assert result.stderr.endswith(f" -> {bucket}/out\n")
    root = tmp_path / "out"
    here = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    run, stored = json.loads(here.pop("run.json")), json.loads(Stores().object(f"{bucket}/out/run.json").read())
    assert contents(f"{bucket}/out") == here
    for name in ("images_per_second", "seconds"):
        del run[name], stored[name]
    assert stored == run


def test_objects_in_and_out(inside: str, bucket: str, invoke: Invoke) -> None:
    """Only what a record says of the time of its input differs from the run of files."""
    invoke("explain", "photos", "-o", f"{bucket}/from-files")
    invoke("explain", inside, "-o", f"{bucket}/out")
    files, objects = contents(f"{bucket}/from-files"), contents(f"{bucket}/out")
    assert files.keys() == objects.keys()
    for name, data in files.items():
        if name.endswith(".json"):
            one, other = json.loads(data), json.loads(objects[name])
            del one["input"]["mtime_ns"], other["input"]["mtime_ns"]
            assert one == other
        else:
            assert data == objects[name]


def test_overlays_first_and_the_sidecar_last(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    invoke("explain", f"{inside}/sub/a.jpg", "-o", f"{bucket}/out", "--top-k", "2")
    changed = [(call, url.removeprefix(f"{bucket}/out/")) for call, url in calls.take() if call in {"put", "remove"}]
    *overlays, sidecar, run = changed
    assert len(overlays) == 2
    assert all(call == "put" and name.endswith(".overlay.jpg") for call, name in overlays)
    assert [sidecar, run] == [("put", "a.jpg.json"), ("put", "run.json")]
    invoke("explain", f"{inside}/sub/a.jpg", "-o", f"{bucket}/out")
    changed = [(call, url.removeprefix(f"{bucket}/out/")) for call, url in calls.take() if call in {"put", "remove"}]
    assert changed[0] == ("remove", "a.jpg.json")
    assert sorted(changed[1:3]) == [("remove", name) for name in sorted(name for _, name in overlays)]
    assert changed[3:] == [("put", "a.jpg.overlay.jpg"), ("put", "a.jpg.json"), ("put", "run.json")]


def test_an_image_that_is_new_takes_no_requests_but_its_files(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    invoke("explain", inside, "-o", f"{bucket}/out")
    made = [call for call, _ in calls.take()]
    # One look whether the INPUT is an object; then each is read once, and each file and run.json put once.
    assert {call: made.count(call) for call in made} == {"stat": 1, "read": 3, "put": 3 * 2 + 1}


def test_a_second_run_puts_nothing(inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    first = invoke("explain", inside, "-o", f"{bucket}/out", "--jsonl", "-")
    calls = Calls(monkeypatch)
    monkeypatch.setattr("fakes.FakeEngines.open", None)
    again = invoke("explain", inside, "-o", f"{bucket}/out", "--jsonl", "-")
    assert "all were done before" in again.stderr
    assert again.stdout == first.stdout
    made = calls.take()
    assert not [url for call, url in made if call in {"put", "remove", "put_if_absent"}]
    assert not [url for call, url in made if call == "read" and url.startswith(inside)]


def test_what_changed_is_explained_again(inside: str, bucket: str, invoke: Invoke) -> None:
    """An object that was put again with the same bytes is known by its hash; other bytes, a lost overlay, are not."""
    store = Stores().of(bucket)
    invoke("explain", inside, "-o", f"{bucket}/out")
    store.put(f"{inside}/a.jpg", store.read(f"{inside}/a.jpg"))
    assert "3 images: 3 ok; all were done before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    store.put(f"{inside}/a.jpg", jpeg(30, 20, seed=9))
    assert "2 of them before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    store.remove(f"{bucket}/out/b.jpg.overlay.jpg")
    assert "2 of them before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    store.put(f"{bucket}/out/b.jpg.json", b'{\n  "classes": [')
    assert "2 of them before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    overlay = store.read(f"{bucket}/out/b.jpg.overlay.jpg")
    store.put(f"{bucket}/out/b.jpg.overlay.jpg", bytes(len(overlay)))
    assert "all were done before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    assert "2 of them before" in invoke("explain", inside, "-o", f"{bucket}/out", "--verify").stderr
    assert store.read(f"{bucket}/out/b.jpg.overlay.jpg") == overlay


def test_a_copy_on_this_machine_goes_on_and_is_verified(
    inside: str, bucket: str, invoke: Invoke, tmp_path: Path
) -> None:
    """What is below a prefix is what is in a folder: it may be copied, verified and continued there."""
    invoke("explain", inside, "-o", f"{bucket}/out")
    for name, stored in Stores().of(bucket).list(f"{bucket}/out"):
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.read())
    invoke("verify", "copy")
    assert "all were done before" in invoke("explain", inside, "-o", "copy").stderr
    assert "all were done before" in invoke("explain", "photos", "-o", "copy").stderr


def test_objects_of_others_stay(inside: str, bucket: str, invoke: Invoke) -> None:
    store = Stores().of(bucket)
    store.put(f"{bucket}/out/a.jpg.json", b'{"mine": true}')
    store.put(f"{bucket}/out/notes.txt", b"mine")
    result = invoke("explain", inside, "-o", f"{bucket}/out", code=1)
    assert "a.jpg': output_not_ours: a.jpg.json already exists, and this program did not write it" in result.stderr
    assert store.read(f"{bucket}/out/a.jpg.json") == b'{"mine": true}'
    assert store.read(f"{bucket}/out/notes.txt") == b"mine"
    assert not store.has(f"{bucket}/out/a.jpg.overlay.jpg")
    store.put(f"{bucket}/other/run.json", b'{"mine": true}')
    result = invoke("explain", inside, "-o", f"{bucket}/other", code=2)
    assert "run.json already exists" in result.stderr


def test_an_output_inside_the_input_is_no_input(inside: str, bucket: str, invoke: Invoke) -> None:
    first = invoke("explain", inside, "-o", f"{inside}/out")
    assert "3 images: 3 ok" in first.stderr
    names = set(contents(inside))
    again = invoke("explain", inside, "-o", f"{inside}/out")
    assert "all were done before" in again.stderr
    assert set(contents(inside)) == names
    invoke("explain", inside, "-o", inside)
    assert "all were done before" in invoke("explain", inside, "-o", inside).stderr


def test_a_preview_puts_nothing(inside: str, bucket: str, invoke: Invoke) -> None:
    before = contents(bucket)
    result = invoke("explain", inside, "-o", f"{bucket}/out", "--dry-run")
    assert result.stdout.splitlines()[0] == f"{inside}/a.jpg\t{bucket}/out/a.jpg.json"
    assert contents(bucket) == before
    # Of this model the weights are at hand, so that a preview knows what was done with them.
    named = ("--model", "efficientnetlite0")
    invoke("explain", inside, "-o", f"{bucket}/out", *named)
    assert not invoke("explain", inside, "-o", f"{bucket}/out", *named, "--dry-run").stdout


def test_a_run_is_read_back(inside: str, bucket: str) -> None:
    done = run_explain(explain_request([inside], f"{bucket}/out"), engines=FakeEngines())
    run = read_run(f"{bucket}/out")
    assert run.record == json.loads(json.dumps(done.record))
    assert dict(run.counts) == dict(done.counts)
    assert [record["input"]["path"] for record in run.records()] == ["a.jpg", "b.jpg", "sub/a.jpg"]
    with pytest.raises(UsageError, match=r"this folder has no run\.json of this program"):
        read_run(f"{bucket}/nothing")


def test_shards_write_below_one_prefix(inside: str, bucket: str, invoke: Invoke) -> None:
    invoke("explain", inside, "-o", f"{bucket}/whole")
    for index in (1, 2, 3):
        invoke("explain", inside, "-o", f"{bucket}/out", "--shard", f"{index}/3")
    found = contents(f"{bucket}/out")
    records = {name: found.pop(f"run.{name}.json") for name in ("1-of-3", "2-of-3", "3-of-3")}
    assert sum(json.loads(data)["counts"]["done"] for data in records.values()) == 3
    assert found == contents(f"{bucket}/whole")


def lock(bucket: str, shard: Shard | None = None) -> StoredLock:
    return StoredLock(Stores().of(bucket), Url(f"{bucket}/out"), shard)


def locks(bucket: str) -> list[str]:
    return [name for name, _ in Stores().of(bucket).list(f"{bucket}/out/{FOLDER}")]


def test_one_run_at_a_time(inside: str, bucket: str, invoke: Invoke) -> None:
    held = lock(bucket)
    held.take()
    assert held.is_exclusive
    result = invoke("explain", inside, "-o", f"{bucket}/out", code=2)
    assert "another run is writing to this folder (its lock is valid until" in result.stderr
    held.check()
    held.release()
    invoke("explain", inside, "-o", f"{bucket}/out")
    assert locks(bucket) == []


def test_shards_exclude_themselves_and_runs_of_all(bucket: str) -> None:
    first, second = lock(bucket, Shard(3, 1)), lock(bucket, Shard(3, 2))
    first.take()
    second.take()
    for other in (Shard(3, 1), Shard(3, 2), None):
        with pytest.raises(UsageError, match="is writing to this folder"):
            lock(bucket, other).take()
    first.release()
    second.release()
    held = lock(bucket)
    held.take()
    with pytest.raises(UsageError, match="another run of shard 1 of 3, or of all shards, is writing to this folder"):
        lock(bucket, Shard(3, 1)).take()
    held.release()


def expired(bucket: str, number: int, seconds: float = 1) -> None:
    """The lock of a run that was killed."""
    text = json.dumps({"run": "dead", "expires": time.time() - seconds})
    Stores().of(bucket).put(f"{bucket}/out/{FOLDER}/all.{number}.json", text.encode("ascii"))


def test_a_lock_that_has_expired_is_taken_over_by_one_run_alone(bucket: str) -> None:
    expired(bucket, 4)
    first = lock(bucket)
    first.take()
    assert locks(bucket) == ["all.5.json"]
    with pytest.raises(UsageError, match="is writing to this folder"):
        lock(bucket).take()
    first.release()
    expired(bucket, 4, seconds=-30)
    with pytest.raises(UsageError, match="is writing to this folder"):
        lock(bucket).take()


def test_of_runs_that_find_an_expired_lock_at_once_not_two_go_on(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one takes its number after the first listed the locks, and before it put its own."""
    expired(bucket, 1)
    put, second = Store.put_if_absent, lock(bucket)
    taken: list[str] = []

    def late(store: Store, url: str, data: bytes) -> bool:
        if not taken:
            taken.append(url)
            second.take()
        return put(store, url, data)

    monkeypatch.setattr(Store, "put_if_absent", late)
    with pytest.raises(UsageError, match="the other run took the lock first"):
        lock(bucket).take()
    second.check()
    second.release()


def test_a_lock_is_renewed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.results.stored_lock.RENEWAL", 0.02)
    monkeypatch.setattr("gradcam_cli.results.stored_lock.EXPIRY", 0.2)
    held = lock(bucket)
    held.take()
    time.sleep(0.5)
    held.check()
    with pytest.raises(UsageError, match="is writing to this folder"):
        lock(bucket).take()
    held.release()


def test_a_run_that_lost_its_lock_stops(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was suspended, and another run has the lock: nothing more is put."""
    monkeypatch.setattr("gradcam_cli.results.stored_lock.EXPIRY", -1.0)
    held = lock(bucket)
    held.take()
    with pytest.raises(EnvironmentStop, match="this run lost its lock"):
        held.check()
    held.release()


def test_a_store_without_conditions_is_noted(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(store: Store, url: str, data: bytes) -> bool:
        store.put(url, data)
        return True

    monkeypatch.setattr(Store, "put_if_absent", always)
    result = invoke("explain", inside, "-o", f"{bucket}/out")
    assert f"{bucket}/out: this store cannot refuse to overwrite an object" in result.stderr


def failing(monkeypatch: pytest.MonkeyPatch, name: str, part: str, after: int = 0) -> None:
    """Let a call fail for objects whose URL has this part, after it was served so many times."""
    call, seen = getattr(Store, name), []

    def fails(store: Store, url: str, *args: Any, **options: Any) -> Any:
        if part in url:
            seen.append(url)
            if len(seen) > after:
                raise StorageError(Reason.UNREADABLE, f"{url}: the store failed 8 times (SlowDown).")
        return call(store, url, *args, **options)

    monkeypatch.setattr(Store, name, fails)


def test_an_input_that_the_store_does_not_give_fails_alone(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "read", "in/b.jpg")
    result = invoke("explain", inside, "-o", f"{bucket}/out", code=1)
    assert "3 images: 2 ok, 1 failed" in result.stderr
    record = json.loads(contents(f"{bucket}/out")["b.jpg.json"])
    assert (record["status"], record["reason"]) == ("error", "unreadable")
    assert record["message"] == f"{inside}/b.jpg: the store failed 8 times (SlowDown)."
    monkeypatch.undo()
    monkeypatch.chdir("/")
    assert "2 of them before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr


def test_an_output_that_the_store_does_not_take_stops_the_run(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "put", "out/b.jpg.overlay.jpg")
    result = invoke("explain", inside, "-o", f"{bucket}/out", code=4)
    assert "the store failed 8 times (SlowDown). Finished results stay valid." in result.stderr
    found = contents(f"{bucket}/out")
    assert not {"b.jpg.overlay.jpg", "b.jpg.json"} & found.keys()
    assert locks(bucket) == []
    monkeypatch.undo()
    monkeypatch.chdir("/")
    invoke("explain", inside, "-o", f"{bucket}/out")
    invoke("explain", inside, "-o", f"{bucket}/whole")
    assert contents(f"{bucket}/out") == contents(f"{bucket}/whole")


def test_names_that_are_no_utf8_are_escaped(bucket: str, invoke: Invoke, photos: Path) -> None:
    name = b"caf\xe9.jpg"
    (Path(str(photos)) / name.decode("utf-8", "surrogateescape")).write_bytes(jpeg())
    invoke("explain", "photos", "-o", f"{bucket}/out")
    assert r"caf\xe9.jpg.overlay.jpg" in contents(f"{bucket}/out")
    assert "all were done before" in invoke("explain", "photos", "-o", f"{bucket}/out").stderr


def test_an_interrupted_run_frees_the_prefix_and_goes_on(
    inside: str, bucket: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    write = StoredFolder.write_image

    def interrupted(folder: StoredFolder, *args: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(args)
        write(folder, *args)

    monkeypatch.setattr(StoredFolder, "write_image", interrupted)
    invoke("explain", inside, "-o", f"{bucket}/out", code=130)
    assert locks(bucket) == []
    assert json.loads(Stores().object(f"{bucket}/out/run.json").read())["interrupted"]
    monkeypatch.setattr(StoredFolder, "write_image", write)
    assert "1 of them before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    invoke("explain", inside, "-o", f"{bucket}/whole")
    assert contents(f"{bucket}/out") == contents(f"{bucket}/whole")
