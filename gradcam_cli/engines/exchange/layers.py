"""The tensors of a network that can be explained: their names, their maps, and the choice of `auto`.

The rule of `auto` is the same as in `models.layers`: the last map of the image that the logits depend on; if a later
layer has attention over tokens, the tokens that the last attention layer reads. A layer is a tensor with a name in the
file. In a file that PyTorch exported, the name of a module means the last tensor that was computed in the module.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradcam_cli.engines.exchange.outputs import Scores
from gradcam_cli.engines.exchange.picture import PictureInput, picture_tensor
from gradcam_cli.engines.exchange.places import PlaceWalk
from gradcam_cli.engines.graph import Key, is_float, key, leading_to
from gradcam_cli.engines.protocol import LayerInfo, TargetLayer
from gradcam_cli.errors import ModelError
from gradcam_cli.models.layout import Layout, layout_of_place
from gradcam_cli.models.map_geometry import map_geometry
from gradcam_cli.models.placement import Placement, is_spatial
from gradcam_cli.models.request import ModelRequest

AUTO = "auto"
SUGGESTIONS = 3
# Operations that move, repeat or interpolate values: they do not compute features.
MOVING = frozenset(
    """
    Broadcast Concat Convert DepthToSpace Gather Identity Interpolate Pad Parameter Reshape Roll Slice SpaceToDepth
    Split Squeeze StridedSlice Tile Transpose Unsqueeze VariadicSplit
    """.split()  # noqa: SIM905 - see places.py
)
# A concatenation has the features of several branches.
JOINING = "Concat"
QUERY_KEY_VALUE = 3
SMALL = 3
# The end of OpenVINO's name for the tensor to which a fused operation adds its bias.
INNER = "/WithoutBiases"
# Names that OpenVINO gives to nodes that it makes from ONNX's shape operations, or from parts of an operation.
UNNAMED = re.compile(r"[A-Z][A-Za-z]*_\d+")
# PyTorch's older exporter names a tensor after its node, with this suffix.
OUTPUT = re.compile(r"_output_\d+$")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tensor, its map, its name in the file, and the PyTorch modules that contain its node, the outermost first."""

    tensor: Any
    layout: Layout
    place: Placement
    name: str
    modules: tuple[str, ...]
    order: int

    @property
    def kind(self) -> str:
        """The type of the operation that computes the tensor."""
        return str(self.tensor.get_node().get_type_name())

    @property
    def names(self) -> set[str]:
        """All names of the tensor and of its node."""
        return {self.name, str(self.tensor.get_node().get_friendly_name()), *self.tensor.get_names()}

    @property
    def makes_features(self) -> bool:
        """Whether its operation computes features: padding, cropping and resizing do not."""
        return self.kind not in MOVING or (self.kind == JOINING and self.layout.kind != "tokens")


@dataclass(frozen=True, eq=False)
class Target:
    """The tensor to explain, its layout as a map, and its description for records."""

    tensor: Any
    layout: Layout
    layer: TargetLayer


class Layers:
    """The explainable tensors of a network with static shapes."""

    def __init__(self, model: Any, picture: PictureInput, scores: Scores, request: ModelRequest) -> None:
        """Find the explainable tensors of the network.

        Args:
            model: the network.
            picture: the shape of its input.
            scores: the logits.
            request: the request of the model, with the PyTorch modules that are named in its file, and the requested
                grid of tokens.
        """
        # A file in OpenVINO's format contains the names of all nodes, so OpenVINO generates no names.
        self._all_named = request.exchange == "openvino"
        self._walk = PlaceWalk(model, picture_tensor(model), picture)
        self._grid = request.settings.token_grid
        self._leading = leading_to(scores.logits)
        self._order: dict[Key, int] = {}
        self.all: list[Candidate] = []
        for order, node in enumerate(model.get_ordered_ops()):
            for tensor in node.outputs():
                self._order[key(tensor)] = order
                if key(tensor) in self._leading and (found := self._candidate(tensor, request.scopes, order)):
                    self.all.append(found)
        self._own_last = {module: each for each in self.all for module in each.modules if each.makes_features}

    def _candidate(self, tensor: Any, scopes: Mapping[str, tuple[str, ...]], order: int) -> Candidate | None:
        place = self._walk.place(tensor)
        if place is None or not is_float(tensor) or is_spatial(place.axes[0]):
            return None
        layout = layout_of_place(place, channels_first=True, token_grid=self._grid)
        if layout is None:
            return None
        names, own = sorted(tensor.get_names()), str(tensor.get_node().get_friendly_name())
        made_up = UNNAMED.fullmatch(own)
        if not names and (own.endswith(INNER) or (made_up and not self._all_named)):
            return None
        if names and made_up:
            # A fusion in OpenVINO has replaced the node. Its tensor has the name from the file.
            own = OUTPUT.sub("", names[0])
        modules = next((scopes[name] for name in names if name in scopes), None)
        return Candidate(tensor, layout, place, own, _modules(own) if modules is None else modules, order)

    def path(self, candidate: Candidate) -> str:
        """Give the path of a tensor: the innermost module whose result it is, else the name of its node."""
        modules = [module for module in candidate.modules if self._own_last.get(module) is candidate]
        return modules[-1] if modules and "/" not in modules[-1] else candidate.name

    @cached_property
    def pictures(self) -> list[Candidate]:
        """Maps that are not tokens, with features of their own, and without the cyclic shift of shifted windows."""
        return [each for each in self.all if each.layout.kind != "tokens" and self._shows(each)]

    @cached_property
    def attended(self) -> Candidate | None:
        """The tokens that the last attention layer reads: queries, keys and values are all computed from them."""
        known = [op for op in self._walk.attentions if self._leads(op.node)]
        if not known:
            return None
        last = max(known, key=lambda op: self._order[key(op.node.output(0))])
        weights, values = (leading_to(tensor) for tensor in last.inputs[:2])
        common = [each for each in self.all if key(each.tensor) in weights & values and self._shows(each)]
        while len(common) > 1 and self._projects_all(common[-1], common[:-1]):
            common.pop()
        return common[-1] if common else None

    @cached_property
    def mixed(self) -> Candidate | None:
        """The last tokens, if an operation before them mixes tokens, with or without attention (MLP-Mixer)."""
        tokens = [each for each in self.all if each.layout.kind == "tokens" and self._shows(each)]
        mixing = [*self._walk.mixtures, *(op.node for op in self._walk.attentions)]
        if not tokens or not mixing:
            return None
        before = leading_to(tokens[-1].tensor)
        return tokens[-1] if any(key(node.output(0)) in before for node in mixing) else None

    def auto(self) -> tuple[Candidate, str]:
        """Choose a tensor, and give the reason.

        Raises:
            ModelError: the logits depend on no tensor that is a map.
        """
        picture = self.pictures[-1] if self.pictures else None
        after = picture.order if picture else -1
        if self.attended and self.attended.order > after:
            return self.attended, f"auto: the {self.attended.layout.size} tokens that the last attention layer reads"
        if self.mixed and self.mixed.order > after:
            return self.mixed, f"auto: the last {self.mixed.layout.size} tokens before the logits"
        if picture is None:
            raise ModelError(
                "No tensor of this model that leads to the logits is a map with height or width above 1, so Grad-CAM "
                "cannot explain it."
            )
        return picture, f"auto: the last {picture.layout.size} output before the logits"

    def choose(self, wanted: str) -> Target:
        """Find the requested `layer`.

        Raises:
            ModelError: there is no such layer, or its output is not a map that the logits depend on.
        """
        found, reason = self.auto() if wanted == AUTO else self._named(wanted)
        layout = found.layout
        asked = self._grid
        if asked and (layout.kind != "tokens" or (layout.height, layout.width) != asked):
            grid = f"{asked[0]}x{asked[1]}"
            raise ModelError(
                f"`token_grid={grid}`: layer '{self.path(found)}' has no tokens of this grid. Leave the argument out."
            )
        geometry = map_geometry(layout, found.place)
        notes = self._notes(found, followed=geometry is not None)
        path = self.path(found)
        layer = TargetLayer(path, reason, layout.height, layout.width, layout.channels, geometry, notes)
        return Target(found.tensor, layout, layer)

    def listed(self) -> list[LayerInfo]:
        """List every layer that can be explained, in the order of the network."""
        shown = [each for each in self.all if each.kind not in MOVING or each.kind == JOINING]
        chosen = self.auto()[0] if self.all else None
        return [
            LayerInfo(
                path=self.path(each),
                type=each.kind,
                height=each.layout.height,
                width=each.layout.width,
                channels=each.layout.channels,
                calls=1,
                auto=each is chosen,
                note=_note(each, chosen),
            )
            for each in shown
        ]

    def _leads(self, node: Any) -> bool:
        return any(key(output) in self._leading for output in node.outputs())

    def _shows(self, candidate: Candidate) -> bool:
        return candidate.makes_features and not any(candidate.place.turned)

    def _projects_all(self, last: Candidate, before: list[Candidate]) -> bool:
        """Whether a tensor contains the queries, keys and values that are computed from earlier tokens."""
        own = leading_to(last.tensor)
        wide = [each for each in before if each.layout.channels * QUERY_KEY_VALUE == last.layout.channels]
        return any(key(each.tensor) in own for each in wide)

    def _named(self, wanted: str) -> tuple[Candidate, str]:
        by_path = [each for each in self.all if wanted in {self.path(each), *each.names}]
        if by_path:
            return by_path[-1], "asked for"
        inside = [each for each in self.all if wanted in each.modules or _within(each.name, wanted)]
        if inside:
            last = [each for each in inside if each.makes_features] or inside
            return last[-1], f"requested as '{wanted}'"
        paths = [self.path(each) for each in self.all]
        close = difflib.get_close_matches(wanted, paths, n=SUGGESTIONS)
        hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
        raise ModelError(
            f"There is no layer '{wanted}' with a map of the image that leads to the logits.{hint} "
            "`gradcam-cli layers MODEL` lists the layers that can be explained; `auto` chooses one automatically."
        )

    def _notes(self, found: Candidate, *, followed: bool) -> tuple[str, ...]:
        notes = []
        if max(found.layout.height, found.layout.width) <= SMALL:
            own = leading_to(found.tensor)
            finer = [c for c in self.pictures if key(c.tensor) in own and min(c.layout.height, c.layout.width) > SMALL]
            hint = f": try `layer={self.path(finer[-1])}` ({finer[-1].layout.size})" if finer else ""
            notes.append(
                f"the map has only {found.layout.size} cells, so it shows only roughly where the model looked{hint}"
            )
        if not followed and found.place.altered:
            notes.append(
                "the model crops, pads or resizes the image in an unknown way: the heatmap is stretched over the whole "
                "input, so its position may be wrong"
            )
        return tuple(notes)


def _note(candidate: Candidate, chosen: Candidate | None) -> str:
    """Give the position of a layer relative to the layer that `auto` chooses."""
    if candidate is chosen:
        return "chosen"
    if candidate.layout.kind == "tokens":
        later = chosen is not None and candidate.order > chosen.order
        return "after the last attention layer" if later else "tokens"
    return "later" if chosen is not None and candidate.order > chosen.order else "earlier"


def _modules(name: str) -> tuple[str, ...]:
    """Read the modules from a node's name in the form of PyTorch's older exporter: `/layer4/layer4.1/relu/Relu`."""
    if not name.startswith("/"):
        return ()
    found: list[str] = []
    last = ""
    for part in name.split("/")[1:-1]:
        if not found:
            found.append(part)
        else:
            # The name of a child repeats the name of its container: `features.3` in `features`.
            child = part[len(last) :] if part.startswith(f"{last}.") else f".{part}"
            found.append(found[-1] + child)
        last = part
    return tuple(found)


def _within(name: str, wanted: str) -> bool:
    """Whether `wanted` is a sequence of whole parts of a name with slashes."""
    return f"/{wanted.strip('/')}/" in f"/{name.strip('/')}/"
