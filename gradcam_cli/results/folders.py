"""Open the output folder of a run: a local folder, or a prefix of an object store."""

from pathlib import Path

from gradcam_cli.inputs.shards import Shard
from gradcam_cli.requests import Format
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.results.output import OutputFolder
from gradcam_cli.results.run_folder import RunFolder, StudyFolder
from gradcam_cli.storage import Stores
from gradcam_cli.urls import Url


def study_folder(root: Path | Url) -> StudyFolder:
    """Give the folder of an evaluation.

    Raises:
        UsageError: the library of the object store is not installed.
    """
    if isinstance(root, Path):
        return OutputFolder(root)
    from gradcam_cli.results.stored_folder import StoredFolder

    return StoredFolder(root)


def run_folder(
    root: Path | Url,
    shard: Shard | None = None,
    stores: Stores | None = None,
    format: Format = "files",  # noqa: A002 - the name of the option
    images_per_file: int | None = None,
) -> RunFolder:
    """Give the folder of a run or of a shard.

    Args:
        root: the folder or the prefix.
        shard: the shard that writes there.
        stores: opens the object store.
        format: one file for each overlay and sidecar, or part files with many images.
        images_per_file: the number of images in a part file; None for the default of the format.

    Raises:
        UsageError: the library of the object store or of the format is not installed.
    """
    if format == "files" and isinstance(root, Path):
        # The usual case: the modules of the other cases are not imported.
        return LocalFolder(root, shard)
    from gradcam_cli.results.packed_folder import PackedFolder
    from gradcam_cli.results.part_place import LocalParts
    from gradcam_cli.results.stored_folder import StoredFolder

    packing = None if format == "files" else format
    if isinstance(root, Url):
        stored = StoredFolder(root, shard, stores, packing)
        return PackedFolder(stored, stored.parts_place(), packing, images_per_file) if packing else stored
    local = LocalFolder(root, shard, packing)
    return PackedFolder(local, LocalParts(root), packing, images_per_file) if packing else local
