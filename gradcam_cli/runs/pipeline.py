"""The pipeline of a run as one generator: decode ahead, run batches, then paint and write, in order.

Memory is bounded: the number of images in each stage is limited, and images that are decoded, painted or kept share a
budget of bytes.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from threading import Event
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Engine, Extras, Floats, probabilities_of
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.sources import Source
from gradcam_cli.methods.method_runner import explain_inputs
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.fetching import fetching
from gradcam_cli.runs.finishing import finish
from gradcam_cli.runs.job import Explained, Fitted, Job, Sink, Unexplained
from gradcam_cli.runs.native_threads import one_thread_each
from gradcam_cli.runs.preparing import prepare
from gradcam_cli.runs.threads import available_threads, in_order, workers
from gradcam_cli.runs.watched_engine import stoppable

# Seconds that an interrupted run waits for passes that cannot be stopped.
PATIENCE = 3.0


Result = TypeVar("Result")


def explain_sources(
    sources: Iterable[Source], job: Job, engine: Engine, sink: Sink, calls_at_once: int = 1
) -> Generator[Record]:
    """Explain every source, in order: write its files, then yield its record.

    For a sink in the network, `calls_at_once` threads paint and write. An image that fails has a record of status
    `error`; other images are not affected.

    Raises:
        EnvironmentStop: results cannot be written any more; finished results stay valid.
        MemoryError: the batch is too large for this machine.
    """
    threads = max(available_threads(), calls_at_once)
    batches = through(sources, job, engine, engine.input_size, lambda batch, ending: _run_batch(batch, ending, job))
    with one_thread_each(), workers(threads) as writers, closing(batches):
        yield from in_order(writers, lambda image: finish(image, job, sink), batches, 2 * threads)


def explained_images(sources: Iterable[Source], job: Job, engine: Engine) -> Generator[Explained | Unexplained]:
    """Explain every source in order, without painting or writing; the results can be finished later.

    Raises:
        MemoryError: the batch is too large for this machine.
    """
    with closing(
        through(sources, job, engine, engine.input_size, lambda batch, ending: _run_batch(batch, ending, job))
    ) as images:
        for image in images:
            if isinstance(image, Explained):
                # Its pixels belong to the receiver, so they do not count in the budget of this run.
                job.memory.free(image.image.kept)
            yield image


@contextmanager
def _set_at_the_end(stop: Event) -> Iterator[None]:
    """Set the event when the run ends, before anything waits for a batch."""
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
    """Decode ahead, fit images to (height, width), and pass batches to `work`, in order.

    The engine runs several batches at the same time while the next one is prepared. `work` receives a wrapped engine:
    after an interruption, its next pass ends the batch.
    """
    threads = available_threads()
    target = Size(size[1], size[0])
    stop = Event()
    ending = stoppable(engine, stop)
    with (
        one_thread_each(),
        workers(threads) as readers,
        workers(engine.streams, patience=PATIENCE) as runners,
        fetching(job.settings.limits) as fetches,
        _set_at_the_end(stop),
    ):
        ahead = engine.batch_size + 2 * threads
        images = in_order(
            readers, lambda source: prepare(source, job, target, fetches.take), fetches.ahead(sources), ahead
        )
        batches = _batches(images, engine.batch_size)
        with closing(in_order(runners, lambda batch: work(batch, ending), batches, engine.streams)) as finished:
            yield from chain.from_iterable(finished)


def _batches(images: Iterable[Fitted | Unexplained], size: int) -> Iterator[list[Fitted | Unexplained]]:
    """Collect images until the batch has enough good ones; failed images keep their place in the order."""
    waiting: list[Fitted | Unexplained] = []
    good = 0
    for image in images:
        waiting.append(image)
        good += isinstance(image, Fitted)
        # Failed images do not count for the size of a batch, but their number is limited too.
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
    forward, raw = explain_inputs(job.method, engine, inputs, job.settings.method_options, stacked_extras(images))
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
    """Stack the values (N, ...) of each additional input for a batch of images."""
    return {name: np.stack([image.extras[name] for image in images]) for name in images[0].extras}


def _kept(targets: NDArray[np.intp], probabilities: Floats | None, job: Job) -> NDArray[np.intp]:
    """Choose the targets of an image that are explained: probable enough or named, each class once."""
    asked = np.arange(len(targets)) >= len(targets) - job.asked_classes
    # Written so that a NaN score is kept, and reported later.
    unlikely = False if probabilities is None else probabilities[targets] < job.settings.min_score
    wanted = np.flatnonzero(asked | ~np.broadcast_to(unlikely, targets.shape))
    # A class may be both predicted and named: only its first occurrence is used.
    return wanted[np.sort(np.unique(targets[wanted], return_index=True)[1])]
