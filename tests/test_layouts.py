"""Layouts of pixels against a second, independent decoder: what is decoded agrees, or is refused with its reason."""

import io
import struct
import sys
from itertools import product
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from conftest import chunk, picture, png
from PIL import Image, features

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.settings import Limits

LIMITS = Limits()
WIDTH, HEIGHT = 43, 37
COMPRESSIONS = ("none", "lzw", "deflate", "packbits", "zstd", "lzma")
PHOTOMETRICS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "separated": 4}


def tiff(values: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def samples(channels: int, bits: int) -> Any:
    """A picture (H, W, channels) of so many bits, every value of its range in it."""
    values = np.dstack([picture(WIDTH, HEIGHT, seed) for seed in range(2)])[:, :, :channels].astype(np.float64) / 255
    values[0, 0], values[0, 1] = 0, 1
    return np.ascontiguousarray(np.round(values * (2**bits - 1)), np.uint8 if bits <= 8 else np.uint16)


def expected(values: Any, bits: int, photometric: str) -> Any:
    """RGB by definition, in floating point."""
    shares = values.astype(np.float64) / (2**bits - 1)
    if photometric == "separated":
        shares = (1 - shares[:, :, :3]) * (1 - shares[:, :, 3:])
    if photometric == "miniswhite":
        shares = 1 - shares
    return np.broadcast_to(shares * 255, (*shares.shape[:2], 3))


@pytest.mark.parametrize("photometric", PHOTOMETRICS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tiff_layouts(compression: str, bits: int, photometric: str) -> None:
    values = samples(PHOTOMETRICS[photometric], bits)
    wanted = expected(values, bits, photometric)
    for planar, tiles, order, predictor in product((False, True), (False, True), "<>", (False, True)):
        if predictor and compression not in {"lzw", "deflate", "zstd"}:
            continue
        laid = np.ascontiguousarray(np.moveaxis(values, 2, 0)) if planar else values
        options: dict[str, Any] = {"tile": (16, 16)} if tiles else {"rowsperstrip": 10}
        if PHOTOMETRICS[photometric] > 1:
            options["planarconfig"] = "separate" if planar else "contig"
        elif planar:
            continue
        else:
            laid = values[:, :, 0]
        data = tiff(
            laid, byteorder=order, photometric=photometric, compression=compression, predictor=predictor, **options
        )
        pixels = decode(data, LIMITS).pixels
        # Pillow converts CMYK in whole numbers.
        error = 1.01 if photometric == "separated" else 0.51
        assert np.abs(pixels - wanted).max() < error, (planar, tiles, order, predictor)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "zstd", "lzma"])
def test_grey_tiffs_of_few_bits(bits: int, compression: str) -> None:
    values = samples(1, bits)[:, :, 0]
    packed = np.packbits(np.unpackbits(np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(HEIGHT, -1), axis=1)
                         .reshape(HEIGHT, WIDTH, 16)[:, :, 16 - bits :].reshape(HEIGHT, -1), axis=1)  # fmt: skip
    data = packed_tiff(packed, bits, compression)
    pixels = decode(data, LIMITS).pixels
    assert np.abs(pixels - values[:, :, None] * (255 / (2**bits - 1))).max() < 0.51


def packed_tiff(rows: Any, bits: int, compression: str) -> bytes:
    """A grey TIFF in one strip, written by hand."""
    codec: dict[str, tuple[int, Any]] = {
        "none": (1, bytes),
        "lzw": (5, imagecodecs.lzw_encode),
        "deflate": (8, imagecodecs.zlib_encode),
        "zstd": (50000, imagecodecs.zstd_encode),
        "lzma": (34925, imagecodecs.lzma_encode),
    }
    number, encode = codec[compression]
    strip: bytes = encode(rows.tobytes())
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: number, 262: 1, 273: 8, 277: 1, 278: HEIGHT, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    strip += b"\0" * (len(strip) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("associated", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_tiffs(channels: int, planar: bool, bits: int, associated: bool) -> None:
    values = samples(channels, bits)
    values[:, :, -1] = np.maximum(values[:, :, -1], 2**bits // 8)
    share = values[:, :, -1:] / (2**bits - 1)
    wanted = values[:, :, :-1] * share / (2**bits - 1) * 255 + 255 * (1 - share)
    if associated:
        values[:, :, :-1] = np.round(values[:, :, :-1] * share)
    data = tiff(
        np.ascontiguousarray(np.moveaxis(values, 2, 0)) if planar else values,
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig="separate" if planar else "contig",
        extrasamples=["assocalpha" if associated else "unassalpha"],
    )
    photo = decode(data, LIMITS)
    assert photo.header.alpha
    assert np.abs(photo.pixels - wanted).max() < 2.1
    assert photo.with_channels(4).shape[2] == 4


@pytest.mark.parametrize("bits", [4, 10, 12, 14])
@pytest.mark.parametrize("channels", [2, 4])
def test_colours_of_few_bits_that_were_multiplied_by_their_opacity(channels: int, bits: int) -> None:
    """Samples of 12 bits lie in 16, so that the largest value of their type is no sample's."""
    top = 2**bits - 1
    values = np.full((HEIGHT, WIDTH, channels), top // 3, np.uint16 if bits > 8 else np.uint8)
    values[:, :20, -1], values[:, 20:, -1] = top, 2 * top // 3
    data = tiff(
        values,
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig="contig",
        extrasamples=["assocalpha"],
        bitspersample=bits,
    )
    photo = decode(data, LIMITS)
    # A third of the light, and behind it white where a third of the opacity is missing. Colours keep their depth.
    error = 128 / top + 1
    assert photo.pixels[0, :, 0].tolist() == pytest.approx([85] * 20 + [170] * 23, abs=error)
    assert photo.with_channels(4)[0, 20].tolist() == pytest.approx([127, 127, 127, 170], abs=error)


@pytest.mark.parametrize("photometric", [*PHOTOMETRICS, "palette", "opacity"])
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
def test_a_bigtiff_that_begins_with_the_highest_byte(compression: str, photometric: str) -> None:
    """Pillow finds no strips in them."""
    alpha = photometric == "opacity"
    values = samples(4 if alpha else PHOTOMETRICS.get(photometric, 1), 8)
    options: dict[str, Any] = {"photometric": "rgb" if alpha else photometric}
    if alpha:
        values[:, :, 3] = 255
        wanted = values[:, :, :3]
        options["extrasamples"] = ["unassalpha"]
    elif photometric == "palette":
        table = np.random.default_rng(0).integers(0, 65536, (3, 256), np.uint16)
        options["colormap"], wanted = table, (table.T >> 8)[values[:, :, 0]]
    else:
        wanted = expected(values, 8, photometric)
    laid = values[:, :, 0] if values.shape[2] == 1 else values
    data = tiff(laid, byteorder=">", bigtiff=True, compression=compression, **options)
    assert data.startswith(b"MM\0+")
    assert np.abs(decode(data, LIMITS).pixels - wanted).max() < 0.51


def test_a_predictor_that_decoders_read_in_two_ways_is_refused() -> None:
    data = tiff(samples(3, 8), photometric="rgb", compression="packbits", predictor=True)
    with pytest.raises(ImageError, match="a predictor, which is not defined for this compression") as caught:
        decode(data, LIMITS)
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["rgb 8", "rgb 16", "planar 16", "miniswhite 8", "zstd 8"])
def test_orientation_of_tiffs(kind: str, orientation: int) -> None:
    colour, depth = kind.split()
    values = samples(1 if colour == "miniswhite" else 3, int(depth))
    values[:10, :20] = 0
    plain = decode(_of_kind(values, colour, 1), LIMITS).pixels
    turned = decode(_of_kind(values, colour, orientation), LIMITS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(plain)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert np.array_equal(turned.pixels, decode(buffer.getvalue(), LIMITS).pixels)
    assert turned.size.width == turned.pixels.shape[1]


def _of_kind(values: Any, colour: str, orientation: int) -> bytes:
    options: dict[str, Any] = {"photometric": "rgb", "extratags": [(274, "H", 1, orientation, True)]}
    if colour == "planar":
        values, options["planarconfig"] = np.ascontiguousarray(np.moveaxis(values, 2, 0)), "separate"
    if colour == "miniswhite":
        values, options["photometric"] = values[:, :, 0], "miniswhite"
    if colour == "zstd":
        options["compression"] = "zstd"
    return tiff(values, **options)


def test_tiffs_of_palettes_jpeg_and_lab() -> None:
    image = Image.fromarray(samples(3, 8))
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("P", {}),
        ("1", {"compression": "group4"}),
        ("1", {"compression": "group3"}),
        ("YCbCr", {"compression": "jpeg", "quality": 95}),
        ("L", {"compression": "jpeg", "quality": 95}),
        ("LAB", {}),
        ("CMYK", {"compression": "tiff_lzw"}),
    ]
    for mode, options in kinds:
        converted = image.convert(mode)
        buffer = io.BytesIO()
        converted.save(buffer, "TIFF", **options)
        pixels = decode(buffer.getvalue(), LIMITS).pixels
        wanted = np.asarray(converted.convert("RGB")).astype(int)
        assert np.abs(pixels - wanted).max() <= (40 if "quality" in options else 0), mode
        assert np.abs(pixels - wanted).mean() <= (4 if "quality" in options else 0), mode


@pytest.mark.parametrize(
    ("values", "options", "told"),
    [
        (np.zeros((9, 8, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "red, green and blue"),
        (np.zeros((9, 8, 3), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "red, green and blue"),
        (np.zeros((9, 8), np.float32), {}, "32-bit floating-point numbers"),
        (np.zeros((9, 8), np.float16), {}, "16-bit floating-point numbers"),
        (np.zeros((9, 8), np.float64), {}, "64-bit floating-point numbers"),
        (np.zeros((9, 8), np.int8), {}, "8-bit signed numbers"),
        (np.zeros((9, 8), np.int16), {}, "16-bit signed numbers"),
        (np.zeros((9, 8), np.uint32), {}, "32-bit unsigned numbers"),
        (np.zeros((9, 8), np.complex64), {}, "not defined|not a two-dimensional|differ|save it"),
        (np.zeros((9, 8, 3), np.float32), {"photometric": "rgb"}, "32-bit floating-point numbers"),
        (np.zeros((8, 16), np.uint16), {"photometric": "cfa", "extratags": []}, "colour filter array"),
    ],
)
def test_tiffs_without_agreed_colours(values: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ImageError, match=told) as caught:
        decode(tiff(values, **options), LIMITS)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_a_fourth_sample_without_a_meaning_is_left_out() -> None:
    values = samples(4, 8)
    data = tiff(values, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(decode(data, LIMITS).pixels, values[:, :, :3])


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8, 9, 10, 12, 15, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000(codec: str, channels: int, bits: int) -> None:
    values = samples(channels, bits)
    values = values if channels > 1 else np.ascontiguousarray(values[:, :, 0])
    data = bytes(imagecodecs.jpeg2k_encode(values, codecformat=codec, bitspersample=bits, reversible=True, level=0))
    pixels = decode(data, LIMITS).pixels
    wanted = values.reshape(HEIGHT, WIDTH, -1) / (2**bits - 1) * 255
    assert np.abs(pixels - wanted).max() <= 1.01


def test_a_jpeg_2000_with_a_palette() -> None:
    """Pillow reads it, and OpenCV gives the numbers of colours in place of colours."""
    image = Image.fromarray(samples(1, 4)[:, :, 0], "L")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG2000")
    plain = buffer.getvalue()
    table = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
    data = with_palette(plain, table)
    reference = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(reference, table[np.asarray(image)])
    assert np.array_equal(decode(data, LIMITS).pixels, reference)


def with_palette(data: bytes, table: Any) -> bytes:
    """Put the boxes of a palette into a JP2's header."""
    start = data.index(b"jp2h") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    palette = struct.pack(">HB3B", len(table), 3, 7, 7, 7) + table.tobytes()
    mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3))
    boxes = box(b"pclr", palette) + box(b"cmap", mapping)
    header = data[start + 8 : start + length]
    colour = header.index(b"colr") - 4
    sixteen = box(b"colr", b"\1\0\0" + struct.pack(">I", 16))
    end = colour + int.from_bytes(header[colour : colour + 4], "big")
    header = header[:colour] + sixteen + boxes + header[end:]
    return data[:start] + box(b"jp2h", header) + data[start + length :]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("lossless", [False, True])
def test_jpegs_of_twelve_bits(components: int, lossless: bool) -> None:
    values = samples(components, 12)
    values = values if components > 1 else np.ascontiguousarray(values[:, :, 0])
    data = bytes(imagecodecs.jpeg8_encode(values, level=98, bitspersample=12, lossless=lossless))
    pixels = decode(data, LIMITS).pixels
    wanted = imagecodecs.jpeg8_decode(data).reshape(HEIGHT, WIDTH, components) / 4095 * 255
    assert np.abs(pixels - wanted).max() <= 0.51
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) // 2], LIMITS)
    assert caught.value.reason is Reason.TRUNCATED_OR_CORRUPT


def test_sound_files_that_no_decoder_takes_are_unsupported() -> None:
    """A JPEG-LS, and a BMP with a PNG in it or of 2 bits a pixel."""
    buffer = io.BytesIO()
    Image.fromarray(samples(3, 8)).save(buffer, "BMP")
    plain = buffer.getvalue()
    for data, told in (
        (bytes(imagecodecs.jpegls_encode(samples(3, 8))), "a JPEG-LS"),
        (plain[:28] + struct.pack("<HI", 0, 5) + plain[34:], "compression 5"),
        (plain[:28] + struct.pack("<HI", 2, 0) + plain[34:], "a BMP of 2 bits"),
    ):
        with pytest.raises(ImageError, match=told) as caught:
            decode(data, LIMITS)
        assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colour", [0, 2, 3, 4, 6])
def test_png_depths(colour: int, depth: int) -> None:
    """Every kind of PNG against Pillow, which takes the high byte of 16 bits."""
    if depth not in {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16)):
        return
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(depth)
    row = -(-16 * channels * depth // 8)
    rows = b"".join(b"\0" + rng.integers(0, 256, row, dtype=np.uint8).tobytes() for _ in range(9))
    more = [chunk(b"gAMA", struct.pack(">I", 22222))]
    if colour == 3:
        more += [chunk(b"PLTE", rng.bytes(768)[: 3 * 2**depth]), chunk(b"tRNS", b"\0\x80")]
    data = png((16, 9), depth, colour, rows, *more)
    with Image.open(io.BytesIO(data)) as image:
        reference = np.asarray(image.convert("RGBA"), np.float64) if image.mode != "I;16" else None
        if reference is None:
            reference = np.asarray(image, np.float64)[:, :, None] / 257
            wanted = np.broadcast_to(reference, (9, 16, 3))
        else:
            wanted = reference[:, :, :3] * reference[:, :, 3:] / 255 + 255 - reference[:, :, 3:]
    assert np.abs(decode(data, LIMITS).pixels - wanted).max() <= (3 if depth == 16 else 0.51)


def bmp(values: Any, masks: tuple[int, ...], bits: int, *, top_down: bool = False) -> bytes:
    rows = values if top_down else values[::-1]
    body = b"".join(row.tobytes() + b"\0" * (-len(row.tobytes()) % 4) for row in rows)
    height = -values.shape[0] if top_down else values.shape[0]
    sizes = struct.pack("<iiHHIIiiII", values.shape[1], height, 1, bits, 3, len(body), 0, 0, 0, 0)
    mask = struct.pack("<4I", *masks)
    header = struct.pack("<I", 108) + sizes + mask + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


BMP_MASKS = [
    (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    (32, (0xFF00, 0xFF0000, 0xFF000000, 0)),
    (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
    (16, (0xF800, 0x7E0, 0x1F, 0)),
    (16, (0x7C00, 0x3E0, 0x1F, 0)),
    (16, (0xF00, 0xF0, 0xF, 0)),
    (16, (0xF00, 0xF0, 0xF, 0xF000)),
    (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
]


@pytest.mark.parametrize(("bits", "masks"), BMP_MASKS)
@pytest.mark.parametrize("top_down", [False, True])
def test_bit_masks_of_a_bmp(bits: int, masks: tuple[int, ...], top_down: bool) -> None:
    rng = np.random.default_rng(1)
    dtype = np.uint32 if bits == 32 else np.uint16
    values = rng.integers(0, np.iinfo(dtype).max, (9, 7), dtype=dtype)
    fields = []
    for mask in masks:
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        top = mask >> shift
        fields.append(((values & dtype(mask)) >> dtype(shift)) / top * 255 if mask else np.full(values.shape, 255.0))
    share = fields[3][:, :, None] / 255
    wanted = np.dstack(fields[:3]) * share + 255 * (1 - share)
    photo = decode(bmp(values, masks, bits, top_down=top_down), LIMITS)
    assert np.abs(photo.pixels - wanted).max() <= 1.01
    assert photo.header.alpha == bool(masks[3])


@pytest.mark.parametrize("background", [0, 5])
@pytest.mark.parametrize("frames", [1, 2])
def test_gifs_with_a_transparent_background(background: int, frames: int) -> None:
    image = Image.fromarray(samples(3, 8)).quantize(16)
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [image.rotate(180)], "disposal": 2} if frames > 1 else {}
    image.save(buffer, "GIF", transparency=background, background=background, **more)
    data = buffer.getvalue()
    with Image.open(io.BytesIO(data)) as opened:
        rgba = np.asarray(opened.convert("RGBA"), np.float64)
    wanted = np.where(rgba[:, :, 3:] > 0, rgba[:, :, :3], 255)
    assert (rgba[:, :, 3] == 0).any()
    for file in (data, data[:-1], data + b"\0more"):
        assert np.array_equal(decode(file, LIMITS).pixels, wanted)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_is_turned_once(orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    values = np.zeros((64, 96, 3), np.uint8)
    values[:32, :48], values[:32, 48:], values[32:, :48] = 250, 120, 60
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    heif = pillow_heif.from_pillow(Image.fromarray(values))
    heif.save(buffer, quality=95, exif=exif.tobytes())
    photo = decode(buffer.getvalue(), LIMITS)
    with_tag = io.BytesIO()
    Image.fromarray(values).save(with_tag, "PNG", exif=exif)
    upright = decode(with_tag.getvalue(), LIMITS).pixels
    assert photo.pixels.shape == upright.shape
    assert np.abs(photo.pixels.astype(int) - upright).mean() < 4
    with pytest.raises(ImageError) as caught:
        decode(buffer.getvalue(), Limits(max_pixels=6000))
    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    for cut in np.linspace(30, len(buffer.getvalue()) - 1, 20).astype(int):
        with pytest.raises(ImageError):
            decode(buffer.getvalue()[:cut], LIMITS)


def test_extras_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(samples(3, 8))).save(buffer)
    planar = tiff(np.moveaxis(samples(3, 16), 2, 0), photometric="rgb", planarconfig="separate")
    for data, module, told in [
        (buffer.getvalue(), "pillow_heif", r"HEIC: pip install '\.\[heif\]'"),
        (planar, "tifffile", r"16-bit TIFF \(RGB, 3 samples per pixel, planar.*pip install '\.\[tiff\]'"),
        (bytes(imagecodecs.jpeg8_encode(samples(3, 12), bitspersample=12)), "imagecodecs", r"12-bit JPEG: pip install"),
    ]:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            with pytest.raises(ImageError, match=told) as caught:
                decode(data, LIMITS)
            assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_of_too_many_pixels() -> None:
    buffer = io.BytesIO()
    Image.fromarray(samples(3, 8)).save(buffer, "AVIF")
    data = buffer.getvalue()
    place = data.index(b"ispe") + 8
    for width, height in [(20_000, 20_000), (70_000, 70_000)]:
        with pytest.raises(ImageError) as caught:
            decode(data[:place] + struct.pack(">II", width, height) + data[place + 8 :], LIMITS)
        assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_the_bytes_of_deep_samples_are_limited() -> None:
    data = bytes(imagecodecs.png_encode(samples(4, 16)))
    with pytest.raises(ImageError, match="save it with 8 bits") as caught:
        decode(data, Limits(max_pixels=WIDTH * HEIGHT))
    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    assert decode(data, Limits(max_pixels=2 * WIDTH * HEIGHT)).size.width == WIDTH
