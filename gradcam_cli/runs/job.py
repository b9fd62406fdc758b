"""The job of a run, and the stages of an image from its file to its record."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import NO_EXTRAS, Extras, Floats
from gradcam_cli.errors import ImageError
from gradcam_cli.imaging.geometry import Fit, Size
from gradcam_cli.imaging.lettering import Lettering
from gradcam_cli.imaging.preprocessing import Preprocessing
from gradcam_cli.inputs.photo import Admit, Decode, Needed, Photo
from gradcam_cli.inputs.sources import Source
from gradcam_cli.labels.class_labels import Labels
from gradcam_cli.methods import METHODS, Method
from gradcam_cli.results.output import Names
from gradcam_cli.results.sidecar import InputCard, ModelCard, Record, RunCard
from gradcam_cli.runs.memory_budget import MemoryBudget
from gradcam_cli.settings import Limits, RunSettings, SampleRange

ExtrasOf = Callable[[Source, Admit], Extras]
# A function that takes the name of an image, and gives a context with the function that admits it to decoding.
Listen = Callable[[str, Admit], AbstractContextManager[Admit]]


def decode_here(
    data: bytes,
    limits: Limits,
    needed: Needed | None,
    sample_range: SampleRange | None,
    admit: Admit,
) -> Photo:
    """Decode in this process as `decoding.decode` does. The decoders are imported with the first image."""
    from gradcam_cli.inputs.decoding import decode

    return decode(data, limits, needed, sample_range, admit)


def no_extras(source: Source, admit: Admit) -> Extras:
    """Give no additional inputs, for networks with one input."""
    del source, admit
    return NO_EXTRAS


def unheard(name: str, admit: Admit) -> AbstractContextManager[Admit]:
    """Ignore the messages of decoders."""
    del name
    return nullcontext(admit)


class Sink(Protocol):
    """Receives the files of an image."""

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write one image's overlays, maps and record; may raise ImageError for this image only."""


@dataclass(frozen=True)
class Job:
    """One run: its options, and everything that is the same for all images.

    Without `overlays`, only records are made. `channels` is the number of channels of the model's input. The last
    `asked_classes` targets of an image are the named classes. `layers` are the paths of the fused layers, if there are
    several. `decode` decodes images, in this process or in another one. `extras` gives an image's values for the
    network's other inputs, or raises ImageError. All images share `memory`. `listen` may report messages of native
    decoders. `methods` are the methods that the settings may name. `lettering` has the fonts of captions.
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
    decode: Decode = decode_here
    extras: ExtrasOf = no_extras
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    listen: Listen = unheard
    methods: Mapping[str, Method] = field(default_factory=lambda: METHODS)
    lettering: Lettering = field(default_factory=Lettering)

    @property
    def method(self) -> Method:
        """The method that makes the maps."""
        return self.methods[self.settings.method]


@dataclass(frozen=True, eq=False)
class Unexplained:
    """An image that cannot be explained, and the error."""

    source: Source
    card: InputCard
    error: ImageError


@dataclass(frozen=True, eq=False)
class Fitted:
    """An image that is ready for the network: its input, its fit, and the pixels for its overlay.

    For a large image the bytes of its file (`data`) are kept instead of the pixels, or nothing if too many images wait:
    then the file is read again. It uses `kept` bytes of the job's memory. `extras` are the values of the network's
    other inputs.
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
    """The result of the network and the method for one image: targets (T,), their scores, and maps (T, h, w)."""

    image: Fitted
    classes: NDArray[np.intp]
    logits: Floats
    probabilities: Floats | None
    maps: Floats
    classes_sampled: int | None
