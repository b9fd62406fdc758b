"""An output folder that holds other runs, and folders of it that cannot be read."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke


def test_runs_inside_of_a_run_are_whole(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out")
    invoke("explain", "photos", "-o", "out/two_classes", "--class", "1", "--top-k", "1")
    invoke("explain", "photos/a.jpg", "-o", "out/two_classes/deep")
    found = json.loads(invoke("verify", "out", "--json").stdout)
    assert found["sidecars"] == 3 + 3 + 1
    assert found["problems"] == []
    sidecar = tmp_path / "out/two_classes/a.jpg.json"
    sidecar.rename(tmp_path / "out/two_classes/sub/moved.jpg.json")
    found = json.loads(invoke("verify", "out", "--json", code=1).stdout)
    assert "two_classes/sub/moved.jpg.json" in {problem["file"] for problem in found["problems"]}


def test_a_folder_that_cannot_be_listed_is_a_problem(
    invoke: Invoke, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("explain", "photos", "-o", "out")
    real = os.scandir

    def scandir(path: str) -> Any:
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = json.loads(invoke("verify", "out", "--json", code=1).stdout)
    assert found["problems"] == [{"file": "sub", "problem": "the folder cannot be listed: Permission denied"}]
