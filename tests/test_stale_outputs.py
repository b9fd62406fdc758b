"""Outputs of another run, or of inputs that are gone: named by verify, and removed by verify --prune."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import Invoke

from gradcam_cli.results import verification


def problems(invoke: Invoke, *args: str, code: int = 1) -> dict[str, str]:
    found = json.loads(invoke("verify", "out", "--json", *args, code=code).stdout)
    return {problem["file"]: problem["problem"] for problem in found["problems"]}


def test_sidecars_with_other_options_are_named(invoke: Invoke, photos: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    invoke("explain", "photos/a.jpg", "-o", "out", "--method", "gradcam")
    found = problems(invoke)
    assert found.keys() == {"b.jpg.json", "sub/a.jpg.json"}
    assert all("options differ" in problem for problem in found.values())


def test_outputs_whose_input_is_gone_are_named_and_pruned(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out", "--save-maps")
    (photos / "b.jpg").unlink()
    shutil.rmtree(photos / "sub")
    (tmp_path / "out/mine.txt").write_text("precious")
    assert problems(invoke) == {
        "b.jpg.json": "its input no longer exists",
        "sub/a.jpg.json": "its input no longer exists",
    }
    assert "2 problems; 0" not in invoke("verify", "out", code=1).stdout
    assert "no problems; 2 sidecars removed" in invoke("verify", "out", "--prune").stdout
    left = sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert left == ["a.jpg.json", "a.jpg.map.npy", "a.jpg.overlay.jpg", "mine.txt", "run.json"]


def test_a_run_over_part_of_the_inputs_makes_none_of_them_gone(invoke: Invoke, photos: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    invoke("explain", "photos/a.jpg", "-o", "out")
    invoke("explain", "photos/sub", "-o", "out")
    assert not problems(invoke, code=0)


def test_inputs_that_cannot_be_found_are_not_gone(
    invoke: Invoke, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("explain", "photos", "-o", "out")
    photos.rename(tmp_path / "moved")
    result = invoke("verify", "out", "--prune")
    assert "photos cannot be found from this folder" in result.stderr
    assert "3 sidecars, 3 files: no problems" in result.stdout
    (tmp_path / "moved/b.jpg").unlink()
    assert problems(invoke, "--inputs", "moved") == {"b.jpg.json": "its input no longer exists"}


def test_a_folder_that_cannot_be_searched_takes_no_outputs_away(
    invoke: Invoke, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root may search every folder, so that the refusal of the system is played."""
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        if "photos/sub/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    invoke("explain", "photos", "-o", "out")
    (photos / "b.jpg").unlink()
    monkeypatch.setattr(os, "lstat", lstat)
    told = "its input cannot be checked: the folder of the input cannot be read"
    assert problems(invoke) == {"b.jpg.json": "its input no longer exists", "sub/a.jpg.json": told}
    assert problems(invoke, "--prune") == {"sub/a.jpg.json": told}
    assert sorted(path.name for path in (tmp_path / "out/sub").iterdir()) == ["a.jpg.json", "a.jpg.overlay.jpg"]


def test_a_list_says_nothing_about_what_is_gone(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("photos/a.jpg\nphotos/b.jpg\n")
    invoke("explain", "--files-from", "list", "-o", "out")
    (photos / "b.jpg").unlink()
    assert not problems(invoke, code=0)


def test_a_planted_sidecar_prunes_nothing_of_the_user(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    (photos / "b.jpg").unlink()
    (tmp_path / "out/thesis.docx").write_text("precious")
    sidecar = tmp_path / "out/b.jpg.json"
    record = json.loads(sidecar.read_text())
    record["files"].append({**record["files"][0], "name": "thesis.docx"})
    sidecar.write_text(json.dumps(record))
    invoke("verify", "out", "--prune", code=0)
    assert (tmp_path / "out/thesis.docx").read_text() == "precious"
    assert not sidecar.exists()


def test_without_jsonschema_the_main_fields_are_verified(
    invoke: Invoke, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("explain", "photos", "-o", "out")
    monkeypatch.setattr(verification, "find_spec", lambda _: None)
    result = invoke("verify", "out")
    assert "jsonschema is not installed" in result.stderr
    assert "no problems" in result.stdout
    record = json.loads((tmp_path / "out/a.jpg.json").read_text())
    (tmp_path / "out/a.jpg.json").write_text(json.dumps({**record, "files": [7]}))
    assert "not valid" in problems(invoke)["a.jpg.json"]
