"""Which layer is explained: `auto`, a name, a path or a pattern; and the list of those that can be."""

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradcam_cli.errors import ModelError
from gradcam_cli.models.layout import Layout, picture_layout, token_layout
from gradcam_cli.models.trace import ATTENTION, Call, Trace
from gradcam_cli.network import LayerInfo, TargetLayer

AUTO = "auto"
SUGGESTIONS = 3
SHOWN_MATCHES = 6


def _resnet50_of_2018() -> dict[str, str]:
    """Names that the ReLUs of ResNet50 had in Keras before 2.3: `activation_1` to `activation_49`."""
    names = ["conv1_relu"]
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for block in range(1, blocks + 1):
            names += [f"conv{stage}_block{block}_{part}" for part in ("1_relu", "2_relu", "out")]
    return {f"activation_{number}": name for number, name in enumerate(names, start=1)}


FORMER_NAMES = _resnet50_of_2018()


@dataclass(frozen=True, eq=False)
class Target:
    """The call to explain, how its output is a map, and what the sidecar says of it."""

    call: Call
    layout: Layout
    layer: TargetLayer


def choose_layer(trace: Trace, wanted: str) -> Target:
    """Resolve `--layer`.

    `auto` is the last 4-D output with height and width above 1 on the way to the logits: after its activation or
    merge, and before anything is pooled away. Where self-attention over tokens comes later than that, it is the
    tokens which the last attention reads: what follows them is dead but for the class token in most transformers.

    Raises:
        ModelError: no such layer, or its output is no map that the logits depend on.
    """
    if wanted == AUTO:
        return _auto(trace)
    wanted, _, number = wanted.partition("@")
    path, reason = _resolve(trace, wanted)
    calls = [call for call in trace.calls if call.path == path]
    usable = [(call, layout) for call in calls if (layout := _layout(trace, call)) and _leads(trace, call)]
    if number:
        usable = _numbered(path, number, usable)
        reason += f", its call {number}"
    if not usable:
        raise ModelError(_why_not(trace, calls[-1]))
    if len(usable) > 1:
        reason += f", the last of its {len(usable)} calls"
    return _target(*usable[-1], reason + _shared(trace, usable[-1][0]))


def explainable_layers(trace: Trace) -> list[LayerInfo]:
    """List every layer whose output is a map on the way to the logits, in the order of the network."""
    found = _maps(trace)
    chosen = _auto(trace).call if found else None
    calls = Counter(call.path for call, _ in found)
    last = {call.path: (call, layout) for call, layout in found}
    return [
        LayerInfo(
            path=path,
            type=type(call.layer).__name__,
            height=layout.height,
            width=layout.width,
            channels=layout.channels,
            calls=calls[path],
            auto=call is chosen,
            note=_note(call, layout, chosen),
        )
        for path, (call, layout) in last.items()
    ]


def _note(call: Call, layout: Layout, chosen: Call | None) -> str:
    """What `auto` thinks of a layer."""
    if call is chosen:
        return "chosen"
    if chosen is not None and call.order > chosen.order:
        return "behind the last attention" if layout.kind == "tokens" else "later"
    return "tokens" if layout.kind == "tokens" else "earlier"


def _auto(trace: Trace) -> Target:
    pictures = [(call, layout) for call, layout in _maps(trace) if layout.kind != "tokens"]
    attended = _last_attended(trace)
    if attended and (not pictures or attended[0].order > pictures[-1][0].order):
        call, layout = attended
        return _target(call, layout, f"auto: the {layout.size} tokens that the last attention reads")
    if not pictures:
        raise ModelError(
            "No layer of this model gives a map (height and width above 1) on the way to its logits: "
            "Grad-CAM has nothing to show here."
        )
    call, layout = pictures[-1]
    reason = f"auto: the last {layout.size} output on the way to the logits"
    count = sum(other.path == call.path for other, _ in pictures)
    reason += f", the last of its {count} calls" if count > 1 else ""
    return _target(call, layout, reason + _shared(trace, call))


def _shared(trace: Trace, call: Call) -> str:
    """Say which call it is where a layer sees several inputs in turn, as in a siamese network."""
    elsewhere = any(c.path == call.path and not trace.sees_picture(c.output) for c in trace.calls)
    return f", called for the input '{trace.picture_name}'" if elsewhere else ""


def _last_attended(trace: Trace) -> tuple[Call, Layout] | None:
    """The tokens that the last self-attention over a picture's tokens reads, and the layer that made them."""
    made_by = {call.output.ref(): call for call in reversed(trace.calls)}
    for attention in reversed(trace.calls):
        if type(attention.layer).__name__ not in ATTENTION or not _leads(trace, attention):
            continue
        out = attention.output
        for tensor in attention.inputs:
            layout = token_layout(tensor, trace.grids)
            # One query pooling over all tokens is a head, not a transformer's block.
            same = layout and out.shape.rank == 3 and out.shape[1] == tensor.shape[1]
            if layout and same and tensor.ref() in made_by:
                return made_by[tensor.ref()], layout
    return None


def _target(call: Call, layout: Layout, reason: str) -> Target:
    return Target(call, layout, TargetLayer(call.path, reason, layout.height, layout.width, layout.channels))


def _layout(trace: Trace, call: Call) -> Layout | None:
    picture = picture_layout(call.output, channels_first=trace.is_channels_first(call.output))
    return picture or token_layout(call.output, trace.grids)


def _leads(trace: Trace, call: Call) -> bool:
    """Whether a call is on the way from the picture to the logits."""
    return trace.leads_to_logits(call.output) and trace.sees_picture(call.output)


def _maps(trace: Trace) -> list[tuple[Call, Layout]]:
    """Calls whose output is a map on the way to the logits; where several hand on one tensor, the first made it."""
    by_tensor: dict[object, tuple[Call, Layout]] = {}
    for call in trace.calls:
        if _leads(trace, call) and (layout := _layout(trace, call)):
            by_tensor.setdefault(call.output.ref(), (call, layout))
    return list(by_tensor.values())


def _numbered(path: str, number: str, usable: list[tuple[Call, Layout]]) -> list[tuple[Call, Layout]]:
    found = [(call, layout) for call, layout in usable if number == str(call.index)]
    if not found:
        numbers = ", ".join(f"@{call.index}" for call, _ in usable) or "none"
        raise ModelError(f"Layer '{path}' has no call @{number} that can be explained. There are: {numbers}.")
    return found


def _resolve(trace: Trace, wanted: str) -> tuple[str, str]:
    """Find the path a person means, and say how it was found."""
    paths = list(dict.fromkeys(call.path for call in trace.calls))
    if wanted in paths:
        return wanted, "asked for"
    found = [path for path in paths if path.endswith(f"/{wanted}")]
    if not found and re.search(r"[*?\[]", wanted):
        found = [path for path in paths if fnmatchcase(path, wanted)]
    if len(found) == 1:
        return found[0], f"asked for as '{wanted}'"
    if found:
        shown = ", ".join(found[:SHOWN_MATCHES]) + (", ..." if len(found) > SHOWN_MATCHES else "")
        raise ModelError(f"'{wanted}' fits {len(found)} layers: {shown}. Give one by its path.")
    today = FORMER_NAMES.get(wanted)
    now = [path for path in paths if today and (path == today or path.endswith(f"/{today}"))]
    if len(now) == 1:
        return now[0], f"asked for as '{wanted}', which is called '{now[0]}' today"
    raise ModelError(f"There is no layer '{wanted}'.{_suggestions(trace, wanted)}")


def _suggestions(trace: Trace, wanted: str) -> str:
    paths = [call.path for call, _ in _maps(trace)]
    by_name = {path.rsplit("/", 1)[-1]: path for path in paths} | {path: path for path in paths}
    close = [by_name[name] for name in difflib.get_close_matches(wanted, by_name, n=SUGGESTIONS)]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    return f"{hint} `gradcam-cli layers MODEL` lists what can be explained; `auto` chooses by itself."


def _why_not(trace: Trace, call: Call) -> str:
    if _layout(trace, call):
        return f"Layer '{call.path}': the logits do not depend on its output, so there is nothing to explain."
    shape = "x".join(str(size) for size in call.output.shape[1:])
    return f"Layer '{call.path}': its output ({shape}) is no map with height and width above 1."
