"""How a module of this program runs in a separate process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def subprogram(module: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Give the arguments for `subprocess`: the same Python and package, file names as bytes, no other output."""
    search = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "args": [sys.executable, "-m", module, *arguments],
        "env": {**os.environ, "PYTHONPATH": os.pathsep.join(search), "PYTHONUTF8": "1"},
        "stderr": subprocess.DEVNULL,
    }
