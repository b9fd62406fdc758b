"""The configuration file: finding it, and reading the values of options."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.console import say
from gradcam_cli.errors import UsageError
from gradcam_cli.system import user_id
from gradcam_cli.text import did_you_mean
from gradcam_cli.urls import is_url

if TYPE_CHECKING:
    from gradcam_cli.cli.command import Option

OWN_FILE, PROJECT_FILE = "gradcam-cli.toml", "pyproject.toml"
TABLE = "gradcam-cli"
# Keys of `ctx.meta` for the values of --config and --isolated, and for the file after it was read.
NAMED, ISOLATED, LOADED = "gradcam_cli.named", "gradcam_cli.isolated", "gradcam_cli.loaded"
# Options that run code, or replace or remove files: they can be set only in a file that the user named.
# The same is true of options that name files to write; their group and form show which these are.
NAMED_FILES_ONLY = frozenset({"custom_objects", "trust_code", "prune", "update"})
# The beginnings of the metavars of options whose value is or may be a path.
PATH_FORMS = ("FILE", "FOLDER")


@dataclass(frozen=True)
class ConfigFile:
    """A file and its keys. `named`: the user named the file; otherwise it was found in the working folder or above."""

    path: Path
    table: Mapping[str, Any]
    named: bool


@dataclass(frozen=True)
class Configured:
    """The value of an option in a file, in the form of the command line, and the path of the file."""

    value: Any
    path: Path


def configured(ctx: click.Context, option: "Option") -> Configured | None:
    """Give the value of an option in the configuration file; None if the file does not set it.

    Raises:
        UsageError: the file cannot be read, has a key that is not an option, or has a value that the option refuses.
    """
    try:
        file = file_of(ctx)
        if file is None:
            return None
        path = command_names(ctx)
        _check_keys(file, path, ctx)
        return _configured(file, path, option)
    except UsageError:
        if ctx.resilient_parsing:
            return None
        raise


def command_names(ctx: click.Context) -> tuple[str, ...]:
    """Give the names of a command without the program's name: `("cache", "list")`."""
    names: list[str] = []
    current: click.Context | None = ctx
    while current is not None and current.parent is not None:
        names.insert(0, str(current.info_name))
        current = current.parent
    return tuple(names)


def file_of(ctx: click.Context) -> ConfigFile | None:
    """Read the configuration file of this call; only the first call reads it."""
    if LOADED not in ctx.meta:
        ctx.meta[LOADED] = None
        ctx.meta[LOADED] = load_config(ctx.meta.get(NAMED), isolated=bool(ctx.meta.get(ISOLATED)))
    loaded: ConfigFile | None = ctx.meta[LOADED]
    return loaded


def load_config(named: Path | None, *, isolated: bool) -> ConfigFile | None:
    """Read the named file, or else the nearest file in the working folder or above it.

    Raises:
        UsageError: the file cannot be read or is not valid TOML.
    """
    if named:
        return ConfigFile(named, _table(named, _bytes(named)), named=True)
    if isolated:
        return None
    for path, data in _candidates(Path.cwd()):
        table = _table(path, data)
        if path.name == OWN_FILE or table:
            if _belongs_to_another(path):
                say(
                    f"warning: the configuration file {path} belongs to another user, so it is not used. To use it: "
                    f"--config {path}"
                )
                return None
            return ConfigFile(path, table, named=False)
    return None


def _candidates(start: Path) -> Iterator[tuple[Path, bytes]]:
    """Give the files that may contain a configuration, the nearest first."""
    for folder in (start, *start.parents):
        own, project = folder / OWN_FILE, folder / PROJECT_FILE
        if own.is_file():
            yield own, _bytes(own)
        # A pyproject.toml without the name of this program is not parsed, so it cannot cause an error.
        if project.is_file() and TABLE.encode() in (data := _bytes(project)):
            yield project, data


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: the configuration file cannot be read: {error.strerror}.") from error


def _table(path: Path, data: bytes) -> Mapping[str, Any]:
    import tomllib

    try:
        found = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: the configuration file is not valid TOML: {error}.") from error
    if path.name == PROJECT_FILE:
        found = found.get("tool", {}).get(TABLE, {})
    return found


def _belongs_to_another(path: Path) -> bool:
    user = user_id()
    return user is not None and path.stat().st_uid not in {user, 0}


def _check_keys(file: ConfigFile, names: Sequence[str], ctx: click.Context) -> None:
    """Refuse unknown options and unknown commands, in the common part and in the table of this command."""
    from gradcam_cli.cli.command import options_by_name

    command = ctx.find_root().command
    own, table = options_by_name(ctx.command), file.table
    common = [key for key, value in table.items() if not isinstance(value, dict)]
    _refuse_unknown(file, common, own, lambda: _names_of_all(getattr(ctx.find_root().command, "commands", {})))
    for name in names:
        commands: Mapping[str, click.Command] = getattr(command, "commands", {})
        for key in (key for key, value in table.items() if isinstance(value, dict) and key not in commands):
            raise UsageError(f"{file.path}: there is no command '{key}'.{did_you_mean(key, commands)}")
        command, table = commands[name], table.get(name, {})
        if not isinstance(table, dict):
            return
    _refuse_unknown(file, list(table), own, tuple)


def _names_of_all(commands: Mapping[str, click.Command]) -> tuple[str, ...]:
    """Give the names of the options of all commands; this imports every command."""
    from gradcam_cli.cli.command import options_by_name

    found: dict[str, None] = {}
    for command in commands.values():
        found |= dict.fromkeys(options_by_name(command))
        if isinstance(command, click.Group):
            found |= dict.fromkeys(_names_of_all(command.commands))
    return tuple(found)


def _refuse_unknown(file: ConfigFile, keys: Sequence[str], own: Mapping[str, "Option"], others: Any) -> None:
    unknown = [key for key in keys if _name(key) not in own]
    known = (*own, *others()) if unknown else ()
    for key in unknown:
        if _name(key) not in known:
            near = did_you_mean(_name(key), known)
            raise UsageError(f"{file.path}: there is no option '{key}'.{near}")


def _name(key: str) -> str:
    return key.replace("_", "-")


def _configured(file: ConfigFile, command: Sequence[str], option: "Option") -> Configured | None:
    """Look for the option in the table of the command, then in the common keys."""
    tables: list[Mapping[str, Any]] = [file.table]
    for name in command:
        inner = tables[-1].get(name, {})
        tables.append(inner if isinstance(inner, dict) else {})
    for table in (tables[-1], tables[0]):
        values = [value for key, value in table.items() if _name(key) == option.long_name]
        if len(values) > 1:
            raise UsageError(f"{file.path}: '{option.long_name}' is set twice. Remove one of the lines.")
        if values and not isinstance(values[0], dict):
            _refuse_power(file, option)
            return Configured(_as_given(file, option, values[0]), file.path)
    return None


def _refuse_power(file: ConfigFile, option: "Option") -> None:
    """Refuse an unsafe option in a file that the user did not name: it may have come with the images, for example."""
    writes = option.group == "output" and is_path(option)
    if not file.named and (writes or option.name in NAMED_FILES_ONLY):
        what = "say where files are written" if writes else "run code, or replace or remove files"
        raise UsageError(
            f"{file.path}: '{option.long_name}' cannot be set here: a file that is found automatically must not "
            f"{what}. Set it on the command line, or name the file: --config {file.path}"
        )


def is_path(option: "Option") -> bool:
    """Whether the value of an option is or may be a path."""
    forms = (option.metavar or "").split("|")
    return isinstance(option.type, click.Path) or any(form.startswith(PATH_FORMS) for form in forms)


def _as_given(file: ConfigFile, option: "Option", value: Any) -> Any:
    """Give a value in the form of the command line: text, several texts, or true or false for a flag."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{file.path}: '{option.long_name}' must be true or false, not {value!r}.")
        return value
    if option.multiple:
        return tuple(_text(file, option, each) for each in (value if isinstance(value, list) else [value]))
    return _text(file, option, value)


def _text(file: ConfigFile, option: "Option", value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        what = "a text or a number" if not option.multiple else "a list of texts or numbers"
        raise UsageError(f"{file.path}: '{option.long_name}' must be {what}, not {value!r}.")
    text = str(value)
    folder = file.path.parent
    if option.name == "inputs":
        return _input_value(folder, text)
    if is_path(option) and _is_meant_as_path(folder, option, text):
        return str(folder / Path(text).expanduser())
    return text


def _is_meant_as_path(folder: Path, option: "Option", text: str) -> bool:
    """Whether a text is a path, and not a model name, - or a URL."""
    if text == "-" or is_url(text):
        return False
    is_name_too = "NAME" in (option.metavar or "").split("|")
    return not is_name_too or os.sep in text or (folder / text).exists()


def _input_value(folder: Path, text: str) -> str:
    """Make the file in `NAME=FILE.npy` or `NAME=FILE.csv:COLUMN` relative to the folder of the configuration file."""
    name, _, value = text.partition("=")
    path, colon, columns = value.partition(".csv:")
    if colon or value.endswith(".npy"):
        return f"{name}={folder / path}{colon}{columns}"
    return text
