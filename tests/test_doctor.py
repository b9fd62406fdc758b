"""The report of an installation: what is in it, what is left out of it, and what the check of an engine finds."""

import json
import platform
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Invoke, Runner, invoked
from fakes import FakeEngines

from gradcam_cli import Explainer, explanation
from gradcam_cli.diagnosis import check, machine
from gradcam_cli.diagnosis.check import check_engine, known_result
from gradcam_cli.errors import ModelError


def test_the_engines_at_hand_explain_the_built_in_picture(inside: Runner) -> None:
    done = inside("doctor", "--json").expect(0)
    record = json.loads(done.out)
    assert {each["engine"] for each in record["checks"]} == set(record["engines"])
    for each in record["checks"]:
        assert each["passed"]
        assert each["label"] == "Egyptian cat"
        assert abs(each["probability"] - each["expected_probability"]) < 0.01
        assert each["correlation"] > 0.999
    assert "efficientnetlite0" in record["weights"]
    assert str(Path.home()) not in done.out.decode()


def test_a_wrong_explanation_fails(invoke: Invoke) -> None:
    """The fake engine knows no cats."""
    done = invoke("doctor", code=1)
    assert "tensorflow: FAILED: the class is class" in done.stdout
    for heading in ("Versions", "Machine", "Engines", "Extras", "Places and settings", "Built-in image"):
        assert f"\n{heading}\n" in f"\n{done.stdout}"
    record = json.loads(invoke("doctor", "--json", code=1).stdout)
    assert record["versions"]["python"] == platform.python_version()
    assert record["extras"]["openvino"].keys() == {"openvino"}
    assert record["configuration"] == {"file": None, "variables": ["GRADCAM_CLI_ISOLATED"]}


def test_every_extra_of_the_project_is_shown(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata is that of pyproject.toml: an editable installation may have older metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: needed for name, needed in project["optional-dependencies"].items() if name not in {"dev", "docs"}}
    requirements = [f'{each}; extra == "{name}"' for name, needed in extras.items() for each in needed]
    monkeypatch.setattr(machine, "requires", lambda _: requirements)
    found = json.loads(invoke("doctor", "--json", code=1).stdout)["extras"]
    assert {name: set(packages) for name, packages in found.items()} == {
        name: {re.split("[>=]", each)[0] for each in needed} for name, needed in extras.items()
    }


def test_an_extra_that_the_metadata_does_not_name_is_shown(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "requires", lambda _: ['openvino>=2025.0; extra == "openvino"'])
    assert "  fonts     unknown: install the program again\n" in invoke("doctor", code=1).stdout


class BrokenEngines(FakeEngines):
    def open(self, *_: Any) -> Any:
        raise ModelError("the library\nis broken")


def test_an_engine_that_does_not_start_fails_its_check_alone() -> None:
    found = check_engine("tensorflow", BrokenEngines())
    assert (found.passed, found.message, found.label) == (False, "the library", None)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> explanation.ClassExplanation:
    """Make what the fake engine finds the stored result."""
    best = Explainer("fake", method="gradcam", engines=FakeEngines()).explain_one(check.PICTURE).best
    stored = check.Known(str(best.label), float(best.probability or 0), best.map.tolist())
    monkeypatch.setattr(check, "known_result", lambda: stored)
    return best


def test_the_same_result_passes(known: explanation.ClassExplanation) -> None:
    found = check_engine("tensorflow", FakeEngines())
    assert found.passed
    assert found.correlation == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "dog"}, "the class is class"),
        ({"probability": 0.9999}, "the probability is"),
        ({"map": np.eye(4).tolist()}, "correlation"),
        ({"map": [[1.0, 2.0]]}, "correlation with the stored one is None"),
    ],
)
def test_each_difference_is_named(
    known: explanation.ClassExplanation, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], message: str
) -> None:
    stored = check.known_result()
    monkeypatch.setattr(check, "known_result", lambda: replace(stored, **change))  # type: ignore[arg-type]
    assert message in check_engine("tensorflow", FakeEngines()).message


def test_the_stored_result_is_a_cat_that_is_looked_at_in_the_face() -> None:
    stored = known_result()
    heat = np.asarray(stored.map)
    assert (stored.label, heat.shape, heat.max()) == ("Egyptian cat", (7, 7), 1)
    assert heat[0].max() < 0.5


def test_names_of_people_are_left_out() -> None:
    record = {"a": ["/home/ann/x", "/home/anna/y", "at /srv/ann/z"], "b": 3, "c": None, "/home/ann": "ann"}
    assert machine.redacted(record, "/home/ann", "ann") == {
        "a": ["~/x", "/home/anna/y", "at /srv/USER/z"],
        "b": 3,
        "c": None,
        "/home/ann": "USER",
    }
    assert machine.redacted(["/usr/bin"], "/", "") == ["/usr/bin"]
    assert machine.redacted(["root of /root"], "/root", "root") == ["root of ~"]


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("model name : X\nflags\t\t: fpu avx2 amx_bf16 avx512f\n", ["avx2", "avx512f", "amx_bf16"]),
        ("Features : fp asimd bf16\n", ["bf16"]),
        ("processor : 0\n", None),
    ],
)
def test_features_of_the_cpu(tmp_path: Path, text: str, features: list[str] | None) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert machine.cpu_features(info) == features


def test_the_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none" / "cache"))
    assert machine.cache() == {
        "folder": str(tmp_path / "none" / "cache" / "gradcam-cli" / "plans"),
        "entries": 0,
        "bytes": 0,
        "writable": True,
    }
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not machine.cache()["writable"]


def test_completion_that_is_set_up_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    (tmp_path / ".zshrc").write_text('eval "$(gradcam-cli completion zsh)"\n')
    record = json.loads(invoked(FakeEngines(), "doctor", "--json", code=1).stdout)
    assert record["completion"] == {"shell": "zsh", "set_up": ["zsh"]}
