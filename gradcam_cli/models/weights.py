"""ImageNet weights on this machine: where Keras keeps them, and how they are downloaded, complete or not at all."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from gradcam_cli.atomic import atomically
from gradcam_cli.errors import ModelError
from gradcam_cli.models.named import LITE0, NamedModel, WeightsFile

TIMEOUT_SECONDS = 10
CHUNK = 2**20

# Called with the number of bytes of each chunk that has arrived.
Progress = Callable[[int], None]


def weights_folder() -> Path:
    """Give the folder where Keras keeps downloaded weights."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def weights_at_hand(model: NamedModel) -> bool:
    """Whether the model can be used without a download."""
    return model.weights is None or (weights_folder() / model.weights.name).is_file()


def ensure_weights(model: NamedModel, show: Callable[[str, int], Any]) -> Path:
    """Find the ImageNet weights of a named model, and download them if they are missing or damaged.

    Args:
        model: a model with a weights file.
        show: called as `show(file name, size)` with the size in bytes, or 0 if it is unknown; gives a context manager
            whose value takes the number of bytes of each chunk.

    Raises:
        ModelError: the weights cannot be downloaded. The message lists every alternative.
    """
    file = _of(model)
    path = weights_folder() / file.name
    there = path.is_file()
    if there and _is_whole(path, file):
        return path
    try:
        _download(file, path, show)
    except (OSError, ValueError) as error:
        raise ModelError(_no_weights(model, path, error, damaged=there)) from error
    return path


def is_imagenet_file(path: Path, model: NamedModel) -> bool:
    """Whether a local file has the hash of the published ImageNet weights of this model."""
    return model.weights is not None and model.weights.hash is not None and _is_whole(path, model.weights)


def _of(model: NamedModel) -> WeightsFile:
    if model.weights is None:
        raise ModelError(f"{model.name} has no weights to download.")
    return model.weights


def _is_whole(path: Path, file: WeightsFile) -> bool:
    """Whether a file has the published hash. A file without one is trusted, because only complete files are kept."""
    if file.hash is None:
        return True
    with path.open("rb") as stream:
        return _digest(stream, file.hash) == file.hash


def _digest(stream: IO[bytes], like: str) -> str:
    algorithm = "sha256" if len(like) == 64 else "md5"
    return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]


def _download(file: WeightsFile, path: Path, show: Callable[[str, int], Any]) -> None:
    """Download into a temporary file in the same folder, check it, and then rename it."""
    # Imported here because most runs download nothing.
    import urllib.request

    with urllib.request.urlopen(file.url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - https, from our own table
        size = int(response.headers.get("Content-Length") or 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(path) as temporary:
            with temporary.open("xb") as target, show(file.name, size) as advance:
                received = 0
                while chunk := response.read(CHUNK):
                    target.write(chunk)
                    received += len(chunk)
                    advance(len(chunk))
            if size and received != size:
                raise ValueError(f"the connection ended after {received:,} of {size:,} bytes")
            if not _is_whole(temporary, file):
                raise ValueError("the downloaded file does not have the published hash")


def _no_weights(model: NamedModel, path: Path, error: Exception, *, damaged: bool) -> str:
    import urllib.error

    reason: object = error
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        reason = error.reason
    state = "damaged: its hash is not the published one" if damaged else "no such file"
    return (
        f"The ImageNet weights of {model.name} are not on this machine and cannot be downloaded ({reason}).\n"
        f"  Tried: {path} ({state}), {_of(model).url}\n"
        f"  Put the file there, or give it with `weights=FILE`.\n"
        f"  Or use the model without a download: `model={LITE0}`"
    )
