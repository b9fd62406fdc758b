"""The rules of EinsumDense and of the attention layers."""

from typing import Any, Final

from gradcam_cli.models.safety.shapes import Dims, Node, Rule, Sizes, lora, numbers, whole

Inputs = tuple[Dims, ...]


def _letters(term: str, dims: Dims) -> tuple[dict[str, int], Dims]:
    """Match a term such as `ab...c` with a shape with the batch: give the sizes of its letters and its ellipsis."""
    if "..." not in term:
        return dict(zip(term, dims, strict=True)), ()
    left, right = term.split("...")
    middle = len(dims) - len(left) - len(right)
    if middle < 0:
        raise ValueError("too few dimensions")
    after = dims[len(left) + middle :]
    named = {**dict(zip(left, dims, strict=False)), **dict(zip(right, after, strict=True))}
    return named, dims[len(left) : len(left) + middle]


def einsum_dense(config: Node, inputs: Inputs) -> Sizes:
    """Give kernel and output by the equation. `output_shape` has the letters that the input does not have."""
    first, output = config["equation"].replace(" ", "").split("->")
    term, kernel_term = first.split(",")
    known, middle = _letters(term, (1, *inputs[0]))
    wanted = config["output_shape"] if isinstance(config["output_shape"], list) else [config["output_shape"]]
    left, dots, right = output.partition("...")
    # The first letter is the batch, which is not in the shape. If there is an ellipsis instead, it includes the batch.
    sides = [*zip(left[1:], wanted, strict=False), *zip(reversed(right), reversed(wanted), strict=False)]
    known.update({letter: whole(side) for letter, side in sides if side is not None})
    kernel = tuple(known[letter] for letter in kernel_term)
    dims = (*(known[x] for x in left), *(middle if dots else ()), *(known[x] for x in right))[1:]
    bias = tuple(known[letter] for letter in config.get("bias_axes") or "" if letter in known)
    return Sizes((kernel, *((bias,) if bias else ()), *lora(config, kernel)), (dims,))


def multi_head(config: Node, inputs: Inputs) -> Sizes:
    """Give four projections, and a score for each head and each pair of positions."""
    query, value, *more = inputs if len(inputs) > 1 else (*inputs, inputs[0])
    key = more[0] if more else value
    heads, width = whole(config["num_heads"]), whole(config["key_dim"])
    value_width = width if config.get("value_dim") is None else whole(config["value_dim"])
    wanted = config.get("output_shape")
    output = (
        query[-1:] if wanted is None else tuple(whole(x) for x in (wanted if isinstance(wanted, list) else [wanted]))
    )
    weights = (
        (query[-1], heads, width),
        (key[-1], heads, width),
        (value[-1], heads, value_width),
        (heads, value_width, *output),
        (heads, width),
        (heads, width),
        (heads, value_width),
        output,
    )
    scores = (heads, numbers(query[:-1]), numbers(key[:-1]))
    return Sizes(weights, ((*query[:-1], *output),), (scores,))


def grouped_query(config: Node, inputs: Inputs) -> Sizes:
    """Like `multi_head`, with fewer heads for keys and values than for queries."""
    query, value, *more = inputs if len(inputs) > 1 else (*inputs, inputs[0])
    key = more[0] if more else value
    width = whole(config["head_dim"])
    heads, shared = whole(config["num_query_heads"]), whole(config["num_key_value_heads"])
    weights = (
        (query[-1], heads, width),
        (key[-1], shared, width),
        (value[-1], shared, width),
        (heads, width, query[-1]),
        (heads, width),
        (shared, width),
        (shared, width),
    )
    scores = (heads, numbers(query[:-1]), numbers(key[:-1]))
    return Sizes(weights, (query,), (scores,))


def attention(_config: Node, inputs: Inputs) -> Sizes:
    """Dot-product or additive attention without projections."""
    query, value = inputs[0], inputs[1]
    return Sizes(((query[-1],),), ((*query[:-1], value[-1]),), ((numbers(query[:-1]), numbers(value[:-1])),))


ATTENTION_RULES: Final[dict[str, Rule]] = {
    "EinsumDense": einsum_dense,
    "MultiHeadAttention": multi_head,
    "GroupedQueryAttention": grouped_query,
    "GroupQueryAttention": grouped_query,
    "Attention": attention,
    "AdditiveAttention": attention,
}


def metric(config: Node) -> tuple[Dims, ...]:
    """Give what a metric allocates when it is created, anywhere in a config."""
    sizes: list[Any] = [config.get("num_classes"), config.get("num_thresholds")]
    classes, thresholds = (0 if size is None else whole(size) for size in sizes)
    labels = whole(config.get("num_labels") or 1)
    return ((classes, classes), (4, thresholds, labels))
