"""The command line: options become settings, settings go to the library, its report becomes an exit code.

Heavy imports live inside the commands, so that `--help` and `--version` answer at once.
"""

import os
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
    "\n\nDocumentation: README.md and the folder docs/ of the repository; docs/python.md for the library, "
    "docs/configuration.md for files and environment variables that set options."
)
# Environment variables of this beginning set options.
PREFIX = "GRADCAM_CLI"
LONGEST_SENTENCE = 200
# The script of a shell calls the program with the shell's name in this variable.
ASKED = "_GRADCAM_CLI_COMPLETE"
# The commands, below their headings in help. Each is in the module of its name.
SECTIONS = {
    "Explain": ("explain", "merge", "report", "evaluate"),
    "Check": ("compare", "snapshot", "verify"),
    "Models and methods": ("models", "layers", "methods", "check-preprocess", "compile", "cache"),
    "Help": ("help", "config", "completion", "doctor", "schema"),
}


class Program(Group):
    """Turns the library's errors into one line on stderr and their exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of the commands in the order of help."""
        del ctx
        return list(self.commands)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Give the names of the commands, none of which is imported for it, and the options."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in self.commands if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands below their headings."""
        del ctx
        widest = max(map(len, self.commands))
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                sentences = [self.commands[name].get_short_help_str(LONGEST_SENTENCE) for name in names]
                formatter.write_dl([(name.ljust(widest), text) for name, text in zip(names, sentences, strict=True)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that has a known cause shows no traceback."""
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
        """Parse the arguments; where stdout cannot take `--help` or `--version`, end as a command does."""
        try:
            return super().make_context(*args, **kwargs)
        except OSError as error:
            code = _reported(error)
            if code is None:
                raise
            raise click.exceptions.Exit(code) from error


def _reported(error: BaseException) -> int | None:
    """Report an error that has a known cause in one line, and give its exit code; None for a bug."""
    from gradcam_cli.process.ends import stop_of

    stop = stop_of(error)
    if stop is None:
        return None
    code, message = stop
    if message:
        say(f"Error: {message}")
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

    Explains the predictions of Keras and ONNX image classifiers with Grad-CAM++ and its family: overlays and JSON
    sidecars for photographs, folders and pipes.
    """
    prepare_libraries()


def main(engines: "Engines | None" = None) -> None:
    """Run the program, and end the process.

    Models are found and opened by `engines`, where a test has some of its own.
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
