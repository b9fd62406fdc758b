"""What an engine is made for: the methods and targets of a run, and how many images it has."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_cli.settings import MethodOptions, TargetSettings

if TYPE_CHECKING:
    from gradcam_cli.methods import Method


@dataclass(frozen=True)
class Work:
    """What an engine is made for."""

    targets: TargetSettings
    methods: "tuple[Method, ...]"
    options: MethodOptions
    image_count: int
    batch_size: int

    @property
    def batches(self) -> int:
        """The least number of batches of images."""
        return -(-self.image_count // self.batch_size)

    @property
    def differentiates(self) -> bool:
        """Whether a method takes gradients."""
        return any(method.differentiates for method in self.methods)

    def even_batch_size(self, streams: int) -> int:
        """Choose the batch size: of the masked pictures, where a method makes many of each image."""
        from gradcam_cli.engines.streams import even_batch_size

        masked = any(method.masks_inputs for method in self.methods)
        each = self.options.max_channels if masked else 1
        return even_batch_size(self.image_count * each, self.batch_size, streams)
