"""Layer names of models that were used before, for shell completion.

They are stored in the cache, one small file for each model, so that completion does not need TensorFlow. Imports that
are needed only to write them are inside the function.
"""

import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gradcam_cli.engines.cache_folder import cache_root, is_private, make_private_folder

MOST_BYTES = 2**20


def layers_folder() -> Path:
    """Give the folder of the layer names."""
    return cache_root() / "layers"


def remember_layers(model: str | Path, names: Iterable[str]) -> None:
    """Store the names of a model's explainable layers. Write failures are ignored.

    Args:
        model: the name or path of the model as it was given.
        names: in the order of the network.
    """
    from gradcam_cli.atomic import atomically

    path, kept = _path(model), {"model": _key(model), "file": _state(model), "layers": list(names)}
    with suppress(OSError):
        make_private_folder(path.parent)
        with atomically(path) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")


def known_layers(model: str | Path) -> tuple[str, ...]:
    """Give the stored names; empty if the model file has changed since."""
    path = _path(model)
    try:
        if not is_private(path) or path.stat().st_size > MOST_BYTES:
            return ()
        kept = json.loads(path.read_text(encoding="utf-8"))
        return tuple(map(str, kept["layers"])) if (kept["model"], kept["file"]) == (_key(model), _state(model)) else ()
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _path(model: str | Path) -> Path:
    # Two models with the same checksum share one file: only the names of the later one are stored.
    return layers_folder() / f"{zlib.crc32(os.fsencode(_key(model))):08x}.json"


def _key(model: str | Path) -> str:
    return os.path.realpath(model) if Path(model).exists() else str(model).lower()


def _state(model: str | Path) -> list[int] | None:
    """Give the size and time of a model file; None for a named model."""
    try:
        found = Path(model).stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
