"""The layout of a layer's output as a map: which axes are rows, columns and channels, or tokens."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from gradcam_cli.models.placement import Axis, Placement, Side, finer, is_spatial, sides_in, simplified, size_of
from gradcam_cli.models.sliding import one_side

# The class token, the distillation token and registers: tokens of transformers that are not cells of the image.
MOST_PREFIX_TOKENS = 8
PICTURE, TOKENS = 4, 3
Grid = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """The map in a raw output: its grid, its channels, and their axes.

    `axes` are those of rows, columns and channels, or those of tokens and channels. `prefix` and `suffix` are the
    numbers of tokens before and after those of the image. The image's tokens are ordered row by row, or column by
    column if `transposed` is True.
    """

    kind: Literal["channels_last", "channels_first", "tokens"]
    height: int
    width: int
    channels: int
    axes: tuple[int, ...]
    prefix: int = 0
    suffix: int = 0
    transposed: bool = False

    @property
    def size(self) -> str:
        """The grid as text: `7x7`."""
        return f"{self.height}x{self.width}"

    @property
    def cells(self) -> int:
        """The number of cells of the grid."""
        return self.height * self.width

    def without(self, raw: Any, channels: Any) -> Any:
        """Set one channel (N,) of each image's map to 0 in a raw output. For channel -1, nothing is changed."""
        import tensorflow as tf

        keep = 1 - tf.one_hot(channels, self.channels, dtype=raw.dtype)
        shape = [-1 if axis == 0 else self.channels if axis == self.axes[-1] else 1 for axis in range(len(raw.shape))]
        keep = tf.reshape(keep, shape)
        if self.kind != "tokens":
            return raw * keep
        # Tokens that are not cells of the image are not part of the map.
        inside = tf.reshape(
            [0.0] * self.prefix + [1.0] * self.cells + [0.0] * self.suffix,
            [-1 if axis == self.axes[0] else 1 for axis in range(TOKENS)],
        )
        inside = tf.cast(inside, raw.dtype)
        return raw * (keep * inside + (1 - inside))

    def shifted(self, raw: Any, channels: Any, steps: Any) -> Any:
        """Add a step (N,) to all cells of one channel (N,) of each image's map, in a raw output that is not tokens."""
        import tensorflow as tf

        added = tf.cast(tf.one_hot(channels, self.channels) * steps[:, None], raw.dtype)
        return raw + (added[:, :, None, None] if self.kind == "channels_first" else added[:, None, None, :])

    def averaged(self, raw: Any) -> Any:
        """Give a map of one cell with the mean of each channel, of a raw output that is not tokens."""
        import tensorflow as tf

        return tf.reduce_mean(raw, self.axes[:2], keepdims=True)

    def fold(self, raw: Any) -> Any:
        """Turn a raw output into a map (N, h, w, K). Of tokens, only those of the image are used."""
        import tensorflow as tf

        order = (0, *self.axes)
        laid = raw if order == tuple(range(len(order))) else tf.transpose(raw, order)
        if self.kind != "tokens":
            return laid
        own = laid[:, self.prefix : self.prefix + self.cells]
        if not self.transposed:
            return tf.reshape(own, (-1, self.height, self.width, self.channels))
        return tf.transpose(tf.reshape(own, (-1, self.width, self.height, self.channels)), (0, 2, 1, 3))


def layout_of(
    tensor: Any, place: Placement | None, *, channels_first: bool, token_grid: Grid | None = None
) -> Layout | None:
    """Read an output as a map of the image; None if it is not a map, or has only one cell.

    Args:
        tensor: the output.
        place: where its cells lie; None if it is not computed from the image.
        channels_first: the layout of an output whose path from the input could not be followed.
        token_grid: the user's height and width of the grid of tokens. It is preferred to the grid in the graph.
    """
    if place is None or not tensor.dtype.is_floating or tensor.shape.rank != len(place.axes):
        return None
    if None in tensor.shape[1:] or is_spatial(place.axes[0]):
        # A batch axis with parts of the image holds windows.
        return None
    return layout_of_place(place, channels_first=channels_first, token_grid=token_grid)


def layout_of_place(place: Placement, *, channels_first: bool, token_grid: Grid | None = None) -> Layout | None:
    """Read a place as a map of the image; None if it is not a map, or has only one cell."""
    found = None
    if len(place.axes) == PICTURE:
        found = _picture(place) or _unfollowed_picture(place, channels_first=channels_first)
    elif len(place.axes) == TOKENS:
        found = _given_tokens(place, token_grid) if token_grid else _tokens(place)
    return found if found and found.cells > 1 else None


def are_unclear_tokens(tensor: Any, place: Placement | None) -> bool:
    """Whether these may be tokens of the image with an unknown grid."""
    if place is None or tensor.shape.rank != TOKENS or not tensor.dtype.is_floating or None in tensor.shape[1:]:
        return False
    return tensor.shape[1] > 1 and _tokens(place) is None and any(f.kind != "other" for f in place.axes[1])


def refined(place: Placement) -> Placement:
    """Read repeated cells of an image as the cells of a finer grid."""
    for index in range(1, len(place.axes)):
        if len(place.axes) == PICTURE:
            place = finer(place, index)
    return place


def _picture(place: Placement) -> Layout | None:
    place = refined(place)
    found = {side[0]: index for index, axis in enumerate(place.axes) if index and (side := one_side(axis))}
    rows, columns = found.get("row"), found.get("column")
    if rows is None and columns is None:
        return None
    # Rows or columns may have been pooled to one: then an axis of size 1 is used for them.
    single = [i for i in (1, 2, 3) if size_of(place.axes[i]) == 1 and i not in found.values()]
    if rows is None or columns is None:
        if not single:
            return None
        rows, columns = (single[0], columns) if rows is None else (rows, single[0])
    assert columns is not None  # noqa: S101 - one was there, the other has just been found
    (channels,) = {1, 2, 3} - {rows, columns}
    return _pictured((rows, columns, channels), [size_of(axis) for axis in place.axes])


def _unfollowed_picture(place: Placement, *, channels_first: bool) -> Layout | None:
    """Read the output of an unknown operation in the usual layout of the network."""
    rows, columns, channels = (2, 3, 1) if channels_first else (1, 2, 3)
    if not all(_is_unknown(place.axes[i]) or size_of(place.axes[i]) == 1 for i in (rows, columns)):
        return None
    return _pictured((rows, columns, channels), [size_of(axis) for axis in place.axes])


def _pictured(axes: tuple[int, int, int], sizes: list[int]) -> Layout:
    height, width, channels = (sizes[axis] for axis in axes)
    return Layout("channels_first" if axes[2] == 1 else "channels_last", height, width, channels, axes)


def _is_unknown(axis: Axis) -> bool:
    return any(factor.kind == "unknown" for factor in axis)


def _tokens(place: Placement) -> Layout | None:
    tokens = next((i for i in (1, 2) if is_spatial(place.axes[i]) and size_of(place.axes[i]) > 1), None)
    if tokens is None:
        return None
    axis = simplified(place.axes[tokens])
    row = axis[0] if len(axis) == 1 and axis[0].kind == "tokens" else None
    cells = simplified(row.inner) if row else axis
    sides = [factor.kind for factor in cells if factor.size > 1]
    if sides not in (["row", "column"], ["column", "row"], ["row"], ["column"]):
        return None
    sizes = {factor.kind: factor.size for factor in cells if factor.size > 1}
    return Layout(
        "tokens", sizes.get("row", 1), sizes.get("column", 1), size_of(place.axes[3 - tokens]), (tokens, 3 - tokens),
        row.before if row else 0, row.after if row else 0, transposed=sides == ["column", "row"],
    )  # fmt: skip


def _given_tokens(place: Placement, grid: Grid) -> Layout | None:
    height, width = grid
    found = _tokens(place)
    if found and found.cells == height * width:
        return Layout("tokens", height, width, found.channels, found.axes, found.prefix, found.suffix, found.transposed)
    count, channels = (size_of(axis) for axis in place.axes[1:])
    prefix = count - height * width
    return Layout("tokens", height, width, channels, (1, 2), prefix) if 0 <= prefix <= MOST_PREFIX_TOKENS else None


def map_axes(layout: Layout, place: Placement) -> dict[Side, Iterable[Any]]:
    """Give the factors of the map's own rows and columns. Factors on other axes are parts of a cell."""
    if layout.kind == "tokens":
        axis = simplified(place.axes[layout.axes[0]])
        cells = axis[0].inner if len(axis) == 1 and axis[0].kind == "tokens" else axis
        return {"row": [f for f in cells if f.kind == "row"], "column": [f for f in cells if f.kind == "column"]}
    rows, columns = (place.axes[i] for i in layout.axes[:2])
    return {"row": rows if "row" in sides_in(rows) else (), "column": columns if "column" in sides_in(columns) else ()}
