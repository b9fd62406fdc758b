"""Values for a network's inputs other than the image: constants, rows of a table, or a second image.

A table is a CSV file with one row for each image. Its column `file`, `path` or `image` has the image's place in the
tree, its path or its name. Other columns have numbers, or the name of the second image (the partner).
"""

import csv
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Extras, Floats
from gradcam_cli.errors import ImageError, Reason, UsageError
from gradcam_cli.imaging.geometry import Size, apply_fit, at_resolution, plan_fit
from gradcam_cli.imaging.preprocessing import Preprocessing
from gradcam_cli.inputs.files import file_size, read_file
from gradcam_cli.inputs.photo import Admit, Decode
from gradcam_cli.inputs.sources import Source
from gradcam_cli.settings import FitMode, Limits, ModelSettings, SampleRange

KEYS = ("file", "path", "image", "filename")
PARTNERS = ("partner", "pair", "second", "other", "image2", "file2", "path2")
EVERY_PICTURE = "all"
MAX_TABLE_BYTES = 256 * 2**20
MAX_ARRAY_BYTES = 2**30

Row = TypeVar("Row")
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GivenInput:
    """The user's value for one input: a `constant`, or for each image a row of `numbers` or a partner image.

    `name` is empty if the input is found by its shape. `origin` is the user's text, `digest` the sha256 of the values.
    Paths of `partners` are relative to `folder`.
    """

    name: str
    origin: str
    digest: str
    constant: Numbers | None = None
    numbers: Mapping[str, Numbers] | None = None
    partners: Mapping[str, str] | None = None
    folder: Path = Path()

    @property
    def shown(self) -> str:
        """The origin without folders."""
        return re.split(r"[/\\]", self.origin)[-1]


@dataclass(frozen=True, eq=False)
class OtherInput:
    """One input of a network other than the image: its index (`place`), its shape without the batch, and its dtype.

    `same` inputs also get the explained image. `given` is None if the user gave no value.
    """

    name: str
    place: int
    shape: tuple[int | None, ...]
    dtype: str
    given: GivenInput | None = None
    same: bool = False

    @property
    def constant(self) -> NDArray[Any] | None:
        """The value, in the input's shape, for all images; None if it differs between images or is the image."""
        if self.given is None or self.given.constant is None:
            return None
        return as_input(self, self.given.constant, self.given.origin)

    @property
    def varies(self) -> bool:
        """Whether each image has its own value."""
        return not self.same and self.given is not None and self.given.constant is None


def read_inputs(settings: ModelSettings) -> tuple[GivenInput, ...]:
    """Read all values for inputs other than the image.

    Raises:
        UsageError: a file cannot be read, or a value is not a number.
    """
    names = [name for name, _ in settings.inputs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"The input '{name}' has {names.count(name)} values. Give only one.")
    found = [_given(name, text) for name, text in settings.inputs]
    if settings.pairs:
        found.append(_pairs(settings.pairs))
    return tuple(found)


def _given(name: str, text: str) -> GivenInput:
    path, _, columns = text.rpartition(":")
    if path.lower().endswith(".csv"):
        return _table(name, Path(path), [column.strip() for column in columns.split(",")])
    if text.lower().endswith(".csv"):
        raise UsageError(f"{name}={text}: name the columns with its numbers: {name}={text}:COLUMN[,COLUMN...]")
    if text.lower().endswith(".npy"):
        data = _bytes(Path(text), MAX_ARRAY_BYTES)
        try:
            value = np.load(Path(text), allow_pickle=False)
            constant = np.asarray(value, np.float64)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{text}: this is not a readable .npy array of numbers ({error}).") from error
        return GivenInput(name, text, hashlib.sha256(data).hexdigest(), constant)
    constant = np.asarray([_number(part, f"{name}={text}") for part in text.split(",")], np.float64)
    return GivenInput(name, text, hashlib.sha256(constant.tobytes()).hexdigest(), constant)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(
            f"{where}: '{text.strip()}' is not a number. Give one number, several numbers (0.1,0.2), FILE.npy, or "
            "FILE.csv:COLUMN."
        ) from error
    if not np.isfinite(value):
        raise UsageError(f"{where}: '{text.strip()}' is not a finite number.")
    return value


def _bytes(path: Path, limit: int) -> bytes:
    try:
        return read_file(os.fspath(path), Limits(max_file_bytes=limit))
    except ImageError as error:
        raise UsageError(f"{path}: the file cannot be read: {error}.") from error


def _rows(path: Path) -> tuple[str, list[dict[str, str]], str]:
    """Read a table: the name of its key column, its rows, and its sha256."""
    data = _bytes(path, MAX_TABLE_BYTES)
    try:
        reader = csv.DictReader(data.decode("utf-8-sig").splitlines())
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: this is not a CSV file in UTF-8 ({error}).") from error
    columns = [column for column in reader.fieldnames or () if column]
    key = next((column for column in columns if column.strip().lower() in KEYS), None)
    if key is None:
        raise UsageError(
            f"{path}: it needs a column 'file', 'path' or 'image' with the path of the image. Its columns are: "
            f"{', '.join(columns) or 'no columns'}."
        )
    return key, rows, hashlib.sha256(data).hexdigest()


def _keyed(path: Path, key: str, rows: Sequence[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    for row in rows:
        picture = _posix(row[key] or "")
        if picture in found:
            raise UsageError(f"{path}: the image {picture!r} has two rows. Remove one of them.")
        found[picture] = row
    return found


def _posix(path: str) -> str:
    return os.path.normpath(path.strip()).replace(os.sep, "/")


def _table(name: str, path: Path, columns: list[str]) -> GivenInput:
    key, rows, digest = _rows(path)
    present = set(rows[0]) if rows else set()
    missing = [column for column in columns if column not in present]
    if missing:
        listed = ", ".join(str(column) for column in present if column != key) or "none"
        raise UsageError(f"{path}: there is no column '{missing[0]}'. There are: {listed}.")
    numbers = {
        picture: np.asarray([_number(row[column] or "", f"{path}, {picture}, {column}") for column in columns])
        for picture, row in _keyed(path, key, rows).items()
    }
    origin = f"{path}:{','.join(columns)}"
    digest = hashlib.sha256(f"{digest}:{columns}".encode()).hexdigest()
    return GivenInput(name, origin, digest, numbers=numbers)


def _pairs(path: Path) -> GivenInput:
    key, rows, digest = _rows(path)
    columns = [column for column in (rows[0] if rows else {}) if column and column != key]
    named = [column for column in columns if column.strip().lower() in PARTNERS] or columns
    if len(named) != 1:
        raise UsageError(
            f"{path}: it needs a column 'partner' with the path of the second image. Its columns are: "
            f"{', '.join(columns)}."
        )
    partners = {picture: (row[named[0]] or "").strip() for picture, row in _keyed(path, key, rows).items()}
    hashed = hashlib.sha256(digest.encode())
    for partner in sorted(set(partners.values())):
        hashed.update(_content(path.parent / partner))
    return GivenInput("", str(path), hashed.hexdigest(), partners=partners, folder=path.parent)


def _content(path: Path) -> bytes:
    """Give the sha256 of a partner image, so that the run changes if the file changes; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def as_input(other: OtherInput, value: Numbers, origin: str) -> NDArray[Any]:
    """Convert a value to an input's shape and dtype. A single number fills an input of any shape.

    Raises:
        UsageError: the shape does not fit, or a value for an integer input is not an integer.
    """
    shape = tuple(size or 1 for size in other.shape)
    open_sized = None in other.shape
    if value.size == 1:
        shaped = np.broadcast_to(value.reshape(()), shape)
    elif open_sized and _fits(value.shape, other.shape):
        shaped = value
    elif value.size == np.prod(shape) and (value.ndim == 1 or value.shape in {shape, (1, *shape)}):
        shaped = value.reshape(shape)
    else:
        raise UsageError(
            f"{origin}: the input '{other.name}' takes {_told(other)}, but this has {value.size} numbers of shape"
            f" {value.shape}."
        )
    result = shaped.astype(other.dtype)
    if np.issubdtype(result.dtype, np.integer) and not np.array_equal(result.astype(np.float64), shaped):
        raise UsageError(f"{origin}: the input '{other.name}' takes integers ({other.dtype}).")
    return np.ascontiguousarray(result)


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(shape) == len(declared) and all(b in {a, None} for a, b in zip(shape, declared, strict=True))


def _told(other: OtherInput) -> str:
    return f"{'x'.join(str(size or '?') for size in other.shape) or 'one'} {other.dtype}"


@dataclass(frozen=True, eq=False)
class ExtrasReader:
    """Gives the values of varying inputs for each image.

    A partner image is decoded and fitted like the explained image, at the size of its own input, and within the same
    limits of pixels, bytes and memory.
    """

    others: tuple[OtherInput, ...]
    decode: Decode
    preprocessing: Preprocessing
    fit: FitMode
    limits: Limits
    sample_range: SampleRange | None = None

    def __call__(self, source: Source, admit: Admit) -> Extras:
        """Give the values of one image; `admit` gets the bytes that a partner takes before it is read or decoded.

        Raises:
            ImageError: the table has no row for the image, or its partner cannot be read.
        """
        return {other.name: self._value(other, source, admit) for other in self.others if other.varies}

    def _value(self, other: OtherInput, source: Source, admit: Admit) -> NDArray[Any]:
        given = other.given
        assert given is not None  # noqa: S101 - it varies
        if given.numbers is not None:
            return as_input(other, _row_of(given.numbers, source, given.origin), given.origin)
        partner = _row_of(given.partners or {}, source, given.origin)
        if not partner:
            raise ImageError(Reason.NO_INPUT_VALUE, f"{given.origin} has no second image for it")
        return self._picture(other, given.folder, partner, admit)

    def _picture(self, other: OtherInput, folder: Path, name: str, admit: Admit) -> Floats:
        path = os.fspath(folder / name)
        try:
            admit(min(file_size(path), self.limits.max_file_bytes))
            photo = self.decode(read_file(path, self.limits), self.limits, None, self.sample_range, admit)
        except ImageError as error:
            raise ImageError(error.reason, f"its second image {name!r}: {error}") from error
        height, width, channels = other.shape
        fit = plan_fit(photo.size, Size(width or 1, height or 1), self.fit)
        pixels = photo.with_channels(channels or 1)
        laid = at_resolution(fit, Size(pixels.shape[1], pixels.shape[0]))
        return self.preprocessing(apply_fit(pixels, laid))


def _row_of(rows: Mapping[str, Row], source: Source, origin: str) -> Row:
    """Find an image's row by its place in the tree, its path, its name, or its name without the suffix."""
    name = source.relative.rsplit("/", 1)[-1]
    for key in (source.relative, _posix(source.path), name, name.rsplit(".", 1)[0]):
        if key in rows:
            return rows[key]
    raise ImageError(Reason.NO_INPUT_VALUE, f"{origin} has no row for it")


def with_values(others: Sequence[OtherInput], given: Sequence[GivenInput]) -> tuple[OtherInput, ...]:
    """Match the given values with a network's inputs other than the image.

    Raises:
        UsageError: there is no input of a given name, no single image input for a partner, or a shape does not fit.
    """
    matched = {other.name: other for other in others}
    for value in given:
        name = value.name or _only_picture(others, value)
        if name not in matched:
            listed = ", ".join(f"'{other.name}' ({_told(other)})" for other in others) or "none"
            raise UsageError(f"The model has no additional input '{name}'. Its inputs besides the image: {listed}.")
        matched[name] = replace(matched[name], given=value, same=False)
        if value.constant is not None:
            as_input(matched[name], value.constant, f"{name}={value.origin}")
        for row in (value.numbers or {}).values():
            as_input(matched[name], row, f"{name}={value.origin}")
            break
    return tuple(matched.values())


def _only_picture(others: Sequence[OtherInput], value: GivenInput) -> str:
    pictures = [other.name for other in others if is_picture(other.shape)]
    if len(pictures) != 1:
        raise UsageError(
            f"{value.origin}: the model has {len(pictures)} image inputs besides the explained one; `pairs` needs "
            "exactly one."
        )
    return pictures[0]


def is_picture(shape: Sequence[int | None]) -> bool:
    """Whether an input of this shape (height, width, channels) can take an image."""
    return len(shape) == 3 and shape[-1] in {1, 3, 4}


def missing_values(others: Sequence[OtherInput]) -> str | None:
    """Say which inputs have no value, and how to give it; None if all have one."""
    missing = [other for other in others if other.given is None and not other.same]
    if not missing:
        return None
    listed = ", ".join(f"'{other.name}' ({_told(other)})" for other in missing)
    ways = [f"`inputs={other.name}=VALUE|FILE.npy|FILE.csv:COLUMN`" for other in missing if not is_picture(other.shape)]
    if any(is_picture(other.shape) for other in missing):
        ways.append("`pairs=FILE.csv` for a second image, or `image_input=all` for the same image in all of them")
    return f"besides the image, the model takes {listed}. Give their values: {'; '.join(ways)}"
