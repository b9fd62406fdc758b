"""Shards: parts of the inputs for several machines, chosen by the hash of each image's place in the output tree."""

import re
from dataclasses import dataclass
from typing import Final

from gradcam_cli.errors import UsageError

RUN_RECORD: Final = "run.json"
SHARD_RECORD: Final = re.compile(r"run\.([1-9]\d*)-of-([1-9]\d*)\.json")


@dataclass(frozen=True, order=True)
class Shard:
    """Shard `index` of `count`: the images whose place in the output tree has this index.

    The index is SHA-256(place) mod count + 1. The place is the path with `/` as UTF-8 bytes, and the hash is an integer
    whose first byte is the most significant. Each image is in exactly one shard, which does not change if other images
    are added or removed.

    Raises:
        UsageError: there is no such shard.
    """

    count: int
    index: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.index == 0 < self.count:
            raise UsageError(
                f"Shards are counted from 1: 1/{self.count} to {self.count}/{self.count}. Add 1 to an index that "
                "starts at 0."
            )
        if not 1 <= self.index <= self.count:
            raise UsageError(f"{self.index}/{self.count} is not a shard. K/N is shard K of N, from 1/N to N/N.")

    def __str__(self) -> str:
        """Give the shard as text: `2 of 8`."""
        return f"{self.index} of {self.count}"

    @property
    def name(self) -> str:
        """The part of file names for this shard: `2-of-8`."""
        return f"{self.index}-of-{self.count}"

    @property
    def run_record(self) -> str:
        """The name of the record of the shard's run."""
        return f"run.{self.name}.json"

    def has(self, place: str) -> bool:
        """Whether the image with this place in the output tree is in the shard."""
        return index_of(place, self.count) == self.index

    def as_record(self) -> dict[str, int]:
        """Give the shard as JSON."""
        return {"index": self.index, "count": self.count}


def shard_of(numbers: tuple[int, int] | None) -> Shard | None:
    """Make a shard of (index, count).

    Raises:
        UsageError: there is no such shard.
    """
    return numbers and Shard(numbers[1], numbers[0])


def index_of(place: str, count: int) -> int:
    """Give the index, 1 to `count`, of the shard for a place in the output tree."""
    # Imported here because help and completion must not wait for it.
    import hashlib

    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest, "big") % count + 1


def shard_of_record(name: str) -> Shard | None:
    """Give the shard whose run record has this name; None for any other name."""
    found = SHARD_RECORD.fullmatch(name)
    if not found or int(found[1]) > int(found[2]):
        return None
    return Shard(int(found[2]), int(found[1]))


def is_run_record(name: str) -> bool:
    """Whether this is the name of the record of a run, or of a shard's run."""
    return name == RUN_RECORD or shard_of_record(name) is not None
