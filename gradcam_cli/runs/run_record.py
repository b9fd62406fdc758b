"""The contents of `run.json`, or of the record of a shard."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.shards import shard_of
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.results.runs_found import as_given
from gradcam_cli.results.sidecar import SCHEMA_VERSION, Record, RunCard
from gradcam_cli.runs.job import Job
from gradcam_cli.runs.queue import Queue
from gradcam_cli.runs.tally import Tally
from gradcam_cli.settings import RunSettings


def run_record(
    request: ExplainRequest,
    queue: Queue,
    tally: Tally,
    origin: Mapping[str, Any],
    before: Record | None,
    *,
    interrupted: bool,
) -> Record:
    """Make the record of a run.

    Args:
        request: the request of the run.
        queue: its inputs.
        tally: its outcome.
        origin: the origin of the results, from `origin_of_job` or `origin_before`.
        before: the record of an earlier run in the same folder.
        interrupted: whether a signal or a closed pipe ended it.
    """
    shard = shard_of(request.shard)
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": tally.as_record(),
        "inputs": as_given([as_text(path) for path in request.inputs.paths], request.inputs.files_from, before),
        "images_per_second": round(tally.images_per_second, 3),
        "seconds": round(tally.seconds, 3),
        "interrupted": interrupted,
        "left_out": queue.left_out,
        **({"shard": shard.as_record()} if shard else {}),
        **origin,
    }


def origin_of_job(request: ExplainRequest, job: Job) -> Record:
    """Give the origin of the results of a run whose model was loaded: the model, all options and the versions."""
    return {"model": asdict(job.model), "options": _options(request, job.settings), **_card(job.run)}


def origin_before(request: ExplainRequest, card: RunCard, before: Record | None) -> Record:
    """Give the origin of the results of a run without remaining images, from the record of the earlier run.

    If there is no earlier run with the same options, the model has only its name.
    """
    if before and before["options_sha256"] == card.options_sha256:
        return {"model": before["model"], "options": before["options"], **_card(card)}
    return {"model": {"name": request.model.model}, "options": _options(request, request.run), **_card(card)}


def _options(request: ExplainRequest, settings: RunSettings) -> Record:
    targets = {"classes": list(request.targets.classes), "top_k": request.targets.top_k}
    return {**asdict(settings), **targets}


def _card(card: RunCard) -> Record:
    return {"options_sha256": card.options_sha256, "versions": dict(card.versions)}
