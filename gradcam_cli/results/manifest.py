"""Manifests: a manifest lists part files with their hashes and counts. It is written after the part files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gradcam_cli.errors import ImageError
from gradcam_cli.results.output import SIDECAR_LIMITS
from gradcam_cli.results.ownership import MANIFEST_MARK, parsed
from gradcam_cli.results.part_index import PartSummary
from gradcam_cli.results.part_names import MANIFEST, PartName
from gradcam_cli.results.parts import Parts
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.tree import Tree

MANIFEST_VERSION: Final = 1


def manifest_of(parts: Parts, names: Iterable[PartName]) -> Record:
    """List parts with their hashes and counts.

    Raises:
        ImageError: a part is damaged.
    """
    return counted_manifest([part_facts(name, parts.summary(name)) for name in names])


def part_facts(name: PartName, summary: PartSummary) -> Record:
    """Give the entry of one part in a manifest."""
    return {
        "name": str(name),
        "bytes": summary.bytes,
        "sha256": summary.sha256,
        "images": summary.images,
        "explained": summary.explained,
        "failed": summary.images - summary.explained,
    }


def counted_manifest(listed: Sequence[Mapping[str, Any]]) -> Record:
    """Make a manifest from the entries of its parts."""
    counts = {each: sum(part[each] for part in listed) for each in ("images", "explained", "failed")}
    return {MANIFEST_MARK: MANIFEST_VERSION, "counts": counts, "parts": list(listed)}


def manifests_in(tree: Tree, names: Iterable[str]) -> Iterator[tuple[str, Record]]:
    """Read the manifests among the files of a place; those of shards come after those of runs of all images."""
    for name in sorted((name for name in names if MANIFEST.fullmatch(name.rsplit("/", 1)[-1])), reverse=True):
        try:
            manifest = parsed(tree.read(name, SIDECAR_LIMITS))
            if MANIFEST_MARK in manifest and all({"name", "sha256"} <= part.keys() for part in manifest["parts"]):
                yield name, manifest
        except (ImageError, ValueError, LookupError, TypeError, AttributeError):
            continue
