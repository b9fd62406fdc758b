"""Count files that are not inputs: sidecars and records of runs as outputs, all others as `other`."""

from typing import Final

from gradcam_cli.inputs.formats import is_picture
from gradcam_cli.inputs.left_out import LeftOut, Why
from gradcam_cli.inputs.shards import is_run_record

SIDECAR_SUFFIX: Final = ".json"


class Others:
    """Counts the files of one folder that are not inputs. The names must come in ascending order.

    Sidecars of inputs are outputs, and so are records of runs beside them. If a name is a prefix of another one, it
    comes first, and all names between the two have the same prefix. So only those input names are kept that are a
    prefix of the current name.
    """

    def __init__(self, left_out: LeftOut) -> None:
        """Start a folder."""
        self._left_out = left_out
        self._taken: list[str] = []
        self._records: list[tuple[str, str | None]] = []
        self._has_sidecars = False

    def taken(self, name: str) -> None:
        """Receive the name of a file that is an input."""
        self._forget(name)
        self._taken.append(name)

    def add(self, name: str, path: str, format_name: str | None = None) -> None:
        """Count a file that is not an input; `format_name` is the format of its content, if it was read."""
        self._forget(name)
        if name.endswith(SIDECAR_SUFFIX) and name.removesuffix(SIDECAR_SUFFIX) in self._taken:
            self._has_sidecars = True
            self._left_out.add_file(Why.OUTPUT, path)
        elif is_run_record(name):
            self._records.append((path, format_name))
        else:
            self._count(path, format_name)

    def close(self) -> None:
        """Finish the folder."""
        for path, format_name in self._records:
            if self._has_sidecars:
                self._left_out.add_file(Why.OUTPUT, path)
            else:
                self._count(path, format_name)

    def _forget(self, name: str) -> None:
        while self._taken and not name.startswith(self._taken[-1]):
            self._taken.pop()

    def _count(self, path: str, format_name: str | None) -> None:
        self._left_out.add_file(Why.OTHER, path, format_name)
        if format_name is not None and is_picture(format_name):
            self._left_out.pictures[format_name] += 1
