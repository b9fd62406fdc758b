"""The HTML page: a template with autoescaping, its style, its script, and its data as escaped JSON."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from gradcam_cli.report.charts import Histogram

# The first lines of every page, by which the program recognises its own pages.
MARK: Final = "<!doctype html>\n<!-- gradcam-cli report -->"


@dataclass(frozen=True)
class Page:
    """The values for the template; `facts` are pairs of a name and a value about the run."""

    title: str
    facts: Sequence[tuple[str, str]]
    counts: Mapping[str, int]
    charts: Sequence[Histogram]
    notes: Sequence[str]
    data: Mapping[str, Any]


def rendered(page: Page) -> str:
    """Fill the template of a run's page."""
    return filled("page", page.data, mark=MARK, page=page)


def filled(name: str, data: Mapping[str, Any], **values: Any) -> str:
    """Fill the template of this name with its style, its script, its data and its values.

    Returns:
        One HTML text without references to files of other programs.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    style, script = _text(f"{name}.css"), _text(f"{name}.js")
    return environment.from_string(_text(f"{name}.html.j2")).render(
        policy=_policy(style, script),
        style=style,
        script=script,
        data=embedded_json(data),
        **values,
    )


def embedded_json(data: Any) -> str:
    """Encode JSON for a `<script>` element: ASCII, with `<`, `>` and `&` escaped, so that no text can end it."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy: it allows only this style, this script and images, and no other network requests."""
    allowed = {
        "default-src": "'none'",
        "img-src": "'self' file: data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


@cache
def _text(name: str) -> str:
    return (resources.files("gradcam_cli.report") / name).read_text(encoding="utf-8")
