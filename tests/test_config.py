"""Configuration: command line before environment before file before default, and what a file must not say."""

import json
import os
import re
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import ROOT as REPOSITORY
from conftest import Invoke

from gradcam_cli.cli import program
from gradcam_cli.cli.command import Command, Option
from gradcam_cli.cli.config_file import NAMED_FILES_ONLY, is_path, load_config
from gradcam_cli.cli.environment import contexts_of, known_variables

DOCS = REPOSITORY / "docs"
ROOT = click.Context(program, info_name="gradcam-cli", auto_envvar_prefix="GRADCAM_CLI")


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be found: the other tests are isolated from them."""
    monkeypatch.delenv("GRADCAM_CLI_ISOLATED")


def settings(invoke: Invoke, *args: str) -> dict[str, Any]:
    """Give value and source of each option of `explain` by its name."""
    record = json.loads(invoke(*args, "config", "explain", "--json").stdout)
    return {each["option"]: (each["value"], each["source"]) for each in record["settings"]}


def test_the_order_of_the_sources(invoke: Invoke, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gradcam-cli.toml").write_text("quality = 11\nalpha = 0.25\nmax-side = 77\n[explain]\nquality = 22\n")
    monkeypatch.setenv("GRADCAM_CLI_ALPHA", "0.5")
    monkeypatch.setenv("GRADCAM_CLI_MAX_SIDE", "66")
    monkeypatch.setenv("GRADCAM_CLI_EXPLAIN_MAX_SIDE", "55")
    known = settings(invoke)
    assert known["--quality"] == ("22", "file")
    assert known["--alpha"] == ("0.5", "environment")
    assert known["--max-side"] == ("55", "environment")
    assert known["--top-k"] == (None, "default")
    assert known["--batch-size"] == (16, "default")
    invoke("explain", "photos", "-o", "out", "--alpha", "0.75")
    overlay = json.loads(Path("out/run.json").read_text())["options"]["overlay"]
    assert (overlay["alpha"], overlay["quality"], overlay["max_side"]) == (0.75, 22, 55)


def test_a_file_is_found_upwards_and_the_nearest_holds(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gradcam-cli.toml").write_text("top-k = 3\n")
    Path("a/b").mkdir(parents=True)
    Path("a/pyproject.toml").write_text('[project]\nname = "uses-gradcam-cli"\n')
    monkeypatch.chdir("a/b")
    assert settings(invoke)["--top-k"] == ("3", "file")
    Path("../pyproject.toml").write_text("[tool.gradcam-cli.explain]\ntop_k = 4\n")
    assert settings(invoke)["--top-k"] == ("4", "file")
    assert settings(invoke, "--isolated")["--top-k"] == (None, "default")
    assert settings(invoke, "--config", "../../gradcam-cli.toml")["--top-k"] == ("3", "file")
    assert settings(invoke, "--isolated", "--config", "../../gradcam-cli.toml")["--top-k"] == ("3", "file")


def test_a_project_that_is_no_toml_and_has_nothing_for_us_is_left_alone(invoke: Invoke) -> None:
    Path("pyproject.toml").write_text("this is no TOML")
    assert settings(invoke)["--top-k"] == (None, "default")
    Path("gradcam-cli.toml").write_text("top-k = [")
    assert "not valid TOML" in invoke("config", code=2).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'x'", "there is no option 'modle'. Did you mean 'model'?"),
        ("[explain]\ncolor-map = 'jet'", "there is no option 'color-map'. Did you mean 'colormap'?"),
        ("[explain]\nmetrics = 'drop'", "there is no option 'metrics'."),
        ("[explian]\ntop-k = 1", "there is no command 'explian'. Did you mean 'explain'?"),
        ("[cache.lst]\njson = true", "there is no command 'lst'. Did you mean 'list'?"),
        ("[explain.more]\ntop-k = 1", "there is no option 'more'."),
        ("[explain]\nconfig = 'other.toml'", "there is no option 'config'."),
        ("top-k = 1\ntop_k = 2", "'top-k' is set twice."),
        ("top-k = true", "'top-k' must be a text or a number, not True."),
        ("top-k = [1]", "'top-k' must be a text or a number, not [1]."),
        ("class = [1.5, []]", "'class' must be a list of texts or numbers, not []."),
        ("hidden = 'yes'", "'hidden' must be true or false, not 'yes'."),
        ("top-k = 'five'", "'five' is not a valid integer"),
        ("alpha = 3", "3.0 is not in the range"),
        ("colormap = 'virids'", "Did you mean 'viridis'?"),
        ("input-size = '0x0'", "'0x0' is not a size"),
    ],
)
def test_what_is_refused(invoke: Invoke, text: str, message: str) -> None:
    Path("gradcam-cli.toml").write_text(f"{text}\n")
    for args in (["config"], ["explain", "photos", "-o", "out"]):
        if "lst" not in text or args == ["config"]:
            refused = " ".join(invoke(*args, code=2).stderr.split())
            assert message in refused
            assert "gradcam-cli.toml" in refused


def test_help_does_not_read_the_file(invoke: Invoke) -> None:
    Path("gradcam-cli.toml").write_text("modle = 'x'\nalpha = 0.1\n")
    assert "[default: 0.45" in invoke("explain", "--help").stdout


def test_values_of_the_environment_are_checked_as_those_of_options(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADCAM_CLI_TOP_K", "many")
    refused = " ".join(invoke("explain", "photos", "-o", "out", code=2).stderr.split())
    assert "--top-k" in refused
    assert "This is from GRADCAM_CLI_TOP_K." in refused


def test_lists_and_flags(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gradcam-cli.toml").write_text("class = ['tabby', 281]\nrecursive = false\nhidden = true\n")
    known = settings(invoke)
    assert known["--class"] == (["tabby", "281"], "file")
    assert known["--recursive"] == (False, "file")
    assert known["--hidden"] == (True, "file")
    monkeypatch.setenv("GRADCAM_CLI_CLASS", "Egyptian cat\ntabby\n")
    monkeypatch.setenv("GRADCAM_CLI_RECURSIVE", "1")
    monkeypatch.setenv("GRADCAM_CLI_HIDDEN", "")
    known = settings(invoke)
    assert known["--class"] == (["Egyptian cat", "tabby"], "environment")
    assert known["--recursive"] == ("1", "environment")
    assert known["--hidden"] == (True, "file")


def test_one_value_is_a_list_of_one(invoke: Invoke) -> None:
    Path("gradcam-cli.toml").write_text("layer = 'features'\nmethod = 'gradcam'\n")
    record = json.loads(invoke("config", "--json").stdout)
    values = {(each["command"], each["option"]): each["value"] for each in record["settings"]}
    assert values["explain", "--layer"] == "features"
    assert values["evaluate", "--layer"] == ["features"]
    assert values["evaluate", "--method"] == ["gradcam"]


def test_paths_are_relative_to_the_file(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "model = 'my.keras'\nlabels = 'names.txt'\ninput = ['age=42', 'sex=v.csv:sex', 'x=a.npy']\n"
    Path("gradcam-cli.toml").write_text(f"{text}files-from = '-'\nlayer = 'a/b'\n")
    Path("my.keras").touch()
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    known = {name: value for name, (value, _) in settings(invoke).items()}
    assert known["--model"] == str(tmp_path / "my.keras")
    assert known["--labels"] == str(tmp_path / "names.txt")
    assert known["--input"] == ["age=42", f"sex={tmp_path / 'v.csv'}:sex", f"x={tmp_path / 'a.npy'}"]
    assert known["--files-from"] == "-"
    assert known["--layer"] == "a/b"
    for model in ("resnet50", "s3://bucket/my.keras"):
        Path("../gradcam-cli.toml").write_text(f"model = '{model}'\n")
        assert settings(invoke)["--model"] == (model, "file")


@pytest.mark.parametrize(
    "text",
    [
        "[explain]\ncustom-objects = 'evil.py'",
        "[explain]\ntrust-model-code = true",
        "[explain]\nout = '/tmp'",
        "[explain]\njsonl = '.bashrc'",
        "[explain]\nmarkdown = '.bashrc'",
        "[explain]\njunit = '.bashrc'",
    ],
)
def test_a_file_that_nobody_named_runs_no_code_and_writes_no_files(invoke: Invoke, text: str) -> None:
    Path("gradcam-cli.toml").write_text(text)
    refused = invoke("config", code=2).stderr
    assert "cannot be set here" in refused
    assert "--config" in refused
    invoke("--config", "gradcam-cli.toml", "config")


def test_every_option_that_writes_a_file_is_refused_in_a_file_that_nobody_named() -> None:
    commands = [each.command for each in contexts_of(ROOT)]
    options = [p for command in commands for p in command.params if isinstance(p, Option)]
    writing = {option.long_name for option in options if option.group == "output" and is_path(option)}
    assert {"out", "jsonl", "junit", "markdown"} <= writing
    assert {option.name for option in options} >= NAMED_FILES_ONLY


@pytest.mark.skipif(not hasattr(os, "chown") or os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_used(
    invoke: Invoke, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("gradcam-cli.toml").write_text("top-k = 3\n")
    os.chown("gradcam-cli.toml", 12345, 12345)
    assert load_config(None, isolated=False) is None
    assert "belongs to another user" in capsys.readouterr().err
    named = load_config(Path("gradcam-cli.toml"), isolated=False)
    assert named
    assert named.table == {"top-k": 3}


def test_a_misspelt_variable_is_named(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADCAM_CLI_TOPK", "3")
    message = "warning: the environment variable GRADCAM_CLI_TOPK sets no option. Did you mean 'GRADCAM_CLI_TOP_K'?\n"
    assert invoke("methods").stderr == message
    monkeypatch.delenv("GRADCAM_CLI_TOPK")
    monkeypatch.setenv("GRADCAM_CLI_EVALUATE_METRICS", "drop")
    assert invoke("methods").stderr == ""


def test_no_variable_sets_two_options_of_a_command() -> None:
    for each in contexts_of(ROOT):
        options = [p for p in each.command.params if isinstance(p, Option)]
        assert len(known_variables(each)) == sum(len(option.variables(each)) for option in options)


def test_help_names_the_variables_of_a_command(invoke: Invoke) -> None:
    text = " ".join(invoke("explain", "--help").stdout.split())
    assert "GRADCAM_CLI_EXPLAIN_OUT sets --out for this command. GRADCAM_CLI_OUT sets it for all commands." in text


def test_the_table_for_people(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gradcam-cli.toml").write_text("[cache.clear]\nolder-than = 30\n")
    monkeypatch.setenv("GRADCAM_CLI_REPORT_LIMIT", "5")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    lines = invoke("config").stdout.splitlines()
    assert lines[0] == "Configuration file: ~/gradcam-cli.toml"
    assert [line.split() for line in lines[2:-1]] == [
        ["report", "--limit", "5", "GRADCAM_CLI_REPORT_LIMIT"],
        ["cache", "clear", "--older-than", "30", "~/gradcam-cli.toml"],
    ]
    assert "There is no command 'nosuch'" in invoke("config", "nosuch", code=2).stderr


def test_every_command_takes_the_options_of_the_configuration() -> None:
    for each in contexts_of(ROOT):
        assert isinstance(each.command, Command)
        assert {"config", "isolated"} <= {parameter.name for parameter in each.command.params}


def test_the_examples_of_the_document_hold(invoke: Invoke) -> None:
    blocks = re.findall(
        r"```toml\n# (\S+)\n(.*?)```", (DOCS / "configuration.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert [name for name, _ in blocks] == ["gradcam-cli.toml", "pyproject.toml"]
    for name, text in blocks:
        Path(name).write_text(text)
        assert settings(invoke)["--top-k"] == ("3", "file")
        assert settings(invoke)["--model"] == (str(Path.cwd() / "models/pets.keras"), "file")
        Path(name).unlink()
