"""Calls of a network that can be explained: maps of the image, tokens that attention reads, parallel branches."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradcam_cli.models.graph import ancestors, descendants
from gradcam_cli.models.layer_paths import ATTENTION
from gradcam_cli.models.layout import Grid, Layout, are_unclear_tokens, layout_of
from gradcam_cli.models.trace import Call, Trace

# These operations move, repeat or blend values. They do not compute features.
SHIFTING = frozenset(
    """
    Pad PadV2 MirrorPad StridedSlice Slice Split SplitV ResizeBilinear ResizeNearestNeighbor ResizeBicubic
    ResizeArea ScaleAndTranslate CropAndResize Tile BroadcastTo ReverseV2 Roll If StatelessIf
    """.split()  # noqa: SIM905 - as in picture_ops
)
HANDING_ON = frozenset({"Identity", "IdentityN", "StopGradient", "Cast", "CheckNumerics"})
REGROUPING = frozenset({"Reshape", "ExpandDims", "Squeeze", "Transpose"})
# One projection to queries, keys and values together has this many times the channels of its input.
QUERY_KEY_VALUE = 3

Found = tuple[Call, Layout]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The calls of one trace and how they can be explained; `token_grid` is the user's setting."""

    trace: Trace
    token_grid: Grid | None = None

    def layout(self, call: Call) -> Layout | None:
        """Read a call's output as a map of the image."""
        tensor, trace = call.output, self.trace
        first = trace.is_channels_first(tensor)
        return layout_of(tensor, trace.place(tensor), channels_first=first, token_grid=self.token_grid)

    def leads(self, call: Call) -> bool:
        """Whether the logits are computed from a call's output."""
        return self.trace.leads_to_logits(call.output)

    @cached_property
    def maps(self) -> list[Found]:
        """Calls whose output is a map on the path to the logits; of several calls with one output, only the first."""
        by_tensor: dict[object, Found] = {}
        for call in self.trace.calls:
            if self.leads(call) and (layout := self.layout(call)):
                by_tensor.setdefault(call.output.ref(), (call, layout))
        return list(by_tensor.values())

    @cached_property
    def pictures(self) -> list[Found]:
        """Maps that compute features, are not tokens, and are not rolled for shifted windows."""
        found = [(call, layout) for call, layout in self.maps if layout.kind != "tokens" and self.makes_features(call)]
        return [(call, layout) for call, layout in found if not self._is_rolled(call)]

    def makes_features(self, call: Call) -> bool:
        """Whether a call computes features. Padding, cropping, resizing and passing a tensor on do not."""
        given = {tensor.ref() for tensor in call.inputs}
        waiting, seen, types = [call.output], set(), set()
        while waiting:
            tensor = waiting.pop()
            if tensor.ref() in given or tensor.ref() in seen or self.trace.place(tensor) is None:
                continue
            seen.add(tensor.ref())
            types.add(tensor.op.type)
            waiting.extend(tensor.op.inputs)
        if not types or not types <= SHIFTING | HANDING_ON | REGROUPING:
            return True
        return not types & SHIFTING and bool(types & REGROUPING)

    @cached_property
    def attended(self) -> "Attended | None":
        """The tokens that the last attention over the image reads: queries, keys and values depend only on them."""
        self.trace.place(self.trace.logits)
        walk = self.trace.walk
        order = {op: i for i, op in enumerate(self.trace.logits.graph.get_operations())}
        leading = [op for op in walk.attentions if op in order and self.trace.leads_to_logits(op.outputs[0])]
        if not leading:
            return self._unclear_attention()
        last = max(leading, key=lambda op: order[op])
        weights, values = (ancestors(tensor) for tensor in last.inputs[:2])
        common = [call for call in self.trace.calls if call.output.ref() in weights & values]
        common = [call for call in common if not self._is_rolled(call)]
        common = [call for call in common if self.layout(call) or are_unclear_tokens(call.output, self._place(call))]
        if len(common) > 1 and _projects_all(common[-1]) and common[-1].inputs[0].ref() == common[-2].output.ref():
            common.pop()
        return Attended(common[-1], self.layout(common[-1])) if common else None

    def _place(self, call: Call) -> Any:
        return self.trace.place(call.output)

    def _is_rolled(self, call: Call) -> bool:
        """Whether the cells of a call's output are rolled, so that they lie elsewhere than those of the image."""
        place = self._place(call)
        return place is not None and any(place.turned)

    def _unclear_attention(self) -> "Attended | None":
        """The tokens that a Keras attention layer reads, if nothing is known about their order."""
        made_by = {call.output.ref(): call for call in reversed(self.trace.calls)}
        for attention in reversed(self.trace.calls):
            if type(attention.layer).__name__ not in ATTENTION or not self.leads(attention):
                continue
            for tensor in attention.inputs:
                same = tensor.shape.rank == attention.output.shape.rank and tensor.shape[1] == attention.output.shape[1]
                call = made_by.get(tensor.ref())
                if same and call and (self.layout(call) or are_unclear_tokens(tensor, self._place(call))):
                    return Attended(call, self.layout(call))
        return None

    @cached_property
    def mixed(self) -> Found | None:
        """The last tokens of a network that mixes them without attention, like MLP-Mixer, or inside windows."""
        self.trace.place(self.trace.logits)
        tokens = [(call, layout) for call, layout in self.maps if layout.kind == "tokens" and self.makes_features(call)]
        mixing = [*self.trace.walk.mixtures, *self.trace.walk.attentions]
        if not tokens or not mixing:
            return None
        before = ancestors(tokens[-1][0].output)
        return tokens[-1] if any(op.outputs[0].ref() in before for op in mixing) else None

    def branches_beside(self, target: Call) -> list[Found]:
        """Find the last map of every other branch: of each that neither leads to the target nor depends on it."""
        found: list[Found] = []
        covered: set[Any] = set(ancestors(target.output) | descendants(target.output))
        known = [*self.pictures]
        if self.attended and self.attended.layout:
            known.append((self.attended.call, self.attended.layout))
        for call, layout in sorted(known, key=lambda each: -each[0].order):
            if call.output.ref() in covered:
                continue
            found.append((call, layout))
            covered |= ancestors(call.output)
        return found

    def stands_beside(self, attended: "Attended", picture: Found | None) -> bool:
        """Whether tokens are in a branch parallel to a map of the image, and their grid has at least as many cells."""
        if picture is None or attended.layout is None or attended.layout.cells < picture[1].cells:
            return False
        return attended.call.output.ref() not in ancestors(picture[0].output)

    def finer_than(self, layout: Layout, target: Call, least: int) -> Found | None:
        """Find the last finer map before the target with `least` or more cells per side, or else the last finer one."""
        before = ancestors(target.output)
        earlier = [each for each in self.pictures if each[0].output.ref() in before and each[1].cells > layout.cells]
        wide = [each for each in earlier if min(each[1].height, each[1].width) >= least]
        return next(reversed(wide or earlier), None)


@dataclass(frozen=True, eq=False)
class Attended:
    """Tokens that attention reads, and their grid if it is known."""

    call: Call
    layout: Layout | None


def _projects_all(call: Call) -> bool:
    """Whether a call computes queries, keys and values together from the same tokens."""
    if not call.inputs or call.inputs[0].shape.rank != call.output.shape.rank:
        return False
    before, after = call.inputs[0].shape[-1], call.output.shape[-1]
    return bool(before and after == QUERY_KEY_VALUE * before)
