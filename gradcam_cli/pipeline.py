"""The whole job as one generator: read and decode ahead, run batches, paint and write behind, in order.

Memory is bounded: so many images are ahead, so many in the batch, so many behind, nothing else is kept, and pictures
that are decoded, painted or kept share a budget of bytes.
"""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from threading import Event
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.discovery import Source
from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.evidence import explain_inputs
from gradcam_cli.geometry import Fit, Size, apply_fit, at_resolution, plan_fit, resize
from gradcam_cli.heatmap import scale, small
from gradcam_cli.images import (
    Admit,
    Needed,
    Photo,
    decode,
    file_size,
    modified_ns,
    read_file,
    read_stdin,
    sha256,
    unlistable,
)
from gradcam_cli.labels import Labels
from gradcam_cli.memory_budget import Lease, MemoryBudget
from gradcam_cli.methods import METHODS, Needs
from gradcam_cli.network import NO_EXTRAS, Engine, Extras, Floats, probabilities_of
from gradcam_cli.output import Names, npy_bytes
from gradcam_cli.painting import PAINTING_BYTES, find_heat, paint_overlay
from gradcam_cli.preprocessing import Preprocessing
from gradcam_cli.settings import Limits, OverlaySettings, RunSettings, SampleRange
from gradcam_cli.sidecar import (
    ClassResult,
    FileCard,
    InputCard,
    MethodCard,
    ModelCard,
    Record,
    RunCard,
    explained,
    failed,
)
from gradcam_cli.watched_engine import stoppable

# A larger photograph waits for its overlay as the bytes of its file and is decoded a second time: with the default
# batch some fifty images are on their way at once.
PIXELS_KEPT = 6_000_000
# Larger files are read one at a time.
LARGE_FILE = 32 * 2**20
MOST_THREADS = 8
SPARE = 4
# Seconds that the end of an interrupted run waits for passes that cannot be stopped.
PATIENCE = 3.0

Decode = Callable[[bytes, Limits, Needed | None, SampleRange | None, Admit], Photo]
ExtrasOf = Callable[[Source, Admit], Extras]
# Takes a picture's name, and gives what admits it, for as long as it is decoded.
Listen = Callable[[str, Admit], AbstractContextManager[Admit]]
Item = TypeVar("Item")
Result = TypeVar("Result")


def no_extras(source: Source, admit: Admit) -> Extras:
    """Give what a network of one input wants besides the picture."""
    del source, admit
    return NO_EXTRAS


def unheard(name: str, admit: Admit) -> AbstractContextManager[Admit]:
    """Do not listen to what decoders print."""
    del name
    return nullcontext(admit)


class Sink(Protocol):
    """Where the files of an image go."""

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Take one image's overlays and maps and its record; may raise ImageError for this image alone."""


@dataclass(frozen=True)
class Job:
    """One run: its options, and what is the same for all of its images.

    Without `overlays`, only records are made. `channels` is what the model's input has; of an image's targets the
    last `asked_classes` are those that a person named; `layers` are the paths of those that are fused, where there are
    several. `decode` is where pictures are decoded: here, or in a process of its own. `extras` gives an image's values
    for the network's other inputs, or raises ImageError. All pictures share `memory`. `listen` may report what native
    decoders print about a picture.
    """

    settings: RunSettings
    preprocessing: Preprocessing
    labels: Labels
    model: ModelCard
    run: RunCard
    several_targets: bool
    overlays: bool = True
    channels: int = 3
    asked_classes: int = 0
    derivatives: str | None = None
    layers: tuple[str, ...] = ()
    decode: Decode = decode
    extras: ExtrasOf = no_extras
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    listen: Listen = unheard


@dataclass(frozen=True, eq=False)
class Unexplained:
    """An image on its way to a record that says what is wrong with it."""

    source: Source
    card: InputCard
    error: ImageError


@dataclass(frozen=True, eq=False)
class Fitted:
    """An image on its way to the network: its input, how it was laid there, and what its overlay is painted on.

    Of a large photograph the file's bytes (`data`) wait for the overlay in place of the pixels, and nothing where too
    many wait: its file is read again. `kept` bytes of the job's memory are taken for it. `extras` are the values of the
    network's other inputs.
    """

    source: Source
    card: InputCard
    inputs: Floats
    fit: Fit
    shown: Size
    pixels: NDArray[np.uint8] | None = None
    data: bytes | None = None
    extras: Extras = field(default_factory=dict)
    kept: int = 0


@dataclass(frozen=True, eq=False)
class Explained:
    """What the network and the method gave for one image: its targets (T,), their scores, maps (T, h, w)."""

    image: Fitted
    classes: NDArray[np.intp]
    logits: Floats
    probabilities: Floats | None
    maps: Floats
    classes_sampled: int | None


def explain(sources: Iterable[Source], job: Job, engine: Engine, sink: Sink) -> Generator[Record]:
    """Explain every source, in order: write its files, then yield its record.

    An image that fails yields a record of status `error`; its neighbours are not touched by it.

    Raises:
        EnvironmentStop: nothing can be written any more; what was finished stays valid.
        MemoryError: the batch is too large for this machine.
    """
    threads = available_threads()
    batches = through(sources, job, engine, engine.input_size, lambda batch, ending: _run_batch(batch, ending, job))
    with _workers(threads) as writers, closing(batches):
        yield from _in_order(writers, lambda image: finish(image, job, sink), batches, 2 * threads)


@contextmanager
def _set_at_the_end(stop: Event) -> Iterator[None]:
    """Set the event as soon as the run ends, before anything waits for a batch."""
    try:
        yield
    finally:
        stop.set()


def through(
    sources: Iterable[Source],
    job: Job,
    engine: Engine,
    size: tuple[int, int],
    work: Callable[[list[Fitted | Unexplained], Engine], list[Result]],
) -> Generator[Result]:
    """Decode ahead, fit pictures to (height, width), and let batches through `work`, in order.

    As many batches are in the network as the engine likes at a time; meanwhile the next one is made ready. `work` gets
    the engine wrapped: where the run is interrupted, its next pass ends the batch.
    """
    threads = available_threads()
    target = Size(size[1], size[0])
    stop = Event()
    ending = stoppable(engine, stop)
    with (
        _workers(threads) as readers,
        _workers(engine.streams, patience=PATIENCE) as runners,
        _set_at_the_end(stop),
    ):
        ahead = engine.batch_size + 2 * threads
        images = _in_order(readers, lambda source: prepare(source, job, target), sources, ahead)
        batches = _batches(images, engine.batch_size)
        with closing(_in_order(runners, lambda batch: work(batch, ending), batches, engine.streams)) as finished:
            yield from chain.from_iterable(finished)


def available_threads() -> int:
    """Threads that decode, and threads that write: one a core, and a few at the most."""
    return min(os.cpu_count() or 1, MOST_THREADS)


def even_batch_size(images: int, wanted: int, streams: int) -> int:
    """Choose a batch size, at most the wanted one and at least half of it, that leaves no stream idle at the end.

    The last batch is padded to full size, and an odd one runs alone: what counts is how many images the busiest
    stream computes. Of equal choices the largest batch wins.
    """

    def busiest(size: int) -> int:
        return math.ceil(math.ceil(images / size) / streams) * size

    largest = max(1, min(images, wanted))
    return min(range(largest, max(1, largest // 2) - 1, -1), key=busiest)


@contextmanager
def _workers(threads: int, patience: float | None = None) -> Iterator[ThreadPoolExecutor]:
    """Give a pool; at the end of an interrupted run, what has not begun is cancelled.

    With `patience`, what is still running after so many seconds is left alone: the process is about to end.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _join(pool, patience)
        raise
    pool.shutdown()


def _join(pool: ThreadPoolExecutor, patience: float | None) -> None:
    deadline = None if patience is None else time.monotonic() + patience
    for thread in pool._threads:  # noqa: SLF001 - there is no public way to wait for a pool for a limited time
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Generator[Result]:
    """Map in threads, in order, never more than `window` items ahead of the result being waited for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def prepare(source: Source, job: Job, target: Size) -> Fitted | Unexplained:
    """Read, decode and fit one image."""
    if source.errno is not None:
        return Unexplained(source, InputCard(source.relative), unlistable(source.errno))
    card = InputCard(source.relative, mtime_ns=None if source.is_stdin else modified_ns(source.path))
    limits, needed = job.settings.limits, needed_of(job.settings.overlay, target)
    try:
        with job.memory.lease() as lease:
            if not source.is_stdin and LARGE_FILE < file_size(source.path) <= limits.max_file_bytes:
                lease.take_all()
            data = read_stdin(limits) if source.is_stdin else read_file(source.path, limits)
            card = replace(card, sha256=sha256(data), bytes=len(data))
            # Partner pictures come first: when this one is decoded, only its own memory is needed.
            with job.listen(f"{source.relative}, or its partner", lease.take) as admit:
                extras = job.extras(source, admit)
            with job.listen(source.relative, lease.take) as admit:
                photo = job.decode(data, limits, needed, job.settings.sample_range, admit)
            return _fitted(Pending(source, card, data, extras), photo, job, target)
    except ImageError as error:
        return Unexplained(source, card, error)
    except MemoryError:
        return Unexplained(source, card, ImageError(Reason.OUT_OF_MEMORY, "there is not enough memory to decode it"))


@dataclass(frozen=True, eq=False)
class Pending:
    """An image whose file has been read."""

    source: Source
    card: InputCard
    data: bytes
    extras: Extras


def _fitted(image: Pending, photo: Photo, job: Job, target: Size) -> Fitted:
    source = image.source
    card = replace(image.card, size=photo.size, header=photo.header, reduction=photo.reduction, levels=photo.levels)
    fit = replace(plan_fit(photo.size, target, job.settings.fit), geometry=job.model.geometry)
    pixels = photo.with_channels(job.channels)
    laid = at_resolution(fit, Size(pixels.shape[1], pixels.shape[0]))
    inputs = job.preprocessing(apply_fit(pixels, laid))
    shown = shown_size(photo.size, job.settings.overlay.max_side)
    fitted = Fitted(source, card, inputs, fit, shown, extras=image.extras)
    if not job.overlays:
        return fitted
    size = 3 * shown.width * shown.height
    if size <= 3 * PIXELS_KEPT and job.memory.keep(size):
        return replace(fitted, pixels=resize(photo.pixels, shown), kept=size)
    if job.memory.keep(len(image.data)):
        return replace(fitted, data=image.data, kept=len(image.data))
    # A pipe cannot be read twice; it holds one picture.
    return replace(fitted, data=image.data) if source.is_stdin else fitted


def needed_of(style: OverlaySettings, target: Size) -> Needed | None:
    """What a photograph has to have where its overlay is limited in size; None where all of it is needed.

    Four times the model's input is left to be averaged over, so that its pixels hardly differ from those of the whole.
    """
    if style.max_side is None:
        return None
    return Needed(style.max_side, SPARE * target.width, SPARE * target.height)


def shown_size(size: Size, max_side: int | None) -> Size:
    """Size of the overlay: the photograph's own, or smaller so that no side is longer than `max_side`."""
    longest = max(size.width, size.height)
    if max_side is None or longest <= max_side:
        return size
    factor = max_side / longest
    return Size(max(1, round(size.width * factor)), max(1, round(size.height * factor)))


def _batches(images: Iterable[Fitted | Unexplained], size: int) -> Iterator[list[Fitted | Unexplained]]:
    """Collect images until so many of them are good; failures go along in their place."""
    waiting: list[Fitted | Unexplained] = []
    good = 0
    for image in images:
        waiting.append(image)
        good += isinstance(image, Fitted)
        # Failures take no place in a batch, but they do not pile up either.
        if good == size or len(waiting) >= 4 * size:
            yield waiting
            waiting, good = [], 0
    if waiting:
        yield waiting


def _run_batch(images: list[Fitted | Unexplained], engine: Engine, job: Job) -> list[Explained | Unexplained]:
    fitted = [image for image in images if isinstance(image, Fitted)]
    explained_images = iter(_explain_batch(fitted, engine, job) if fitted else [])
    return [next(explained_images) if isinstance(image, Fitted) else image for image in images]


def _explain_batch(images: list[Fitted], engine: Engine, job: Job) -> list[Explained]:
    inputs = np.stack([image.inputs for image in images])
    method, options = METHODS[job.settings.method], job.settings.method_options
    forward, raw = explain_inputs(method, engine, inputs, options, stacked_extras(images))
    probabilities = probabilities_of(engine.head, forward) if engine.head.has_probabilities else None
    results = []
    for i, image in enumerate(images):
        likely = None if probabilities is None else probabilities[i]
        keep = _kept(forward.targets[i], likely, job)
        classes = forward.targets[i, keep]
        sampled = None if raw.classes_sampled is None else int(raw.classes_sampled[i])
        logits = forward.logits[i, classes]
        told = None if likely is None else likely[classes]
        results.append(Explained(image, classes, logits, told, raw.maps[i, keep], sampled))
    return results


def stacked_extras(images: Sequence[Fitted]) -> Extras:
    """Gather the values (N, ...) of each further input for a batch of images."""
    return {name: np.stack([image.extras[name] for image in images]) for name in images[0].extras}


def _kept(targets: NDArray[np.intp], probabilities: Floats | None, job: Job) -> NDArray[np.intp]:
    """Which targets of an image are explained: those likely enough or asked for, each class once."""
    asked = np.arange(len(targets)) >= len(targets) - job.asked_classes
    # Put so that a score which is no number is kept, and told.
    unlikely = False if probabilities is None else probabilities[targets] < job.settings.min_score
    wanted = np.flatnonzero(asked | ~np.broadcast_to(unlikely, targets.shape))
    # The same class may have been predicted and asked for: its first mention counts.
    return wanted[np.sort(np.unique(targets[wanted], return_index=True)[1])]


def finish(image: Explained | Unexplained, job: Job, sink: Sink) -> Record:
    """Paint, write and record one image; what goes wrong with it alone becomes its record."""
    if isinstance(image, Unexplained):
        return _record_failure(image, job, sink)
    names = Names(image.image.source, several=job.several_targets)
    method = _method_card(job, image.classes_sampled)
    try:
        with job.memory.lease() as lease:
            files, classes = _outputs(image, job, names, lease)
        cards = [FileCard(name, len(data), sha256(data)) for name, data in files.items()]
        record = explained(image.image.card, job.model, method, job.run, classes, cards)
        sink.write_image(names, files, record)
    except ImageError as error:
        return _record_failure(Unexplained(image.image.source, image.image.card, error), job, sink)
    except MemoryError:
        small = ImageError(Reason.OUT_OF_MEMORY, "there is not enough memory to paint its overlay")
        return _record_failure(Unexplained(image.image.source, image.image.card, small), job, sink)
    finally:
        job.memory.free(image.image.kept)
    return record


def _record_failure(image: Unexplained, job: Job, sink: Sink) -> Record:
    """A failure has a sidecar too, unless its very name, or somebody else's file, stands in the way.

    A folder that could not be listed has no sidecar: it would stay when the folder can be read again.
    """
    method = _method_card(job)
    record = failed(image.card, job.model, method, job.run, image.error)
    if image.error.reason is not Reason.OUTPUT_NOT_OURS and image.source.errno is None:
        with suppress(ImageError):
            sink.write_image(Names(image.source, several=job.several_targets), {}, record)
    return record


def _method_card(job: Job, classes_sampled: int | None = None) -> MethodCard:
    """What the record says of the method: of its options, those that it used."""
    method, options = METHODS[job.settings.method], job.settings.method_options
    return MethodCard(
        name=method.name,
        score=options.score if method.differentiates else None,
        classes_sampled=classes_sampled,
        max_channels=options.max_channels if method.needs is Needs.MASKED_SCORES else None,
        smooth=options.smooth or None,
        noise=options.noise if options.smooth else None,
        flip=options.flip,
        layers=job.layers,
        derivatives=job.derivatives,
    )


def _outputs(result: Explained, job: Job, names: Names, lease: Lease) -> tuple[dict[str, bytes], list[ClassResult]]:
    """Make the files, and the record's entry, of every target class."""
    told = result.logits if result.probabilities is None else result.probabilities
    if not all(np.isfinite(found).all() for found in (result.logits, told, result.maps)):
        raise ImageError(Reason.NOT_FINITE, "the model's scores or gradients for this image are not finite numbers")
    files: dict[str, bytes] = {}
    classes = []
    pixels = _shown_pixels(result.image, job, lease) if job.overlays else None
    for i, index in enumerate(int(c) for c in result.classes):
        scaled = scale(result.maps[i])
        summary, regions = find_heat(scaled, result.image.fit, job.settings.boxes)
        overlay = names.overlay(index) if pixels is not None else None
        if overlay is not None and pixels is not None:
            files[overlay] = paint_overlay(pixels, scaled, result.image.fit, job.settings.overlay, regions)
        map_name = names.map(index) if job.settings.save_maps else None
        if map_name is not None:
            files[map_name] = npy_bytes(result.maps[i])
        logit = float(result.logits[i])
        probability, value = (None, logit) if result.probabilities is None else (float(told[i]), None)
        label = job.labels.get(index)
        heat = small(result.maps[i])
        classes.append(ClassResult(index, label, logit, probability, value, overlay, map_name, heat, summary, regions))
    return files, classes


def _shown_pixels(image: Fitted, job: Job, lease: Lease) -> NDArray[np.uint8]:
    lease.take(PAINTING_BYTES * image.shown.width * image.shown.height)
    if image.pixels is not None:
        return image.pixels
    settings = job.settings
    data = image.data
    if data is None:
        data = read_file(image.source.path, settings.limits)
        if sha256(data) != image.card.sha256:
            raise ImageError(Reason.UNREADABLE, "the file changed while it was being explained")
    needed = needed_of(settings.overlay, image.fit.input)
    # What decoders print was reported when it was decoded first.
    return resize(job.decode(data, settings.limits, needed, settings.sample_range, lease.take).pixels, image.shown)
