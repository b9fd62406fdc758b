"""The frequency of garbage collection, for the command line only: a library must not change it for its caller."""

import gc

# Imports and options create about 100,000 permanent objects. By default Python collects after every 700 new objects,
# which takes a tenth of the time of one image.
OBJECTS_BETWEEN = 10_000


def collect_rarely() -> None:
    """Collect garbage only after many more new objects."""
    gc.set_threshold(OBJECTS_BETWEEN, *gc.get_threshold()[1:])
