"""How many passes run side by side."""

import os

# Each stream holds the activations of a whole batch.
MOST_STREAMS = 8


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def streams_for(batches: int) -> int:
    """One stream a core, while there are batches for them."""
    return max(1, min(available_cores(), batches, MOST_STREAMS))
