"""Labels from every kind of file, and which class a person means."""

import json
from pathlib import Path

import pytest

from gradcam_cli.errors import ModelError
from gradcam_cli.labels.class_labels import Label, Labels, imagenet_labels
from gradcam_cli.labels.files import read_labels

CATS = (Label("cat"), Label("dog"), Label("cow"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "cat\ndog\n\ncow\n"),
        ("l.csv", "cat\ndog\ncow\n"),
        ("l.csv", "label\ncat\ndog\ncow\n"),
        ("l.csv", "index,label\n2,cow\n0,cat\n1,dog\n"),
        ("l.csv", "0,cat\n1,dog\n2,cow\n"),
        ("l.json", json.dumps(["cat", "dog", "cow"])),
        ("l.json", json.dumps({"1": "dog", "0": "cat", "2": "cow"})),
        ("l.json", json.dumps({"labels": ["cat", "dog", "cow"]})),
    ],
)
def test_all_kinds_of_files(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_labels(path).entries == CATS


def test_wordnet_ids_are_kept(tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text('{"0": ["n01440764", "tench"]}')
    (tmp_path / "l.csv").write_text("index,wnid,label\n0,n01440764,tench\n")
    expected = (Label("tench", "n01440764"),)
    assert read_labels(tmp_path / "l.json").entries == expected
    assert read_labels(tmp_path / "l.csv").entries == expected


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("l.json", b"{"),
        ("l.json", b"3"),
        ("l.json", b'{"0": "a", "2": "b"}'),
        ("l.csv", b"index,label\n0,a\n0,b\n"),
        ("l.csv", b"a,b\nc,d\n"),
        ("l.txt", b"\n"),
        ("l.txt", b"\xff\xfe\xff"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_files_name(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ModelError, match=name):
        read_labels(path)
    with pytest.raises(ModelError, match="nosuch"):
        read_labels(tmp_path / "nosuch.txt")


def test_imagenet_has_its_thousand() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert labels.get(281) == Label("tabby", "n02123045")
    assert labels.get(1000) is None


@pytest.mark.parametrize(
    ("wanted", "index"), [("281", 281), ("tabby", 281), ("Tiger_Cat", 282), ("n02123394", 283), ("ESPRESSO", 967)]
)
def test_a_class_by_index_name_or_wordnet_id(wanted: str, index: int) -> None:
    assert imagenet_labels().find(wanted, 1000) == index


def test_what_is_not_found_gets_suggestions() -> None:
    with pytest.raises(ModelError, match="espresso"):
        imagenet_labels().find("expresso", 1000)
    with pytest.raises(ModelError, match=r"tiger cat \(282\)"):
        imagenet_labels().find("tigercat", 1000)
    with pytest.raises(ModelError, match="0 to 999"):
        imagenet_labels().find("1000", 1000)
    with pytest.raises(ModelError, match="0 to 999"):
        imagenet_labels().find("-1", 1000)
    with pytest.raises(ModelError, match="`labels=FILE`"):
        Labels().find("cat", 3)


def test_a_name_of_two_classes_needs_an_index() -> None:
    with pytest.raises(ModelError, match="134, 517"):
        imagenet_labels().find("crane", 1000)
