"""Write the page of an output folder."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import ImageError, Reason, UsageError
from gradcam_cli.report.analysis import class_means, clusters_of
from gradcam_cli.report.charts import Histogram, histogram
from gradcam_cli.report.entries import Entry, read_entries
from gradcam_cli.report.ordering import area_of, score_of, sorted_entries
from gradcam_cli.report.own_files import LIMITS
from gradcam_cli.report.page import MARK, Page, rendered
from gradcam_cli.report.payload import Links, Shown, payload_of
from gradcam_cli.report.thumbnail_list import keep_thumbnails
from gradcam_cli.report.thumbnails import Photographs, ThumbnailMaker
from gradcam_cli.requests import ReportRequest
from gradcam_cli.results.packed_reading import RunFiles
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.tree import Tree, tree_of
from gradcam_cli.settings import OverlaySettings, SampleRange
from gradcam_cli.text import counted
from gradcam_cli.urls import Url, written

PAGE: Final = "index.html"
THUMBNAILS: Final = "report"


@dataclass(frozen=True)
class Written:
    """The written page: the number of shown images, of all images, and of flagged classes."""

    path: Path | Url
    shown: int
    total: int
    flagged: int

    def summary(self) -> str:
        """Describe the written page in one line."""
        images = counted(self.shown, "image")
        some = images if self.shown == self.total else f"{images} of {self.total}"
        classes = "class" if self.flagged == 1 else "classes"
        flags = f", {self.flagged} {classes} with heat at one edge" if self.flagged else ""
        return f"Report of {some}{flags} -> {self.path}"


def write_report(request: ReportRequest) -> Written:
    """Write the page of a run, and thumbnails below the run's folder unless it is self-contained.

    Raises:
        UsageError: there is no run, a file of another program is at the path of the page, or the page would link to
        files of a store that it is not in.
        EnvironmentStop: the page or a thumbnail cannot be written, or a store fails in all retries.
    """
    run = read_run(request.run)
    output = request.output or request.run / PAGE
    if not request.self_contained and type(request.run) is not type(output):
        raise UsageError(
            f"{output}: a page at this place cannot link to the files of {request.run}. Use `self_contained`."
        )
    refuse_foreign(output)
    tree = tree_of(request.run)
    entries = sorted_entries(read_entries(tree), request.sort)
    means = class_means(entries)
    shown = entries[: request.limit]
    style = OverlaySettings(**run.record["options"].get("overlay", {}))
    with closing(RunFiles(tree)) as files:
        thumbnails = _thumbnail_maker(run, request, style, files, tree).make_all(shown)
    links = Links(written(request.run), written(output.parent), request.self_contained, files.is_packed)
    content = Shown(shown, thumbnails, means, clusters_of(entries), len(entries), request.sort, style)
    # Failed images have no overlay and are not in the grid.
    pairs = zip(shown, thumbnails, strict=True)
    missing = sum(thumbnail.photo is None for entry, thumbnail in pairs if entry.classes)
    page = _page(run, entries, len(shown), missing, payload_of(content, links))
    tree_of(output.parent).write(output.name, rendered(page).encode("utf-8"))
    keep_thumbnails(tree, THUMBNAILS, output, [thumbnail.source for thumbnail in thumbnails])
    return Written(output, len(shown), len(entries), sum(mean.flag is not None for mean in means))


def refuse_foreign_page(folder: Path | Url) -> None:
    """Refuse a run's folder with a page of another program, see `refuse_foreign`."""
    refuse_foreign(folder / PAGE)


def refuse_foreign(path: Path | Url, mark: str = MARK) -> None:
    """Refuse to replace a file that is not a page of this program; those begin with `mark`.

    Raises:
        UsageError: there is such a file, or it cannot be read.
    """
    try:
        start = tree_of(path.parent).read(path.name, LIMITS)[: len(mark)]
    except ImageError as error:
        if error.reason in {Reason.VANISHED, Reason.EMPTY}:
            return
        if error.reason is not Reason.NOT_REGULAR:
            raise UsageError(f"{path}: {error}. Choose another file with `output`.") from error
        # A device would be replaced by the page, and reading from a pipe would block.
        start = b""
    if start != mark.encode():
        raise UsageError(
            f"{path} already exists, and this program did not write it. Choose another file with `output`."
        )


def _thumbnail_maker(
    run: Run, request: ReportRequest, style: OverlaySettings, files: RunFiles, tree: Tree
) -> ThumbnailMaker:
    return ThumbnailMaker(
        tree,
        THUMBNAILS,
        Photographs.of(run.record),
        files,
        sample_range_of(run.record["options"].get("sample_range")),
        request.self_contained,
        style,
    )


def sample_range_of(recorded: Any) -> SampleRange | None:
    """Read the sample range from a `run.json`, where the two numbers are a list."""
    if isinstance(recorded, list):
        return float(recorded[0]), float(recorded[1])
    return recorded if recorded in {"minmax", "percentile"} else None


def _page(run: Run, entries: Sequence[Entry], shown: int, missing: int, data: Mapping[str, Any]) -> Page:
    counts = Counter(entry.record["status"] for entry in entries)
    name = run.folder.resolve().name if isinstance(run.folder, Path) else run.folder and run.folder.name
    return Page(
        title=name or "run",
        facts=list(_facts(run.record, entries)),
        counts={
            "images": len(entries),
            "explained": counts["ok"] + counts["flat"],
            "without heat": counts["flat"],
            "failed": counts["error"],
        },
        charts=[chart for chart in _charts(entries) if chart is not None],
        notes=list(_notes(len(entries), shown, missing)),
        data=data,
    )


def _facts(record: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Give the facts about the run; layers and methods are from the sidecars, because a folder may have several."""
    model = record.get("model") or {}
    yield "Model", str(model.get("name"))
    yield "Layer", _all_of(entry.record["model"]["layer"] for entry in entries)
    yield "Method", _all_of(entry.record["method"]["name"] for entry in entries)
    yield "Preprocessing", f"{model.get('preprocess')}, {model.get('fit')}"
    if record.get("images_per_second"):
        yield "Rate", f"{record['images_per_second']:.1f} images/s on {model.get('engine')}"


def _all_of(names: Iterator[str]) -> str:
    return ", ".join(sorted(set(names))) or "-"


def _charts(entries: Sequence[Entry]) -> Iterator[Histogram | None]:
    """Give the distributions for the first explained class of each image; values have no histogram of probabilities."""
    explained = [entry for entry in entries if entry.first is not None]
    with_probability = [e for e in explained if e.first is not None and e.first.record["probability"] is not None]
    yield histogram("Probability", [score for e in with_probability if (score := score_of(e)) is not None])
    yield histogram("Heat area", [area for e in explained if (area := area_of(e)) is not None])


def _notes(total: int, shown: int, missing: int) -> Iterator[str]:
    if shown < total:
        yield (
            f"Shows the first {counted(shown, 'image')} of {total}; the summary, classes and clusters cover all images."
        )
    if missing:
        yield (
            f"{counted(missing, 'photograph')} not found at the paths in run.json: their overlays are shown instead, "
            "with the colours of the run."
        )
