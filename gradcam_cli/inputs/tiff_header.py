"""Read the directories of a TIFF without a codec: the layout of its pixels, and whether they are all in the file.

Layouts (tags and their values) are those of the TIFF 6.0 specification and of BigTIFF.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from gradcam_cli.errors import ImageError, Reason

MOST_PAGES: Final = 10_000
MOST_TAGS: Final = 4096
# Letters of `struct` for the used types of TIFF values: unsigned and signed integers.
_TYPES: Final = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION = 256, 257, 258, 259, 262, 266, 274
STRIPS, STRIP_BYTES, SAMPLES, ROWS, PLANAR, PREDICTOR = 273, 279, 277, 278, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 324, 325, 338, 339
OLD_JPEG_START, OLD_JPEG_LENGTH = 513, 514
_WANTED: Final = frozenset(
    (
        *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION, STRIPS, STRIP_BYTES, SAMPLES, ROWS),
        *(PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT),
        *(OLD_JPEG_START, OLD_JPEG_LENGTH),
    )
)
COMPRESSIONS: Final = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT T.4",
    4: "CCITT T.6",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    34887: "LERC",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34892: "lossy JPEG",
    34925: "LZMA",
    34926: "zstd",
    50000: "zstd",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, SEPARATED, YCBCR, CIELAB = 0, 1, 2, 3, 4, 5, 6, 8
PHOTOMETRICS: Final = {
    WHITE_IS_ZERO: "grey, white is zero",
    BLACK_IS_ZERO: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    MASK: "mask",
    SEPARATED: "CMYK",
    YCBCR: "YCbCr",
    CIELAB: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2
NO_COMPRESSION, OLD_JPEG = 1, 6


@dataclass(frozen=True)
class TiffLayout:
    """The layout of the pixels of one page. `width` and `height` are those before the orientation is applied.

    `segment` is the width and height of a tile, or of a strip. `stored` is the number of bytes of all segments.
    `big_big_endian`: a BigTIFF whose numbers begin with the highest byte.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    sample_formats: tuple[int, ...]
    samples: int
    planar: bool
    compression: int
    photometric: int
    predictor: int
    fill_order: int
    orientation: int
    extra_samples: tuple[int, ...]
    segment: tuple[int, int]
    tiled: bool
    stored: int
    big_big_endian: bool = False

    @property
    def depth(self) -> int:
        """The number of bits of the deepest sample."""
        return max(self.bits)

    @property
    def is_uniform(self) -> bool:
        """Whether all samples have the same number of bits and the same format."""
        return len(set(self.bits)) == 1 and len(set(self.sample_formats)) == 1

    @property
    def sample_format(self) -> int:
        """1 unsigned, 2 signed, 3 floating point."""
        return self.sample_formats[0]

    @property
    def alpha(self) -> int | None:
        """The index of the opacity sample, or None."""
        first = self.samples - len(self.extra_samples)
        for place, kind in enumerate(self.extra_samples):
            if kind in {ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA}:
                return first + place
        return None

    def describe(self) -> str:
        """Describe the layout in words, for messages."""
        kinds = {UNSIGNED: "bit", SIGNED: "bit signed", FLOAT: "bit floating-point"}
        kind = kinds.get(self.sample_format, f"bit samples of format {self.sample_format} in")
        bits = "/".join(str(bits) for bits in dict.fromkeys(self.bits))
        colour = PHOTOMETRICS.get(self.photometric, f"photometric {self.photometric}")
        compression = COMPRESSIONS.get(self.compression, f"{self.compression}")
        planes = ", planar" if self.planar and self.samples > 1 else ""
        return f"{bits}-{kind} TIFF ({colour}, {self.samples} samples per pixel{planes}, compression {compression})"


def read_tiff(data: bytes) -> tuple[TiffLayout, int]:
    """Read the first page's layout, and count the pages. The pixels of every page must be in the file.

    Raises:
        ImageError: `truncated_or_corrupt`, or `unsupported` if there are more pages than in an image.
    """
    try:
        directories = _directories(data)
    except (struct.error, IndexError, OverflowError) as error:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "it ends inside a directory of the TIFF") from error
    for number, tags in enumerate(directories, 1):
        _check_places(tags, len(data), number)
    layout = _layout(directories[0])
    return replace(layout, big_big_endian=data[:4] == b"MM\0+"), len(directories)


_Tags = Mapping[int, tuple[int, ...]]


def _directories(data: bytes) -> list[_Tags]:
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    link = struct.Struct(order + ("Q" if big else "I"))
    (position,) = link.unpack_from(data, 8 if big else 4)
    found: list[_Tags] = []
    visited = set()
    while position and position not in visited:
        if len(found) == MOST_PAGES:
            raise ImageError(Reason.UNSUPPORTED, f"a TIFF of more than {MOST_PAGES:,} pages")
        visited.add(position)
        count_format = struct.Struct(order + ("Q" if big else "H"))
        (count,) = count_format.unpack_from(data, position)
        if count > MOST_TAGS:
            raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"a TIFF directory of {count:,} tags")
        position += count_format.size
        length = 20 if big else 12
        found.append(_tags(data, position, count, order, big=big))
        (position,) = link.unpack_from(data, position + count * length)
    if not found:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF without a directory")
    return found


def _tags(data: bytes, position: int, count: int, order: str, *, big: bool) -> _Tags:
    entry = struct.Struct(order + ("HHQ" if big else "HHI"))
    width = 8 if big else 4
    offset = struct.Struct(order + ("Q" if big else "I"))
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(position, position + count * (entry.size + width), entry.size + width):
        tag, kind, values = entry.unpack_from(data, start)
        if tag not in _WANTED or kind not in _TYPES or tag in tags or not values:
            continue
        layout = struct.calcsize(order + _TYPES[kind])
        place = start + entry.size
        if values * layout > width:
            (place,) = offset.unpack_from(data, place)
        if place + values * layout > len(data):
            raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"it ends before the values of TIFF tag {tag}")
        tags[tag] = struct.unpack_from(f"{order}{values}{_TYPES[kind]}", data, place)
    return tags


def _first(tags: _Tags, tag: int, default: int) -> int:
    return tags.get(tag, (default,))[0]


def _check_places(tags: _Tags, length: int, page: int) -> None:
    for offsets, lengths in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES), (OLD_JPEG_START, OLD_JPEG_LENGTH)):
        if len(tags.get(offsets, ())) > len(tags.get(lengths, ())) > 0:
            raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"the pixels of page {page} have offsets without lengths")
        for start, size in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            if start + size > length:
                raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"it ends before the pixels of page {page}")


def _layout(tags: _Tags) -> TiffLayout:
    width, height = _first(tags, WIDTH, 0), _first(tags, HEIGHT, 0)
    samples = _first(tags, SAMPLES, 1)
    if min(width, height, samples) < 1 or samples > 65_535:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF without a width, a height or samples")
    bits = _for_each(tags.get(BITS, (1,)), samples)
    tiled = TILES in tags or (TILE_WIDTH in tags and STRIPS in tags)
    rows = min(_first(tags, ROWS, height), height)
    segment = (_first(tags, TILE_WIDTH, 0), _first(tags, TILE_HEIGHT, 0)) if tiled else (width, rows)
    layout = TiffLayout(
        width=width,
        height=height,
        bits=bits,
        sample_formats=_for_each(tags.get(SAMPLE_FORMAT, (UNSIGNED,)), samples),
        samples=samples,
        planar=_first(tags, PLANAR, 1) == 2,
        compression=_first(tags, COMPRESSION, NO_COMPRESSION),
        photometric=_first(tags, PHOTOMETRIC, -1),
        predictor=_first(tags, PREDICTOR, 1),
        fill_order=_first(tags, FILL_ORDER, 1),
        orientation=_first(tags, ORIENTATION, 1),
        extra_samples=_extra_samples(tags, samples),
        segment=segment,
        tiled=tiled,
        stored=sum(tags.get(TILE_BYTES if TILES in tags else STRIP_BYTES, ())),
    )
    if min(segment) < 1:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF of strips or tiles without a size")
    _check_segments(tags, layout)
    return layout


def _extra_samples(tags: _Tags, samples: int) -> tuple[int, ...]:
    if EXTRA_SAMPLES not in tags and _first(tags, PHOTOMETRIC, -1) == RGB and samples == 4:
        # Many writers omit the tag, and all readers assume this value.
        return (UNASSOCIATED_ALPHA,)
    return tags.get(EXTRA_SAMPLES, ())[:samples]


def _for_each(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Give one value for each sample. If there are fewer values, the first is used for all samples."""
    return values[:samples] if len(values) >= samples else (values[0],) * samples


def _check_segments(tags: _Tags, layout: TiffLayout) -> None:
    """Check that there are enough strips or tiles for the image, that none is empty, and that they hold its pixels."""
    if layout.compression == OLD_JPEG:
        return
    across = -(-layout.width // layout.segment[0])
    down = -(-layout.height // layout.segment[1])
    planes = layout.samples if layout.planar else 1
    offsets = tags.get(TILES if TILES in tags else STRIPS, ())
    lengths = tags.get(TILE_BYTES if TILES in tags else STRIP_BYTES, ())
    if len(offsets) < across * down * planes:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF with too few strips or tiles for its size")
    if 0 in lengths[: across * down * planes]:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF with an empty strip or tile")
    if layout.compression == NO_COMPRESSION and lengths and layout.photometric != YCBCR:
        each = sum(layout.bits) if not layout.planar else layout.depth
        needed = planes * layout.height * -(-layout.width * each // 8)
        if sum(lengths) < needed:
            raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF with too few bytes of pixels for its size")
