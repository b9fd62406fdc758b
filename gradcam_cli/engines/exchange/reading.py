"""Read the files of a model as a network of OpenVINO: exactly the bytes that were hashed and checked."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gradcam_cli.engines.exchange import reading_subprocess
from gradcam_cli.engines.exchange.widening import widened
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.models.safety.held_file import HashedFile, held


def read_network(request: ModelRequest) -> Any:
    """Read a model in an exchange format, and convert it to float32.

    A subprocess reads it first, because OpenVINO may crash on a file that has passed the preflight.

    Raises:
        ModelError: OpenVINO cannot read the model, or a file has changed since it was hashed.
    """
    assert request.source is not None  # noqa: S101 - a model in an exchange format is a file
    with ExitStack() as opened:
        files = [opened.enter_context(held(file)) for file in (request.source, *request.beside)]
        before = [_stamp(file) for file in request.beside]
        names = [file.link for file in files]
        if request.exchange == "onnx":
            # OpenVINO looks for the weights of an ONNX file next to its path, so a link cannot be used.
            names = [request.source.path if request.beside else names[0]]
        descriptors = tuple(file.descriptor for file in files if file.link != file.path)
        total = sum(file.identity.size for file in (request.source, *request.beside))
        reading_subprocess.check_reading(names, descriptors, total, request.settings.input_size)
        model = read_files(names)
        if [_stamp(file) for file in request.beside] != before:
            raise ModelError(f"{request.file}: its weights changed while they were read. Run the command again.")
        return model


def read_files(files: Sequence[Path]) -> Any:
    """Read an ONNX file, or the two files of OpenVINO's format, and convert the network to float32.

    Raises:
        ModelError: OpenVINO cannot read the files.
    """
    core = openvino.Core()
    # Memory-mapped weights would change if the file changes.
    core.set_property({"ENABLE_MMAP": False})
    try:
        return widened(core.read_model(*files))
    except Exception as error:
        # The frontends of OpenVINO raise their own types of errors.
        raise ModelError(f"{files[0]}: OpenVINO cannot read this network ({_reason(error)}).") from error


def _stamp(file: HashedFile) -> tuple[int, ...]:
    found = os.stat(file.path)  # noqa: PTH116 - a path that is a link is another file
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _reason(error: Exception) -> str:
    """Shorten OpenVINO's message: keep the lines that name an operation, and drop those that name its source files."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines() if line.strip()]
    unknown = [line for line in lines if line.startswith("No conversion rule")]
    told = unknown or [line for line in lines if not line.startswith(("Exception from", "Check '", "Loading input"))]
    return first_line(Exception(" ".join(told[:3]))) if told else first_line(error)
