"""Files of labels as people have them: every spelling of the same names gives the same labels, or a clear refusal."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcam_cli.errors import ModelError
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.labels.files import beside, choose_beside, folder_labels, read_labels

NAMES = ["cat", "guinea pig", "dog", "Käfer"]
NUMERIC = ["1", "10", "11", "12", "2", "3"]


def spellings(names: list[str]) -> dict[str, bytes]:
    """The same names in every kind of file."""
    pairs = list(enumerate(names))

    def table(header: str, delimiter: str, *, swap: bool = False) -> bytes:
        rows = [delimiter.join((n, str(i)) if swap else (str(i), n)) for i, n in pairs]
        return "\n".join(([header] if header else []) + rows).encode()

    return {
        "lines.txt": "\n".join(names).encode(),
        "crlf.txt": "\r\n".join([*names, ""]).encode(),
        "bom.txt": "\n".join(names).encode("utf-8-sig"),
        "utf16.txt": "\n".join(names).encode("utf-16"),
        "utf16be.txt": b"\xfe\xff" + "\n".join(names).encode("utf-16-be"),
        "utf16le_without_mark.txt": "\n".join(names).encode("utf-16-le"),
        "latin1.txt": "\n".join(names).encode("latin-1"),
        "blank.txt": "\n\n".join(names).encode(),
        "comment.txt": ("# classes\n#\n" + "\n".join(names)).encode(),
        "tm.txt": "\n".join(f"{i} {n}" for i, n in pairs).encode(),
        "colon.txt": "\n".join(f"{i}: {n}" for i, n in reversed(pairs)).encode(),
        "dot.txt": "\n".join(f"{i}. {n}" for i, n in pairs).encode(),
        "table.txt": table("id\tname", "\t"),
        "list.json": json.dumps(names).encode(),
        "class_indices.json": json.dumps({n: i for i, n in pairs}).encode(),
        "shuffled_indices.json": json.dumps({n: i for i, n in reversed(pairs)}).encode(),
        "text_indices.json": json.dumps({"class_indices": {n: i for i, n in pairs}}).encode(),
        "inverted.json": json.dumps(dict(pairs)).encode(),
        "padded.json": json.dumps({f"{i:02}": n for i, n in pairs}).encode(),
        "id2label.json": json.dumps({"model": "x", "id2label": dict(pairs)}).encode(),
        "records.json": json.dumps([{"id": i, "name": n, "supercategory": "all"} for i, n in pairs]).encode(),
        "json.txt": json.dumps(names).encode(),
        "class_id.csv": table("class_index,class_name", ","),
        "id_name.csv": table("id,name", ","),
        "name_id.csv": table("Name,Class ID", ",", swap=True),
        "label_class.csv": table("label,class", ",", swap=True),
        "pandas.csv": table(",class", ","),
        "pandas2.csv": table("Unnamed: 0,0_label", ","),
        "semicolon.csv": table("index;label", ";"),
        "tabs.csv": table("Index\tLabel", "\t"),
        "tabs.tsv": table("", "\t"),
        "headless.csv": table("", ","),
        "column.csv": ("class_name\n" + "\n".join(names)).encode(),
        "wnid.csv": ("index,wnid,label\n" + "\n".join(f"{i},n{i:08},{n}" for i, n in pairs)).encode(),
    }


@pytest.mark.parametrize("names", [NAMES, NUMERIC], ids=["words", "numbers"])
@pytest.mark.parametrize("name", spellings(NAMES))
def test_every_spelling_gives_the_same_names_in_the_same_order(tmp_path: Path, name: str, names: list[str]) -> None:
    (tmp_path / name).write_bytes(spellings(names)[name])
    assert [label.name for label in read_labels(tmp_path / name).entries] == names


def test_numpy_arrays_of_strings_and_nothing_that_runs(tmp_path: Path) -> None:
    for array in (np.array(NAMES), np.char.encode(np.array(NAMES), "utf-8")):
        np.save(tmp_path / "n.npy", array)
        assert [label.name for label in read_labels(tmp_path / "n.npy").entries] == NAMES
    np.save(tmp_path / "o.npy", np.array(NAMES, object))
    np.save(tmp_path / "f.npy", np.zeros((2, 3)))
    for name in ("o.npy", "f.npy"):
        with pytest.raises(ModelError, match=name):
            read_labels(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("l.json", b'{"cat": 1, "dog": 2}', "0, 1, 2"),
        ("l.json", b'{"0": "1", "1": "0"}', "could be the indices"),
        ("l.json", b'{"labels": 3}', "neither"),
        ("l.json", b"[null]", "not a name"),
        ("l.json", b"[" * 100_000, "cannot be used"),
        ("l.csv", b"id,name\n1,cat\n2,dog\n", "from 1 to 2"),
        ("l.csv", b"label,name\n1,cat\n2,dog\n", "integers"),
        ("l.csv", b"file,label\na.jpg,cat\nb.jpg,dog\n", "lists images"),
        ("l.csv", b"x,y\na,b\n", "header"),
        ("l.csv", b"index,label\n0,\n1,dog\n", "empty name"),
        ("l.yaml", b"names:\n  0: cat\n", "YAML"),
        ("l.pkl", b"\x80\x04", "pickle"),
        ("l.txt", "\u043a\u043e\u0442\n\u043f\u0451\u0441".encode("cp1251"), "UTF-8"),
        ("l.txt", "猫咪\n犬".encode("gbk"), "UTF-8"),
        ("l.txt", b"\x80\x01\x02\x03", "encoding"),
        ("l.txt", b"cat\0dog\0\0x", "not text"),
    ],
)
def test_refused_with_the_reason(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=name) as refused:
        read_labels(tmp_path / name)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "lines",
    [
        ["0 dots", "1 dots", "2 dots"],
        ["1 cat", "2 dog"],
        ["0.5 mm", "1.5 mm"],
        ["#1 fan", "cat"],
        ["0 cat", "dog"],
    ],
)
def test_numbers_that_are_part_of_a_name_stay(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "l.txt").write_text("\n".join(lines))
    assert [label.name for label in read_labels(tmp_path / "l.txt").entries] == lines


@given(st.permutations(["cat", "dog", "cow", "hen", "rat"]))
def test_the_index_counts_not_the_place_in_the_file(order: list[str]) -> None:
    from gradcam_cli.labels.files import _parse

    indices = {name: index for index, name in enumerate(sorted(order))}
    texts = {
        ".json": json.dumps({name: indices[name] for name in order}),
        ".csv": "class_name,class_index\n" + "\n".join(f"{name},{indices[name]}" for name in order),
        ".txt": "\n".join(f"{indices[name]} {name}" for name in order),
    }
    for suffix, text in texts.items():
        assert [label.name for label in _parse(suffix, text.encode())] == sorted(order)


def test_sub_folders_in_the_order_of_keras(tmp_path: Path) -> None:
    for name in ("b", "10", "9", "Z", "a", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "readme.txt").touch()
    assert [label.name for label in folder_labels(tmp_path).entries] == ["10", "9", "Z", "a", "b"]
    with pytest.raises(ModelError, match="no sub-folders"):
        folder_labels(tmp_path / "a")
    with pytest.raises(ModelError, match="nosuch"):
        folder_labels(tmp_path / "nosuch")


def test_files_beside_a_model_count_only_with_one_label_for_each_class(tmp_path: Path) -> None:
    model = tmp_path / "keras_model.h5"
    assert choose_beside(beside(model), 3) == (Labels(), ())
    (tmp_path / "labels.txt").write_text("0 cat\n1 dog\n")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    (tmp_path / "class_indices.json").write_text("{")
    chosen, notes = choose_beside(beside(model), 2)
    assert chosen.entries == (Label("cat"), Label("dog"))
    assert notes == ("labels from labels.txt in the folder of the model",)
    chosen, notes = choose_beside(beside(model), 3)
    assert [label.name for label in chosen.entries] == ["a", "b", "c"]
    assert "classes.txt" in notes[0]
    for count in (4, None):
        chosen, notes = choose_beside(beside(model), count)
        assert not len(chosen)
        assert "labels.txt has 2" in notes[0]
    (tmp_path / "labels.json").write_text('["dog", "cat"]')
    assert "labels.json is different" in choose_beside(beside(model), 2)[1][0]


NUMBERS = Labels(tuple(Label(name) for name in sorted(str(n) for n in range(1, 13))))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("12", 3), ("0", 0), ("index:10", 10), ("name:10", 1), ("name:1", 0), ("index:0", 0)],
)
def test_numeric_names(wanted: str, index: int) -> None:
    assert NUMBERS.find(wanted, 12) == index


@pytest.mark.parametrize("wanted", ["1", "10", "11", "2", "9"])
def test_a_number_that_is_an_index_and_another_class_is_ambiguous(wanted: str) -> None:
    with pytest.raises(ModelError) as refused:
        NUMBERS.find(wanted, 12)
    for choice in (f"index:{wanted}", f"name:{wanted}"):
        assert choice in str(refused.value)
        NUMBERS.find(choice, 12)


def test_counts_that_differ_name_the_file_and_both_counts(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match=r"my\.keras has 3 classes, but .*l\.txt has 2 labels"):
        read_labels(tmp_path / "l.txt").check("my.keras", 3)


@pytest.mark.parametrize(
    "text",
    [
        *("0 - cat\n1 - dog\n2 - eel", "1 - dog\n0 - cat\n2 - eel", "0 -> cat\n2 -> eel\n1 -> dog"),
        *("dog 1\ncat 0\neel 2", "dog: 1\neel: 2\ncat: 0", "eel,2\ncat,0\ndog,1"),
        *('"cat",\n"dog",\n"eel"', "'cat'\n'dog'\n'eel'"),
        *("{'dog': 1, 'cat': 0, 'eel': 2}", "{0: 'cat', 2: 'eel', 1: 'dog'}", "['cat', 'dog', 'eel']"),
    ],
)
def test_other_ways_of_numbering(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert [label.name for label in read_labels(tmp_path / "names.txt").entries] == ["cat", "dog", "eel"]


@pytest.mark.parametrize("text", ["0 dots\n1 dot\n2 dots", "stage 2\nstage 0\nstage 1", "1\n10\n2", '"cat"\ndog'])
def test_names_that_look_like_numbering_stay_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert [label.name for label in read_labels(tmp_path / "names.txt").entries] == text.splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 dog\n1 cat\n3 eel", "numbered from 1"),
        ('{"0": "cat", "1": "dog", "1": "eel"}', "is there twice"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2", "Git LFS"),
        ("<!DOCTYPE html>\n<html></html>", "web page"),
        ("item {\n  id: 1\n  name: 'cat'\n}", "label map"),
    ],
)
def test_what_would_be_wrong_names(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ModelError, match=said):
        read_labels(tmp_path / "names.txt")


def test_accents_are_compared_however_they_are_written(tmp_path: Path) -> None:
    for name in ("cafe\u0301", "nai\u0308ve"):
        (tmp_path / name).mkdir()
    labels = folder_labels(tmp_path)
    assert [labels.find("caf\u00e9", 2), labels.find("NA\u00cfVE", 2)] == [0, 1]
