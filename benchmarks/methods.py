"""Refresh the tables of docs/choosing-a-method.md: `python -m benchmarks.methods FOLDER`.

It takes half an hour on two cores, most of it for scorecam.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gradcam_cli.evaluation.measures import MEASURES
from gradcam_cli.methods import METHODS

DOCUMENT = Path(__file__).parent.parent / "docs" / "choosing-a-method.md"
MODEL = "efficientnetlite0"
# The last layer is measured with every method; a middle layer with fewer steps, and only with methods that are fast.
FEW = ("gradcam", "gradcam++", "gradcam++-paper", "layercam", "hirescam", "xgradcam", "eigencam")
STUDIES = {"top_activation": (tuple(METHODS), 20), "block5c_add": (FEW, 10)}


def main() -> None:
    """Measure the methods, and write each table between its marks in the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="folder of photographs of ImageNet's classes")
    photos = parser.parse_args().photos
    text = DOCUMENT.read_text(encoding="utf-8")
    for layer, (methods, steps) in STUDIES.items():
        text = with_table(text, layer, evaluated(photos, layer, methods, steps))
    DOCUMENT.write_text(text, encoding="utf-8")


def evaluated(photos: str, layer: str, methods: tuple[str, ...], steps: int) -> dict[str, Any]:
    """Run the command `evaluate`, and read its `evaluation.json`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gradcam_cli", "evaluate", photos, "-o", folder]
        command += ["--model", MODEL, "--layer", layer, "--metrics", "all", "--steps", str(steps), "--grid", "2x2"]
        subprocess.run([*command, *(word for name in methods for word in ("--method", name))], check=True)
        record: dict[str, Any] = json.loads((Path(folder) / "evaluation.json").read_text(encoding="utf-8"))
        return record


def with_table(text: str, layer: str, record: dict[str, Any]) -> str:
    """Replace the text between the marks of one layer by its table."""
    marks = re.compile(rf"(<!-- {re.escape(layer)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: found[1] + table(record) + found[2], text)


def table(record: dict[str, Any]) -> str:
    """Make a Markdown table with one line for each method: the mean and the standard error of each measure."""
    results = record["results"]
    measures = [measure for measure in MEASURES.values() if measure.name in results[0]["metrics"]]
    lines = [["method", *(f"{m.column} ({m.better})" for m in measures)], ["---"] * (len(measures) + 1)]
    for result in results:
        figures = [(result["metrics"][m.name], 1 if m.percent else 3) for m in measures]
        cells = [f"{figure['mean']:.{digits}f} ± {figure['standard_error']:.{digits}f}" for figure, digits in figures]
        lines.append([f"`{result['method']}`", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
