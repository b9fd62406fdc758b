"""Grid pointing game: the share of the heat for a class that is on its own image in a collage of several images.

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

# Minimum probability of an image that is used in collages.
SURE = 0.9
SEED = 0


@dataclass(frozen=True)
class Candidate:
    """An image with a sufficient probability, and its class."""

    source: Source
    index: int


@dataclass(frozen=True)
class Cell:
    """One cell of a collage, explained by one method: its position, and the share of heat in it."""

    candidate: Candidate
    collage: int
    row: int
    column: int
    method: str
    share: float
    flat: bool


def collages(candidates: Iterable[Candidate], cells: int) -> list[tuple[Candidate, ...]]:
    """Make groups of `cells` images of different classes, each image in at most one group; deterministic.

    Images are shuffled with a fixed seed. Each group has one image of each of the classes with the most images left, in
    random cells; this gives the largest number of groups.
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
    """Make a collage of each group, explain the class of each cell, and measure the share of heat in that cell.

    The input of `engine` is `grid` times as large as that of `job`'s model, and it has as many targets as there are
    cells. An image that can no longer be read is reported, and its collage is left out.
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
    """Arrange images (height, width, channels) in rows and columns."""
    rows, columns = grid
    lines = [np.concatenate(pictures[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
    return np.concatenate(lines, axis=0)


def share_in_cell(heat: Floats, grid: tuple[int, int], row: int, column: int) -> float:
    """Give the share of heat (H, W) in one cell; 0 if there is no heat."""
    height, width = heat.shape[0] // grid[0], heat.shape[1] // grid[1]
    inside = np.zeros(heat.shape, np.bool_)
    inside[row * height : (row + 1) * height, column * width : (column + 1) * width] = True
    return share_inside(heat, inside)
