"""Photographs in tar files, and tars that are made to do harm: nothing outside of them is read or written."""

import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import jpeg
from fakes import FakeEngines
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_cli.errors import Reason, StorageError, UsageError
from gradcam_cli.inputs import gzip_reader
from gradcam_cli.inputs.finding import find_inputs
from gradcam_cli.inputs.gzip_reader import GzipError, GzipReader
from gradcam_cli.inputs.tar_reader import TarError, TarMember, members
from gradcam_cli.options import explain_request
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.verification import verify_folder
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.storage import Store, Stores

Json = dict[str, Any]
PHOTO = jpeg(30, 20, seed=1)
OTHER = jpeg(24, 20, seed=2)
CONTENT = np.random.default_rng(3).integers(0, 64, 350_000, np.uint8).tobytes()


def explained(path: Path, output: Path, **options: Any) -> Run:
    return run_explain(explain_request([path], output, options), engines=FakeEngines())


def statuses(run: Run) -> dict[str, str]:
    assert isinstance(run.folder, Path)
    found = read_run(run.folder).records()
    return {record["input"]["path"]: record["reason"] or record["status"] for record in found}


def info(name: str, size: int = 0, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for member, data in entries:
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def photo(name: str, data: bytes = PHOTO, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, len(data), **fields), data


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, count: data[at : at + count]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_photographs_of_a_tar_have_the_records_of_files(suffix: str, tmp_path: Path) -> None:
    data = tar_of(photo("b.jpg"), photo("sub/a.PNG", OTHER), (info("b.json", 2), b"{}"), photo("._b.jpg"))
    path = tmp_path / f"shard{suffix}"
    path.write_bytes(data if suffix == ".tar" else gzip.compress(data))
    # In one batch, the last digits would depend on the other pictures.
    run = explained(path, tmp_path / "out", batch_size=1)
    assert statuses(run) == {f"shard{suffix}/b.jpg": "ok", f"shard{suffix}/sub/a.PNG": "ok"}
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "b.jpg").write_bytes(PHOTO)
    plain = explained(tmp_path / "plain", tmp_path / "out2", batch_size=1)
    one, other = next(read_run(tmp_path / "out").records()), next(plain.records())
    assert {**one, "input": None} == {**other, "input": None}
    assert one["input"]["sha256"] == other["input"]["sha256"]
    overlay = tmp_path / "out" / path.name / "b.jpg.overlay.jpg"
    assert overlay.read_bytes() == (tmp_path / "out2" / "b.jpg.overlay.jpg").read_bytes()
    assert explained(path, tmp_path / "out").counts["before"] == 2
    assert run.record["left_out"]["files"] == {"other": {".json": 1}, "hidden": {".jpg": 1}}


def test_a_tar_that_changed_is_explained_again(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_of(photo("a.jpg", PHOTO), photo("b.jpg", PHOTO)))
    explained(path, tmp_path / "out")
    changed = bytearray(PHOTO)
    changed[-40] ^= 1
    path.write_bytes(tar_of(photo("a.jpg", PHOTO), photo("b.jpg", bytes(changed))))
    os.utime(path, (1, 1))
    assert explained(path, tmp_path / "out").counts["before"] == 1


def test_members_that_are_no_files_or_lead_out_are_counted(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(PHOTO)
    path = tmp_path / "shard.tar"
    path.write_bytes(
        tar_of(
            photo("good.jpg"),
            photo("../up.jpg"),
            photo("/abs.jpg"),
            photo("a/../../b.jpg"),
            photo("a//b.jpg"),
            photo("C:/d.jpg"),
            photo("a\\b.jpg"),
            (info("link.jpg", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.jpg")), b""),
            (info("hard.jpg", type=tarfile.LNKTYPE, linkname="/etc/passwd"), b""),
            (info("pipe.jpg", type=tarfile.FIFOTYPE), b""),
            (info("device.jpg", type=tarfile.CHRTYPE), b""),
            photo("sparse.jpg", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "999999999999"}),
        )
    )
    run = explained(path, tmp_path / "out")
    assert statuses(run) == {"shard.tar/good.jpg": "ok"}
    assert run.record["left_out"]["files"] == {"tar_member": {".jpg": 11}}
    assert {entry.name for entry in tmp_path.iterdir()} == {"secret.jpg", "shard.tar", "out"}


def test_a_huge_member_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_of(photo("a.jpg"), photo("big.jpg", b"\0" * 50_000), photo("c.jpg")))
    run = explained(path, tmp_path / "out", max_file_bytes=20_000)
    assert statuses(run) == {
        "shard.tar/a.jpg": "ok",
        "shard.tar/big.jpg": "too_large",
        "shard.tar/c.jpg": "ok",
    }


@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_that_is_cut_off_says_so(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("shard.tar.gz" if packed else "shard.tar")
    whole = tar_of(photo("a.jpg"), photo("b.jpg", OTHER), photo("c.jpg", jpeg(90, 70, seed=3)))
    path.write_bytes(gzip.compress(whole)[:-200] if packed else whole[: whole.rfind(b"c.jpg") + 1000])
    run = explained(path, tmp_path / "out")
    assert run.exit_status == 1
    assert statuses(run)[f"{path.name}/a.jpg"] == "ok"
    assert run.counts["failed"] >= 1


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, b"\x1f\x8b" + b"\0" * 600])
def test_what_is_no_tar_fails_by_itself(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(data)
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    paths = [tmp_path / "shard.tar", tmp_path / "a.jpg"]
    run = run_explain(explain_request(paths, tmp_path / "out"), engines=FakeEngines())
    assert (run.counts["done"], run.counts["failed"]) == (1, 1)


def test_tars_in_a_folder_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "shard.tar").write_bytes(tar_of(photo("a.jpg")))
    (folder / "b.jpg").write_bytes(PHOTO)
    run = explained(folder, tmp_path / "out")
    assert statuses(run) == {"b.jpg": "ok"}
    assert run.record["left_out"]["files"] == {"other": {".tar": 1}}


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=150),
            st.binary(max_size=1200),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_members_are_those_that_tarfile_reads(entries: list[tuple[str, bytes]], form: int) -> None:
    data = tar_of(*(photo(f"d/{name}", content) for name, content in entries), form=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(each.name, each.offset_data, each.size) for each in tar if each.isreg()]
    assert [(each.name, each.at, each.size) for each in members(reader(data))] == expected


@given(st.binary(max_size=3000), st.integers(0, 2500), st.integers(0, 255))
def test_any_bytes_end_in_members_or_an_error(tail: bytes, at: int, value: int) -> None:
    data = bytearray(tar_of(photo("a.jpg", b"x" * 700), photo("b" * 200 + ".jpg", b"y" * 700)) + tail)
    data[at] = value
    found: list[TarMember] = []
    with contextlib.suppress(TarError):
        found.extend(members(reader(bytes(data))))
    assert len(found) < 20


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 5000)), max_size=30), st.integers(1, 3))
def test_gzip_is_read_at_any_offset(reads: list[tuple[int, int]], files: int) -> None:
    content, length = CONTENT, len(CONTENT) // files
    parts = [content[i * length : (i + 1) * length if i < files - 1 else None] for i in range(files)]
    packed = b"".join(map(gzip.compress, parts))
    patched = pytest.MonkeyPatch()
    patched.setattr(gzip_reader, "CHUNK", 4096)
    patched.setattr(gzip_reader, "BETWEEN_POINTS", 50_000)
    with patched.context():
        unpacked = GzipReader(reader(packed))
        for at, count in reads:
            assert unpacked.read(at, count) == content[at : at + count]
    patched.undo()


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_reader, "ALWAYS_ALLOWED", 2**20)
    bomb = gzip.compress(tar_of(photo("a.jpg"), (info("zeros.jpg", 2**25), b"\0" * 2**25), photo("b.jpg")))
    assert len(bomb) < 2**16
    with pytest.raises(GzipError, match="100 times"):
        GzipReader(reader(bomb)).read(2**25, 1)
    path = tmp_path / "shard.tar.gz"
    path.write_bytes(bomb)
    run = explained(path, tmp_path / "out")
    assert statuses(run)["shard.tar.gz/a.jpg"] == "ok"
    assert "shard.tar.gz/b.jpg" not in statuses(run)
    assert run.exit_status == 1


def put(url: str, data: bytes) -> str:
    Stores().of(url).put(url, data)
    return url


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_in_a_store_is_explained_as_one_on_this_machine(suffix: str, tmp_path: Path, bucket: str) -> None:
    data = tar_of(photo("b.jpg"), photo("sub/a.PNG", OTHER), (info("b.json", 2), b"{}"), photo("._b.jpg"))
    path = tmp_path / f"shard{suffix}"
    path.write_bytes(data if suffix == ".tar" else gzip.compress(data))
    url = put(f"{bucket}/{path.name}", path.read_bytes())
    plain = explained(path, tmp_path / "plain")
    request = explain_request([url], tmp_path / "out")
    run = run_explain(request, engines=FakeEngines())
    assert run.record["left_out"] == plain.record["left_out"]
    for one, other in zip(run.records(), plain.records(), strict=True):
        own = {"etag": None, "mtime_ns": None}
        assert {**one, "input": {**one["input"], **own}} == {**other, "input": {**other["input"], **own}}
    for name in ("b.jpg.overlay.jpg", "sub/a.PNG.overlay.jpg"):
        assert (tmp_path / "out" / path.name / name).read_bytes() == (
            tmp_path / "plain" / path.name / name
        ).read_bytes()
    assert run_explain(request, engines=FakeEngines()).counts["before"] == 2
    assert not verify_folder(tmp_path / "out").problems
    assert not verify_folder(tmp_path / "out").unchecked
    put(url, gzip.compress(tar_of(photo("b.jpg", OTHER))) if suffix == ".tar.gz" else tar_of(photo("b.jpg", OTHER)))
    assert run_explain(request, engines=FakeEngines()).counts["before"] == 0


def places(*paths: str, bucket: str, **options: Any) -> list[str]:
    request = explain_request([f"{bucket}/{path}" for path in paths], None, options)
    return [record.relative for record in find_inputs(request.inputs, lambda _: None).sources]


def test_which_tars_of_a_store_are_inputs(bucket: str) -> None:
    """Those that are named, those that a pattern fits, and those of a prefix without pictures."""
    for name in ("0.tar", "1.tar", "other-1.tar", "below/2.tar"):
        put(f"{bucket}/shards/{name}", tar_of(photo("a.jpg"), photo("b.png")))
    put(f"{bucket}/mixed/x.tar", tar_of(photo("a.jpg")))
    put(f"{bucket}/mixed/y.jpg", PHOTO)
    every = [
        f"{name}/{each}" for name in ("0.tar", "1.tar", "below/2.tar", "other-1.tar") for each in ("a.jpg", "b.png")
    ]
    assert places("shards", bucket=bucket) == every
    assert places("shards/", bucket=bucket, include=("*.jpg",)) == every[::2]
    assert places("shards", bucket=bucket, exclude=("below/", "1.tar")) == [*every[:2], *every[6:]]
    assert places("shards/*1.tar", bucket=bucket) == [*every[2:4], *every[6:]]
    assert places("shards/1.tar", bucket=bucket) == every[2:4]
    assert places("mixed", bucket=bucket) == ["y.jpg"]
    assert places("mixed/*", bucket=bucket) == ["x.tar/a.jpg", "y.jpg"]
    with pytest.raises(UsageError, match=r"shards/z\*\.tar: there is no object with this name"):
        places("shards/z*.tar", bucket=bucket)
    put(f"{bucket}/odd/a*.jpg", PHOTO)
    put(f"{bucket}/odd/ab.jpg", PHOTO)
    assert places("odd/a*.jpg", bucket=bucket) == ["a*.jpg"]


def test_tars_of_a_list_are_read_in_a_store(tmp_path: Path, bucket: str) -> None:
    put(f"{bucket}/s.tar", tar_of(photo("a.jpg")))
    listed = tmp_path / "list.txt"
    listed.write_text(f"{bucket}/s.tar\n{bucket}/gone.tar\n")
    found = find_inputs(explain_request([], None, {"files_from": str(listed)}).inputs, lambda _: None).sources
    name = bucket.removeprefix("memory://")
    assert [source.relative for source in found] == [f"{name}/gone.tar", f"{name}/s.tar/a.jpg"]


def test_a_tar_in_a_store_is_never_held_in_memory(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its headers and photographs are read by ranges, of which none is large; large members are passed over."""
    data = tar_of(photo("a.jpg"), (info("large.bin", 9_000_000), bytes(9_000_000)), photo("b.jpg", OTHER))
    url = put(f"{bucket}/s.tar", data)
    asked: list[int] = []
    read = Store.read

    def watched(store: Store, url: str, start: int | None = None, end: int | None = None) -> bytes:
        assert start is not None
        assert end is not None
        asked.append(end - start)
        return read(store, url, start, end)

    monkeypatch.setattr(Store, "read", watched)
    run = run_explain(explain_request([url], tmp_path / "out"), engines=FakeEngines())
    assert run.counts["done"] == 2
    assert max(asked) <= 2**20
    assert sum(asked) < 3_000_000


@pytest.mark.parametrize(("reason", "error"), [(Reason.UNREADABLE, StorageError), (Reason.PERMISSION, UsageError)])
def test_a_store_that_does_not_give_a_tar(
    reason: Reason, error: type[Exception], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(f"{bucket}/s.tar", tar_of(photo("a.jpg")))

    def fails(store: Store, url: str, *_: Any) -> bytes:
        raise StorageError(reason, f"{url}: the store failed 8 times (SlowDown).")

    monkeypatch.setattr(Store, "read", fails)
    with pytest.raises(error, match="the store failed 8 times"):
        run_explain(explain_request([url], tmp_path / "out"), engines=FakeEngines())
