"""How many passes run side by side, and on batches of which size."""

import math

from gradcam_cli.cores import available_cores

# Each stream holds the activations of a whole batch.
MOST_STREAMS = 8


def streams_for(batches: int) -> int:
    """One stream a core, while there are batches for them."""
    return max(1, min(available_cores(), batches, MOST_STREAMS))


def even_batch_size(images: int, wanted: int, streams: int) -> int:
    """Choose a batch size, at most the wanted one and at least half of it, that leaves no stream idle at the end.

    The last batch is padded to full size, and an odd one runs alone: what counts is how many images the busiest
    stream computes. Of equal choices the largest batch wins.
    """

    def busiest(size: int) -> int:
        return math.ceil(math.ceil(images / size) / streams) * size

    largest = max(1, min(images, wanted))
    return min(range(largest, max(1, largest // 2) - 1, -1), key=busiest)
