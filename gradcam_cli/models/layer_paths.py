"""Every layer inside a model, with its path."""

from collections.abc import Iterator
from typing import Any

import keras

# Sub-layers of these work on (queries, heads): their outputs have four axes but are not images.
ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention")


def layer_paths(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Walk all layers and operations inside a model, each once, with paths such as `backbone/conv5_block3_out`."""
    seen: set[int] = set()

    def walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for child in _children(parent):
            if id(child) in seen or isinstance(child, keras.layers.InputLayer):
                continue
            seen.add(id(child))
            path = f"{prefix}{child.name}"
            yield path, child
            if type(child).__name__ not in ATTENTION:
                yield from walk(child, f"{path}/")

    yield from walk(model, "")


def _children(parent: Any) -> list[Any]:
    # A functional model also lists bare operations (ops.relu(x)); all other models have only layers.
    # A Sequential has a functional model inside, whose layers are the layers of the Sequential.
    if not isinstance(parent, keras.Layer):
        return []
    if isinstance(parent, keras.Sequential):
        return list(parent.layers)
    operations = getattr(parent, "operations", None)
    return list(operations or parent._flatten_layers(include_self=False, recursive=False))  # noqa: SLF001 - there is no public walk
