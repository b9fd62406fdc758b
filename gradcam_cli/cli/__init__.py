"""The command line: options become settings, settings go to the library, its report becomes an exit code.

Heavy imports live inside the commands, so that `--help` and `--version` answer at once.
"""

import errno
import os
import sys
from typing import Any

import click

from gradcam_cli import __version__
from gradcam_cli.cli.compile import cache, compile_
from gradcam_cli.cli.evaluate import evaluate
from gradcam_cli.cli.explain import explain
from gradcam_cli.cli.layers import layers
from gradcam_cli.cli.methods import methods
from gradcam_cli.cli.models import models
from gradcam_cli.cli.schema import schema
from gradcam_cli.cli.verify import verify
from gradcam_cli.errors import EnvironmentStop, GradcamError

INTERRUPTED = 130
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


class Program(click.Group):
    """Turns the library's errors into one line on stderr and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; nothing that was raised on purpose shows a traceback."""
        try:
            return super().invoke(ctx)
        except GradcamError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in FULL:
                raise
            click.echo(f"Error: {error.strerror}.", err=True)
            ctx.exit(EnvironmentStop.exit_code)
        except ImportError as error:
            click.echo(
                f"Error: {error}. `pip install gradcam-cli` brings all that models need; a compiled .plan needs less.",
                err=True,
            )
            ctx.exit(EnvironmentStop.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gradcam-cli")
def program() -> None:
    r"""What did the image classifier look at?

    Explains the predictions of Keras image classifiers with Grad-CAM++ and its family: overlays and JSON
    sidecars for photographs, folders and pipes.

    \b
    Example:
      gradcam-cli explain photos/ -o out/ --model efficientnetlite0
    """
    # NumPy's products here are small, and the pipeline has threads enough: those of a BLAS would only spin beside
    # them (measured: a third of all images a second). It reads this when NumPy is imported, which no command has yet.
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


for command in (explain, evaluate, layers, methods, models, compile_, cache, verify, schema):
    program.add_command(command)


def main() -> None:
    """Run the program, and leave without the half second in which TensorFlow's memory is taken apart."""
    try:
        program(prog_name="gradcam-cli")
    except SystemExit as end:
        _leave(end.code if isinstance(end.code, int) else 0)


def _leave(code: int) -> None:
    """End the process at once: all files are written and all threads joined by now."""
    for stream in (sys.stdout, sys.stderr):
        try:
            # Python has none where the shell closed it.
            if stream is not None:
                stream.flush()
        except OSError:
            # Whoever read it is gone, as in `| head`.
            code = code or 1
    os._exit(code)
