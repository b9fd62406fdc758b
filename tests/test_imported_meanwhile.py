"""Modules that are imported in another thread while a network is read."""

import sys
from pathlib import Path

import pytest

from gradcam_cli.runs.explaining import imported_meanwhile


def test_the_module_is_there_when_the_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_slowly.py").write_text("import time\ntime.sleep(0.05)\nDONE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with imported_meanwhile("imported_slowly"):
        pass
    assert sys.modules.pop("imported_slowly").DONE


def test_an_import_that_fails_is_left_to_whoever_needs_the_module() -> None:
    with imported_meanwhile("no_such_module_anywhere"):
        pass


def test_an_error_of_the_block_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt), imported_meanwhile("json"):
        raise KeyboardInterrupt
