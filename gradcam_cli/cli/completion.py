"""`gradcam-cli completion`: the scripts for shells, and the completions that these scripts request."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from gradcam_cli.cli.command import Choice, command
from gradcam_cli.cli.options import examples
from gradcam_cli.package_data import data_text

if TYPE_CHECKING:
    from gradcam_cli.labels.class_labels import Labels

SHELLS = ("bash", "zsh", "fish")
# The environment variable with the command line up to the cursor, which the script sets.
LINE = "COMP_LINE"

Item = CompletionItem[str]


@command(
    epilog=examples(
        """eval "$(gradcam-cli completion bash)"      # in ~/.bashrc""",
        """eval "$(gradcam-cli completion zsh)"       # in ~/.zshrc""",
        "gradcam-cli completion fish | source      # in ~/.config/fish/config.fish",
    )
)
@click.argument("shell", type=Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for a shell: bash, zsh or fish.

    It completes commands, options, models, methods, colormaps, class names, the layers of models that were listed or
    compiled before, and file names.
    """
    click.echo(data_text("completion", shell), nl=False)


def complete(program: click.Command, environment: Mapping[str, str] = os.environ) -> str:
    """Give the completions for a shell's script: on each line a type, a value and a description."""
    line = environment.get(LINE, "")
    words = split_arg_string(line)
    incomplete = "" if line[-1:].isspace() and not line.endswith("\\ ") else words.pop() if len(words) > 1 else ""
    found = ShellComplete(program, {}, "gradcam-cli", "").get_completions(words[1:], incomplete)
    return "".join(_line(item) for item in found if item.value.isprintable())


def _line(item: Item) -> str:
    description = " ".join((item.help or "").replace("`", "").split())
    return f"{item.type}\t{item.value}\t{description}\n"


def completions(name: str, ctx: click.Context, incomplete: str) -> list[Item] | None:
    """Give the known values of an option or argument; None if it has no list of values."""
    values = VALUES.get(name)
    return None if values is None else values(ctx, incomplete)


def paths(metavar: str | None) -> list[Item]:
    """Ask the shell to complete file names or folder names, if the value is a file or a folder."""
    forms = (metavar or "").split("|")
    if any(form.startswith(("FILE", "INPUT", "PHOTOS")) for form in forms):
        return [CompletionItem("", type="file")]
    return [CompletionItem("", type="dir")] if "FOLDER" in forms else []


def _commands(ctx: click.Context, incomplete: str) -> list[Item]:
    root = ctx.find_root().command
    return _starting(root.list_commands(ctx) if isinstance(root, click.Group) else (), incomplete)


def _models(_ctx: click.Context, incomplete: str) -> list[Item]:
    from gradcam_cli.models.named import NAMED_MODELS

    return [*_starting(NAMED_MODELS, incomplete), CompletionItem("", type="file")]


def _layers(ctx: click.Context, incomplete: str) -> list[Item]:
    from gradcam_cli.engines.layer_names import known_layers

    return _starting(("auto", *known_layers(Path(_model(ctx)).expanduser())), incomplete)


def _classes(ctx: click.Context, incomplete: str) -> list[Item]:
    return _starting(dict.fromkeys(_class_names(ctx.params, _model(ctx))), incomplete)


def _class_names(given: Mapping[str, Any], model: str) -> Iterator[str]:
    from gradcam_cli.errors import ModelError
    from gradcam_cli.labels.class_labels import imagenet_labels
    from gradcam_cli.labels.files import beside, folder_labels, named_after, read_labels

    path = Path(model).expanduser()
    found: Labels | None
    try:
        if given.get("labels_from"):
            found = folder_labels(Path(given["labels_from"]).expanduser())
        elif given.get("labels"):
            found = read_labels(Path(given["labels"]).expanduser())
        elif path.is_file():
            found = named_after(path) or next(iter(beside(path)), None)
        else:
            found = imagenet_labels()
    except ModelError:
        return
    yield from (label.name for label in found.entries) if found else ()


def _model(ctx: click.Context) -> str:
    from gradcam_cli.settings import ModelSettings

    return str(ctx.params.get("model") or ModelSettings().model)


def _starting(known: Iterable[str], incomplete: str) -> list[Item]:
    return [CompletionItem(word) for word in known if word.casefold().startswith(incomplete.casefold())]


# The completion functions by the name of the option or argument.
VALUES: Mapping[str, Callable[[click.Context, str], list[Item]]] = {
    "model": _models,
    "layer": _layers,
    "layers": _layers,
    "classes": _classes,
    "names": _commands,
}
