"""`gradcam-cli schema --run` describes what every kind of run writes, and nothing else."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from conftest import Invoke, jpeg

from gradcam_cli.inputs.shards import index_of
from gradcam_cli.requests import Format
from gradcam_cli.results.part_kinds import KINDS
from gradcam_cli.results.part_names import PACKINGS, PartName, part_name


@pytest.fixture
def validator(invoke: Invoke) -> jsonschema.Draft202012Validator:
    schema = json.loads(invoke("schema", "--run").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out", name).read_text())
    return found


def test_records_of_runs_shards_and_merged_runs(
    invoke: Invoke, photos: Path, validator: jsonschema.Draft202012Validator
) -> None:
    (photos / "broken.jpg").write_bytes(jpeg()[:200])
    (photos / "notes.txt").write_text("left out")
    (photos / ".hidden").mkdir()
    invoke("explain", "photos", "-o", "out", "--fail-fast", "--boxes", "otsu", code=1)
    validator.validate(record("run.json"))
    for index in (1, 2):
        invoke("explain", "photos/a.jpg", "-o", "out", "--shard", f"{index}/2")
        validator.validate(record(f"run.{index}-of-2.json"))
    empty = record(f"run.{3 - index_of('a.jpg', 2)}-of-2.json")
    assert empty["model"].keys() == {"name"}
    invoke("merge", "out")
    validator.validate(record("run.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"asked": 1}},
        {"shard": {"index": 0, "count": 2}},
        {"shard": {"index": 1}},
        {"shard": {"index": 1, "count": 1}, "shards": [{}]},
        {"seconds": -1},
        {"seconds": None},
        {"model": {}},
        {"options_sha256": "0"},
        {"other": 1},
    ],
)
def test_what_no_run_writes_is_not_valid(
    invoke: Invoke, photos: Path, validator: jsonschema.Draft202012Validator, change: dict[str, Any]
) -> None:
    invoke("explain", "photos", "-o", "out")
    assert validator.is_valid(record("run.json"))
    assert not validator.is_valid({**record("run.json"), **change})


def test_every_format_of_parts_is_in_the_schema_and_has_names_of_its_own(
    invoke: Invoke,
) -> None:
    named = json.loads(invoke("schema", "--run").stdout)["properties"]["format"]["enum"]
    assert named == list(PACKINGS) == list(KINDS) == [name for name in get_args(Format) if name != "files"]
    for packing in PACKINGS:
        for owner in ("", "2-of-8"):
            name = PartName(owner, 7, packing)
            assert part_name(str(name)) == name
            assert part_name(f"{name}.jpg") is None
