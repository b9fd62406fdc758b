"""The inputs of a command: options become settings, and what was left out is reported."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import STDIO
from gradcam_cli.errors import UsageError
from gradcam_cli.settings import InputSettings
from gradcam_cli.text import counted

if TYPE_CHECKING:
    from gradcam_cli.inputs.left_out import LeftOut

# More kinds of suffixes than this are summed up in one number.
SUFFIXES_SHOWN = 12


def input_settings(options: Mapping[str, Any]) -> InputSettings:
    """Read the options of inputs, and refuse those that contradict each other.

    Raises:
        UsageError: there is something to refuse.
    """
    from gradcam_cli.inputs.discovery import refuse_url

    if not options["inputs"] and not options["files_from"]:
        raise UsageError("There is no INPUT. Name pictures or folders, or give a list by --files-from.")
    if options["null"] and not options["files_from"]:
        raise UsageError("-0 is about the list of --files-from.")
    if options["quiet"] and options["verbose"]:
        raise UsageError("--quiet and --verbose contradict each other: give one of them.")
    for name in ("output", "files_from", "jsonl"):
        refuse_url(options.get(name) or "")
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if STDIO in options["inputs"] and terminal:
        raise UsageError("- reads a picture from stdin, which is a terminal here: send one (explain - < cat.jpg).")
    if options["files_from"] == STDIO and terminal:
        say("Reading paths from the terminal, one a line; Ctrl-D ends the list.")
    return InputSettings(
        paths=options["inputs"],
        files_from=options["files_from"],
        null_separated=options["null"],
        recursive=options["recursive"],
        follow_links=options["follow_links"],
        hidden=options["hidden"],
        exclude=options["exclude"],
        include=options["include"],
        limit=options["limit"],
    )


def say_left_out(left_out: "LeftOut") -> None:
    """Say what was left out of the folders."""
    for line in left_out_lines(left_out):
        say(line)


def left_out_lines(left_out: "LeftOut") -> Iterator[str]:
    """What was left out, one line a reason; the files and folders themselves follow where they were kept."""
    from gradcam_cli.inputs.formats import advice
    from gradcam_cli.inputs.left_out import Why

    others = left_out.count_files(Why.OTHER)
    if others:
        yield f"{counted(others, 'other file')} left out: {', '.join(_suffixes(left_out))}"
    for name in sorted(left_out.pictures):
        yield f"{name}: {advice(name)}"
    for why, file, folder, ending in (
        (Why.HIDDEN, "hidden or system file", "hidden or system folder", " (--hidden takes them)"),
        (Why.EXCLUDED, "file", "folder", " by --exclude"),
        (Why.NOT_INCLUDED, "file", "", " by --include"),
        (Why.OUTPUT, "output file of an earlier run", "output folder", ""),
        (Why.LINK_TARGET, "file", "", " because a link to it is taken"),
        (Why.LINK_TO_FOLDER, "", "link to a folder", " (--follow-links walks them)"),
        (Why.WALKED_BEFORE, "", "folder", " because it was walked already"),
        (Why.NOT_RECURSIVE, "", "sub-folder", " by --no-recursive"),
    ):
        counts = ((left_out.count_files(why), file), (left_out.folders[why], folder))
        line = " and ".join(_counted_of(count, noun) for count, noun in counts if count)
        if line:
            yield f"{line} left out{ending}"
    for omission in sorted(left_out.omissions):
        what = f", {omission.format}" if omission.format else ""
        yield f"left out: {omission.path!r} ({omission.why.replace('_', ' ')}{what})"


def _counted_of(count: int, phrase: str) -> str:
    """Count the noun before `of` or `to` in a phrase: `2 links to a folder`."""
    noun, *rest = re.split(r"( of | to )", phrase, maxsplit=1)
    return counted(count, noun) + "".join(rest)


def _suffixes(left_out: "LeftOut") -> Iterator[str]:
    from gradcam_cli.inputs.left_out import Why

    found = list(left_out.suffixes(Why.OTHER))
    shown = found if len(found) <= SUFFIXES_SHOWN else found[: SUFFIXES_SHOWN - 1]
    for suffix, count in shown:
        yield f"{count} {_printable(suffix)}" if suffix else f"{count} without suffix"
    if len(shown) < len(found):
        yield f"{sum(count for _, count in found[len(shown) :])} of {len(found) - len(shown)} more kinds"


def _printable(suffix: str) -> str:
    """A terminal must not obey what a name tells it."""
    return suffix if suffix.isprintable() and suffix.isascii() else ascii(suffix)[1:-1]
