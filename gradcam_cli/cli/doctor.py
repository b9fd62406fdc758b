"""`gradcam-cli doctor`."""

import getpass
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.command import command
from gradcam_cli.cli.completion import SHELLS
from gradcam_cli.cli.config_file import file_of
from gradcam_cli.cli.console import busy
from gradcam_cli.cli.options import examples, list_option
from gradcam_cli.errors import UsageError
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.text import printable, size_text

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines

# The files in which a user sets up the completion of a shell.
STARTUP_FILES = {
    "bash": (".bashrc", ".bash_profile", ".profile", ".bash_completion"),
    "zsh": (".zshrc", ".zprofile"),
    "fish": (".config/fish/config.fish", ".config/fish/completions/gradcam-cli.fish"),
}


@command(
    epilog=examples(
        "gradcam-cli doctor",
        "gradcam-cli doctor --json | jq .checks",
        exit_codes="0 every engine reproduces the stored result, 1 an engine does not.",
    )
)
@list_option("Print a JSON object.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Describe and test this installation, for a bug report.

    Shows versions, engines and their devices, CPU features, the cache, weights on this machine, extras, completion and
    the configuration. Then each engine explains a built-in image with the embedded model, and the result is compared
    with the stored result. The home folder and the user name are removed from the text. Nothing is sent anywhere.
    """
    with quiet_libraries(verbose=False):
        record = _record(ctx)
    passed = all(check["passed"] for check in record["checks"])
    click.echo(json.dumps(record, indent=2) if as_json else printable("\n".join(_lines(record))))
    ctx.exit(0 if passed else 1)


def _record(ctx: click.Context) -> dict[str, Any]:
    from gradcam_cli.diagnosis import machine
    from gradcam_cli.diagnosis.check import check_engine

    engines: Engines | None = ctx.obj
    with busy("trying the engines", quiet=False):
        checks = [check_engine(engine, engines).as_record() for engine in machine.engines_at_hand()]
        record = {
            "versions": machine.installed(),
            "machine": machine.machine(),
            "engines": machine.engines(),
            "extras": machine.extras(),
            "cache": machine.cache(),
            "weights": machine.weights(),
            "configuration": _configuration(ctx),
            "completion": _completion(),
            "checks": checks,
        }
    clean: dict[str, Any] = machine.redacted(record, str(Path.home()), _user())
    return clean


def _configuration(ctx: click.Context) -> dict[str, Any]:
    """Give the path of the file and the names of the variables, but not their values, which may be secret."""
    try:
        file = file_of(ctx)
        found = str(file.path) if file else None
    except UsageError as error:
        found = str(error)
    return {"file": found, "variables": sorted(name for name in os.environ if name.startswith("GRADCAM_CLI_"))}


def _completion() -> dict[str, Any]:
    found = [shell for shell in SHELLS if any(_completes(Path.home() / name) for name in STARTUP_FILES[shell])]
    return {"shell": Path(os.environ.get("SHELL", "")).name or None, "set_up": found}


def _completes(path: Path) -> bool:
    try:
        return "gradcam-cli completion" in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Format the report as text lines."""
    machine, cache = record["machine"], record["cache"]
    yield from _section("Versions", record["versions"])
    features = "unknown" if machine["features"] is None else " ".join(machine["features"]) or "none of interest"
    described = {
        "system": machine["system"],
        "cpu": f"{machine['cpu']}, {machine['cores']} cores",
        "features": features,
        "memory": size_text(machine["memory"]) if machine["memory"] else "unknown",
    }
    yield from _section("Machine", described)
    devices = {
        name: f"{engine['version']}; {', '.join(engine.get('devices', [])) or engine.get('error', 'no devices')}"
        for name, engine in record["engines"].items()
    }
    yield from _section("Engines", devices)
    yield from _section("Extras", {name: _packages(found) for name, found in record["extras"].items()})
    state = "writable" if cache["writable"] else "NOT WRITABLE"
    configuration, completion = record["configuration"], record["completion"]
    places = {
        "cache": f"{cache['folder']}, {cache['entries']} entries, {size_text(cache['bytes'])}, {state}",
        "weights": " ".join(record["weights"]) or "none",
        "configuration": configuration["file"] or "no file",
        "variables": " ".join(configuration["variables"]) or "none",
        "shell": completion["shell"] or "unknown",
        "completion in": " ".join(completion["set_up"]) or "no shell (see gradcam-cli help completion)",
    }
    yield from _section("Places and settings", places)
    yield "Built-in image"
    yield from (f"  {_check_line(check)}" for check in record["checks"])


def _section(heading: str, rows: Mapping[str, str]) -> Iterator[str]:
    widest = max(map(len, rows), default=0)
    yield heading
    yield from (f"  {name.ljust(widest)}  {text}" for name, text in rows.items())
    yield ""


def _packages(found: Mapping[str, str | None]) -> str:
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    return versions or "unknown: install the program again"


def _check_line(check: Mapping[str, Any]) -> str:
    if not check["passed"]:
        return f"{check['engine']}: FAILED: {check['message']}"
    return (
        f"{check['engine']}: ok: {check['label']}, probability {check['probability']} "
        f"(stored {check['expected_probability']}), correlation {check['correlation']}, {check['seconds']} s"
    )
