"""A URL where it cannot be served is refused with exit code 2, before anything is read, made or loaded."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gradcam_cli.cli import program
from gradcam_cli.urls import is_url

URLS = ["s3://bucket/x", "https://example.org/a.plan", "gs://x", "file:///tmp/x"]
PLACES = [
    ("explain", "a.jpg", "-o", "out", "--pairs={}"),
    ("explain", "a.jpg", "-o", "out", "--junit", "{}"),
    ("evaluate", "a.jpg", "--boxes-csv", "{}"),
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
    ("explain", "m.keras", "-o", "out", "--jsonl", "{}"),
    ("evaluate", "{}"),
    ("evaluate", "m.keras", "-o", "{}"),
    ("verify", "{}"),
    ("verify", ".", "--inputs", "{}"),
    ("report", "{}"),
    ("report", ".", "-o", "{}"),
    ("compare", ".", "{}"),
    ("compare", "{}", "--snapshot", "m.keras"),
    ("compare", ".", "--snapshot", "{}"),
    ("merge", "{}"),
    ("merge", ".", "-o", "{}"),
    ("snapshot", "{}", "-o", "s.json"),
    ("snapshot", ".", "-o", "{}"),
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
    expected = "without file://: /tmp/x" if url.startswith("file:") else "this kind of URL is not supported"
    assert expected in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.parametrize("place", INPUTS, ids=" ".join)
@pytest.mark.parametrize("secret", ["hunter2", "AKIAWITHslash"])
def test_urls_with_credentials_are_refused_without_telling_them(
    place: tuple[str, ...], secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.keras").write_bytes(b"")
    for url in (f"s3://me:{secret}@bucket/x", f"s3://bucket/x?X-Amz-Signature={secret}", f"https://h/x?token={secret}"):
        result = CliRunner().invoke(program, [part.format(url) for part in place])
        assert result.exit_code == 2
        assert secret not in result.output
        assert secret not in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_a_path_that_looks_like_a_url_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    assert CliRunner().invoke(program, ["verify", "./s3:/b"]).exit_code == 0


@pytest.mark.parametrize("url", ["s3:/bucket/x", "s3:", "HTTPS:/host/x", "file:/x", "simplecache::s3://bucket/x"])
@pytest.mark.parametrize("place", [*INPUTS, *PLACES], ids=" ".join)
def test_urls_that_are_not_well_written_make_no_folder(
    place: tuple[str, ...], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.keras").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(b"")
    result = CliRunner().invoke(program, [part.format(url) for part in place])
    assert result.exit_code == 2
    assert "not a URL such as" in result.stderr or "URLs are not supported" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "m.keras"]


def test_names_with_colons_are_paths() -> None:
    for name in ("std::vector.png", "s3:x.jpg", "C:/x.jpg", "12:30.jpg", "a::b/c.jpg"):
        assert not is_url(name)
