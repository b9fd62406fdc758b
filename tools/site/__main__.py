"""Build the documentation: `python -m tools.site [FOLDER [BUILDER]]`. Every warning is an error."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.cmd.build import main as sphinx_build

from tools.site.source import ROOT, lay_out


def build(folder: Path, builder: str = "html") -> int:
    """Build the site into a folder and give Sphinx's exit code. The builder `dummy` writes nothing."""
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        lay_out(source)
        settings = ["-c", str(Path(__file__).parent), "-d", str(Path(scratch) / "doctrees")]
        checks = ["--fail-on-warning", "--quiet"]
        return sphinx_build(["-b", builder, *checks, *settings, str(source), str(folder)])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    builder = sys.argv[2] if len(sys.argv) > 2 else "html"
    code = build(target, builder)
    if code == 0 and builder == "html":
        print(f"{target / 'index.html'}: open it in a browser")  # noqa: T201  a developer's tool
    raise SystemExit(code)
