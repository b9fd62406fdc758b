"""The loop of `explain`: records come in order, are told, counted and summed up; signals and full disks end it well."""

import contextlib
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from gradcam_cli.cli.common import (
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    Terminated,
    lines_to,
    stopped_by_signals,
)
from gradcam_cli.cli.console import Progress, counted, say
from gradcam_cli.errors import EnvironmentStop, Reason, UsageError
from gradcam_cli.runs.tally import Tally

if TYPE_CHECKING:
    from gradcam_cli.engines.protocol import Engine
    from gradcam_cli.inputs.discovery import Source
    from gradcam_cli.results.output import Names, OutputFolder
    from gradcam_cli.results.sidecar import Record
    from gradcam_cli.runs.job import Job, Sink


STAYS = "What was finished stays valid."


@dataclass(frozen=True)
class Destination:
    """Where results go: a folder, one overlay to stdout, records to a file or stdout."""

    folder: "OutputFolder | None"
    overlay_to_stdout: bool
    jsonl: str | None

    @property
    def has_overlays(self) -> bool:
        """Whether overlays are wanted at all."""
        return self.folder is not None or self.overlay_to_stdout


@dataclass(frozen=True)
class Queue:
    """The inputs of a run, in order, those that an earlier run has finished, and counts of what was left out."""

    sources: "list[Source]"
    finished: "frozenset[Source]"
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> "list[Source]":
        """What is to be explained."""
        return [source for source in self.sources if source not in self.finished]


class Opener(Protocol):
    """Makes the engine and the job, with batches of a certain size where one is given."""

    def open(self, batch_size: int | None = None, *, again: bool = False) -> "tuple[Engine, Job]":
        """Make them; `again` where the choice was announced before."""


class WrittenSink:
    """Passes files on, and keeps the records that were written until they are reported.

    When a run is interrupted, images that are already written are still on their way to the report.
    """

    def __init__(self, sink: "Sink") -> None:
        """Wrap the sink that writes."""
        self._sink = sink
        self._written: dict[str, Mapping[str, Any]] = {}

    def write_image(self, names: "Names", files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Write one image, then keep its record."""
        self._sink.write_image(names, files, dict(record))
        self._written[names.source.relative] = record

    def reported(self, record: Mapping[str, Any]) -> None:
        """Forget a record that was reported."""
        for key in [key for key, written in self._written.items() if written is record]:
            del self._written[key]

    def unreported(self) -> list[Mapping[str, Any]]:
        """Give the records that were written and not reported, in the order of their names."""
        return [self._written[key] for key in sorted(self._written)]


class StdoutSink:
    """Writes the one overlay to stdout."""

    def write_image(self, names: "Names", files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Write the overlay; a failed image has none."""
        del names, record
        for data in files.values():
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class NoFiles:
    """Takes nothing: only records were asked for."""

    def write_image(self, names: "Names", files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Let it pass."""


def explain_queue(queue: Queue, opener: Opener, destination: Destination, options: Mapping[str, Any]) -> int:
    """Explain what is left, and give the exit code."""
    from gradcam_cli.results.earlier_run import run_record_of

    engine, job = _open(opener, options["batch_size"])
    if destination.overlay_to_stdout and engine.target_count != 1:
        raise UsageError("-o - writes one overlay, but several classes are to be explained. Use -o FOLDER.")
    tally = Tally(asked=len(queue.sources))
    exit_code = None
    sink = WrittenSink(_sink(destination))
    try:
        with stopped_by_signals(), _telling(queue, destination, options, tally) as tell:
            try:
                records = _records(queue.left, opener, engine, job, sink)
                tally.stopped = _report_all(queue, destination, records, sink, tell, options["max_failures"])
            finally:
                _report_rest(sink, tell, tally)
    except Terminated:
        exit_code = TERMINATED
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    except BrokenPipeError:
        exit_code = PIPE_CLOSED
    if destination.folder:
        before = run_record_of(destination.folder.root)
        record = _run_record(tally, queue, job, options, before, interrupted=exit_code is not None)
        destination.folder.write_run(record)
    _sum_up(tally, destination, options, exit_code)
    return tally.exit_code if exit_code is None else exit_code


def _report_rest(sink: WrittenSink, tell: "Tell", tally: Tally) -> None:
    """Report what was written while the run came to its end; where nobody reads any more, it is only counted."""
    for record in sink.unreported():
        if record is not tally.last:
            with contextlib.suppress(BrokenPipeError, EnvironmentStop):
                tell(record, before=False)


def _report_all(
    queue: Queue,
    destination: Destination,
    records: Generator[Mapping[str, Any]],
    sink: WrittenSink,
    tell: "Tell",
    most_failures: int | None,
) -> bool:
    """Report the records in order, and say whether so many have failed that the run stops."""
    failures = 0
    with contextlib.closing(records) as explained:
        for record, before in _in_line(queue, destination, explained):
            tell(record, before=before)
            sink.reported(record)
            failures += record["status"] == "error"
            if failures == most_failures:
                return True
    return False


def _open(opener: Opener, batch_size: int) -> "tuple[Engine, Job]":
    try:
        return opener.open()
    except MemoryError:
        say(f"There is not enough memory for batches of {batch_size}: trying batches of {max(1, batch_size // 2)}.")
        return opener.open(max(1, batch_size // 2))


def tell_finished(queue: Queue, destination: Destination, options: Mapping[str, Any]) -> int:
    """Report the records of a run in which nothing was left to do."""
    tally = Tally(asked=len(queue.sources))
    with _telling(queue, destination, options, tally) as tell:
        for record, before in _in_line(queue, destination, iter(())):
            tell(record, before=before)
    _sum_up(tally, destination, options, None)
    return tally.exit_code


def _records(
    left: "list[Source]", opener: Opener, engine: "Engine", job: "Job", sink: "Sink"
) -> Generator[Mapping[str, Any]]:
    """Explain; where memory runs out, go on from there with half the batch, once."""
    from gradcam_cli.runs.pipeline import explain

    done = 0
    try:
        with contextlib.closing(explain(left, job, engine, sink)) as records:
            for record in records:
                done += 1
                yield record
    except MemoryError:
        half = engine.batch_size // 2
    else:
        return
    if half == 0:
        raise EnvironmentStop(f"There is not enough memory for one image at a time. {STAYS}")
    say(f"There is not enough memory for batches of {engine.batch_size}: going on with batches of {half}.")
    engine, job = opener.open(half, again=True)
    try:
        with contextlib.closing(explain(left[done:], job, engine, sink)) as records:
            yield from records
    except MemoryError as error:
        raise EnvironmentStop(
            f"Nor is there enough memory for batches of {engine.batch_size}: try a smaller --batch-size. {STAYS}"
        ) from error


def _in_line(
    queue: Queue, destination: Destination, explained: Iterator[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Give the records of all sources in order, and whether each was there before."""
    from gradcam_cli.runs.resume import read_sidecar

    for source in queue.sources:
        if source in queue.finished and destination.folder:
            record = read_sidecar(destination.folder.sidecar_path(source))
            # Something removed the sidecar after it was looked at: the next run explains this image.
            yield (_vanished(source) if record is None else record), record is not None
        else:
            yield next(explained), False


def _vanished(source: "Source") -> Mapping[str, Any]:
    from gradcam_cli.inputs.discovery import as_text

    message = "its sidecar was removed during the run; the same command explains the image again"
    return {
        "status": "error",
        "reason": Reason.VANISHED.value,
        "message": message,
        "input": {"path": as_text(source.relative)},
        "classes": [],
        "files": [],
    }


def _sink(destination: Destination) -> "Sink":
    if destination.folder:
        return destination.folder
    return StdoutSink() if destination.overlay_to_stdout else NoFiles()


class Tell(Protocol):
    """Tells one record to everyone who wants to know."""

    def __call__(self, record: Mapping[str, Any], *, before: bool) -> None:
        """Tell it."""


@contextlib.contextmanager
def _telling(queue: Queue, destination: Destination, options: Mapping[str, Any], tally: Tally) -> Iterator[Tell]:
    with (
        lines_to(destination.jsonl) as lines,
        Progress(len(queue.sources), wanted=options["progress"], quiet=options["quiet"]) as progress,
    ):

        def tell(record: Mapping[str, Any], *, before: bool) -> None:
            tally.add(record, before=before)
            if lines:
                _write_line(lines, record, destination.jsonl)
            _say(record, progress, verbose=options["verbose"])
            progress.advance()

        yield tell


def _write_line(lines: TextIO, record: Mapping[str, Any], name: str | None) -> None:
    from gradcam_cli.results.sidecar import to_json

    try:
        lines.write(to_json(record, indent=None))
        lines.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EnvironmentStop(f"{name}: {error.strerror}. {STAYS}") from error


def _say(record: Mapping[str, Any], progress: Progress, *, verbose: bool) -> None:
    if record["status"] == "error":
        progress.say(f"{record['input']['path']!r}: {record['reason']}: {record['message']}")
    elif verbose:
        seen = [f"{c['label'] or c['index']} {_told(c):.3f}" for c in record["classes"]]
        progress.say(f"{record['input']['path']!r}: {', '.join(seen)}")


def _told(entry: Mapping[str, Any]) -> float:
    number: float = entry["value"] if entry["probability"] is None else entry["probability"]
    return number


def _sum_up(tally: Tally, destination: Destination, options: Mapping[str, Any], exit_code: int | None) -> None:
    if exit_code in {INTERRUPTED, TERMINATED}:
        say("Interrupted: what was finished stays valid, and the same command goes on from there.")
    elif tally.stopped:
        say(f"Stopped after {counted(tally.counts['error'], 'failure')}: {counted(tally.left, 'image')} not reached.")
    if tally.nothing_likely:
        lowest = f"--min-score {options['min_score']:g}"
        say(f"In {tally.nothing_likely} of {tally.total} images no class reaches {lowest}: they have no overlay.")
    if not options["quiet"] and exit_code != PIPE_CLOSED:
        where = f" -> {options['output']}" if destination.folder else ""
        say(f"{tally.summary()}{where}")


def _run_record(
    tally: Tally,
    queue: Queue,
    job: "Job",
    options: Mapping[str, Any],
    before: "Record | None",
    *,
    interrupted: bool,
) -> dict[str, Any]:
    from gradcam_cli.inputs.discovery import as_text
    from gradcam_cli.results.runs_found import as_given
    from gradcam_cli.results.sidecar import SCHEMA_VERSION

    return {
        "schema_version": SCHEMA_VERSION,
        "counts": tally.as_record(),
        "inputs": as_given([as_text(path) for path in options["inputs"]], options["files_from"], before),
        "images_per_second": round(tally.images_per_second, 3),
        "interrupted": interrupted,
        "left_out": queue.left_out,
        "model": asdict(job.model),
        "options": {**asdict(job.settings), "classes": list(options["classes"]), "top_k": options["top_k"]},
        "options_sha256": job.run.options_sha256,
        "versions": dict(job.run.versions),
    }
