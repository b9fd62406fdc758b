"""Names of part files, and names of the members of a tar, with the keys of WebDataset.

In WebDataset, the key of a sample is the member's path up to the first dot of its base name; the rest is the kind of
data. Names of images contain dots, so these dots are written as `%2E`, as in a URL.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.walk import MAP_SUFFIX, OVERLAY_SUFFIX
from gradcam_cli.requests import Packing


@dataclass(frozen=True)
class PackingFacts:
    """The facts of one format of parts: the suffix of a part's name, and the default number of images in a part."""

    suffix: str
    images_per_file: int


# For files of about 100 MB: an overlay of a photograph of 500 pixels has 60 kB, a row of a table 2 kB.
PACKINGS: Final[dict[Packing, PackingFacts]] = {
    "webdataset": PackingFacts(".tar", 1_000),
    "parquet": PackingFacts(".parquet", 10_000),
}
INDEX_SUFFIX: Final = ".index.jsonl"
SIDECAR_MEMBER: Final = "json"
SHARD_MANIFEST: Final = re.compile(r"manifest\.[1-9]\d*-of-[1-9]\d*\.json")
MANIFEST: Final = re.compile(rf"manifest\.json|{SHARD_MANIFEST.pattern}")
_KINDS: Final = {"jpg": OVERLAY_SUFFIX, "npy": MAP_SUFFIX}
_PART: Final = re.compile(r"part-(?:([1-9]\d*-of-[1-9]\d*)-)?(\d{5,})(\..+)")
# Bytes that are not UTF-8, and the first character of an escape.
_ODD: Final = re.compile("[%\udc80-\udcff]")
# WebDataset ignores members whose names begin with this, such as `__meta__`.
_PRIVATE: Final = "__"


@dataclass(frozen=True, order=True)
class PartName:
    """The name of one part file: `part-00000.tar`, or for shard 2 of 8 `part-2-of-8-00000.tar`."""

    owner: str
    number: int
    packing: Packing

    def __str__(self) -> str:
        """Give the file's name."""
        return f"{self.stem}{PACKINGS[self.packing].suffix}"

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return f"part-{self.owner}-{self.number:05}" if self.owner else f"part-{self.number:05}"

    @property
    def index(self) -> str:
        """The name of its index, which is in the same folder."""
        return f"{self.stem}{INDEX_SUFFIX}"


def part_name(name: str) -> PartName | None:
    """Parse the name of a part file; None if it is not such a name."""
    found = _PART.fullmatch(name)
    if found is None:
        return None
    for packing, facts in PACKINGS.items():
        read = PartName(found[1] or "", int(found[2]), packing)
        if facts.suffix == found[3] and str(read) == name:
            return read
    return None


def parts_among(names: Iterable[str]) -> list[PartName]:
    """Give the part files among the files of a folder, in order."""
    return sorted(part for name in names if (part := part_name(name)) is not None)


def manifest_name(shard: Shard | None) -> str:
    """Give the name of the manifest of a run, or of a shard."""
    return f"manifest.{shard.name}.json" if shard else "manifest.json"


def key_of(place: str) -> str:
    """Give the key in a tar for an image's place in the output tree: `a/cat%2Epng` for `a/cat.png`."""
    folder, slash, name = place.rpartition("/")
    key = _escaped(folder) + slash + _escaped(name).replace(".", "%2E")
    return key.replace(_PRIVATE, "%5F%5F", 1) if key.startswith(_PRIVATE) else key


def place_of(key: str) -> str:
    """Give the place of an image for its key in a tar."""
    return os.fsdecode(unquote_to_bytes(key.encode("utf-8", "surrogateescape")))


def member_of(place: str, name: str) -> str:
    """Give the name of the tar member for an image's file: `a/cat%2Epng.281.jpg` for `cat.png.281.overlay.jpg`."""
    tail = name.removeprefix(place.rpartition("/")[2])
    for kind, suffix in _KINDS.items():
        if tail.endswith(suffix):
            return f"{key_of(place)}{tail.removesuffix(suffix)}.{kind}"
    raise ValueError(f"{name} is not a file of {place}")


def sidecar_member(place: str) -> str:
    """Give the name of the tar member for an image's sidecar."""
    return f"{key_of(place)}.{SIDECAR_MEMBER}"


def split_member(member: str) -> tuple[str, str]:
    """Give the key of a member, and the name of its file, or `json` for a sidecar.

    Raises:
        ValueError: this program does not write a member of this name.
    """
    folder, slash, base = member.rpartition("/")
    name, dot, tail = base.partition(".")
    key = folder + slash + name
    if not name or not dot:
        raise ValueError(f"{member} has no key")
    if tail == SIDECAR_MEMBER:
        return key, tail
    number, _, kind = tail.rpartition(".")
    if kind not in _KINDS:
        raise ValueError(f"{member} is not an overlay, a map or a sidecar")
    image = place_of(key).rpartition("/")[2]
    return key, f"{image}{'.' if number else ''}{number}{_KINDS[kind]}"


def _escaped(text: str) -> str:
    return _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])), text)
