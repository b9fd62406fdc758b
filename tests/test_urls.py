"""A URL where it cannot be served is refused with exit code 2, before anything is read, made or loaded."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gradcam_cli.cli import program

URLS = ["s3://bucket/x", "https://example.org/a.plan", "gs://x", "file:///tmp/x"]
PLACES = [
    ("explain", "a.jpg", "-o", "out", "--jsonl", "{}"),
    ("explain", "a.jpg", "-o", "out", "--pairs={}"),
    ("evaluate", "a.jpg", "-o", "{}"),
    ("evaluate", "a.jpg", "--boxes-csv", "{}"),
    ("verify", "{}"),
    ("verify", ".", "--inputs", "{}"),
    ("compile", "m.keras", "-o", "{}"),
]


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
@pytest.mark.parametrize("url", URLS)
def test_urls_are_refused(place: tuple[str, ...], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    result = CliRunner().invoke(program, [part.format(url) for part in place])
    assert result.exit_code == 2
    assert "URLs are not supported" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


INPUTS = [
    ("explain", "m.keras", "-o", "{}"),
    ("explain", "m.keras", "-o", "out", "--labels", "{}"),
    ("explain", "m.keras", "-o", "out", "--weights", "{}"),
    ("explain", "{}", "-o", "out"),
    ("explain", "--files-from", "{}", "-o", "out"),
    ("evaluate", "{}"),
    ("check-preprocess", "m.keras", "{}"),
]


@pytest.mark.parametrize("place", INPUTS, ids=" ".join)
@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "file:///tmp/x", "sftp://host/a"])
def test_inputs_are_urls_of_object_stores_alone(
    place: tuple[str, ...], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.keras").write_bytes(b"")
    result = CliRunner().invoke(program, [part.format(url) for part in place])
    assert result.exit_code == 2
    assert "URLs of this kind are not supported" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_a_path_that_looks_like_a_url_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    assert CliRunner().invoke(program, ["verify", "./s3:/b"]).exit_code == 0
