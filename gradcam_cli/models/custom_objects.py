"""Layers of the user: classes and functions of a Python file that is given together with a model.

Before the preflight, only the names are read from the text of the file. The file is run after the model has passed.
"""

import ast
import hashlib
import json
import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gradcam_cli.errors import ModelError

MODULE = "gradcam_cli_custom_objects"


@dataclass(frozen=True)
class CustomObjects:
    """A Python file: its path, its text, its sha256, and the names that it defines."""

    path: Path
    text: str
    sha256: str
    names: frozenset[str]

    def run(self, config: Any) -> dict[str, Any]:
        """Run the file, and give its objects by every name that the config uses for them.

        Raises:
            ModelError: the file raises an error. The message has the line.
        """
        module = ModuleType(MODULE)
        try:
            exec(compile(self.text, str(self.path), "exec"), module.__dict__)  # noqa: S102 - the user's own, and asked for
        except Exception as error:
            lines = [
                frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.path)
            ]
            where = f", line {lines[-1]}" if lines else ""
            raise ModelError(f"{self.path}{where}: {type(error).__name__}: {error}") from error
        found = {name: value for name in self.names if (value := getattr(module, name, None)) is not None}
        registered = re.findall(r'"([^">]+>(\w+))"', json.dumps(config))
        return found | {whole: found[name] for whole, name in registered if name in found}


def read_custom_objects(path: Path) -> CustomObjects:
    """Read a Python file without running it.

    Raises:
        ModelError: the file cannot be read, or is not Python.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
        tree = ast.parse(text, str(path))
    except OSError as error:
        raise ModelError(f"{path}: the file cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ModelError(f"{path}{line}: this is not valid Python: {error}") from error
    kinds = (ast.ClassDef, ast.FunctionDef)
    return CustomObjects(
        path, text, hashlib.sha256(data).hexdigest(), frozenset(n.name for n in tree.body if isinstance(n, kinds))
    )
