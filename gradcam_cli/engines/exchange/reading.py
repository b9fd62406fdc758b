"""A model's files as a network of OpenVINO: of the bytes that were hashed and checked, and of no others."""

import os
from contextlib import ExitStack
from typing import Any

from gradcam_cli.engines.runtime import openvino
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.models.safety.held_file import HashedFile, held


def read_network(request: ModelRequest) -> Any:
    """Read a model in an exchange format.

    Raises:
        ModelError: OpenVINO cannot read it, or a file was changed in the meantime.
    """
    assert request.source is not None  # noqa: S101 - a model in an exchange format is a file
    core = openvino.Core()
    # Weights that are mapped from the file would change when the file changes.
    core.set_property({"ENABLE_MMAP": False})
    with ExitStack() as files:
        links = [files.enter_context(held(file)).link for file in (request.source, *request.beside)]
        paths = [file.path for file in (request.source, *request.beside)]
        before = [_stamp(file) for file in request.beside]
        try:
            if request.exchange == "openvino":
                return core.read_model(links[0], links[1])
            # OpenVINO follows no link from an ONNX file to its weights.
            model = core.read_model(paths[0] if request.beside else links[0])
        except Exception as error:
            # Its frontends raise their own types of errors for what they do not know.
            raise ModelError(f"{request.file}: OpenVINO cannot read this network ({_reason(error)}).") from error
        if [_stamp(file) for file in request.beside] != before:
            raise ModelError(f"{request.file}: its weights were changed while they were read. Run the command again.")
        return model


def _stamp(file: HashedFile) -> tuple[int, ...]:
    found = os.stat(file.path)  # noqa: PTH116 - a path that is a link is another file
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _reason(error: Exception) -> str:
    """Keep the lines that name an operation, without those that name OpenVINO's source files."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines() if line.strip()]
    unknown = [line for line in lines if line.startswith("No conversion rule")]
    told = unknown or [line for line in lines if not line.startswith(("Exception from", "Check '", "Loading input"))]
    return first_line(Exception(" ".join(told[:3]))) if told else first_line(error)
