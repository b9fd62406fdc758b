"""How a layer's output is laid out as a map: channels last, channels first, or a row of tokens."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

# Class token, distillation token, registers: what transformers put before their picture's tokens.
MOST_PREFIX_TOKENS = 8


@dataclass(frozen=True)
class Layout:
    """The map that a raw output is: its grid, its channels, and the tokens before it."""

    kind: Literal["channels_last", "channels_first", "tokens"]
    height: int
    width: int
    channels: int
    prefix: int = 0

    @property
    def size(self) -> str:
        """The grid for people: `7x7`."""
        return f"{self.height}x{self.width}"

    def without(self, raw: Any, channels: Any) -> Any:
        """Set one channel (N,) of each image's map to 0, in a raw output; of channel -1, none."""
        keep = 1 - tf.one_hot(channels, self.channels, dtype=raw.dtype)
        if self.kind == "channels_last":
            return raw * keep[:, None, None, :]
        if self.kind == "channels_first":
            return raw * keep[:, :, None, None]
        # What comes before the picture's tokens is no part of the map.
        return tf.concat([raw[:, : self.prefix], raw[:, self.prefix :] * keep[:, None, :]], axis=1)

    def fold(self, raw: Any) -> Any:
        """Turn a raw output into a map (N, h, w, K): of tokens, those of the picture only."""
        if self.kind == "channels_last":
            return raw
        if self.kind == "channels_first":
            return tf.transpose(raw, (0, 2, 3, 1))
        return tf.reshape(raw[:, self.prefix :], (-1, self.height, self.width, self.channels))


def picture_layout(tensor: Any, *, channels_first: bool) -> Layout | None:
    """Read a 4-D output as a map; None where it is none, or has no height and width above 1."""
    if tensor.shape.rank != 4 or not tensor.dtype.is_floating or None in tensor.shape[1:]:
        return None
    first, second, third = tensor.shape[1:]
    found = Layout("channels_last", first, second, third)
    if channels_first:
        found = Layout("channels_first", second, third, first)
    return found if found.height > 1 and found.width > 1 else None


def token_layout(tensor: Any, grids: Iterable[tuple[int, int]]) -> Layout | None:
    """Read tokens (N, tokens, channels) as a map; a grid the network had before wins over any square."""
    if tensor.shape.rank != 3 or not tensor.dtype.is_floating or None in tensor.shape[1:]:
        return None
    count, channels = tensor.shape[1:]
    for height, width in grids:
        if 0 <= count - height * width <= MOST_PREFIX_TOKENS:
            return Layout("tokens", height, width, channels, count - height * width)
    for prefix in range(min(MOST_PREFIX_TOKENS, count) + 1):
        side = math.isqrt(count - prefix)
        if side > 1 and side * side == count - prefix:
            return Layout("tokens", side, side, channels, prefix)
    return None
