"""Make the ONNX models of this folder, and what PyTorch's autograd gives for them.

    python make_onnx.py

needs torch 2.9 or later, onnx and onnxscript, in an environment of their own. Weights are random and seeded. Each
network is exported by both exporters of PyTorch where both can. The references are `NAME.npz`: `x` (N, 3, H, W),
`logits` (N, C), `classes` (N,), and for each layer its activations `a_LAYER` and the gradient `g_LAYER` of the logit of
that class, laid out as in PyTorch. `NAME_half.onnx` is the network in float16.
"""

import math
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

FOLDER = Path(__file__).parent
CLASSES = 5


class Pooled(nn.Module):
    """Convolutions, a residual block, global average pooling and one dense layer; pictures of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.last = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.last(x + self.block(x))
        return self.head(torch.flatten(self.pool(x), 1))


class Flat(nn.Module):
    """Convolutions, max pooling, a flattened head of two layers, and a softmax; one picture at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5, 2, 2), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 8, 3, padding=1), nn.GELU()
        )
        self.head = nn.Sequential(nn.Linear(8 * 8 * 8, 16), nn.Hardswish(), nn.Linear(16, CLASSES))

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).reshape(1, -1)) if len(x) == 1 else self.head(self.features(x).flatten(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.scores(x), 1)


class Attention(nn.Module):
    """Self-attention of two heads, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.all = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = self.all(x).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(c // 2), -1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    """A block of a vision transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """A vision transformer with a class token: patches of 8 pixels, 4x5 of them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 21, width) / 4)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Mixed(nn.Module):
    """What newer heads are made of: shuffled channels and pixels, gates, generalised means, lengths, a log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Mish())
        self.left, self.right = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.expand = nn.Conv2d(8, 16, 1)
        self.power = nn.Parameter(torch.tensor(3.0), requires_grad=False)
        self.prototypes = nn.Parameter(torch.randn(CLASSES, 13))

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        # ShuffleNet: halves, then channels of both in turn.
        a, b = x.chunk(2, 1)
        x = torch.cat([nn.functional.hardswish(self.left(a)), self.right(b)], 1)
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        # A normalisation that follows no convolution is not merged into one.
        x = self.norm(x)
        # MobileNetV3's gate, and the same function as it was written before PyTorch had it.
        gate = nn.functional.hardsigmoid(self.excite(nn.functional.silu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = torch.where(x > 0, x, 0.1 * x) * gate
        x = x + nn.functional.relu6(x + 3) / 6
        x = nn.functional.pixel_unshuffle(nn.functional.pixel_shuffle(self.expand(x), 2), 2)
        # A generalised mean, the spread, the lowest cell and a logarithm of sums, for each channel.
        low = x.amin((2, 3))[:, :3]
        mean = x.clamp(min=1e-3).pow(self.power).mean((2, 3)).pow(1 / self.power)[:, :4]
        spread = torch.sqrt((x - x.mean((2, 3), keepdim=True)).abs().mean((2, 3)) + 0.1)[:, :3]
        total = torch.log(torch.exp(x).mean((2, 3)))[:, :3]
        x = nn.functional.normalize(torch.cat([low, mean, spread, total], 1), dim=1)
        # Distances to a prototype of each class.
        apart = x.unsqueeze(1).repeat(1, CLASSES, 1) - self.prototypes.unsqueeze(0)
        return -4 * apart.square().sum(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.log_softmax(self.scores(x), 1)


def forget_paths(path: Path) -> None:
    """Keep what an exporter says of modules, and leave out the lines of source code, which name folders."""
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [(entry.key, entry.value) for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    onnx.save(model, path)


def export(network: nn.Module, shape: tuple[int, int, int], name: str, *, batch: bool, dynamo: bool) -> None:
    """Export a network, with an open batch where it has one."""
    x = torch.zeros(2 if batch else 1, *shape, dtype=next(network.parameters()).dtype)
    path = FOLDER / f"{name}{'_dynamo' if dynamo else ''}.onnx"
    names = {"input_names": ["pixels"], "output_names": ["scores"]}
    if dynamo:
        shapes = {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},)} if batch else {}
        torch.onnx.export(network, (x,), path, dynamo=True, external_data=False, verbose=False, **names, **shapes)
    else:
        axes = {"dynamic_axes": {"pixels": {0: "batch"}}} if batch else {}
        torch.onnx.export(network, (x,), path, dynamo=False, **names, **axes)
    forget_paths(path)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def reference(network: nn.Module, shape: tuple[int, int, int], name: str, layers: list[str]) -> None:
    """Keep the activations of layers and the gradients of one logit of each of two pictures."""
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    kept: dict[str, torch.Tensor] = {}

    def keep(layer: str, output: torch.Tensor) -> None:
        output.retain_grad()
        kept[layer] = output

    modules = dict(network.named_modules())
    hooks = [modules[n].register_forward_hook(lambda _m, _i, out, n=n: keep(n, out)) for n in layers]
    logits = network.scores(x) if isinstance(network, Flat | Mixed) else network(x)
    classes = torch.tensor([3, 1])
    logits[torch.arange(2), classes].sum().backward()
    for hook in hooks:
        hook.remove()
    arrays = {"x": x, "logits": logits.detach(), "classes": classes}
    arrays |= {f"a_{n}": t.detach() for n, t in kept.items()} | {f"g_{n}": t.grad for n, t in kept.items()}
    np.savez_compressed(FOLDER / f"{name}.npz", **{key: value.numpy() for key, value in arrays.items()})


def trained_statistics(network: nn.Module) -> None:
    """Give batch normalisations numbers that are not those of a new layer."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)


def main() -> None:
    """Make all of them."""
    for seed, (name, kind, shape, batch, layers) in enumerate(
        [
            ("pooled", Pooled, (3, 24, 32), True, ["stem", "last"]),
            ("flat", Flat, (3, 32, 32), False, ["features", "features.1"]),
            ("vit", Transformer, (3, 32, 40), True, ["blocks.0", "blocks.1.norm1"]),
            ("mixed", Mixed, (3, 16, 16), True, ["stem", "stem.0"]),
        ]
    ):
        torch.manual_seed(seed)
        network = kind().eval()
        trained_statistics(network)
        for dynamo in (False, True):
            export(network, shape, name, batch=batch, dynamo=dynamo)
        reference(network, shape, name, layers)
        if name in {"pooled", "vit"}:
            export(network.half(), shape, f"{name}_half", batch=batch, dynamo=False)


if __name__ == "__main__":
    main()
