"""Find the inputs of a run: settings become the rules of a walk, and a list of paths is read."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gradcam_cli.errors import StorageError, UsageError
from gradcam_cli.inputs.discovery import Found, find_sources
from gradcam_cli.inputs.files import SUFFIXES
from gradcam_cli.inputs.formats import PICTURES
from gradcam_cli.inputs.left_out import left_out_lines
from gradcam_cli.inputs.path_list import read_list
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.sources import STDIN, Source, Sources
from gradcam_cli.inputs.walk import Rules, patterns
from gradcam_cli.settings import InputSettings
from gradcam_cli.storage import Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import Url, is_url


def find_inputs(
    settings: InputSettings,
    report: Callable[[Found], None],
    output: Path | Url | None = None,
    *,
    keep_omissions: bool = False,
    shard: Shard | None = None,
    stores: Stores | None = None,
) -> Found:
    """Find the requested images.

    Args:
        settings: paths, a list of paths, and how folders are walked.
        report: receives the inputs and the counts of other files, even if there are no images.
        output: the folder that the run writes to; nothing in it is an input.
        keep_omissions: keep the path of each file that was left out, not only the counts.
        stores: opens the object stores of inputs that are URLs.
        shard: take only the images of this shard, which may be empty. A limit is applied before the shard.

    Raises:
        UsageError: there are no images, a path does not exist, the list cannot be read, or two images would be written
            to the same place.
        StorageError: an object store does not answer.
    """
    stores = stores or Stores()
    found = find_sources(
        settings.paths,
        _listed(settings, stores),
        rules=_rules(settings),
        output=output,
        keep_omissions=keep_omissions,
        stores=stores,
    )
    is_empty = not len(found.sources)
    if settings.limit is not None and settings.limit < len(found.sources):
        found = replace(found, sources=Sources(islice(found.sources, settings.limit)))
    if shard is not None:
        found = replace(found, sources=Sources(each for each in found.sources if shard.has(each.relative)))
    report(found)
    if is_empty:
        raise UsageError("There is nothing to do: the inputs contain no images.")
    return found


def find_pictures(
    settings: InputSettings, write: Callable[[str], None], *, keep_omissions: bool = False
) -> list[Source]:
    """Find the requested images, for tasks without an observer.

    Args:
        settings: see `find_inputs`.
        write: receives a line for each kind of file that was left out.
        keep_omissions: write the path of each file that was left out.

    Raises:
        UsageError: there are no images; see `find_inputs`.
    """

    def report(found: Found) -> None:
        for line in left_out_lines(found.left_out):
            write(line)

    return list(find_inputs(settings, report, keep_omissions=keep_omissions).sources)


def _rules(settings: InputSettings) -> Rules:
    return Rules(
        suffixes=SUFFIXES,
        # If the extra for these is not installed, their records say what to install.
        formats=PICTURES | {"HEIC", "HEIF"},
        recursive=settings.recursive,
        follow_links=settings.follow_links,
        hidden=settings.hidden,
        excluded=patterns(settings.exclude),
        included=patterns(settings.include),
    )


def _listed(settings: InputSettings, stores: Stores) -> Iterator[str]:
    name = settings.files_from
    if name is None:
        return
    try:
        with _list_file(name, stores) as file:
            yield from read_list(file, null_separated=settings.null_separated)
    except StorageError as error:
        raise refusal(error) from None
    except OSError as error:
        raise UsageError(f"{name}: the list cannot be read: {error.strerror}.") from error


def _list_file(name: str, stores: Stores) -> AbstractContextManager[BinaryIO]:
    if name == STDIN:
        return nullcontext(sys.stdin.buffer)
    return io.BytesIO(stores.object(name).read()) if is_url(name) else Path(name).open("rb")
