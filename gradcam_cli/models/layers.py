"""Choose the explained layer by `auto`, a name, a path or a pattern; list the layers that can be explained."""

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradcam_cli.engines.protocol import LayerInfo, TargetLayer
from gradcam_cli.errors import ModelError
from gradcam_cli.models.candidates import Candidates
from gradcam_cli.models.layer_notes import layer_notes
from gradcam_cli.models.layout import Grid, Layout, are_unclear_tokens
from gradcam_cli.models.map_geometry import map_geometry
from gradcam_cli.models.trace import Call, Trace

AUTO = "auto"
SUGGESTIONS = 3
SHOWN_MATCHES = 6


def _resnet50_of_2018() -> dict[str, str]:
    """Names of the ReLUs of ResNet50 in Keras before 2.3: `activation_1` to `activation_49`."""
    names = ["conv1_relu"]
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for block in range(1, blocks + 1):
            names += [f"conv{stage}_block{block}_{part}" for part in ("1_relu", "2_relu", "out")]
    return {f"activation_{number}": name for number, name in enumerate(names, start=1)}


FORMER_NAMES = _resnet50_of_2018()


@dataclass(frozen=True, eq=False)
class Target:
    """The explained call of a layer, how its output is a map, and its description for the sidecar."""

    call: Call
    layout: Layout
    layer: TargetLayer


def choose_layer(trace: Trace, wanted: str, token_grid: Grid | None = None) -> Target:
    """Find the layer for the setting `layer`.

    `auto` is the last 4-D output with height or width above 1 on the path to the logits: after its activation or merge,
    and before any pooling. Layers that only pad, crop or resize are never chosen. If self-attention over tokens comes
    later, `auto` is the input tokens of the last attention layer: in most transformers, only the class token after it
    has an influence. If tokens are mixed in another way, `auto` is the last tokens.

    Args:
        trace: the network.
        wanted: a name, a path, a pattern or `auto`.
        token_grid: height and width of the grid of tokens, if the network does not show them.

    Raises:
        ModelError: there is no such layer, or its output is not a map that the logits depend on.
    """
    found = Candidates(trace, token_grid)
    if wanted == AUTO:
        return _checked(_auto(found), found)
    wanted, _, number = wanted.partition("@")
    path, reason = _resolve(found, wanted)
    calls = [call for call in trace.calls if call.path == path]
    usable = [(call, layout) for call in calls if (layout := found.layout(call)) and found.leads(call)]
    if number:
        usable = _numbered(path, number, usable)
        reason += f", its call {number}"
    if not usable:
        raise ModelError(_why_not(found, calls[-1]))
    if len(usable) > 1:
        reason += f", the last of its {len(usable)} calls"
    return _checked(_target(found, *usable[-1], reason + _shared(trace, usable[-1][0])), found)


def _checked(target: Target, found: Candidates) -> Target:
    """Refuse a grid of tokens that was given but is not used."""
    grid = found.token_grid
    if grid and (target.layout.kind != "tokens" or (target.layout.height, target.layout.width) != grid):
        asked = f"{grid[0]}x{grid[1]}"
        raise ModelError(
            f"`token_grid={asked}`: layer '{target.layer.path}' has no tokens of this grid. Leave the argument out."
        )
    return target


def explainable_layers(trace: Trace, token_grid: Grid | None = None) -> list[LayerInfo]:
    """List every layer whose output is a map on the path to the logits, in the order of the network."""
    found = Candidates(trace, token_grid)
    chosen = _auto(found).call if found.pictures or found.maps else None
    calls = Counter(call.path for call, _ in found.maps)
    last = {call.path: (call, layout) for call, layout in found.maps}
    return [
        LayerInfo(
            path=path,
            type=type(call.layer).__name__,
            height=layout.height,
            width=layout.width,
            channels=layout.channels,
            calls=calls[path],
            auto=call is chosen,
            note=_note(call, layout, chosen, found),
        )
        for path, (call, layout) in last.items()
    ]


def _note(call: Call, layout: Layout, chosen: Call | None, found: Candidates) -> str:
    """Describe a layer by its relation to the choice of `auto`."""
    if call is chosen:
        return "chosen"
    if not found.makes_features(call):
        return "padding, cropping or resizing" if layout.kind != "tokens" else "tokens"
    if chosen is not None and call.order > chosen.order:
        return "after the last attention layer" if layout.kind == "tokens" else "later"
    return "tokens" if layout.kind == "tokens" else "earlier"


def _auto(found: Candidates) -> Target:
    picture = found.pictures[-1] if found.pictures else None
    after = -1 if picture is None else picture[0].order
    attended = found.attended
    notes: tuple[str, ...] = ()
    if attended and (attended.call.order > after or found.stands_beside(attended, picture)):
        if attended.layout:
            reason = f"auto: the {attended.layout.size} tokens that the last attention layer reads"
            return _target(found, attended.call, attended.layout, reason)
        notes = (_unclear(attended.call),)
    elif found.mixed and found.mixed[0].order > after:
        return _target(found, *found.mixed, f"auto: the last {found.mixed[1].size} tokens before the logits")
    if picture is None:
        raise ModelError(
            notes[0]
            if notes
            else "No layer of this model that leads to the logits is a map with height or width above 1, so "
            "Grad-CAM cannot explain it."
        )
    call, layout = picture
    reason = f"auto: the last {layout.size} output before the logits"
    count = sum(other.path == call.path for other, _ in found.maps)
    reason += f", the last of its {count} calls" if count > 1 else ""
    return _target(found, call, layout, reason + _shared(found.trace, call), notes)


def _shared(trace: Trace, call: Call) -> str:
    """Name the input of the call if the layer is also called for other inputs, as in a siamese network."""
    elsewhere = any(c.path == call.path and not trace.sees_picture(c.output) for c in trace.calls)
    return f", called for the input '{trace.picture_name}'" if elsewhere else ""


def _unclear(call: Call) -> str:
    return (
        f"Layer '{call.path}' gives {call.output.shape[1]} tokens, but the model does not show their grid. Give the "
        "grid with `token_grid=HEIGHTxWIDTH`."
    )


def _target(found: Candidates, call: Call, layout: Layout, reason: str, notes: tuple[str, ...] = ()) -> Target:
    place = found.trace.place(call.output)
    geometry = map_geometry(layout, place)
    notes += layer_notes(found, call, layout, followed=geometry is not None)
    layer = TargetLayer(call.path, reason, layout.height, layout.width, layout.channels, geometry, notes)
    return Target(call, layout, layer)


def _numbered(path: str, number: str, usable: list[tuple[Call, Layout]]) -> list[tuple[Call, Layout]]:
    found = [(call, layout) for call, layout in usable if number == str(call.index)]
    if not found:
        numbers = ", ".join(f"@{call.index}" for call, _ in usable) or "none"
        raise ModelError(f"Layer '{path}' has no call @{number} that can be explained. There are: {numbers}.")
    return found


def _resolve(found: Candidates, wanted: str) -> tuple[str, str]:
    """Find the path for a name or pattern, and say how it was found."""
    paths = list(dict.fromkeys(call.path for call in found.trace.calls))
    if wanted in paths:
        return wanted, "asked for"
    named = [path for path in paths if path.endswith(f"/{wanted}")]
    if not named and re.search(r"[*?\[]", wanted):
        named = [path for path in paths if fnmatchcase(path, wanted)]
    if len(named) == 1:
        return named[0], f"requested as '{wanted}'"
    if named:
        shown = ", ".join(named[:SHOWN_MATCHES]) + (", ..." if len(named) > SHOWN_MATCHES else "")
        raise ModelError(f"'{wanted}' matches {len(named)} layers: {shown}. Give the path of one of them.")
    today = FORMER_NAMES.get(wanted)
    now = [path for path in paths if today and (path == today or path.endswith(f"/{today}"))]
    if len(now) == 1:
        return now[0], f"requested as '{wanted}', which is now called '{now[0]}'"
    raise ModelError(f"There is no layer '{wanted}'.{_suggestions(found, wanted)}")


def _suggestions(found: Candidates, wanted: str) -> str:
    paths = [call.path for call, _ in found.maps]
    by_name = {path.rsplit("/", 1)[-1]: path for path in paths} | {path: path for path in paths}
    close = [by_name[name] for name in difflib.get_close_matches(wanted, by_name, n=SUGGESTIONS)]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    return (
        f"{hint} `gradcam-cli layers MODEL` lists the layers that can be explained; `auto` chooses one automatically."
    )


def _why_not(found: Candidates, call: Call) -> str:
    if found.layout(call):
        return f"Layer '{call.path}': the logits do not depend on its output, so there is nothing to explain."
    if are_unclear_tokens(call.output, found.trace.place(call.output)):
        return _unclear(call)
    shape = "x".join(str(size) for size in call.output.shape[1:])
    return f"Layer '{call.path}': its output ({shape}) is not a map of the image with height or width above 1."
