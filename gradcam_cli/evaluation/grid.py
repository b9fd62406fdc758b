"""Grid pointing game: does the heat for a class lie on its own picture in a collage of several?

Böhle et al. 2021, arXiv:2104.00032.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import numpy as np

from gradcam_cli.engines.protocol import Engine, Floats, map_layer
from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.evaluation.maps import method_maps, over_input
from gradcam_cli.evaluation.metrics import share_inside
from gradcam_cli.imaging.heatmap import scale
from gradcam_cli.inputs.sources import Source
from gradcam_cli.runs.job import Fitted, Job, Unexplained
from gradcam_cli.runs.pipeline import through

# A picture stands for its class where the network is this sure of it.
SURE = 0.9
SEED = 0


@dataclass(frozen=True)
class Candidate:
    """A picture that the network is sure of, and its class."""

    source: Source
    index: int


@dataclass(frozen=True)
class Cell:
    """One cell of one collage explained by one method: where it is, and the share of heat in it."""

    candidate: Candidate
    collage: int
    row: int
    column: int
    method: str
    share: float
    flat: bool


def collages(candidates: Iterable[Candidate], cells: int) -> list[tuple[Candidate, ...]]:
    """Make groups of `cells` pictures of different classes, each picture in one at most; the same every time.

    Pictures are shuffled by a fixed seed; each group takes one of each of the classes with the most left, in random
    places, which makes as many groups as can be.
    """
    rng = np.random.default_rng(SEED)
    listed = list(candidates)
    left: dict[int, list[Candidate]] = {}
    for i in rng.permutation(len(listed)):
        left.setdefault(listed[i].index, []).append(listed[i])
    groups = []
    while len(left) >= cells:
        classes = sorted(left, key=lambda index: -len(left[index]))[:cells]
        group = [left[index].pop() for index in classes]
        groups.append(tuple(group[place] for place in rng.permutation(cells)))
        left = {index: pictures for index, pictures in left.items() if pictures}
    return groups


def measure_grid(
    groups: list[tuple[Candidate, ...]], methods: tuple[str, ...], grid: tuple[int, int], job: Job, engine: Engine
) -> Generator[Cell | Unexplained]:
    """Lay each group out as a collage, explain each cell's class in turn, and measure the heat in its cell.

    `engine` takes pictures `grid` times as large as those of `job`'s model, and as many targets as there are cells. A
    picture that cannot be read any more is told, and its collage left out.
    """
    size = engine.input_size[0] // grid[0], engine.input_size[1] // grid[1]
    waiting: list[tuple[int, list[Fitted]]] = []
    sources = (candidate.source for group in groups for candidate in group)
    read = through(sources, job, engine, size, lambda images, _: images)
    for number, group in enumerate(groups):
        pictures = [next(read) for _ in group]
        yield from (picture for picture in pictures if isinstance(picture, Unexplained))
        fitted = [picture for picture in pictures if isinstance(picture, Fitted)]
        if len(fitted) == len(group):
            waiting.append((number, fitted))
        if len(waiting) == engine.batch_size or (waiting and number == len(groups) - 1):
            yield from _measure_batch(waiting, groups, methods, grid, engine)
            waiting = []


def _measure_batch(
    waiting: list[tuple[int, list[Fitted]]],
    groups: list[tuple[Candidate, ...]],
    methods: tuple[str, ...],
    grid: tuple[int, int],
    engine: Engine,
) -> Generator[Cell | Unexplained]:
    laid = np.stack([collage([image.inputs for image in images], grid) for _, images in waiting])
    classes = np.asarray([[candidate.index for candidate in groups[number]] for number, _ in waiting], np.intp)
    maps = method_maps(methods, engine, engine.explain(laid, classes))
    for i, (number, _) in enumerate(waiting):
        for place, candidate in enumerate(groups[number]):
            row, column = divmod(place, grid[1])
            for method in methods:
                raw = maps[method][i, place]
                if not np.isfinite(raw).all():
                    error = ImageError(Reason.NOT_FINITE, "the gradients of a collage with this image are not finite")
                    yield Unexplained(candidate.source, waiting[i][1][place].card, error)
                    continue
                heat = over_input(scale(raw), engine.input_size, map_layer(engine).geometry)
                share = share_in_cell(heat, grid, row, column)
                yield Cell(candidate, number, row, column, method, share, not raw.any())


def collage(pictures: list[Floats], grid: tuple[int, int]) -> Floats:
    """Lay pictures (height, width, channels) out in rows and columns."""
    rows, columns = grid
    lines = [np.concatenate(pictures[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
    return np.concatenate(lines, axis=0)


def share_in_cell(heat: Floats, grid: tuple[int, int], row: int, column: int) -> float:
    """Share of heat (H, W) in one cell; 0 where there is no heat."""
    height, width = heat.shape[0] // grid[0], heat.shape[1] // grid[1]
    inside = np.zeros(heat.shape, np.bool_)
    inside[row * height : (row + 1) * height, column * width : (column + 1) * width] = True
    return share_inside(heat, inside)
