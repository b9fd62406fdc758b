"""The cache of networks that OpenVINO has compiled for this machine; they are stored next to their plans.

Building the gradient of a network and compiling the network take longer than explaining one image. OpenVINO reads a
compiled network in less than half of that time. The results are the same.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.atomic import atomically
from gradcam_cli.cores import core_limit
from gradcam_cli.engines.cache import NETWORK, evict
from gradcam_cli.engines.cache_folder import is_private
from gradcam_cli.engines.compiled_network import CompiledNetwork
from gradcam_cli.engines.runtime import core, openvino
from gradcam_cli.settings import Precision

# The properties of the CPU for which a network is compiled: another CPU may not have its instructions.
PROCESSOR = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class NetworkCache:
    """Stores the compiled networks of one plan.

    `plan` is the path of the plan in the cache; its name is a hash of everything that the plan depends on.
    """

    plan: Path

    def path(self, options: Mapping[str, Any]) -> Path:
        """Give the path of the network for these options, which may not exist."""
        processor = [core().get_property("CPU", name) for name in PROCESSOR]
        depends = [dict(options), openvino.__version__, processor, core_limit()]
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return self.plan.with_name(f"{self.plan.stem}-{digest[:16]}{NETWORK}")

    def load(self, options: Mapping[str, Any], *, streams: int, precision: Precision) -> CompiledNetwork | None:
        """Read a network; None if there is no valid one. A network that OpenVINO cannot read is removed.

        A network determines the maps, so a network that other users can write is not used.

        Raises:
            MemoryError: the network is too large for this machine.
        """
        path = self.path(options)
        if not path.is_file() or not is_private(path):
            return None
        try:
            exported = openvino.Tensor(_whole(path), shared_memory=True)
            found = CompiledNetwork(exported, streams=streams, precision=precision)
        except (OSError, ValueError, RuntimeError):
            with suppress(OSError):
                path.unlink()
            return None
        return found

    def keep(self, options: Mapping[str, Any], network: CompiledNetwork) -> None:
        """Store a network next to its plan. Failures of the export and write failures are ignored."""
        if not self.plan.is_file():
            return
        path = self.path(options)
        with suppress(OSError, RuntimeError):
            exported = network.exported()
            with atomically(path) as temporary, temporary.open("xb") as file:
                file.write(exported)
                file.write(hashlib.sha256(exported).digest())
            evict(keep=self.plan)


def _whole(path: Path) -> NDArray[np.uint8]:
    """Read a network, and compare it with the hash at the end of its file.

    Raises:
        ValueError: the file is damaged.
    """
    # The file is memory-mapped to save memory. The mode is copy-on-write, because OpenVINO needs writable memory.
    data = np.asarray(np.memmap(path, np.uint8, "c"))
    exported, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(exported.data).digest() != digest.tobytes():
        raise ValueError(f"{path} is damaged")
    return exported
