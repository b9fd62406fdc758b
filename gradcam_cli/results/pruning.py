"""Remove the outputs whose input is gone, whether they are files or are in part files."""

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
    """Remove sidecars, and of the files that each names those that belong to it.

    Returns:
        How many sidecars were removed.
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
    """Write the part files of a folder again without some images, and name the new ones in the manifests.

    Args:
        tree: the place that has the folder.
        top: the name of the folder, with a `/` at its end; empty for the top.
        places: the images, by their places in the output tree of this folder.

    Returns:
        How many images were removed.

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
    """Give those files that lie right in one folder; `top` is its name with a `/`, or empty."""
    return [name for name in names if name.rpartition("/")[0] == top.rstrip("/")]


def _renewed(parts: Parts, listed: Mapping[str, Any], written: Iterable[PartName]) -> list[Mapping[str, Any]]:
    """Give what a manifest says of a part from now on: nothing where the part is gone."""
    name = next((name for name in written if str(name) == listed["name"]), None)
    if name is None:
        return [listed]
    return [part_facts(name, parts.summary(name))] if name in parts.names else []
