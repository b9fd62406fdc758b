"""The command line: it makes settings of the options, calls the library, and ends with an exit code.

Commands import heavy modules inside their functions, so that `--help` and `--version` are fast.
"""

import os
import re
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli import __version__
from gradcam_cli.cli.command import Commands, Group
from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import examples
from gradcam_cli.process.environment import prepare_libraries
from gradcam_cli.process.signals import exit_code_of, interruption_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from gradcam_cli.engines.selection import Engines


DOCUMENTATION = (
    "\n\nDocumentation: README.md and docs/ in the repository. See docs/python.md for the Python library and "
    "docs/configuration.md for configuration files and environment variables."
)
# Environment variables with this prefix set options.
PREFIX = "GRADCAM_CLI"
LONGEST_SENTENCE = 200
# The script of a shell calls the program with the shell's name in this variable.
ASKED = "_GRADCAM_CLI_COMPLETE"
# The commands by their headings in the help. Each command is in the module of its name.
SECTIONS = {
    "Explain": ("explain", "merge", "report", "evaluate"),
    "Check": ("compare", "snapshot", "verify"),
    "Models and methods": ("models", "layers", "methods", "check-preprocess", "compile", "cache"),
    "Help": ("help", "config", "completion", "doctor", "schema"),
}


class Program(Group):
    """The program: an error of the library becomes one line on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of the commands in the order of help."""
        del ctx
        return list(self.commands)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Give the names of the commands, without importing them, and the options."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in self.commands if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their headings."""
        del ctx
        widest = max(map(len, self.commands))
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                sentences = [self.commands[name].get_short_help_str(LONGEST_SENTENCE) for name in names]
                formatter.write_dl([(name.ljust(widest), text) for name, text in zip(names, sentences, strict=True)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error with a known cause is reported without a traceback."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Exception) as error:
            stop = interruption_of(error)
            if stop is not None:
                say("Interrupted.")
                ctx.exit(exit_code_of(stop))
            code = _reported(error)
            if code is None:
                raise
            ctx.exit(code)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments; if `--help` or `--version` cannot be written to stdout, report it in one line."""
        try:
            return super().make_context(*args, **kwargs)
        except OSError as error:
            code = _reported(error)
            if code is None:
                raise
            raise click.exceptions.Exit(code) from error


def _reported(error: BaseException) -> int | None:
    """Report an error with a known cause in one line and give its exit code; give None for any other error."""
    from gradcam_cli.process.ends import stop_of

    stop = stop_of(error)
    if stop is None:
        return None
    code, message = stop
    if message:
        # Lines of our own are indented. Any other line end is part of a name.
        escaped = re.sub(r"\n(?! )", r"\\n", message)
        say(f"Error: {escaped}")
    return code


@click.group(
    cls=Program,
    commands=Commands(name for names in SECTIONS.values() for name in names),
    epilog=examples(
        "gradcam-cli explain cat.jpg -o out/ -m efficientnetlite0",
        "gradcam-cli explain photos/ -o out/ -m my.keras --labels labels.txt --report",
        "gradcam-cli evaluate photos/ -m my.keras --method gradcam --method gradcam++",
        "gradcam-cli layers my.keras",
        "gradcam-cli help explain",
    )
    + DOCUMENTATION,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": PREFIX,
    },
)
@click.version_option(__version__, "-V", "--version", prog_name="gradcam-cli")
def program() -> None:
    """What did the image classifier look at?

    Explains the predictions of Keras and ONNX image classifiers with Grad-CAM++ and related methods. Writes overlays
    and JSON sidecars for image files, folders and pipes.
    """
    prepare_libraries()


def main(engines: "Engines | None" = None) -> None:
    """Run the program, and end the process.

    `engines` finds and opens models; a test passes its own.
    """
    from gradcam_cli.process.ends import leave, watched

    if ASKED in os.environ:
        from gradcam_cli.cli.completion import complete

        click.echo(complete(program), nl=False)
        leave(0)
    from gradcam_cli.process.streams import prepare_streams

    prepare_streams()
    leave(watched(lambda: _run(engines)))


def _run(engines: "Engines | None") -> int:
    try:
        program(prog_name="gradcam-cli", obj=engines)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
