"""Plans that are damaged, hostile, or in a cache that others can write; no TensorFlow is needed."""

import hashlib
import json
import os
import zipfile
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SAMPLES

from gradcam_cli.cli import program
from gradcam_cli.engines import cache
from gradcam_cli.engines import plan as plan_module
from gradcam_cli.engines.cache_entries import cache_entries
from gradcam_cli.engines.plan import KeptWeights, Plan, SelfCheck, read_plan, write_plan
from gradcam_cli.engines.protocol import TargetLayer
from gradcam_cli.errors import DamagedPlanError, ModelError
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.settings import ModelSettings

PLAN = Plan(
    name="small",
    sha256="0" * 64,
    input_shape=(8, 8, 3),
    preprocessing=PREPROCESSINGS["tf"],
    preprocess_guessed=False,
    labels=Labels((Label("cat"), Label("dog"))),
    warnings=(),
    layer=TargetLayer("last", "auto", 2, 2, 3),
    head_kind="softmax",
    head_weights=None,
    class_count=2,
    network=b"<net/>",
    weights=b"\0" * 64,
    preprocess_reason="its own numbers",
    preprocess_scores={"tf": 0.5, "unit": 1.5},
    fit="crop",
    notes=("a note",),
    head_reason="softmax",
    head_assumed=True,
    linearity="pooled",
    check=SelfCheck("2026.1", 0.9999, 1.001),
)
DENSE = replace(PLAN, head_weights=np.ones((3, 2), np.float32), check=None, linearity="piecewise")
REQUEST = ModelRequest(ModelSettings(model="small.keras"), None, Path("small.keras"), None, None, "0" * 64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_plan(PLAN, tmp_path / "m.plan")
    return tmp_path / "m.plan"


def test_every_field_comes_back(path: Path) -> None:
    again = read_plan(path)
    for field in fields(Plan):
        before, after = getattr(PLAN, field.name), getattr(again, field.name)
        assert np.array_equal(before, after) if field.name == "head_weights" else before == after, field.name
        # A field of its default value would prove nothing.
        assert field.default is MISSING or before != field.default, field.name


def test_the_weights_of_a_dense_head_come_back(tmp_path: Path) -> None:
    write_plan(DENSE, tmp_path / "m.plan")
    again = read_plan(tmp_path / "m.plan")
    assert again.head_weights is not None
    assert again.head_weights.tolist() == [[1, 1], [1, 1], [1, 1]]
    assert again.check is None
    for change in (
        {"check": {"openvino": "2026.1", "correlation": 1.0, "ratio": 1.0}},
        {"class_count": 3},
        {"layer": {"path": "last", "reason": "auto", "height": 2, "width": 2, "channels": 4}},
        {"layer": {**asdict(PLAN.layer), "height": 10**9}},
        {"class_count": 10**12},
    ):
        write_plan(DENSE, tmp_path / "m.plan")
        repacked(tmp_path / "m.plan", change)
        with pytest.raises(ModelError, match="Compile the model again"):
            read_plan(tmp_path / "m.plan")


def test_every_changed_byte_is_harmless_or_refused(path: Path) -> None:
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x80
        path.write_bytes(changed)
        try:
            read_plan(path)
        except ModelError:
            refused += 1
    # Bytes such as the time of a member mean nothing; most mean something.
    assert refused > len(whole) / 2


def repacked(path: Path, change: dict[str, Any] | None = None, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    described = {**json.loads(members["plan.json"]), **(change or {})}
    members["plan.json"] = json.dumps(described).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": [8, 8]},
        {"input_shape": [8, 8, "3"]},
        {"input_shape": [8, -8, 3]},
        {"input_shape": None},
        {"input_shape": [100_000, 100_000, 3]},
        {"layer": {"path": "last"}},
        {"layer": []},
        {"layer": {"path": 7, "reason": "auto", "height": 2, "width": 2, "channels": 3}},
        {"layer": {"path": "last", "reason": "auto", "height": 2, "width": 2, "channels": 4}},
        {"head_kind": "exec"},
        {"linearity": "exec"},
        {"class_count": 0},
        {"class_count": "2"},
        {"check": None},
        {"check": {"openvino": "2026.1", "correlation": "high", "ratio": 1.0}},
        {"check": {"openvino": "2026.1", "correlation": 0.9999}},
        {"preprocess": "nosuch"},
        {"preprocess": {}},
        {"labels": [7]},
        {"labels": None},
        {"members": {}},
        {"members": None},
        {"warnings": [None]},
        {"notes": [None]},
        {"fit": "stretch"},
        {"preprocess_reason": 7},
        {"preprocess_scores": [1]},
        {"preprocess_scores": 7},
        {"preprocess_scores": {"tf": "best"}},
        {"sha256": 7},
        {"plan_version": "1"},
    ],
    ids=lambda change: json.dumps(change)[:50],
)
def test_every_value_is_checked(path: Path, change: dict[str, Any]) -> None:
    repacked(path, change)
    with pytest.raises(ModelError, match="Compile the model again"):
        read_plan(path)


def test_what_is_not_a_plan_is_refused(path: Path) -> None:
    for data in (b"", b"PK", b"[]", os.urandom(1000)):
        path.write_bytes(data)
        with pytest.raises(ModelError, match="Compile the model again"):
            read_plan(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_plan(path.parent)


def test_a_member_of_zeros_costs_no_memory(path: Path) -> None:
    repacked(path, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="compressed"):
        read_plan(path)


def test_a_large_member_is_hashed_before_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "LARGE", 32)
    assert read_plan(path).weights == PLAN.weights
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "network.bin": b"\0" * 65}.items():
            archive.writestr(name, data)
    taken: list[str] = []
    read = zipfile.ZipFile.read

    def noted(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo) -> bytes:
        taken.append(str(member))
        return read(archive, member)

    monkeypatch.setattr(zipfile.ZipFile, "read", noted)
    with pytest.raises(ModelError, match=r"network\.bin is damaged"):
        read_plan(path)
    assert not any("network.bin" in name for name in taken)


def test_weights_of_a_head_that_claim_any_shape_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    write_plan(DENSE, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    head = members["head.npy"].replace(b"(3, 2), }       ", b"(3, 10000000000)")
    assert len(head) == len(members["head.npy"])
    assert head != members["head.npy"]
    described = json.loads(members["plan.json"])
    described["members"]["head.npy"] = hashlib.sha256(head).hexdigest()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "head.npy": head, "plan.json": json.dumps(described).encode()}.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match="Compile the model again"):
        read_plan(path)


def test_weights_that_are_read_later_are_those_of_the_file_or_none(path: Path) -> None:
    later = read_plan(path, weights_later=True)
    assert isinstance(later.weights, KeptWeights)
    assert later.weight_bytes() == PLAN.weights
    write_plan(replace(PLAN, weights=b"others"), path)
    with pytest.raises(DamagedPlanError, match="damaged"):
        later.weight_bytes()
    path.unlink()
    with pytest.raises(DamagedPlanError, match=str(path)):
        later.weight_bytes()


def test_a_plan_stays_in_the_cache_when_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep_plan(REQUEST, PLAN)
    with monkeypatch.context() as patched:
        patched.setattr("gradcam_cli.engines.plan._plan", full)
        with pytest.raises(MemoryError):
            cache.cached_plan(REQUEST)
    assert cache.cached_plan(REQUEST) is not None


@pytest.mark.parametrize("network", [b"", b"<net/>", b"<a>" * 1000])
def test_a_network_that_openvino_cannot_read_is_a_fault_of_the_model(tmp_path: Path, network: bytes) -> None:
    pytest.importorskip("openvino")
    write_plan(replace(DENSE, network=network), tmp_path / "m.plan")
    args = ("explain", str(SAMPLES / "chelsea.jpg"), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "m.plan"))
    done = CliRunner().invoke(program, args, catch_exceptions=False)
    assert done.exit_code == 3, done.stderr
    assert "Compile the model again" in done.stderr


def test_a_damaged_entry_of_the_cache_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep_plan(REQUEST, PLAN)
    entry = cache.cached_path(REQUEST)
    whole = entry.read_bytes()
    assert cache.cached_plan(REQUEST) is not None
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        entry.write_bytes(damaged)
        found = cache.cached_plan(REQUEST)
        assert (found is not None) == entry.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows keeps the profiles of its users apart")
def test_a_cache_that_others_can_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep_plan(REQUEST, PLAN)
    entry = cache.cached_path(REQUEST)
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    entry.chmod(0o664)
    # Nobody else can enter the folder, so the mode of the file does not matter, as with umask 002.
    assert cache.cached_plan(REQUEST) is not None
    entry.parent.chmod(0o755)
    assert cache.cached_plan(REQUEST) is None
    entry.chmod(0o644)
    assert cache.cached_plan(REQUEST) is not None
    entry.parent.chmod(0o777)
    assert cache.cached_plan(REQUEST) is None
    entry.parent.chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert cache.cached_plan(REQUEST) is None
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep_plan(REQUEST, PLAN)
    assert entry.parent.stat().st_mode & 0o777 == 0o700


def test_leftovers_of_killed_writers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep_plan(REQUEST, PLAN)
    left = cache.cache_folder() / ".gradcam-0123456789abcdef.tmp"
    left.touch()
    (cache.cache_folder() / ".gradcam-mine.tmp").touch()
    assert cache.leftovers() == [left]
    assert cache.cached_files() == [cache.cached_path(REQUEST)]


def test_the_least_recently_used_plans_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    requests = [replace(REQUEST, sha256=f"{number}" * 64) for number in range(4)]
    for age, request in enumerate(requests[:3]):
        cache.keep_plan(request, PLAN)
        os.utime(cache.cached_path(request), (age, age))
    size = cache.cached_path(REQUEST).stat().st_size
    # The oldest one is used, so the second one has now been unused for longest.
    assert cache.cached_plan(requests[0]) is not None
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * size)
    cache.keep_plan(requests[3], PLAN)
    assert [cache.cached_path(request).exists() for request in requests] == [True, False, True, True]


def test_a_plan_is_removed_with_its_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep_plan(REQUEST, PLAN)
    path = cache.cached_path(REQUEST)
    network, other = path.with_name(f"{path.stem}-0a.network"), path.with_name("other-0a.network")
    network.write_bytes(b"\0" * 1000)
    other.write_bytes(b"\0")
    assert cache.networks_of(path) == [network]
    assert [entry.bytes for entry in cache_entries()] == [path.stat().st_size + 1000]
    path.write_bytes(b"damaged")
    assert cache.cached_plan(REQUEST) is None
    assert list(path.parent.iterdir()) == [other]
