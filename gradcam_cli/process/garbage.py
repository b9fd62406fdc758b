"""When Python looks for objects in reference cycles: the command line only, for a library leaves that to its caller."""

import gc

# Imports and options make some 100,000 objects that stay. Python looks after every 700 of them unless told otherwise,
# which is a tenth of the time that one photograph takes.
OBJECTS_BETWEEN = 10_000


def collect_rarely() -> None:
    """Look for cycles after so many more new objects."""
    gc.set_threshold(OBJECTS_BETWEEN, *gc.get_threshold()[1:])
