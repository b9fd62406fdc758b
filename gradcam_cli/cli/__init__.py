"""The command line: options become settings, settings go to the library, its report becomes an exit code.

Heavy imports live inside the commands, so that `--help` and `--version` answer at once.
"""

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli import __version__
from gradcam_cli.cli.cache import cache
from gradcam_cli.cli.check_preprocess import check_preprocess
from gradcam_cli.cli.compare import compare
from gradcam_cli.cli.compile import compile_
from gradcam_cli.cli.console import say
from gradcam_cli.cli.evaluate import evaluate
from gradcam_cli.cli.explain import explain
from gradcam_cli.cli.layers import layers
from gradcam_cli.cli.methods import methods
from gradcam_cli.cli.models import models
from gradcam_cli.cli.report import report
from gradcam_cli.cli.schema import schema
from gradcam_cli.cli.snapshot import snapshot
from gradcam_cli.cli.verify import verify
from gradcam_cli.errors import EnvironmentStop, GradcamError
from gradcam_cli.process.memory import memory_stop, watched
from gradcam_cli.process.signals import INTERRUPTED, PIPE_CLOSED
from gradcam_cli.process.streams import prepare_streams

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


class Program(click.Group):
    """Turns the library's errors into one line on stderr and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that has a known cause shows no traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("Interrupted.")
            ctx.exit(INTERRUPTED)
        except Exception as error:
            stop = memory_stop(error) or _known(error)
            if stop is None:
                raise
            code, message = stop
            if message:
                say(f"Error: {message}")
            ctx.exit(code)


def _known(error: Exception) -> tuple[int, str] | None:
    """Give the exit code and the message of an error that can happen to every user; None for a bug."""
    if isinstance(error, GradcamError):
        return error.exit_code, str(error)
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED, ""
    if isinstance(error, OSError) and error.errno in FULL:
        return EnvironmentStop.exit_code, f"{error.strerror}."
    if isinstance(error, ImportError):
        hint = "`pip install gradcam-cli` brings all that models need; a compiled .plan needs less."
        return EnvironmentStop.exit_code, f"{error}. {hint}"
    return None


@click.group(
    cls=Program,
    epilog="""\b
Example:
  gradcam-cli explain photos/ -o out/ --model efficientnetlite0
""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gradcam-cli")
def program() -> None:
    """What did the image classifier look at?

    Explains the predictions of Keras image classifiers with Grad-CAM++ and its family: overlays and JSON
    sidecars for photographs, folders and pipes.
    """
    # NumPy's products here are small, and the pipeline has threads enough: those of a BLAS would only spin beside
    # them (measured: a third of all images a second). It reads this when NumPy is imported, which no command has yet.
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    # The first import of Keras decides; the trace is made of TensorFlow's graphs.
    os.environ["KERAS_BACKEND"] = "tensorflow"


COMMANDS = (
    explain,
    report,
    compare,
    snapshot,
    evaluate,
    layers,
    methods,
    models,
    compile_,
    cache,
    check_preprocess,
    verify,
    schema,
)
for command in COMMANDS:
    program.add_command(command)


def main(engines: "Engines | None" = None) -> None:
    """Run the program, and leave without the half second in which TensorFlow's memory is taken apart.

    Models are found and opened by `engines`, where a test has some of its own.
    """
    prepare_streams()
    _leave(watched(lambda: _run(engines)))


def _run(engines: "Engines | None") -> int:
    try:
        program(prog_name="gradcam-cli", obj=engines)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _leave(code: int) -> None:
    """End the process at once: all files are written and all threads joined by now."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The reader is gone, as in `| head`, or the disk is full.
            code = code or 1
    os._exit(code)
