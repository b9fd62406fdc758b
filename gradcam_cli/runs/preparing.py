"""The first half of the work on an image: read its file, decode it, and fit it to the network's input."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gradcam_cli.engines.protocol import Extras
from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.geometry import Size, apply_fit, at_resolution, plan_fit, resize
from gradcam_cli.inputs.files import file_size, modified_ns, sha256, unlistable
from gradcam_cli.inputs.photo import Needed, Photo
from gradcam_cli.inputs.reading import Content, fetch, read_source
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.sidecar import InputCard
from gradcam_cli.runs.job import Fitted, Job, Unexplained
from gradcam_cli.settings import Limits, OverlaySettings

# A larger image is kept as the bytes of its file and decoded again for the overlay: with the default batch size, about
# fifty images are in the pipeline.
PIXELS_KEPT = 6_000_000
# Larger files are read one at a time.
LARGE_FILE = 32 * 2**20
SPARE = 4

Take = Callable[[Source, Limits], Content]


def prepare(source: Source, job: Job, target: Size, take: Take = fetch) -> Fitted | Unexplained:
    """Read, decode and fit one image; `take` gives the contents of an object, which may be read ahead."""
    if source.errno is not None:
        return Unexplained(source, InputCard(source.relative), unlistable(source.errno))
    card = InputCard(source.relative, mtime_ns=modified_ns(source.path) if source.is_file else None)
    limits, needed = job.settings.limits, needed_of(job.settings.overlay, target)
    try:
        with job.memory.lease() as lease:
            if source.stored is not None:
                content = take(source, limits)
                data, stat = content.data, content.stat
                card = replace(card, etag=stat.etag, mtime_ns=stat.mtime_ns)
            else:
                if source.is_file and LARGE_FILE < file_size(source.path) <= limits.max_file_bytes:
                    lease.take_all()
                data = read_source(source, limits)
            card = replace(card, sha256=sha256(data), bytes=len(data))
            # Second images are decoded first: then only the memory of this image is needed.
            with job.listen(f"{source.relative}, or its second image", lease.take) as admit:
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
    # A pipe cannot be read twice; it contains one image.
    return fitted if source.is_kept else replace(fitted, data=image.data)


def needed_of(style: OverlaySettings, target: Size) -> Needed | None:
    """Give the pixels that an image needs if the size of its overlay is limited; None if it needs all.

    It keeps four times the size of the model's input, so that the resized input hardly differs.
    """
    if style.max_side is None:
        return None
    return Needed(style.max_side, SPARE * target.width, SPARE * target.height)


def shown_size(size: Size, max_side: int | None) -> Size:
    """Give the size of the overlay: that of the image, or smaller so that no side is longer than `max_side`."""
    longest = max(size.width, size.height)
    if max_side is None or longest <= max_side:
        return size
    factor = max_side / longest
    return Size(max(1, round(size.width * factor)), max(1, round(size.height * factor)))
