"""Help: groups of options, the commands in sections, and suggestions for misspelt words."""

import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result
from conftest import Invoke

from gradcam_cli.cli import SECTIONS, program
from gradcam_cli.cli.command import HEADINGS, Command, Commands, Group, Option
from gradcam_cli.settings import OPTION_GROUPS, Doc
from gradcam_cli.text import did_you_mean


def commands_of(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command of the program with the words that call it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands_of(command, *path, name)


COMMANDS = dict(commands_of(program))


def asked(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(program, args, prog_name="gradcam-cli")
    assert result.exit_code == code, result.output
    return result


def headings(text: str) -> list[str]:
    return [line[:-1] for line in text.splitlines() if re.fullmatch(r"\S[^.]*:", line)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_a_group(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert isinstance(command, Command)
    for parameter in command.params:
        assert isinstance(parameter, Option) or not isinstance(parameter, click.Option), parameter.name


def test_an_option_of_the_settings_cannot_be_without_a_group() -> None:
    with pytest.raises(TypeError, match="group"):
        Doc("what it means")  # type: ignore[call-arg]


def test_the_groups_of_explain_stand_in_their_order() -> None:
    shown = headings(asked("explain", "--help").stdout)
    groups = ["Inputs", "Model", "Classes to explain", "Method", "Output", "Overlay", "Engine", "Limits"]
    assert shown[: len(groups)] == groups
    assert shown[len(groups) :] == ["Messages and help", "Environment"]
    assert list(HEADINGS) == list(OPTION_GROUPS)


def test_an_option_stands_below_its_heading_and_the_commonest_is_first() -> None:
    sections = re.split(r"\n\n(?=\S)", asked("explain", "--help").stdout)
    first = dict(re.findall(r"^(\S.*):\n +(-{1,2}[\w-]+)", "\n\n".join(sections), re.MULTILINE))
    assert first["Model"] == "-m"
    assert first["Output"] == "-o"
    assert first["Method"] == "--method"
    assert first["Classes to explain"] == "--class"
    overlay = next(text for text in sections if text.startswith("Overlay:"))
    assert "--colormap" in overlay
    assert "--engine" not in overlay


def test_all_commands_stand_in_a_section_of_the_help_of_the_program() -> None:
    text = asked("--help").stdout
    assert [heading for heading in headings(text) if heading in SECTIONS] == list(SECTIONS)
    for name in program.commands:
        assert re.search(rf"^  {name} +[A-Z]", text, re.MULTILINE), name
    assert "gradcam-cli explain cat.jpg" in text
    assert "README.md" in text


def test_no_sentence_of_the_help_of_the_program_is_cut() -> None:
    assert "..." not in asked("--help").stdout.split("Messages and help")[0].split("[ARGS]...")[1]


def test_help_is_a_command_too() -> None:
    assert asked("help").stdout == asked("--help").stdout
    assert asked("help", "explain").stdout == asked("explain", "--help").stdout
    assert asked("help", "cache", "clear").stdout == asked("cache", "clear", "--help").stdout
    assert "Did you mean 'explain'?" in asked("help", "explian", code=2).stderr
    assert "has no sub-commands" in asked("help", "explain", "more", code=2).stderr


def test_short_forms() -> None:
    assert asked("-V").stdout == asked("--version").stdout
    model = next(p for p in COMMANDS["explain",].params if p.name == "model")
    assert model.opts == ["-m", "--model"]


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["explian"], "explain"),
        (["cache", "lst"], "list"),
        (["explain", "a.jpg", "-o", "out", "--overwrit"], "--overwrite"),
        (["explain", "a.jpg", "-o", "out", "--method", "gradcam+"], "gradcam++"),
        (["explain", "a.jpg", "-o", "out", "--colormap", "virids"], "viridis"),
        (["explain", "a.jpg", "-o", "out", "--preprocess", "cafe"], "caffe"),
        (["explain", "a.jpg", "-o", "out", "--engine", "OpenVin"], "openvino"),
        (["evaluate", "a.jpg", "--metrics", "dorp"], "drop"),
        (["evaluate", "a.jpg", "--fail-under", "averge-drop=30"], "average-drop"),
        (["compare", "a", "b", "--fail-over", "class-change=0"], "class-changes"),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(invoke: Invoke, args: list[str], meant: str) -> None:
    message = invoke(*args, code=2).stderr
    assert f"'{meant}'" in message.split("Did you mean")[1]


def test_nothing_is_suggested_for_a_word_that_is_far_from_all() -> None:
    assert did_you_mean("zzz", ["jet", "hot"]) == ""
    assert did_you_mean("JTE", ["jet", "hot"]) == " Did you mean 'jet'?"


def test_commands_are_imported_when_they_are_needed() -> None:
    code = (
        "import sys\nfrom gradcam_cli.cli import program\n"
        "try:\n    program(['layers', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(*(name for name in sys.modules if name.startswith('gradcam_cli.cli.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gradcam_cli.cli.layers" in done.stderr.split()
    assert "gradcam_cli.cli.explain" not in done.stderr.split()


def test_a_command_can_be_added_and_removed() -> None:
    commands = Commands(["layers"])
    commands["mine"] = Group("mine")
    assert list(commands) == ["layers", "mine"]
    del commands["layers"]
    assert dict(commands) == {"mine": commands["mine"]}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_what_a_text_is(path: tuple[str, ...]) -> None:
    """Also because the form tells what is a path, for the configuration and for completion."""
    context = click.Context(COMMANDS[path])
    for parameter in COMMANDS[path].params:
        assert parameter.make_metavar(context) != "TEXT", parameter.name
