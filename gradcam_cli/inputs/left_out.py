"""Counts of files that a walk leaves out, by reason. Every file below a folder is an input or is counted."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gradcam_cli.inputs.formats import advice
from gradcam_cli.text import counted

# Longer endings, and those with spaces, are part of the name and not a suffix.
_SUFFIX = re.compile(r".\.([^\s.]{1,16})\Z")
NO_SUFFIX = ""
# If there are more different suffixes, the rest is shown as one number.
SUFFIXES_SHOWN = 12


class Why(StrEnum):
    """Why a walk leaves a file or folder out. The values are the keys of `left_out` in `run.json`."""

    OTHER = "other"
    HIDDEN = "hidden"
    EXCLUDED = "excluded"
    NOT_INCLUDED = "not_included"
    UNREADABLE = "unreadable"
    OUTPUT = "output"
    LINK_TARGET = "link_target"
    LINK_TO_FOLDER = "link_to_folder"
    WALKED_BEFORE = "walked_before"
    NOT_RECURSIVE = "not_recursive"
    TAR_MEMBER = "tar_member"


@dataclass(frozen=True, order=True)
class Omission:
    """One file or folder that was left out; `format` is the format of its first bytes, if they were read."""

    path: str
    why: Why
    format: str | None = None


@dataclass
class LeftOut:
    """Counts of files by reason and suffix, and of folders by reason, that were left out.

    The content of a folder that was left out is not counted. `pictures` counts image formats that are not decoded. The
    paths are kept only if `keep` is True, because there may be millions.
    """

    keep: bool = False
    files: Counter[tuple[Why, str]] = field(default_factory=Counter)
    folders: Counter[Why] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    omissions: list[Omission] = field(default_factory=list)

    def add_file(self, why: Why, path: str, format_name: str | None = None) -> None:
        """Count a file."""
        self.files[why, suffix_of(path)] += 1
        if self.keep:
            self.omissions.append(Omission(path, why, format_name))

    def add_folder(self, why: Why, path: str) -> None:
        """Count a folder with all its content."""
        self.folders[why] += 1
        if self.keep:
            self.omissions.append(Omission(path, why))

    def count_files(self, why: Why) -> int:
        """Give the number of files that were left out for one reason."""
        return sum(count for (reason, _), count in self.files.items() if reason is why)

    def suffixes(self, why: Why) -> Iterator[tuple[str, int]]:
        """Give the suffixes for one reason with their counts, the most frequent first; '' for no suffix."""
        found = [(suffix, count) for (reason, suffix), count in self.files.items() if reason is why]
        yield from sorted(found, key=lambda pair: (-pair[1], pair[0] == NO_SUFFIX, pair[0]))

    def as_record(self) -> dict[str, Any]:
        """Give the counts as JSON: `files` by reason and suffix, `folders` by reason."""
        files: dict[str, dict[str, int]] = {}
        for (why, suffix), count in self.files.items():
            files.setdefault(why.value, {})[_ascii(suffix)] = count
        return {"files": files, "folders": {why.value: count for why, count in self.folders.items()}}


def suffix_of(path: str) -> str:
    """Give the suffix of a name in lower case, with its dot; '' if it has none."""
    found = _SUFFIX.search(path.rsplit("/", 1)[-1])
    return f".{found[1].lower()}" if found else NO_SUFFIX


def _ascii(suffix: str) -> str:
    """Write a suffix, which may not be valid Unicode, in ASCII."""
    return suffix.encode("ascii", "backslashreplace").decode("ascii")


def left_out_lines(left_out: LeftOut) -> Iterator[str]:
    """Give one line for each reason, and then the files and folders themselves if they were kept."""
    others = left_out.count_files(Why.OTHER)
    if others:
        yield f"{counted(others, 'other file')} left out: {', '.join(_suffixes(left_out))}"
    for name in sorted(left_out.pictures):
        yield f"{name}: {advice(name)}"
    for why, file, folder, ending in (
        (Why.HIDDEN, "hidden or system file", "hidden or system folder", " (use `hidden=True` to include them)"),
        (Why.EXCLUDED, "file", "folder", " by `exclude`"),
        (Why.NOT_INCLUDED, "file", "", " by `include`"),
        (Why.OUTPUT, "output file of an earlier run", "output folder", ""),
        (Why.UNREADABLE, "file", "", ": no suffix, and the first bytes cannot be read"),
        (Why.LINK_TARGET, "file", "", " because a link leads to the same file"),
        (Why.LINK_TO_FOLDER, "", "link to a folder", " (use `follow_links=True` to include them)"),
        (Why.WALKED_BEFORE, "", "folder", ": already read by another path"),
        (Why.NOT_RECURSIVE, "", "sub-folder", " by `recursive=False`"),
        (
            Why.TAR_MEMBER,
            "member",
            "",
            " of tar files: links, devices, sparse files, or names that point outside the tar file",
        ),
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


def _suffixes(left_out: LeftOut) -> Iterator[str]:
    found = list(left_out.suffixes(Why.OTHER))
    shown = found if len(found) <= SUFFIXES_SHOWN else found[: SUFFIXES_SHOWN - 1]
    for suffix, count in shown:
        yield f"{count} {_printable(suffix)}" if suffix else f"{count} without a suffix"
    if len(shown) < len(found):
        yield f"{sum(count for _, count in found[len(shown) :])} of {len(found) - len(shown)} other kinds"


def _printable(suffix: str) -> str:
    """Escape a suffix that is not printable ASCII, because a name must not control the terminal."""
    return suffix if suffix.isprintable() and suffix.isascii() else ascii(suffix)[1:-1]
