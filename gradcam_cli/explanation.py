"""The explanation of one image: classes, maps, heatmaps, overlays, and the record."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError
from gradcam_cli.imaging.geometry import Size, map_to_source, seen_box
from gradcam_cli.imaging.heatmap import Summary, scale
from gradcam_cli.imaging.lettering import Lettering, lettering_of
from gradcam_cli.imaging.overlay import paint
from gradcam_cli.imaging.regions import Region
from gradcam_cli.inputs.opencv_codec import encode_png
from gradcam_cli.results.folders import run_folder
from gradcam_cli.results.sidecar import Record, input_record
from gradcam_cli.runs.finishing import (
    as_failure,
    card_of,
    check_finite,
    finished,
    names_of,
    shown_pixels,
    source_of,
    words_of,
)
from gradcam_cli.runs.job import Explained, Fitted, Job, Unexplained
from gradcam_cli.runs.painting import figure_pixels, find_heat
from gradcam_cli.settings import Layout, OverlaySettings, Threshold
from gradcam_cli.urls import place

STYLE = OverlaySettings()


@dataclass(frozen=True, eq=False)
class ClassExplanation:
    """One class of one image: its probability and its map.

    Attributes:
        index: index of the class in the model's output.
        label: name of the class; None if the names are unknown.
        wnid: WordNet ID of the class; None if it has none.
        logit: the score before the softmax or sigmoid; the value of a regression.
        probability: 0 to 1; None if the model's output has no probabilities.
        map: (h, w) float32, the raw map on the grid of the target layer, after the relu: 0 or more, not scaled.

    Example:
        >>> best = Explainer("pets.keras").explain_one("cat.jpg").best  # doctest: +SKIP
        >>> best.label, best.heat.shape, best.overlay(alpha=0.5).dtype  # doctest: +SKIP
        ('cat', (480, 640), dtype('uint8'))
    """

    index: int
    label: str | None
    wnid: str | None
    logit: float
    probability: float | None
    map: NDArray[np.float32]
    _image: Fitted = field(repr=False)
    _job: Job = field(repr=False)

    @cached_property
    def heat(self) -> NDArray[np.float32]:
        """The heatmap (H, W) float32 in [0, 1] in pixels of the upright image: the map divided by its maximum.

        It is interpolated linearly between the centres of the map's cells. It is 0 outside the part of the image that
        the model saw, and 0 everywhere if the map has no positive value.
        """
        return map_to_source(scale(self.map), self._image.fit, self._image.fit.source)

    @property
    def peak(self) -> tuple[int, int] | None:
        """The hottest pixel (x, y) of the upright image; None if there is no heat."""
        return self._summary.peak

    @property
    def area(self) -> float:
        """Share of the image, 0 to 1, where the heatmap is at least 0.5."""
        return self._summary.area

    def boxes(self, threshold: Threshold = "otsu") -> list[Region]:
        """Find connected regions of high heat.

        Args:
            threshold: the lowest heat of a region, above 0 and below 1; `otsu` chooses it for each image.

        Returns:
            Regions in pixels of the upright image, those with the most heat first: `box` (left, top, right, bottom;
            right and bottom are exclusive), and `share`, the fraction of all heat.
        """
        return find_heat(scale(self.map), self._image.fit, threshold)[1] or []

    def overlay(self, alpha: float = STYLE.alpha, colormap: str = STYLE.colormap) -> NDArray[np.uint8]:
        """Paint the heatmap over the image: `(1 - alpha) * image + alpha * colour(heat)`.

        Args:
            alpha: opacity of the heatmap, 0 to 1.
            colormap: name of a colormap of OpenCV, such as `jet`, `viridis`, `inferno`.

        Returns:
            (H, W, 3) uint8 RGB with the size of the image, or smaller if the explainer has a `max_side`.

        Raises:
            ImageError: the image file was changed or removed after it was explained.
        """
        with self._job.memory.lease() as lease:
            pixels = shown_pixels(self._image, self._job, lease)
        size = Size(pixels.shape[1], pixels.shape[0])
        heat = map_to_source(scale(self.map), self._image.fit, size)
        style = replace(STYLE, alpha=alpha, colormap=colormap)
        return paint(pixels, heat, seen_box(self._image.fit, size), style)

    def figure(
        self,
        layout: Layout = "triptych",
        *,
        caption: bool = True,
        colorbar: bool = False,
        alpha: float = STYLE.alpha,
        colormap: str = STYLE.colormap,
    ) -> NDArray[np.uint8]:
        """Paint a figure for a slide or a paper: panels, a caption, and the colour scale.

        Args:
            layout: `overlay`, `side-by-side` (image and overlay), or `triptych` (image, heatmap and overlay).
            caption: write the class and its probability below the panels.
            colorbar: draw the colour scale of the heatmap.
            alpha: opacity of the heatmap in the overlay, 0 to 1.
            colormap: name of a colormap of OpenCV, such as `jet`, `viridis`, `inferno`.

        Returns:
            (H, W, 3) uint8 RGB; small images are enlarged.

        Raises:
            ImageError: the image file was changed or removed after it was explained.
        """
        style = replace(STYLE, layout=layout, caption=caption, colorbar=colorbar, alpha=alpha, colormap=colormap)
        labels = (label.name for label in self._job.labels.entries)
        lettering = lettering_of(labels, self._job.settings.overlay.font) if caption else Lettering()
        words = words_of(self.index, self.probability, self.logit, replace(self._job, lettering=lettering))
        with self._job.memory.lease() as lease:
            pixels = shown_pixels(self._image, self._job, lease)
            return figure_pixels(pixels, scale(self.map), self._image.fit, style, words)

    @cached_property
    def _summary(self) -> Summary:
        return find_heat(scale(self.map), self._image.fit, None)[0]


class Explanation:
    """The explanation of one image.

    Attributes:
        error: an `ImageError` with a `reason`, if the image could not be explained; otherwise None.
        classes: the explained classes: the most probable first, then the named ones; empty if there is an error.

    Example:
        >>> explanation = Explainer("pets.keras").explain_one("cat.jpg")  # doctest: +SKIP
        >>> explanation.best.label, explanation.best.probability  # doctest: +SKIP
        >>> explanation.save("out")  # doctest: +SKIP
    """

    def __init__(self, image: Explained | Unexplained, job: Job) -> None:
        """Create the explanation; only an `Explainer` does this."""
        self._image = _checked(image)
        self._job = job
        self.error: ImageError | None = None
        self.classes: tuple[ClassExplanation, ...] = ()
        if isinstance(self._image, Unexplained):
            self.error = self._image.error
        else:
            self.classes = _classes(self._image, job)

    @property
    def input(self) -> Mapping[str, Any]:
        """The part of the record about the image file: path, sha256, width, height, and properties of the file."""
        return input_record(card_of(self._image))

    @property
    def best(self) -> ClassExplanation:
        """The explained class with the highest probability, or logit where there are no probabilities.

        Raises:
            ImageError: the image could not be explained.
            LookupError: no class has a probability of `min_score` or more.
        """
        if self.error:
            raise self.error
        if not self.classes:
            raise LookupError("no class has a probability of min_score or more, so nothing was explained")
        return max(self.classes, key=_told)

    def to_dict(self) -> Record:
        """Give the record of the image, equal to the sidecar that `gradcam-cli explain` writes for the same file."""
        return dict(self._finished[1])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the overlays and the sidecar into a folder, as `gradcam-cli explain` does; the sidecar is written last.

        The folder may be the URL of a prefix in an object store.

        Raises:
            UsageError: the folder cannot be written, or a run is writing to it.
            ImageError: a file that this program did not write would be replaced.
            EnvironmentStop: the disk is full, or the folder was removed.
        """
        files, record = self._finished
        with run_folder(place(folder)).held() as output:
            output.write_image(names_of(self._image, self._job), files, record)

    def __repr__(self) -> str:
        """Show the image name and the best class."""
        name = source_of(self._image).relative
        if self.error:
            return f"<Explanation of {name!r}: {self.error.reason}: {self.error}>"
        told = ", ".join(f"{each.label or each.index} {_told(each):.3f}" for each in self.classes)
        return f"<Explanation of {name!r}: {told or 'no class'}>"

    def _repr_png_(self) -> bytes | None:
        """Show the overlay of the best class in a notebook."""
        if not self.classes:
            return None
        return encode_png(self.best.overlay())

    @cached_property
    def _finished(self) -> tuple[dict[str, bytes], Record]:
        try:
            return finished(self._image, self._job)
        except ImageError as error:
            return finished(as_failure(self._image, error), self._job)


def _checked(image: Explained | Unexplained) -> Explained | Unexplained:
    if isinstance(image, Unexplained):
        return image
    try:
        check_finite(image)
    except ImageError as error:
        return as_failure(image, error)
    return image


def _told(each: ClassExplanation) -> float:
    return each.logit if each.probability is None else each.probability


def _classes(image: Explained, job: Job) -> tuple[ClassExplanation, ...]:
    found = []
    for i, index in enumerate(int(c) for c in image.classes):
        label = job.labels.get(index)
        probability = None if image.probabilities is None else float(image.probabilities[i])
        found.append(
            ClassExplanation(
                index=index,
                label=label.name if label else None,
                wnid=label.wnid if label else None,
                logit=float(image.logits[i]),
                probability=probability,
                map=image.maps[i],
                _image=image.image,
                _job=job,
            )
        )
    return tuple(found)
