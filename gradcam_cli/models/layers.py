"""Which layer is explained: `auto`, a name or a path; and the list of those that can be."""

import difflib
from collections import Counter

from gradcam_cli.errors import ModelError
from gradcam_cli.models.trace import Call, Trace
from gradcam_cli.network import LayerInfo, TargetLayer

AUTO = "auto"
SUGGESTIONS = 3


def _resnet50_of_2018() -> dict[str, str]:
    """Names that the ReLUs of ResNet50 had in Keras before 2.3: `activation_1` to `activation_49`."""
    names = ["conv1_relu"]
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for block in range(1, blocks + 1):
            names += [f"conv{stage}_block{block}_{part}" for part in ("1_relu", "2_relu", "out")]
    return {f"activation_{number}": name for number, name in enumerate(names, start=1)}


FORMER_NAMES = _resnet50_of_2018()


def choose_layer(trace: Trace, wanted: str) -> tuple[Call, TargetLayer]:
    """Resolve `--layer`: the call to explain, and the layer with the reason it was chosen.

    `auto` is the last 4-D output with height and width above 1 on the way to the logits: after its activation
    or merge, and before anything is pooled away.

    Raises:
        ModelError: no such layer, or its output is no map that the logits depend on.
    """
    if wanted == AUTO:
        call = _last_map(trace)
        height, width = call.output.shape[1:3]
        return call, _target(call, f"auto: the last {height}x{width} output on the way to the logits")
    path, reason = _resolve(trace, wanted)
    calls = [call for call in trace.calls if call.path == path]
    usable = [call for call in calls if _is_map(call) and trace.leads_to_logits(call.output)]
    if not usable:
        raise ModelError(_why_not(calls[-1]))
    if len(usable) > 1:
        reason += f", the last of its {len(usable)} calls"
    return usable[-1], _target(usable[-1], reason)


def explainable_layers(trace: Trace) -> list[LayerInfo]:
    """List every layer whose output is a map on the way to the logits, in the order of the network."""
    chosen = _last_map(trace) if _maps(trace) else None
    calls = Counter(call.path for call in _maps(trace))
    last = {call.path: call for call in _maps(trace)}
    return [
        LayerInfo(
            path=path,
            type=type(call.layer).__name__,
            height=call.output.shape[1],
            width=call.output.shape[2],
            channels=call.output.shape[3],
            calls=calls[path],
            auto=call is chosen,
        )
        for path, call in last.items()
    ]


def _target(call: Call, reason: str) -> TargetLayer:
    return TargetLayer(call.path, reason, *call.output.shape[1:])


def _is_map(call: Call) -> bool:
    shape = call.output.shape
    return bool(shape.rank == 4 and call.output.dtype.is_floating and shape[1] > 1 and shape[2] > 1)


def _maps(trace: Trace) -> list[Call]:
    """Calls whose output is a map on the way to the logits; where several hand on one tensor, the first made it."""
    by_tensor: dict[object, Call] = {}
    for call in trace.calls:
        if _is_map(call) and trace.leads_to_logits(call.output):
            by_tensor.setdefault(call.output.ref(), call)
    return list(by_tensor.values())


def _last_map(trace: Trace) -> Call:
    maps = _maps(trace)
    if not maps:
        raise ModelError(
            "No layer of this model gives a map (height and width above 1) on the way to its logits: "
            "Grad-CAM has nothing to show here."
        )
    return maps[-1]


def _resolve(trace: Trace, wanted: str) -> tuple[str, str]:
    """Find the path a person means, and say how it was found."""
    paths = list(dict.fromkeys(call.path for call in trace.calls))
    if wanted in paths:
        return wanted, "asked for"
    found = [path for path in paths if path.endswith(f"/{wanted}")]
    if len(found) == 1:
        return found[0], f"asked for as '{wanted}'"
    if found:
        raise ModelError(f"Several layers are called '{wanted}': {', '.join(found)}. Give one by its path.")
    today = FORMER_NAMES.get(wanted)
    if today:
        now = [path for path in paths if path == today or path.endswith(f"/{today}")]
        if len(now) == 1:
            return now[0], f"asked for as '{wanted}', which is called '{now[0]}' today"
    raise ModelError(f"There is no layer '{wanted}'.{_suggestions(trace, wanted)}")


def _suggestions(trace: Trace, wanted: str) -> str:
    paths = [call.path for call in _maps(trace)]
    by_name = {path.rsplit("/", 1)[-1]: path for path in paths} | {path: path for path in paths}
    close = [by_name[name] for name in difflib.get_close_matches(wanted, by_name, n=SUGGESTIONS)]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    return f"{hint} `gradcam-cli layers MODEL` lists what can be explained; `auto` chooses by itself."


def _why_not(call: Call) -> str:
    shape = "x".join(str(size) for size in call.output.shape[1:])
    if _is_map(call):
        return f"Layer '{call.path}': the logits do not depend on its output, so there is nothing to explain."
    return f"Layer '{call.path}': its output ({shape}) is no map with height and width above 1."
