"""Count the files beside inputs that are no inputs: sidecars and records of runs are outputs, all else is `other`."""

from typing import Final

from gradcam_cli.inputs.formats import is_picture
from gradcam_cli.inputs.left_out import LeftOut, Why
from gradcam_cli.inputs.shards import is_run_record

SIDECAR_SUFFIX: Final = ".json"


class Others:
    """Counts the files of one folder that are no inputs, and are met in the order of their names.

    The sidecars of files that are inputs are outputs, and so are the records of runs beside them. A name that is the
    beginning of another one comes before it, and all between the two begin with it as well. So only those taken names
    are kept that the current name begins with.
    """

    def __init__(self, left_out: LeftOut) -> None:
        """Begin a folder."""
        self._left_out = left_out
        self._taken: list[str] = []
        self._records: list[tuple[str, str | None]] = []
        self._has_sidecars = False

    def taken(self, name: str) -> None:
        """Receive the name of a file that is an input."""
        self._forget(name)
        self._taken.append(name)

    def add(self, name: str, path: str, format_name: str | None = None) -> None:
        """Count a file that is none; `format_name` is the format of its contents, where it was looked at."""
        self._forget(name)
        if name.endswith(SIDECAR_SUFFIX) and name.removesuffix(SIDECAR_SUFFIX) in self._taken:
            self._has_sidecars = True
            self._left_out.add_file(Why.OUTPUT, path)
        elif is_run_record(name):
            self._records.append((path, format_name))
        else:
            self._count(path, format_name)

    def close(self) -> None:
        """End the folder."""
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
