"""Fuzz the preflight of models: every file passes or is refused by a ModelError, in little time and memory.

    python tests/stress/fuzz_preflight.py --minutes 10

Seeds are a small model in both formats, made here by Keras; the fuzzed process itself imports neither Keras nor
TensorFlow. Of .keras files, most are taken apart, one member is changed, and they are put together again, because a
changed archive would end at the first checksum. Configs are changed as text and as JSON.
"""

import io
import json
import random
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzzing import fuzz, mutated

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety.preflight import check_model_file

MEMORY = 400 * 2**20
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**9, 10**30, 1e300, "", "x" * 1000, "../x", "Lambda", "os.system", [], {}, [[]], [None]),
    {"class_name": "function", "config": "system", "module": "os"},
    {"class_name": ["Dense"], "config": "x", "module": {"a": 1}},
    {"class_name": "Dense", "config": {"units": [10**9], "name": 7, "kernel_size": "3"}, "module": ["keras"]},
    {"build_config": {"input_shape": [None, 10**12]}},
)


def target(data: bytes) -> str:
    """Check a model file whose first byte tells its format; gives how it ended."""
    suffix = ".keras" if data[:1] == b"K" else ".h5"
    path = Path(tempfile.gettempdir()) / f"fuzzed{suffix}"
    path.write_bytes(data[1:])
    try:
        check_model_file(path)
    except ModelError as error:
        message = str(error)
        if any(word in message for word in ("MemoryError", "allocate")):
            raise MemoryError(message) from error
        return "damaged" if "damaged" in message else "refused"
    assert not {"keras", "tensorflow"} & sys.modules.keys()
    return "passes"


def change(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Mutate the file, or one member of the archive."""
    kind, body = data[:1], data[1:]
    others = [seed[1:] for seed in seeds]
    if kind == b"K" and rng.random() < 0.8:
        return kind + _member_changed(rng, body, others)
    return kind + mutated(rng, body, others)


def _member_changed(rng: random.Random, body: bytes, others: Sequence[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as source, zipfile.ZipFile(buffer, "w") as archive:
        chosen = rng.choice(["config.json", "config.json", "model.weights.h5", "metadata.json"])
        for name in source.namelist():
            data = source.read(name)
            if name == chosen:
                data = _json_changed(rng, data) if name == "config.json" and rng.random() < 0.7 else data
                data = data if data != source.read(name) else mutated(rng, data, others)
            archive.writestr(name, data)
    return buffer.getvalue()


def _json_changed(rng: random.Random, data: bytes) -> bytes:
    config = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        containers = [node for node in _containers(config) if node]
        node = rng.choice(containers)
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[key] = rng.choice((*ODD_VALUES, rng.choice(containers[1:] or [0])))
        try:
            json.dumps(config)
        except (ValueError, RecursionError):
            node[key] = None
    return json.dumps(config).encode()


def _containers(value: Any) -> list[Any]:
    if not isinstance(value, (dict, list)):
        return []
    children = value.values() if isinstance(value, dict) else value
    return [value, *(found for child in children for found in _containers(child))]


def seeds() -> dict[str, bytes]:
    """Make a small network in both formats."""
    import keras

    inputs = keras.layers.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    network = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    network.compile("adam", "categorical_crossentropy")
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, mark in ((".keras", b"K"), (".h5", b"H")):
            path = Path(folder) / f"model{suffix}"
            network.save(path)
            made[f"model{suffix}"] = mark + path.read_bytes()
    return made


if __name__ == "__main__":
    fuzz(target, seeds(), change, memory=MEMORY, description=__doc__)
