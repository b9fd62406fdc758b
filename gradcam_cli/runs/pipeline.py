"""The whole job as one generator: read and decode ahead, run batches, paint and write behind, in order.

Memory is bounded: so many images are ahead, so many in the batch, so many behind, nothing else is kept, and pictures
that are decoded, painted or kept share a budget of bytes.
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

# Seconds that the end of an interrupted run waits for passes that cannot be stopped.
PATIENCE = 3.0


Result = TypeVar("Result")


def explain_sources(
    sources: Iterable[Source], job: Job, engine: Engine, sink: Sink, calls_at_once: int = 1
) -> Generator[Record]:
    """Explain every source, in order: write its files, then yield its record.

    Where the sink waits for a network, `calls_at_once` threads paint and write. An image that fails yields a record of
    status `error`; other images are not affected.

    Raises:
        EnvironmentStop: nothing can be written any more; what was finished stays valid.
        MemoryError: the batch is too large for this machine.
    """
    threads = max(available_threads(), calls_at_once)
    batches = through(sources, job, engine, engine.input_size, lambda batch, ending: _run_batch(batch, ending, job))
    with one_thread_each(), workers(threads) as writers, closing(batches):
        yield from in_order(writers, lambda image: finish(image, job, sink), batches, 2 * threads)


def explained_images(sources: Iterable[Source], job: Job, engine: Engine) -> Generator[Explained | Unexplained]:
    """Explain every source, in order, without painting or writing: what it gives can be finished later.

    Raises:
        MemoryError: the batch is too large for this machine.
    """
    with closing(
        through(sources, job, engine, engine.input_size, lambda batch, ending: _run_batch(batch, ending, job))
    ) as images:
        for image in images:
            if isinstance(image, Explained):
                # Its pixels stay with whoever takes it, and are no part of what this run may keep.
                job.memory.free(image.image.kept)
            yield image


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
    """Gather the values (N, ...) of each further input for a batch of images."""
    return {name: np.stack([image.extras[name] for image in images]) for name in images[0].extras}


def _kept(targets: NDArray[np.intp], probabilities: Floats | None, job: Job) -> NDArray[np.intp]:
    """Which targets of an image are explained: those likely enough or asked for, each class once."""
    asked = np.arange(len(targets)) >= len(targets) - job.asked_classes
    # Put so that a score which is not a number is kept, and told.
    unlikely = False if probabilities is None else probabilities[targets] < job.settings.min_score
    wanted = np.flatnonzero(asked | ~np.broadcast_to(unlikely, targets.shape))
    # The same class may have been predicted and asked for: its first mention counts.
    return wanted[np.sort(np.unique(targets[wanted], return_index=True)[1])]
