"""How a module of this program is run in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def subprogram(module: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Give what `subprocess` needs: this Python, this very package, names as bytes whatever the locale, no chatter."""
    search = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "args": [sys.executable, "-m", module, *arguments],
        "env": {**os.environ, "PYTHONPATH": os.pathsep.join(search), "PYTHONUTF8": "1"},
        "stderr": subprocess.DEVNULL,
    }
