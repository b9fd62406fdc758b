"""The options for CI systems: files that are written when a command ends, also after an error."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcam_cli.cli.command import option
from gradcam_cli.cli.options import LocalPath, together
from gradcam_cli.cli.wording import as_options
from gradcam_cli.errors import UsageError, first_line

if TYPE_CHECKING:
    from gradcam_cli.results.ci_report import CiReport

ci_options = together(
    option(
        "--junit",
        group="output",
        type=LocalPath(),
        metavar="FILE",
        help="Write a JUnit XML file with a test case for each image and each limit.",
    ),
    option(
        "--markdown",
        group="output",
        type=LocalPath(),
        metavar="FILE",
        help="Write a short Markdown summary for the page of a CI job.",
    ),
)
# The names of these options.
CI_OPTIONS = ("junit", "markdown")
INTERRUPTED = "Interrupted: images that are not listed were not processed."


def wants_ci_files(options: Mapping[str, Any]) -> bool:
    """Whether an option asks for a file for a CI system."""
    return any(options[name] for name in CI_OPTIONS)


@contextmanager
def ci_files(options: Mapping[str, Any], report: "Callable[[], CiReport]") -> Iterator[None]:
    """Write the requested files when the block ends, also if a signal or an error ends it.

    Raises:
        UsageError: two options name the same file.
        EnvironmentStop: a file cannot be written; this is checked before the block starts.
    """
    junit, markdown = _file(options["junit"]), _file(options["markdown"])
    if not (junit or markdown):
        yield
        return
    from gradcam_cli.results.ci_report import check_writable, write_junit, write_markdown

    if junit == markdown:
        raise UsageError("--junit and --markdown name the same file. Use two different files.")
    for path in filter(None, (junit, markdown)):
        check_writable(path)
    started, stop = time.monotonic(), ""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        stop = INTERRUPTED if isinstance(error, KeyboardInterrupt) else as_options(first_line(error))
        raise
    finally:
        # Also after a failure: otherwise a CI system would read the file of an earlier run.
        found = report()
        found = found.stopped(stop) if stop else found
        if junit:
            write_junit(junit, found, time.monotonic() - started)
        if markdown:
            write_markdown(markdown, found)


def _file(path: Path | None) -> Path | None:
    if path == Path("-"):
        raise UsageError("--junit and --markdown need the name of a file; they cannot write to stdout (-).")
    return path
