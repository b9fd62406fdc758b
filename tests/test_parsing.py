"""Values of options that are written as text, and options that the settings describe."""

from pathlib import Path
from typing import Any

import pytest

from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.parsing import parse_gate, parse_groups
from gradcam_cli.options import evaluate_request, explain_request, options_of
from gradcam_cli.parsing import PARSERS
from gradcam_cli.requests import EvaluateRequest, ExplainRequest, Gate, StudySettings
from gradcam_cli.text import age_text, columns, size_text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("input_size", "224", (224, 224)),
        ("input_size", "224X320", (224, 320)),
        ("token_grid", "14x7", (14, 7)),
        ("grid", "1x2", (1, 2)),
        ("mask", "otsu", "otsu"),
        ("boxes", ".5", 0.5),
        ("sample_range", "minmax", "minmax"),
        ("sample_range", "-10:2.5", (-10.0, 2.5)),
        ("inputs", "age=a=b", ("age", "a=b")),
    ],
)
def test_a_text_is_read(name: str, text: str, value: object) -> None:
    assert PARSERS[name](text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("input_size", text) for text in ("", "0", "8193", "3x", "ax4")),
        *(("token_grid", text) for text in ("", "14", "0x3", "12345x3")),
        *(("grid", text) for text in ("", "1x1", "5x5", "10x1")),
        *(("mask", text) for text in ("", "0", "1", "1.0", "-0.5", "nan", "Otsu")),
        *(("sample_range", text) for text in ("", "1", "3:1", "1:1", "0:inf", "nan:1")),
        *(("inputs", text) for text in ("", "age", "=3", "age=")),
    ],
)
def test_other_texts_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        PARSERS[name](text)


def test_groups_keep_their_own_order() -> None:
    assert parse_groups("insertion, drop") == ("drop", "insertion")
    assert len(parse_groups("all")) == 5
    with pytest.raises(ValueError, match="there is no metric 'x, y'"):
        parse_groups("y,drop,x")


def test_a_gate_is_about_what_is_measured() -> None:
    study = StudySettings(methods=("cam", "gradcam"), metrics=("drop",))
    assert parse_gate("cam:average-drop=30", study, has_boxes=False) == Gate("average_drop", 30.0, "cam")
    assert parse_gate("pointing=0.5", study, has_boxes=True) == Gate("pointing", 0.5)
    for text, says in (("pointing=0.5", "`boxes_csv`"), ("deletion=1", "`metrics=deletion`"), ("increase=nan", "nan")):
        with pytest.raises(UsageError, match=says):
            parse_gate(text, study, has_boxes=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"noise": 0.3}, "`smooth=N`"),
        ({"max_channels": 3}, "`method=scorecam`"),
        ({"method": "cam", "scorecam_masks": "max"}, "`method=scorecam`"),
        ({"draw_boxes": True}, "`boxes=otsu`"),
        ({"layers": ["a", "a"]}, "at least two"),
        ({"layers": ["a", "b"], "layer": "c"}, "Use only one of them"),
        ({"classes": [], "top_k": 0}, "explains no class"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        explain_request(["a.jpg"], None, options)


def test_keywords_become_one_request_of_an_evaluation() -> None:
    options = {"layers": ("a", "b"), "methods": ["cam", "gradcam", "cam"], "steps": 5, "boxes_csv": Path("b.csv")}
    request = evaluate_request(["photos"], "out", options)
    assert (request.inputs.paths, request.output) == (("photos",), Path("out"))
    assert (request.layers, request.model.layer, request.model.layers) == (("a", "b"), "a", ())
    assert (request.study.methods, request.study.steps) == (("cam", "gradcam"), 5)
    assert request.boxes_csv == Path("b.csv")
    with pytest.raises(UsageError, match="There is no option `step`"):
        evaluate_request(["photos"], None, {"step": 5})


def test_the_options_of_a_request_include_those_of_its_parts() -> None:
    options = options_of(ExplainRequest)
    assert {"model", "engine", "top_k", "alpha", "max_pixels", "fit", "limit", "noise"} <= options.keys()
    assert (options["quality"].kind, options["quality"].default) == (int, 92)
    assert (options["quality"].doc.low, options["quality"].doc.high) == (1, 100)
    assert "steps" in options_of(EvaluateRequest)


def test_tables_and_figures_for_people() -> None:
    assert columns([("A", "LONG"), ("wide", ""), ("b", 3)]) == "A     LONG\nwide\nb     3"
    assert [size_text(count) for count in (999, 1000, 23_940_000, 5e13)] == ["999 B", "1.0 kB", "23.9 MB", "50000.0 GB"]
    assert [age_text(days) for days in (0.9, 1.5, 3)] == ["today", "1 day ago", "3 days ago"]
