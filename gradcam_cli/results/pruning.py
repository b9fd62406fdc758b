"""Remove the outputs of inputs that no longer exist: single files, and images in part files."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.results.manifest import counted_manifest, manifests_in, part_facts
from gradcam_cli.results.output import SIDECAR_LIMITS, SIDECAR_SUFFIX
from gradcam_cli.results.ownership import belongs_to
from gradcam_cli.results.part_names import PartName
from gradcam_cli.results.parts import Parts
from gradcam_cli.results.sidecar import files_of, to_json
from gradcam_cli.results.tree import Tree


def prune_files(tree: Tree, sidecars: Iterable[str]) -> int:
    """Remove sidecars, and the files that each of them names. Files that do not belong to its image are kept.

    Returns:
        The number of removed sidecars.
    """
    removed = 0
    for relative in sidecars:
        folder, slash, name = relative.rpartition("/")
        image = name.removesuffix(SIDECAR_SUFFIX)
        try:
            named = files_of(tree.read(relative, SIDECAR_LIMITS))
        except ImageError:
            continue
        for file in map(tree.own_name, named):
            if belongs_to(file, image):
                tree.remove(folder + slash + file)
        tree.remove(relative)
        removed += 1
    return removed


def prune_parts(tree: Tree, top: str, places: Iterable[str]) -> int:
    """Rewrite the part files of a folder without some images, and update the manifests.

    Args:
        tree: the place that contains the folder.
        top: the name of the folder, with a `/` at its end; empty for the top.
        places: the places of these images in the output tree of this folder.

    Returns:
        The number of removed images.

    Raises:
        UsageError: a part is damaged.
        EnvironmentStop: a part cannot be written.
    """
    gone = set(places)
    with closing(Parts(tree.parts(top))) as parts:
        try:
            written = parts.without(gone, "")
            parts.forget()
            for name, manifest in list(manifests_in(tree, files_right_in(top, tree.names()))):
                listed = [each for part in manifest["parts"] for each in _renewed(parts, part, written)]
                tree.write(name, to_json(counted_manifest(listed)).encode("ascii"))
        except ImageError as error:
            raise UsageError(f"{tree.root}: {error}. Explain its images again, or remove the file.") from error
    return len(gone)


def files_right_in(top: str, names: Iterable[str]) -> list[str]:
    """Give the files directly in one folder; `top` is the name of the folder with a `/`, or empty."""
    return [name for name in names if name.rpartition("/")[0] == top.rstrip("/")]


def _renewed(parts: Parts, listed: Mapping[str, Any], written: Iterable[PartName]) -> list[Mapping[str, Any]]:
    """Give the new entry of a part in a manifest, in a list; the list is empty if the part was removed."""
    name = next((name for name in written if str(name) == listed["name"]), None)
    if name is None:
        return [listed]
    return [part_facts(name, parts.summary(name))] if name in parts.names else []
