"""The graph of a functional config: its calls and their inputs, in the notation of Keras 2 or Keras 3."""

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gradcam_cli.models.safety.shapes import RULE_ERRORS, Node, Shape, dims_of

# Arguments that are tensors, but do not influence any size.
ASIDE = frozenset({"mask", "attention_mask", "query_mask", "value_mask", "key_mask", "training"})


@dataclass(frozen=True)
class Source:
    """One output of one call of a layer, and its shape in the config, which may be wrong."""

    layer: str
    call: int
    output: int
    stated: Shape = None


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: its tensors in order, and its other arguments."""

    node: Node
    name: str
    index: int
    sources: tuple[Source, ...]
    settings: Node = field(default_factory=dict)


def layer_name(node: Node) -> str:
    """Give the name of a layer in a functional config."""
    inner = node.get("config")
    own = inner.get("name") if isinstance(inner, dict) else None
    return str(node.get("name") or own)


def calls_of(layers: list[Node]) -> list[Call]:
    """List all calls, each after the calls of its inputs. Calls in a cycle are omitted."""
    calls = [call for node in layers for call in _calls(node)]
    made = {(call.name, call.index): call for call in calls}
    waits = {id(call): {key for source in call.sources if (key := _key(source, made)) is not None} for call in calls}
    wanted_by: dict[tuple[str, int], list[Call]] = defaultdict(list)
    for call in calls:
        for key in waits[id(call)]:
            wanted_by[key].append(call)
    ready, ordered = deque(call for call in calls if not waits[id(call)]), []
    while ready:
        call = ready.popleft()
        ordered.append(call)
        for other in wanted_by[call.name, call.index]:
            waits[id(other)].discard((call.name, call.index))
            if not waits[id(other)]:
                ready.append(other)
    return ordered


def _key(source: Source, made: dict[tuple[str, int], Call]) -> tuple[str, int] | None:
    """Find the call that computes a tensor. Keras 2 counts the calls of nested models from 1."""
    return next(((source.layer, at) for at in (source.call, source.call - 1) if (source.layer, at) in made), None)


def _calls(node: Node) -> Iterator[Call]:
    nodes = node.get("inbound_nodes")
    nodes = nodes if isinstance(nodes, list) else []
    name = layer_name(node)
    if not nodes and node.get("class_name") == "InputLayer":
        yield Call(node, name, 0, ())
    for index, arguments in enumerate(nodes):
        if isinstance(arguments, dict):
            yield Call(node, name, index, tuple(_keras_3(arguments)), _settings(arguments))
        else:
            yield Call(node, name, index, tuple(_keras_2(arguments)))


def _settings(arguments: Node) -> Node:
    """Give the arguments of a call that are not tensors: keywords, and the second positional argument as `key`."""
    args, keywords = arguments.get("args"), arguments.get("kwargs")
    found = dict(keywords) if isinstance(keywords, dict) else {}
    return {**found, "key": args[1]} if isinstance(args, list) and len(args) > 1 else found


def _keras_3(arguments: Node) -> Iterator[Source]:
    keywords = arguments.get("kwargs")
    more = [value for key, value in keywords.items() if key not in ASIDE] if isinstance(keywords, dict) else []
    waiting: list[Any] = [*reversed(more), arguments.get("args")]
    while waiting:
        current = waiting.pop()
        if isinstance(current, list):
            waiting.extend(reversed(current))
        elif isinstance(current, dict) and current.get("class_name") == "__keras_tensor__":
            source = _tensor(current.get("config"))
            if source:
                yield source
        elif isinstance(current, dict):
            waiting.extend(reversed(list(current.values())))


def _tensor(config: Any) -> Source | None:
    try:
        name, call, output = config["keras_history"]
        source = Source(str(name), int(call), int(output))
    except RULE_ERRORS:
        return None
    try:
        return replace(source, stated=dims_of(config.get("shape"), batched=True))
    except RULE_ERRORS:
        return source


def _keras_2(arguments: Any) -> Iterator[Source]:
    """Give the tensors as [name, call, output, keywords], in a list or alone. Keywords may contain further tensors."""
    waiting: list[Any] = [arguments]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            waiting.extend(value for key, value in reversed(current.items()) if key not in ASIDE)
        elif is_source(current):
            yield Source(current[0], current[1], current[2])
            if len(current) > 3:
                waiting.append(current[3])
        elif isinstance(current, list):
            waiting.extend(reversed(current))


def is_source(value: Any) -> bool:
    """Whether a value is a reference [name, call, output, ...]."""
    if not isinstance(value, list) or len(value) < 3 or not isinstance(value[0], str):
        return False
    return all(isinstance(number, int) and not isinstance(number, bool) for number in value[1:3])


def references(value: Any) -> list[Source]:
    """List the references of `input_layers` or `output_layers`, in order."""
    return list(_keras_2(value))
