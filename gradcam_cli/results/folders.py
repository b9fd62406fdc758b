"""The place that a run writes to, whatever it is: a folder of this machine, or a prefix of an object store."""

from pathlib import Path

from gradcam_cli.inputs.shards import Shard
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.results.run_folder import RunFolder
from gradcam_cli.results.stored_folder import StoredFolder
from gradcam_cli.storage import Stores, Url


def run_folder(root: Path | Url, shard: Shard | None = None, stores: Stores | None = None) -> RunFolder:
    """Give the folder of a run, or that of a shard; `stores` opens its object store.

    Raises:
        UsageError: the library of the object store is not installed.
    """
    return StoredFolder(root, shard, stores) if isinstance(root, Url) else LocalFolder(root, shard)
