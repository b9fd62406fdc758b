"""The command line: options become settings, settings go to the library, its report becomes an exit code.

Heavy imports live inside the commands, so that `--help` and `--version` answer at once.
"""

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
from gradcam_cli.cli.merge import merge
from gradcam_cli.cli.methods import methods
from gradcam_cli.cli.models import models
from gradcam_cli.cli.options import examples
from gradcam_cli.cli.report import report
from gradcam_cli.cli.schema import schema
from gradcam_cli.cli.snapshot import snapshot
from gradcam_cli.cli.verify import verify
from gradcam_cli.process.ends import leave, stop_of, watched
from gradcam_cli.process.environment import prepare_libraries
from gradcam_cli.process.signals import INTERRUPTED
from gradcam_cli.process.streams import prepare_streams

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines


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
            stop = stop_of(error)
            if stop is None:
                raise
            code, message = stop
            if message:
                say(f"Error: {message}")
            ctx.exit(code)


@click.group(
    cls=Program,
    epilog=examples("gradcam-cli explain photos/ -o out/ --model efficientnetlite0"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gradcam-cli")
def program() -> None:
    """What did the image classifier look at?

    Explains the predictions of Keras image classifiers with Grad-CAM++ and its family: overlays and JSON
    sidecars for photographs, folders and pipes.
    """
    prepare_libraries()


FOR_RUNS = (explain, merge, report, compare, snapshot, evaluate, verify, schema)
FOR_MODELS = (layers, methods, models, compile_, cache, check_preprocess)
for command in (*FOR_RUNS, *FOR_MODELS):
    program.add_command(command)


def main(engines: "Engines | None" = None) -> None:
    """Run the program, and end the process.

    Models are found and opened by `engines`, where a test has some of its own.
    """
    prepare_streams()
    leave(watched(lambda: _run(engines)))


def _run(engines: "Engines | None") -> int:
    try:
        program(prog_name="gradcam-cli", obj=engines)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
