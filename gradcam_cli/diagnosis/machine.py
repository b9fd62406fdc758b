"""The machine, the versions and the cache, as a report for people who look for a fault."""

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, get_args

from gradcam_cli.cores import available_cores
from gradcam_cli.engines.cache import cache_folder, cached_files
from gradcam_cli.engines.devices import gpu_possible
from gradcam_cli.extras import Extra
from gradcam_cli.models.listed import listed_models
from gradcam_cli.settings import EngineName
from gradcam_cli.system import CPU_INFO, physical_memory
from gradcam_cli.versions import installed_version, versions

# Features of CPUs that decide how quickly a network runs: of x86, and of ARM.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "amx_tile", "bf16", "sve")


def machine() -> dict[str, Any]:
    """Describe the machine: system, CPU, its features (None where they are unknown), cores and memory in bytes."""
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "features": cpu_features(),
        "cores": available_cores(),
        "memory": physical_memory(),
        "gpu_possible": gpu_possible(),
    }


def cpu_features(info: Path = CPU_INFO) -> list[str] | None:
    """List the features of the CPU that matter here; None where the system does not tell."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", _text(info), re.MULTILINE)
    return [feature for feature in FEATURES if feature in flags[1].split()] if flags else None


def installed() -> dict[str, str]:
    """Give the versions of Python, of this program and of the libraries that compute."""
    return {"python": platform.python_version(), **versions()}


def extras() -> dict[str, dict[str, str | None]]:
    """Give each optional part of the program with the versions of its packages; None for those that are missing.

    An extra has no packages where the metadata of the installation does not name it, as after an update of the clone
    behind an editable installation.
    """
    try:
        needed = requires("gradcam-cli") or []
    except PackageNotFoundError:
        needed = []
    return {name: dict(_packages(name, needed)) for name in get_args(Extra)}


def _packages(extra: str, needed: list[str]) -> Iterator[tuple[str, str | None]]:
    for requirement in needed:
        name = re.match(r"[\w.-]+", requirement)
        if name and re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", requirement):
            yield name[0], installed_version(name[0])


def engines_at_hand() -> tuple[EngineName, ...]:
    """Name the engines that can be tried here: those whose package is installed, and the one that is always needed."""
    return tuple(name for name in ENGINES if name == "tensorflow" or find_spec(name))


def engines() -> dict[str, dict[str, Any]]:
    """Give the engines with their versions and devices; importing TensorFlow takes seconds."""
    return {name: _described(name, ENGINES[name]) for name in engines_at_hand()}


def _described(name: str, devices: Callable[[], list[str]]) -> dict[str, Any]:
    try:
        return {"version": installed_version(name), "devices": devices()}
    except (ImportError, RuntimeError) as error:
        return {"version": installed_version(name), "error": str(error)}


def _tensorflow_devices() -> list[str]:
    import tensorflow as tf

    return [str(device.name) for device in tf.config.list_physical_devices()]


def _openvino_devices() -> list[str]:
    from gradcam_cli.engines.runtime import core

    shared = core()
    return [f"{device}: {shared.get_property(device, 'FULL_DEVICE_NAME')}" for device in shared.available_devices]


# The engines, which have the names of their packages, and what lists the devices of each.
ENGINES: Final[dict[EngineName, Callable[[], list[str]]]] = {
    "openvino": _openvino_devices,
    "tensorflow": _tensorflow_devices,
}


def cache() -> dict[str, Any]:
    """Tell where compiled models are kept, how many bytes they take, and whether more can be written."""
    folder = cache_folder()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    sizes = [path.stat().st_size for path in cached_files()]
    writable = nearest.is_dir() and os.access(nearest, os.W_OK)
    return {"folder": str(folder), "entries": len(sizes), "bytes": sum(sizes), "writable": writable}


def weights() -> list[str]:
    """Name the models whose weights are at hand."""
    return [model.name for model in listed_models() if model.weights_at_hand]


def redacted(value: Any, home: str, user: str) -> Any:
    """Give a report without the home folder and the name of the user, in all of its texts."""
    if isinstance(value, Mapping):
        return {key: redacted(each, home, user) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each, home, user) for each in value]
    return _without(value, home, user) if isinstance(value, str) else value


def _without(text: str, home: str, user: str) -> str:
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    return re.sub(rf"(?<![\w.-]){re.escape(user)}(?![\w.-])", "USER", text) if user and user != "root" else text


def _cpu_name() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", _text(CPU_INFO), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if sys.platform.startswith("linux") else ""
    except OSError:
        return ""
