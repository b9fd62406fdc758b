"""Read a run back from its output folder: its `run.json` and its sidecars. No model is needed."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.shards import shard_of_record
from gradcam_cli.results.reading import records_below, run_record_in
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.tree import tree_of
from gradcam_cli.urls import Url, place


@dataclass(frozen=True)
class Run:
    """One run: its folder, its counts, its exit status and its records.

    Attributes:
        folder: the output folder; None if no files were written.
        counts: the numbers of images that were requested (`asked`), are explained (`done`: `ok` and `flat`), failed
            (`failed`), were not reached (`left`), and were explained by an earlier run (`before`).
        exit_status: 0 if all images are explained, 1 if at least one failed.
        record: the content of `run.json`: model, options, versions, inputs; empty if no files were written.

    Example:
        >>> run = read_run("out")  # doctest: +SKIP
        >>> run.counts["done"], run.record["model"]["layer"]  # doctest: +SKIP
        (40, 'top_activation')
    """

    folder: Path | Url | None
    counts: Mapping[str, int]
    exit_status: int
    record: Record = field(default_factory=dict)

    def records(self) -> Iterator[Record]:
        """Read the sidecars of the folder one by one, sorted by path; files that are not sidecars are skipped."""
        if self.folder is not None:
            yield from (record for _, record in records_below(tree_of(self.folder)))


def read_run(folder: str | os.PathLike[str] | Url) -> Run:
    """Read a finished run from its output folder; neither a model nor TensorFlow is needed.

    Args:
        folder: the output folder of `explain` or of `explain_folder`, or its URL in an object store.

    Returns:
        The run. Its sidecars are read only when `records` is called.

    Raises:
        UsageError: the folder has no `run.json` of this program, or the store refuses access.
        StorageError: the store fails again and again.

    Example:
        >>> run = read_run("out")  # doctest: +SKIP
        >>> [record["classes"][0]["label"] for record in run.records() if record["status"] == "ok"]  # doctest: +SKIP
    """
    root = place(folder)
    tree = tree_of(root)
    record = run_record_in(tree)
    if record is None and any(shard_of_record(name) for name in tree.top_names()):
        raise UsageError(f"{root}: this folder has shards of a run. Merge them first: gradcam-cli merge RUN...")
    if record is None:
        raise UsageError(f"{root}: this folder has no run.json of this program. Name the output folder of a run.")
    counts = record["counts"]
    return Run(root, counts, int(bool(counts["failed"])), record)
