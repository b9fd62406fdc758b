"""Parsers for options that are written as text: sizes, grids, thresholds, sample ranges, additional inputs."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from gradcam_cli.inputs.shards import Shard
from gradcam_cli.settings import SampleRange, Threshold

LONGEST_SIDE = 8192
MOST_CELLS = 16


def parse_size(text: str) -> tuple[int, int]:
    """Read `224` or `224x320` as (height, width).

    Raises:
        ValueError: the text is not a size of 1 to 8192 pixels.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.lower())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(0 < side <= LONGEST_SIDE for side in size):
        raise ValueError(f"'{text}' is not a size such as 224 or 224x320 (height x width)")
    return size


def parse_grid(text: str) -> tuple[int, int]:
    """Read `14x14` as (height, width).

    Raises:
        ValueError: the text is not a grid.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text.lower())
    if not match:
        raise ValueError(f"'{text}' is not a grid such as 14x14 (height x width)")
    return int(match[1]), int(match[2])


def parse_threshold(text: str) -> Threshold:
    """Read a threshold between 0 and 1, or `otsu`.

    Raises:
        ValueError: the text is neither.
    """
    if text == "otsu":
        return "otsu"
    level = float(text) if re.fullmatch(r"\d*\.?\d+", text) else 0.0
    if not 0 < level < 1:
        raise ValueError(f"'{text}' is neither a number between 0 and 1 nor otsu")
    return level


def parse_sample_range(text: str) -> SampleRange:
    """Read `LOW:HIGH`, `minmax` or `percentile`.

    Raises:
        ValueError: the text is none of them, or LOW is not below HIGH.
    """
    if text == "minmax":
        return "minmax"
    if text == "percentile":
        return "percentile"
    low, _, high = text.partition(":")
    try:
        levels = float(low), float(high)
    except ValueError:
        levels = 0.0, 0.0
    if not (levels[0] < levels[1] and all(math.isfinite(level) for level in levels)):
        raise ValueError(f"'{text}' is not LOW:HIGH (two numbers, LOW below HIGH), minmax or percentile")
    return levels


def parse_input_value(text: str) -> tuple[str, str]:
    """Read `NAME=VALUE` as (name, value).

    Raises:
        ValueError: the text has no name or no value.
    """
    name, _, value = text.partition("=")
    if not name or not value:
        raise ValueError(f"'{text}' is not NAME=VALUE, such as age=30")
    return name, value


def parse_collage(text: str) -> tuple[int, int]:
    """Read `2x2` as (rows, columns) of a collage.

    Raises:
        ValueError: the text is not a grid, or has too few or too many cells.
    """
    match = re.fullmatch(r"(\d)x(\d)", text.lower())
    rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 2 <= rows * columns <= MOST_CELLS:
        raise ValueError(f"'{text}' is not a grid such as 2x2 (2 to {MOST_CELLS} cells)")
    return rows, columns


def parse_shard(text: str) -> tuple[int, int]:
    """Read `2/8` as (index, count).

    Raises:
        ValueError: the text is not K/N.
        UsageError: there is no such shard.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match:
        raise ValueError(f"'{text}' is not K/N, such as 2/8 for shard 2 of 8")
    shard = Shard(int(match[2]), int(match[1]))
    return shard.index, shard.count


# The parser of each option by the name of the option.
PARSERS: Mapping[str, Callable[[str], Any]] = {
    "boxes": parse_threshold,
    "grid": parse_collage,
    "input_size": parse_size,
    "inputs": parse_input_value,
    "mask": parse_threshold,
    "sample_range": parse_sample_range,
    "shard": parse_shard,
    "token_grid": parse_grid,
}
