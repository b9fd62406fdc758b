"""The calls of an object store, its errors, and what messages say of them; in memory and on doubles."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke, jpeg, png

from gradcam_cli.errors import Reason, StorageError, UsageError
from gradcam_cli.inputs.discovery import find_sources
from gradcam_cli.inputs.walk import Rules, patterns
from gradcam_cli.storage import Backoff, Stat, Store, Stores
from gradcam_cli.urls import Url, check_url, is_stored, shown

pytest.importorskip("fsspec", reason="the extra gradcam-cli[remote] is not installed")

QUICK = Backoff(tries=4, first=0, longest=0)


def fill(url: str, *names: str, data: bytes = b"\xff\xd8\xff") -> Store:
    store = Stores().of(url)
    for name in names:
        store.put(f"{url}/{name}", data)
    return store


def names_below(url: str) -> list[str]:
    return sorted(name for name, _ in Stores().of(url).list(url))


def test_objects_are_put_read_listed_and_removed(bucket: str) -> None:
    store = Stores().of(bucket)
    store.put(f"{bucket}/a/b.bin", b"0123456789")
    assert store.read(f"{bucket}/a/b.bin") == b"0123456789"
    assert store.read(f"{bucket}/a/b.bin", 2, 5) == b"234"
    assert store.stat(f"{bucket}/a/b.bin").size == 10
    assert store.has(f"{bucket}/a/b.bin")
    assert not store.has(f"{bucket}/a")
    assert not store.has(f"{bucket}/b.bin")
    store.put(f"{bucket}/a/b.bin", b"new")
    assert store.read(f"{bucket}/a/b.bin") == b"new"
    store.remove(f"{bucket}/a/b.bin")
    store.remove(f"{bucket}/a/b.bin")
    assert not store.has(f"{bucket}/a/b.bin")
    with pytest.raises(StorageError, match="there is no such object") as raised:
        store.read(f"{bucket}/a/b.bin")
    assert raised.value.reason is Reason.VANISHED


def test_put_if_absent_never_replaces(bucket: str) -> None:
    store = Stores().of(bucket)
    assert store.put_if_absent(f"{bucket}/lock", b"first")
    assert not store.put_if_absent(f"{bucket}/lock", b"second")
    assert store.read(f"{bucket}/lock") == b"first"


def test_a_listing_gives_all_below_a_prefix_and_nothing_beside_it(bucket: str) -> None:
    fill(bucket, "in/a.jpg", "in/b/c.jpg", "in/b/d/e.jpg", "in.jpg", "inner/x.jpg")
    store = Stores().of(bucket)
    found = dict(store.list(f"{bucket}/in"))
    assert sorted(found) == ["a.jpg", "b/c.jpg", "b/d/e.jpg"]
    assert found["b/c.jpg"].url == f"{bucket}/in/b/c.jpg"
    assert found["b/c.jpg"].listed == store.stat(f"{bucket}/in/b/c.jpg")
    assert list(store.list(f"{bucket}/nothing")) == []


class Boto(Exception):
    """An error in the shape of botocore's."""

    def __init__(self, code: str, status: int, message: str = "AKIASECRET said no") -> None:
        super().__init__(message)
        self.response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class Faulty:
    """A file system whose calls fail first, and then are served."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return b"data"


def slow_down() -> Exception:
    return caused(OSError(errno.EBUSY, "Please reduce"), Boto("SlowDown", 503))


@pytest.mark.parametrize(
    "error",
    [
        slow_down,
        lambda: caused(OSError(errno.EIO, "AKIASECRET"), Boto("InternalError", 500)),
        lambda: Boto("TooManyRequests", 429),
        lambda: TimeoutError("AKIASECRET"),
        lambda: ConnectionResetError("AKIASECRET"),
    ],
)
def test_what_may_pass_is_tried_again(error: Callable[[], Exception]) -> None:
    files = Faulty(*(error() for _ in range(3)))
    assert Store("s3", files, QUICK).read("s3://b/k") == b"data"
    assert files.calls == 4
    files = Faulty(*(error() for _ in range(9)))
    with pytest.raises(StorageError, match="the store failed 4 times") as raised:
        Store("s3", files, QUICK).read("s3://b/k")
    assert files.calls == 4
    assert raised.value.is_transient
    assert "AKIASECRET" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError("AKIASECRET"), Reason.VANISHED),
        (PermissionError("AKIASECRET"), Reason.PERMISSION),
        (Boto("InvalidAccessKeyId", 403), Reason.UNREADABLE),
        (caused(OSError(errno.EINVAL, "AKIASECRET"), Boto("InvalidRequest", 400)), Reason.UNREADABLE),
        (ValueError("AKIASECRET"), Reason.UNREADABLE),
    ],
)
def test_what_does_not_pass_is_not_tried_again(error: Exception, reason: Reason) -> None:
    files = Faulty(error)
    with pytest.raises(StorageError) as raised:
        Store("s3", files, QUICK).read("s3://b/k")
    assert files.calls == 1
    assert raised.value.reason is reason
    assert "AKIASECRET" not in str(raised.value)


def test_a_code_of_more_than_a_word_is_not_shown() -> None:
    with pytest.raises(StorageError) as raised:
        Store("s3", Faulty(Boto("key AKIASECRET", 400)), QUICK).read("s3://b/k")
    assert str(raised.value) == "s3://b/k: the store failed (400)."


def test_waits_grow_are_random_and_bounded() -> None:
    backoff = Backoff(tries=8, first=0.2, longest=3)
    for attempt, most in enumerate([0.2, 0.4, 0.8, 1.6, 3, 3, 3]):
        waits = [backoff.wait(attempt) for _ in range(200)]
        assert 0 <= min(waits) < most / 4
        assert 3 * most / 4 < max(waits) <= most


def test_the_end_of_a_run_ends_the_waiting() -> None:
    files = Faulty(slow_down(), slow_down(), slow_down())
    store = Store("s3", files, Backoff(tries=8, first=3600, longest=3600))
    store.end()
    with pytest.raises(StorageError):
        store.read("s3://b/k")
    assert files.calls == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:secret@bucket/a.jpg", "s3://...@bucket/a.jpg"),
        ("s3://b/a.jpg?X-Amz-Signature=secret&versionId=1", "s3://b/a.jpg?X-Amz-Signature=...&versionId=1"),
        ("az://c/a.jpg?sv=2024&sig=secret", "az://c/a.jpg?sv=2024&sig=..."),
    ],
)
def test_urls_with_credentials_are_refused_without_repeating_them(url: str, told: str) -> None:
    assert shown(url) == told
    with pytest.raises(UsageError) as raised:
        check_url(url)
    assert str(raised.value).startswith(told)
    assert "secret" not in str(raised.value)


def test_a_question_mark_and_an_account_are_no_credentials() -> None:
    for url in ("s3://bucket/what?.jpg", "abfs://container@account.dfs.core.windows.net/a.jpg"):
        check_url(url)
        assert shown(url) == url


def test_a_missing_library_is_named() -> None:
    pytest.importorskip("s3fs")
    for url, package in (("gs://b/k", "gcsfs"), ("az://c/k", "adlfs"), ("oss://b/k", "ossfs")):
        with pytest.raises(UsageError, match=f"needs the package {package}: pip install {package}"):
            Stores().of(url)


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"\.\[remote\]"):
        Stores().of("s3://b/k")


def test_what_is_a_place_of_a_store() -> None:
    assert [is_stored(text) for text in ("s3://b", "S3://b", "memory://b/c", "http://h", "c:/b", "s3:/b", "b")] == [
        *(True, True, True, False, False, False, False)
    ]
    assert str(Url("s3://b/out/") / "a.json") == "s3://b/out/a.json"
    assert Url("s3://b/out/").name == "out"


def test_a_store_without_etags_gives_times(bucket: str) -> None:
    store = fill(bucket, "a.jpg")
    stat = store.stat(f"{bucket}/a.jpg")
    assert stat.etag is None
    assert stat.mtime_ns is not None
    assert abs(stat.mtime_ns - Path("/proc/self").stat().st_mtime_ns) < 3600 * 10**9
    assert Stat(3, "e") == Stat(3, "e", None)


RULES = Rules(frozenset({".jpg", ".png"}))


def found(url: str, **rules: Any) -> tuple[list[str], dict[str, Any]]:
    given = Rules(RULES.suffixes, **rules)
    result = find_sources([url], rules=given, keep_omissions=True)
    return [source.relative for source in result.sources], result.left_out.as_record()


def test_a_prefix_is_walked_by_the_rules_of_a_folder(bucket: str, tmp_path: Path) -> None:
    """What a folder with the same names gives, a prefix gives: inputs, and what is left out."""
    names = [
        *(
            "a.jpg",
            "a.jpg.json",
            "a.jpg.overlay.jpg",
            "b/c.PNG",
            "b/.hidden/x.jpg",
            "b/.x.jpg",
            "run.json",
            "notes.txt",
        ),
        *("odd", "b/d/e.jpg", "b/d/IMG.01", "cache/f.jpg", "cache/g/h.jpg", "deep/a/b/c/d.jpg", "Thumbs.db", "b-c.jpg"),
    ]
    fill(f"{bucket}/in", *names)
    fill(f"{bucket}/in", "text", data=b"only words")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff")
    (tmp_path / "text").write_bytes(b"only words")
    for rules in (
        {},
        {"hidden": True},
        {"recursive": False},
        {"excluded": patterns(("cache/", "b/d/*"))},
        {"included": patterns(("*.jpg",))},
    ):
        assert found(f"{bucket}/in", **rules) == found(str(tmp_path), **rules)
    assert "odd" in found(f"{bucket}/in")[0]
    assert "text" not in found(f"{bucket}/in")[0]


def test_odd_names_are_looked_at_by_their_first_bytes_alone(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(f"{bucket}/in", "odd", data=jpeg() + bytes(10**6))
    ranges = []
    read = Store.read

    def watched(store: Store, url: str, start: int | None = None, end: int | None = None) -> bytes:
        ranges.append((start, end))
        return read(store, url, start, end)

    monkeypatch.setattr(Store, "read", watched)
    assert found(f"{bucket}/in")[0] == ["odd"]
    ((start, end),) = ranges
    assert start == 0
    assert end is not None
    assert end <= 4096


def test_one_object_and_what_is_not_there(bucket: str) -> None:
    fill(bucket, "in/a.jpg", "in/b/c.jpg")
    assert found(f"{bucket}/in/b/c.jpg")[0] == ["c.jpg"]
    assert found(f"{bucket}/in/")[0] == ["a.jpg", "b/c.jpg"]
    with pytest.raises(UsageError, match="there is no such object, and no object below this name"):
        found(f"{bucket}/i")


def test_lists_name_objects_and_prefixes(bucket: str) -> None:
    """Objects of a list are not asked for; their place is that of the URL, as `tar` would mirror it."""
    fill(bucket, "in/a.jpg", "in/b/c.jpg")
    place = bucket.removeprefix("memory://")
    given = [f"{bucket}/gone.jpg", f"{bucket}/in/", f"{bucket}/../up.jpg"]
    sources = find_sources([], given, rules=RULES).sources
    assert [source.relative for source in sources] == [
        *(f"{place}/gone.jpg", f"{place}/in/a.jpg", f"{place}/in/b/c.jpg", "up.jpg")
    ]


def test_the_names_of_objects_do_not_lead_out_of_the_output(bucket: str, invoke: Invoke, tmp_path: Path) -> None:
    fill(bucket, "in/../../evil.jpg", data=jpeg())
    assert "hidden or system folder" in invoke("explain", f"{bucket}/in", "-o", "work/out", code=2).stderr
    invoke("explain", f"{bucket}/in", "-o", "work/out", "--hidden")
    assert not list(tmp_path.glob("*.json"))
    assert (tmp_path / "work/out/evil.jpg.json").exists()


def test_objects_are_explained_as_files_are(bucket: str, invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(png((4, 4), 8, 2, b"")[:40])
    (photos / "empty.jpg").write_bytes(b"")
    store = Stores().of(bucket)
    for path in sorted(photos.rglob("*.*")):
        store.put(f"{bucket}/in/{path.relative_to(photos).as_posix()}", path.read_bytes())
    invoke("explain", "photos", "-o", "local", code=1)
    invoke("explain", f"{bucket}/in", "-o", "out", code=1)
    written = sorted(path.relative_to(tmp_path / "local").as_posix() for path in (tmp_path / "local").rglob("*.*"))
    assert len(written) == 3 * 2 + 2 + 1
    for name in written:
        here, there = ((tmp_path / root / name).read_bytes() for root in ("local", "out"))
        if name.endswith(".jpg"):
            assert here == there
        elif name != "run.json":
            one, other = json.loads(here), json.loads(there)
            assert one["input"].pop("mtime_ns") != other["input"].pop("mtime_ns")
            assert one == other
    invoke("verify", "out")


def test_the_list_itself_may_be_an_object(bucket: str, invoke: Invoke, tmp_path: Path) -> None:
    store = Stores().of(bucket)
    store.put(f"{bucket}/in/a.jpg", jpeg())
    store.put(f"{bucket}/list.txt", f"{bucket}/in/a.jpg\n{bucket}/in/gone.jpg\n".encode())
    result = invoke("explain", "--files-from", f"{bucket}/list.txt", "-o", "out", code=1)
    assert "gone.jpg': vanished: " in result.stderr
    place = bucket.removeprefix("memory://")
    assert (tmp_path / f"out/{place}/in/a.jpg.overlay.jpg").is_file()
    result = invoke("explain", "--files-from", f"{bucket}/none.txt", "-o", "out", code=2)
    assert "there is no such object" in result.stderr
