"""The second half of the work on an image: paint the overlay, write the files and the record."""

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.figure import Words
from gradcam_cli.imaging.geometry import resize
from gradcam_cli.imaging.heatmap import scale, small
from gradcam_cli.inputs.files import sha256
from gradcam_cli.inputs.reading import read_source
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.output import Names, npy_bytes
from gradcam_cli.results.sidecar import ClassResult, FileCard, InputCard, MethodCard, Record, explained, failed
from gradcam_cli.runs.job import Explained, Fitted, Job, Sink, Unexplained
from gradcam_cli.runs.memory_budget import Lease
from gradcam_cli.runs.painting import find_heat, paint_overlay, painting_bytes
from gradcam_cli.runs.preparing import needed_of
from gradcam_cli.text import percent_text


def finish(image: Explained | Unexplained, job: Job, sink: Sink) -> Record:
    """Paint, write and record one image; an error of this image becomes its record."""
    try:
        files, record = finished(image, job)
        if isinstance(image, Explained) or _has_sidecar(image):
            sink.write_image(names_of(image, job), files, record)
    except ImageError as error:
        return _record_failure(image, error, job, sink)
    finally:
        if isinstance(image, Explained):
            job.memory.free(image.image.kept)
    return record


def finished(image: Explained | Unexplained, job: Job) -> tuple[dict[str, bytes], Record]:
    """Make the files of one image, by name, and its record; the record of a failed image has the reason.

    Raises:
        ImageError: the heatmap is not finite, or the overlay cannot be painted.
    """
    if isinstance(image, Unexplained):
        return {}, failed(image.card, job.model, method_card(job), job.run, image.error)
    try:
        with job.memory.lease() as lease:
            files, classes = _outputs(image, job, names_of(image, job), lease)
    except MemoryError as error:
        raise ImageError(Reason.OUT_OF_MEMORY, "there is not enough memory to paint its overlay") from error
    cards = [FileCard(name, len(data), sha256(data)) for name, data in files.items()]
    method = method_card(job, image.classes_sampled)
    return files, explained(image.image.card, job.model, method, job.run, classes, cards)


def check_finite(result: Explained) -> None:
    """Refuse an image whose scores or maps are not finite.

    Raises:
        ImageError: `not_finite`.
    """
    told = result.logits if result.probabilities is None else result.probabilities
    if not all(np.isfinite(found).all() for found in (result.logits, told, result.maps)):
        raise ImageError(Reason.NOT_FINITE, "the model's scores or gradients for this image are not finite")


def names_of(image: Explained | Unexplained, job: Job) -> Names:
    """Give the names of the files of one image."""
    return Names(source_of(image), several=job.several_targets)


def source_of(image: Explained | Unexplained) -> Source:
    """Give the source of an image."""
    return image.source if isinstance(image, Unexplained) else image.image.source


def card_of(image: Explained | Unexplained) -> InputCard:
    """Give the known properties of an image file."""
    return image.card if isinstance(image, Unexplained) else image.image.card


def as_failure(image: Explained | Unexplained, error: ImageError) -> Unexplained:
    """Turn an image into one that could not be explained."""
    return Unexplained(source_of(image), card_of(image), error)


def _record_failure(image: Explained | Unexplained, error: ImageError, job: Job, sink: Sink) -> Record:
    """Record why an image failed. A failed image also has a sidecar, if it can be written."""
    failure = as_failure(image, error)
    files, record = finished(failure, job)
    if _has_sidecar(failure):
        with suppress(ImageError):
            sink.write_image(names_of(failure, job), files, record)
    return record


def _has_sidecar(image: Unexplained) -> bool:
    """Whether a failed image has a sidecar: not if the sidecar would replace a file of another program.

    A folder that cannot be listed has no sidecar, because the sidecar would stay after the folder can be read again.
    """
    return image.error.reason is not Reason.OUTPUT_NOT_OURS and image.source.errno is None


def method_card(job: Job, classes_sampled: int | None = None) -> MethodCard:
    """Give the part of the record about the method, with the options that it used."""
    method, options = job.method, job.settings.method_options
    return MethodCard(
        name=method.name,
        score=options.score if method.differentiates else None,
        classes_sampled=classes_sampled,
        max_channels=options.max_channels if method.masks_inputs else None,
        scorecam_masks=options.scorecam_masks if method.masks_inputs else None,
        smooth=options.smooth or None,
        noise=options.noise if options.smooth else None,
        flip=options.flip,
        layers=job.layers,
        derivatives=job.derivatives,
    )


def _outputs(result: Explained, job: Job, names: Names, lease: Lease) -> tuple[dict[str, bytes], list[ClassResult]]:
    """Make the files and the entry in the record for every target class."""
    check_finite(result)
    told = result.logits if result.probabilities is None else result.probabilities
    files: dict[str, bytes] = {}
    classes = []
    pixels = shown_pixels(result.image, job, lease) if job.overlays else None
    style = job.settings.overlay
    for i, index in enumerate(int(c) for c in result.classes):
        scaled = scale(result.maps[i])
        logit = float(result.logits[i])
        probability, value = (None, logit) if result.probabilities is None else (float(told[i]), None)
        summary, regions, analysed = find_heat(scaled, result.image.fit, job.settings.boxes)
        overlay = names.overlay(index) if pixels is not None else None
        if overlay is not None and pixels is not None:
            words = words_of(index, probability, logit, job)
            files[overlay] = paint_overlay(pixels, scaled, result.image.fit, style, regions, words, analysed)
        map_name = names.map(index) if job.settings.save_maps else None
        if map_name is not None:
            files[map_name] = npy_bytes(result.maps[i])
        label = job.labels.get(index)
        heat = small(result.maps[i])
        classes.append(ClassResult(index, label, logit, probability, value, overlay, map_name, heat, summary, regions))
    return files, classes


def words_of(index: int, probability: float | None, value: float, job: Job) -> Words:
    """Give the caption of a class: its name, or its index if no font has all characters of the name."""
    label = job.labels.get(index)
    name = label.name if label and job.lettering.writes(label.name) else f"class {index}"
    score = f"{value:.4g}" if probability is None else percent_text(probability)
    return Words(name, score, job.lettering)


def shown_pixels(image: Fitted, job: Job, lease: Lease) -> NDArray[np.uint8]:
    """Give the pixels (H, W, 3) for an overlay: kept in memory, or decoded again.

    Raises:
        ImageError: the file was changed or removed after it was explained.
    """
    lease.take(painting_bytes(job.settings.overlay, image.shown))
    if image.pixels is not None:
        return image.pixels
    settings = job.settings
    data = image.data
    if data is None:
        data = read_source(image.source, settings.limits)
        if sha256(data) != image.card.sha256:
            raise ImageError(Reason.UNREADABLE, "the file changed while it was explained")
    needed = needed_of(settings.overlay, image.fit.input)
    # Messages of the decoder were reported at the first decoding.
    return resize(job.decode(data, settings.limits, needed, settings.sample_range, lease.take).pixels, image.shown)
