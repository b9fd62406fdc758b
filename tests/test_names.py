"""Names that are legal on disk and nowhere else: found, mirrored, explained, and never mixed up."""

import io
import json
import os
import sys
import unicodedata
from pathlib import Path

import nets
import pytest
from conftest import Runner, jpeg

from gradcam_cli.inputs.discovery import find_sources
from gradcam_cli.inputs.files import SUFFIXES
from gradcam_cli.inputs.path_list import read_list
from gradcam_cli.inputs.sources import Source
from gradcam_cli.inputs.walk import Rules
from gradcam_cli.results.output import Names

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse or change such names")

RULES = Rules(SUFFIXES)
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8_LOCALE = {"LC_ALL": "C.UTF-8"}
ODD = [
    b"bad\xff.jpg",
    b"d\xff/in.jpg",
    b"nl\nname.jpg",
    b"tab\t.jpg",
    b"esc\x1b[31m.jpg",
    b"-dash.jpg",
    b"--help.jpg",
    b" lead.jpg",
    b"%s{}.jpg",
    b"back\\slash.jpg",
    b"$(touch x).jpg",
    "日本語 🐱.jpg".encode(),
    unicodedata.normalize("NFC", "É.jpg").encode(),
    unicodedata.normalize("NFD", "É.jpg").encode(),
    b"case.jpg",
    b"CASE.JPG",
]
# Names may have 255 bytes: a sidecar's is five longer than its source's, an overlay's twelve.
LONG_OVERLAY, LONG_SIDECAR = b"x" * 240 + b".jpg", b"x" * 251 + b".jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for i, name in enumerate([*ODD, LONG_OVERLAY, LONG_SIDECAR]):
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(20 + i, 20, seed=i))
    return root


def test_every_name_is_found_and_keeps_its_bytes(folder: Path) -> None:
    sources = find_sources([str(folder)], rules=RULES).sources
    assert sorted(os.fsencode(source.relative) for source in sources) == sorted([*ODD, LONG_OVERLAY, LONG_SIDECAR])
    for source in sources:
        assert os.fsencode(source.path) == os.fsencode(folder) + b"/" + os.fsencode(source.relative)
        names = Names(source, several=True)
        name = os.fsencode(source.relative).rsplit(b"/", 1)[-1]
        assert os.fsencode(names.sidecar) == name + b".json"
        assert os.fsencode(names.overlay(3)) == name + b".3.overlay.jpg"
        assert os.fsencode(names.map(3)) == name + b".3.map.npy"


def test_twins_of_normalization_and_case_do_not_collide(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "É.jpg") for form in ("NFC", "NFD"))
    for name in (composed, decomposed, "a.jpg", "A.jpg"):
        (tmp_path / name).touch()
    assert [s.relative for s in find_sources([str(tmp_path)], rules=RULES).sources] == sorted(
        [composed, decomposed, "a.jpg", "A.jpg"]
    )


@pytest.mark.parametrize("name", ODD)
def test_names_of_a_list_keep_their_bytes(name: bytes) -> None:
    (listed,) = read_list(io.BytesIO(name + b"\0"), null_separated=True)
    (source,) = find_sources([], [listed], rules=RULES).sources
    assert source == Source(listed, listed)
    assert os.fsencode(source.path) == name


@pytest.mark.parametrize("locale", [C_LOCALE, UTF8_LOCALE], ids=["C", "UTF-8"])
def test_what_would_be_written_is_said_in_the_names_own_bytes(
    run: Runner, folder: Path, tmp_path: Path, locale: dict[str, str]
) -> None:
    done = run("explain", "in", "-o", "out", "--dry-run", env=locale).expect(0)
    for name in [*ODD, LONG_OVERLAY, LONG_SIDECAR]:
        assert b"in/" + name + b"\tout/" + name + b".json\n" in done.out
    listed = b"\0".join(b"in/" + name for name in ODD)
    done = run("explain", "--files-from", "-", "-0", "-o", "out", "--dry-run", stdin=listed, env=locale).expect(0)
    assert b"in/bad\xff.jpg\tout/in/bad\xff.jpg.json\n" in done.out
    done = run("explain", "-o", "out", "--dry-run", "--", "in/-dash.jpg", env=locale).expect(0)
    assert done.out == b"in/-dash.jpg\tout/-dash.jpg.json\n"


@pytest.mark.parametrize("locale", [C_LOCALE, UTF8_LOCALE], ids=["C", "UTF-8"])
def test_every_name_is_explained(
    run: Runner, inside: Runner, folder: Path, tmp_path: Path, locale: dict[str, str]
) -> None:
    nets.gap_dense().save(tmp_path / "m.keras")
    inside("compile", "m.keras", "-o", "m.plan").expect(0)
    done = run("explain", "in", "-o", "out", "--model", "m.plan", env=locale).expect(1)
    assert "Traceback" not in done.err
    assert done.err.count("name_too_long") == 2
    for i, name in enumerate(ODD):
        record = json.loads((tmp_path / "out" / os.fsdecode(name + b".json")).read_bytes())
        assert record["status"] in {"ok", "flat"}
        assert record["input"]["width"] == 20 + i  # its own picture's, nobody else's
        assert (tmp_path / "out" / os.fsdecode(name + b".overlay.jpg")).stat().st_size > 100
    too_long = json.loads((tmp_path / "out" / os.fsdecode(LONG_OVERLAY + b".json")).read_bytes())
    assert too_long["reason"] == "name_too_long"
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "x").exists()
