"""A worker: explains groups of images for a run, by the same pipeline, and gives files and records back.

It writes nothing: the run alone writes, into the folder that it holds.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from gradcam_cli.errors import EnvironmentStop, GradcamError, ImageError, Reason
from gradcam_cli.inputs.sources import Source
from gradcam_cli.inputs.tar_inputs import Identity, TarArchive, TarFiles
from gradcam_cli.results.output import Names
from gradcam_cli.results.sidecar import InputCard, Record, failed
from gradcam_cli.runs.engine_factory import EngineFactory
from gradcam_cli.runs.explaining import InProcess, decoder
from gradcam_cli.runs.finishing import method_card
from gradcam_cli.runs.observer import OpenedModel, RunObserver
from gradcam_cli.storage import ObjectReader, Stat, Stored, Stores
from gradcam_cli.versions import versions

OTHER_VERSIONS: Final = (
    "A worker has different versions from this machine ({differ}). Install the same versions everywhere."
)


@dataclass(frozen=True)
class Opened:
    """What a worker says of the model.

    `origin` is what the results come from, see `origin_of_job`; `failure` is the record of a failed image, but for its
    input, reason and message.
    """

    model: OpenedModel
    notes: tuple[str, ...]
    origin: Record
    failure: Record


@dataclass(frozen=True)
class Made:
    """One image: its files by name, and its record. `files` is None where nothing is to be written."""

    files: Mapping[str, bytes] | None
    record: Record


@dataclass(frozen=True)
class Fault:
    """An error in the program itself, as the lines of its traceback."""

    text: str


@dataclass(frozen=True)
class Sent:
    """A source as it is sent to a worker, which opens object stores itself."""

    source: Source
    listed: Stat | None = None
    at: int | None = None
    tar: tuple[str, Identity] | None = None
    is_stored: bool = False

    @classmethod
    def of(cls, source: Source) -> "Sent":
        """Prepare a source."""
        stored = source.stored
        if stored is None:
            return cls(source)
        tar = (stored.store.path, stored.store.identity) if isinstance(stored.store, TarArchive) else None
        return cls(replace(source, stored=None), stored.listed, stored.at, tar, is_stored=True)

    def received(self, stores: Stores, tars: TarFiles) -> Source:
        """Give the source again."""
        if not self.is_stored:
            return self.source
        store: ObjectReader = tars.archive(*self.tar, stores) if self.tar else stores.of(self.source.path)
        return replace(self.source, stored=Stored(store, self.source.path, self.listed, self.at))


class Outbox:
    """Keeps the files of an image until its record comes."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._files: dict[str, Mapping[str, bytes]] = {}

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Take the files of one image."""
        del record
        self._files[names.source.relative] = files

    def made(self, source: Source, record: Record) -> Made:
        """Give them with the record."""
        return Made(self._files.pop(source.relative, None), record)


class Worker:
    """Explains groups of images with one model, which is loaded once."""

    def __init__(self, factory: EngineFactory) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be explained.
            EnvironmentStop: other versions are installed than those of the run.
        """
        differ = {name for name, version in versions().items() if factory.run.versions.get(name) != version}
        if differ:
            raise EnvironmentStop(OTHER_VERSIONS.format(differ=", ".join(sorted(differ))))
        self._resources = ExitStack()
        decode = self._resources.enter_context(decoder(isolated=factory.request.isolate_decoder))
        collector = _Collector()
        self._explaining = InProcess(replace(factory, decode=decode, observer=collector))
        self._stores, self._tars = Stores(), TarFiles()
        origin, job = self._explaining.open(), self._explaining.job
        nameless = ImageError(Reason.CRASHED, "")
        failure = failed(InputCard(""), job.model, method_card(job), job.run, nameless)
        assert collector.model is not None  # noqa: S101 - the factory reports what it opened
        self.opened = Opened(collector.model, tuple(collector.notes), origin, failure)

    def explain(self, sent: Sequence[Sent]) -> Iterator[Made]:
        """Explain a group of images, in order."""
        outbox = Outbox()
        sources = [each.received(self._stores, self._tars) for each in sent]
        for source, record in zip(sources, self._explaining.records(sources, outbox), strict=True):
            yield outbox.made(source, record)

    def close(self) -> None:
        """End its decoders."""
        self._resources.close()


class _Collector(RunObserver):
    def __init__(self) -> None:
        self.model: OpenedModel | None = None
        self.notes: list[str] = []

    def opened(self, model: OpenedModel) -> None:
        self.model = model

    def note(self, text: str) -> None:
        self.notes.append(text)


def reported(error: Exception) -> GradcamError | Fault:
    """Give an error in a form that can be sent."""
    if isinstance(error, GradcamError):
        return error
    if isinstance(error, MemoryError):
        return EnvironmentStop("There is not enough memory for the model in a worker. Use fewer `workers`.")
    return Fault("".join(traceback.format_exception(error)))
