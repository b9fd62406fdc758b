"""Sidecars of both versions: what the second adds, and that folders of the first one are still verified."""

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import sources
from fakes import FakeEngine, explained, job

from gradcam_cli.imaging.heatmap import small
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.results.sidecar import schema_text
from gradcam_cli.results.verification import verify_folder
from gradcam_cli.runs.resume import Wanted, is_finished


def test_a_small_map_is_the_raw_map_over_its_maximum_in_eight_bits() -> None:
    raw = np.array([[0.0, 1.0, 2.0], [4.0, 0.5, 0.01]], np.float32)
    assert small(raw).tolist() == [[0, 64, 128], [255, 32, 1]]
    assert small(raw * 1e-20).tolist() == small(raw).tolist()
    assert small(np.zeros((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("shape", [(128, 64), (65, 3), (200, 129), (1, 500)])
def test_a_large_map_is_averaged_over_equal_parts(shape: Any) -> None:
    raw = np.random.default_rng(0).random(shape).astype(np.float32)
    found = small(raw)
    assert found.shape == (min(shape[0], 64), min(shape[1], 64))
    # Slowly: every cell is cut into pieces that belong to one part each.
    pieces = np.repeat(np.repeat(raw / raw.max(), found.shape[0], axis=0), found.shape[1], axis=1)
    parts = pieces.reshape(found.shape[0], shape[0], found.shape[1], shape[1]).mean(axis=(1, 3))
    np.testing.assert_allclose(found, 255 * parts, atol=0.51)


def test_a_record_carries_the_map_that_it_saves(tmp_path: Path) -> None:
    (record,) = explained(tmp_path, sources(tmp_path, 1), FakeEngine(), job(save_maps=True))
    entry = record["classes"][0]
    raw = np.load(tmp_path / "out" / entry["map"])
    heat = np.frombuffer(base64.b64decode(entry["heat"]["uint8"]), np.uint8)
    assert (entry["heat"]["height"], entry["heat"]["width"]) == raw.shape
    np.testing.assert_allclose(heat.reshape(raw.shape), 255 * raw / raw.max(), atol=0.501)
    assert record["schema_version"] == 2
    assert entry["value"] is None


def first_version(record: Any) -> Any:
    """The same record as the first version of the program wrote it."""
    properties = json.loads(schema_text(1))["properties"]
    known = properties["classes"]["items"]["properties"]
    classes = [{key: value for key, value in entry.items() if key in known} for entry in record["classes"]]
    parts = {
        part: {key: value for key, value in record[part].items() if key in properties[part]["properties"]}
        for part in ("input", "model", "method")
    }
    return record | parts | {"schema_version": 1, "classes": classes}


def test_a_folder_of_the_first_version_is_verified_and_explained_anew(tmp_path: Path) -> None:
    items = sources(tmp_path, 1)
    (record,) = explained(tmp_path, items, FakeEngine())
    sidecar = tmp_path / "out" / "000.jpg.json"
    wanted = Wanted("0" * 64, record["model"]["sha256"])
    folder = LocalFolder(tmp_path / "out")
    assert is_finished(folder, items[0], wanted)
    assert not verify_folder(tmp_path / "out").problems
    old = first_version(record)
    jsonschema.validate(old, json.loads(schema_text(1)))
    sidecar.write_text(json.dumps(old))
    assert not verify_folder(tmp_path / "out").problems
    assert not is_finished(folder, items[0], wanted)
    sidecar.write_text(json.dumps(old | {"schema_version": 2}))
    assert "not valid by the schema" in verify_folder(tmp_path / "out").problems[0].problem
    sidecar.write_text(json.dumps(record | {"schema_version": 1}))
    assert "not valid by the schema" in verify_folder(tmp_path / "out").problems[0].problem
