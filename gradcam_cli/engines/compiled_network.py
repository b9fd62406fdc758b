"""A network that OpenVINO has compiled for this machine; several passes can run at the same time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.cores import core_limit
from gradcam_cli.engines.runtime import core, openvino
from gradcam_cli.errors import first_line
from gradcam_cli.settings import Precision

HINTS = {"float32": "f32", "bfloat16": "bf16"}


class CompiledNetwork:
    """Runs one network. Threads may share it; up to `streams` passes run at the same time.

    Raises:
        MemoryError: the network is too large for this machine.
    """

    def __init__(self, model: Any, *, streams: int = 1, precision: Precision = "float32") -> None:
        """Compile an `openvino.Model` with static shapes, or import an `openvino.Tensor` with bytes of `exported`."""
        self._free: SimpleQueue[Any] = SimpleQueue()
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": HINTS[precision], "NUM_STREAMS": streams}
        if share := core_limit():
            settings["INFERENCE_NUM_THREADS"] = share
        with _out_of_memory():
            make = core().import_model if isinstance(model, openvino.Tensor) else core().compile_model
            self._compiled = make(model, "CPU", settings)
            for _ in range(streams):
                self._free.put(self._compiled.create_infer_request())
        # OpenVINO does not copy the weights of a tensor, so the tensor must stay alive.
        self._source = model

    @property
    def batch_size(self) -> int:
        """The number of images in one pass."""
        return int(self._compiled.inputs[0].shape[0])

    def exported(self) -> bytes:
        """Export the compiled network as bytes for the same version of OpenVINO on the same machine."""
        exported: bytes = self._compiled.export_model().getvalue()
        return exported

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run one pass, and give a copy of each output, in order.

        Raises:
            MemoryError: the pass is too large for this machine.
        """
        request = self._free.get()
        try:
            with _out_of_memory():
                request.infer(dict(enumerate(inputs)), share_inputs=True)
            # The next pass overwrites the memory of the request.
            return [np.array(tensor.data) for tensor in request.output_tensors]
        finally:
            self._free.put(request)


@contextmanager
def _out_of_memory() -> Iterator[None]:
    """Convert OpenVINO's error to a MemoryError if its text shows that there is not enough memory."""
    try:
        yield
    except RuntimeError as error:
        if "alloc" not in str(error):
            raise
        raise MemoryError(first_line(error)) from error
