"""Versions of installed packages, read from the names of folders, against what Python's own library says."""

import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import pytest

from gradcam_cli import versions
from gradcam_cli.versions import installed_version


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    def forget() -> None:
        installed_version.cache_clear()
        versions._entries.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that comes before all others."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def distribution(site: Path, folder: str, number: str, name: str = "METADATA") -> None:
    (site / folder).mkdir()
    (site / folder / name).write_text(f"Metadata-Version: 2.1\nName: odd-name\nVersion: {number}\n")


def told(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def test_every_package_that_is_installed_here_has_the_version_that_python_tells() -> None:
    names = {found.metadata["Name"] for found in distributions()}
    assert len(names) > 20
    assert {name: installed_version(name) for name in names} == {name: version(name) for name in names}


@pytest.mark.parametrize("name", ["odd-name", "Odd_Name", "odd.name"])
def test_a_name_is_found_in_any_spelling(site: Path, name: str) -> None:
    distribution(site, "odd_name-1.2.3.dist-info", "1.2.3")
    assert installed_version(name) == told(name) == "1.2.3"


def test_a_package_that_is_not_installed_has_no_version(site: Path) -> None:
    distribution(site, "odd_name_more-1.dist-info", "1")
    assert installed_version("odd-name") is None


def test_the_first_folder_of_the_path_wins(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("1", "2"):
        (site / number).mkdir()
        distribution(site / number, f"odd_name-{number}.dist-info", number)
        monkeypatch.syspath_prepend(site / number)
    assert installed_version("odd-name") == told("odd-name") == "2"


@pytest.mark.parametrize(
    ("folder", "name"), [("odd_name-3.0-py3.11.egg-info", "PKG-INFO"), ("odd_name.egg-info", "PKG-INFO")]
)
def test_python_is_asked_where_an_older_tool_installed_a_package(site: Path, folder: str, name: str) -> None:
    distribution(site, folder, "3.0", name)
    assert installed_version("odd-name") == told("odd-name") == "3.0"


def test_python_is_asked_where_an_archive_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("odd_name-4.dist-info/METADATA", "Metadata-Version: 2.1\nName: odd-name\nVersion: 4\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "all.zip"), *sys.path])
    assert installed_version("odd-name") == told("odd-name") == "4"


def test_what_a_broken_installation_left_does_not_count(site: Path) -> None:
    (site / "odd_name-1.dist-info").mkdir()
    distribution(site, "odd_name-2.dist-info", "2")
    assert installed_version("odd-name") == told("odd-name")
