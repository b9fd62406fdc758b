"""Notes on a target layer: its map is small, another branch is not shown, or its position is unknown."""

from gradcam_cli.models.candidates import Candidates
from gradcam_cli.models.layout import Layout
from gradcam_cli.models.trace import Call

# A map with at most this many cells per side shows only rough positions.
SMALL = 3
NAMED_BRANCHES = 3


def layer_notes(found: Candidates, call: Call, layout: Layout, *, followed: bool) -> tuple[str, ...]:
    """Collect the notes on a layer, each once."""
    notes = (_small(found, call, layout), _branches(found, call), _place(found, call, followed=followed))
    return tuple(note for note in notes if note)


def _small(found: Candidates, call: Call, layout: Layout) -> str | None:
    if max(layout.height, layout.width) > SMALL:
        return None
    finer = found.finer_than(layout, call, SMALL + 1)
    hint = f": try `layer={finer[0].path}` ({finer[1].size})" if finer else ""
    return f"the map has only {layout.size} cells, so it shows only roughly where the model looked{hint}"


def _branches(found: Candidates, call: Call) -> str | None:
    others = [f"{other.path} ({layout.size})" for other, layout in found.branches_beside(call)]
    if not others:
        return None
    more = f" and {len(others) - NAMED_BRANCHES} more" if len(others) > NAMED_BRANCHES else ""
    named = ", ".join(others[:NAMED_BRANCHES]) + more
    return (
        f"the model has parallel branches: the map shows the branch that ends at {call.path}, not {named}. To see "
        "another branch, give its layer with `layer`"
    )


def _place(found: Candidates, call: Call, *, followed: bool) -> str | None:
    place = found.trace.place(call.output)
    if followed or place is None or not place.altered:
        return None
    return (
        "the model crops, pads or resizes the image in an unknown way: the heatmap is stretched "
        "over the whole input, so "
        "its position may be wrong"
    )
