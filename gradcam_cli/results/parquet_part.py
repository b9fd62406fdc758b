"""Results as a Parquet table: one row for each image, with the small map of its first class and its whole sidecar.

Only this module uses pyarrow, which is an optional dependency.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any, BinaryIO, Final

from gradcam_cli.errors import ImageError, Reason, UsageError
from gradcam_cli.extras import install_hint
from gradcam_cli.results.ownership import is_record
from gradcam_cli.results.part_index import PartEntry, entry_of
from gradcam_cli.results.sidecar import Record, to_json

# The number of rows that are written or read at one time.
ROWS: Final = 1_000
SIDECAR: Final = "sidecar"


def require_pyarrow() -> None:
    """Check that tables can be written and read.

    Raises:
        UsageError: pyarrow is not installed.
    """
    _arrow()


class ParquetWriter:
    """Writes one table."""

    def __init__(self, file: BinaryIO) -> None:
        """Start an empty table."""
        arrow, parquet = _arrow()
        self._arrow = arrow
        self._schema = _schema()
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Record] = []
        self._count = 0

    def add(self, place: str, files: Mapping[str, bytes], record: Record) -> PartEntry:
        """Add one image; a table does not contain overlays."""
        del place, files
        self._rows.append(row_of(record))
        self._count += 1
        if len(self._rows) == ROWS:
            self._write()
        return entry_of(record, self._count - 1, 0)

    def finish(self) -> None:
        """Write the end of the table."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


class ParquetPart:
    """Reads a table of `ParquetWriter`; only the column of sidecars is read."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the positions of the rows.

        Raises:
            UsageError: pyarrow is not installed.
            ImageError: the file is not a table, or not a table of this program.
        """
        arrow, parquet = _arrow()
        self._error = arrow.ArrowException
        try:
            table = parquet.ParquetFile(file)
            if SIDECAR not in table.schema_arrow.names:
                raise ImageError(Reason.OUTPUT_NOT_OURS, "this program did not write this table")
        except (arrow.ArrowException, OSError) as error:
            raise _damaged(error) from error
        self._open = partial(parquet.ParquetFile, file)
        self._table: Any = table
        self._count: int = table.metadata.num_rows
        sizes = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._group = -1
        self._texts: list[str] = []

    def entries(self) -> Iterator[PartEntry]:
        """Give the entry of every image.

        Raises:
            ImageError: the table is damaged.
        """
        for row in range(self._count):
            yield entry_of(self._record(row), row, 0)

    def sidecar(self, entry: PartEntry) -> Record:
        """Read the sidecar of one image.

        Raises:
            ImageError: the table is damaged.
        """
        return self._record(entry.at)

    def bytes_at(self, at: int, size: int) -> bytes:
        """Refuse to read an overlay: only a changed index can claim that a table contains one.

        Raises:
            ImageError: always.
        """
        del at, size
        raise ImageError(Reason.VANISHED, "a table has no overlays")

    def _record(self, row: int) -> Record:
        try:
            group = next(i for i in reversed(range(len(self._starts))) if self._starts[i] <= row)
            if group != self._group:
                self._table = self._table or self._open()
                rows = self._table.read_row_group(group, columns=[SIDECAR])
                self._texts, self._group = rows.column(SIDECAR).to_pylist(), group
            record = json.loads(self._texts[row - self._starts[group]])
            if row == self._starts[group] + len(self._texts) - 1:
                # Rows are mostly read in order, so after its last row the group is no longer needed. With many tables,
                # this saves memory: an open table takes half a megabyte.
                self._texts, self._group, self._table = [], -1, None
        except (self._error, OSError, ValueError, LookupError, StopIteration) as error:
            raise _damaged(error) from error
        if not is_record(record) or "input" not in record:
            raise ImageError(Reason.UNREADABLE, "the table is damaged: a row has no sidecar")
        return dict(record)


def row_of(record: Mapping[str, Any]) -> Record:
    """Make the row of one image; the columns for a class contain its first class."""
    given, model = record["input"], record["model"]
    classes = [_class(found) for found in record["classes"]]
    first = classes[0] if classes else {}
    return {
        "path": given["path"],
        **{name: record[name] for name in ("status", "reason", "message", "options_sha256", "schema_version")},
        **{name: given[name] for name in ("sha256", "bytes", "mtime_ns", "width", "height")},
        "class_index": first.get("index"),
        **{name: first.get(name) for name in _FIRST},
        "method": record["method"]["name"],
        "model": model["name"],
        **{name: model[name] for name in ("layer", "engine", "preprocess")},
        "model_sha256": model["sha256"],
        "classes": classes,
        SIDECAR: to_json(record, indent=None).rstrip("\n"),
    }


# The columns of the first class, in the same row as the columns of the image.
_FIRST: Final = (
    *("label", "wnid", "logit", "probability", "score", "peak_x", "peak_y", "area"),
    *("map", "map_height", "map_width"),
)


def _class(found: Mapping[str, Any]) -> Record:
    peak, heat = found["peak"] or {}, found.get("heat")
    return {
        **{name: found[name] for name in ("index", "label", "wnid", "logit", "probability", "area", "flat")},
        "score": found["value"] if found["probability"] is None else found["probability"],
        "peak_x": peak.get("x"),
        "peak_y": peak.get("y"),
        "map": base64.b64decode(heat["uint8"]) if heat else None,
        "map_height": heat["height"] if heat else None,
        "map_width": heat["width"] if heat else None,
    }


@cache
def _schema() -> Any:
    arrow, _ = _arrow()
    text, whole, number, small = arrow.string(), arrow.int64(), arrow.float64(), arrow.int32()
    of_class = {
        "index": small,
        "label": text,
        "wnid": text,
        "logit": number,
        "probability": number,
        "score": number,
        "peak_x": small,
        "peak_y": small,
        "area": number,
        "flat": arrow.bool_(),
        "map": arrow.binary(),
        "map_height": small,
        "map_width": small,
    }
    return arrow.schema(
        {
            **dict.fromkeys(("path", "status", "reason", "message"), text),
            "class_index": small,
            **{name: of_class[name] for name in _FIRST},
            **dict.fromkeys(("width", "height"), small),
            "sha256": text,
            **dict.fromkeys(("bytes", "mtime_ns"), whole),
            **dict.fromkeys(("layer", "method", "model", "model_sha256", "engine", "preprocess"), text),
            "options_sha256": text,
            "schema_version": small,
            "classes": arrow.list_(arrow.struct(list(of_class.items()))),
            SIDECAR: text,
        }
    )


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(f"Parquet files need more packages: {install_hint('parquet')}.") from None
    return pa, pq


def _damaged(error: BaseException) -> ImageError:
    return ImageError(Reason.UNREADABLE, f"the table is damaged ({type(error).__name__})")
