"""What one run is, and the stages that an image passes through on its way to a record."""

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
from gradcam_cli.inputs.photo import Admit, Decode, Needed, Photo, at_once
from gradcam_cli.inputs.sources import Source
from gradcam_cli.labels.class_labels import Labels
from gradcam_cli.methods import METHODS, Method
from gradcam_cli.results.output import Names
from gradcam_cli.results.sidecar import InputCard, ModelCard, Record, RunCard
from gradcam_cli.runs.memory_budget import MemoryBudget
from gradcam_cli.settings import Limits, RunSettings, SampleRange

ExtrasOf = Callable[[Source, Admit], Extras]
# Takes a picture's name, and gives what admits it, for as long as it is decoded.
Listen = Callable[[str, Admit], AbstractContextManager[Admit]]


def decode_here(
    data: bytes,
    limits: Limits,
    needed: Needed | None = None,
    sample_range: SampleRange | None = None,
    admit: Admit = at_once,
) -> Photo:
    """Decode in this process as `decoding.decode` does; the decoders are imported with the first picture."""
    from gradcam_cli.inputs.decoding import decode

    return decode(data, limits, needed, sample_range, admit)


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
    last `asked_classes` are those that a person named; `layers` are the paths of those that are fused, where there
    are several. `decode` is where pictures are decoded: here, or in a process of its own. `extras` gives an image's
    values for the network's other inputs, or raises ImageError. All pictures share `memory`. `listen` may report
    what native decoders print about a picture. `methods` are those that the settings may name: the program's own,
    or one of the user's. `lettering` has the fonts of captions.
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
