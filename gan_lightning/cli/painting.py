"""What a checkpoint's samples are drawn as: numbered files, a grid, walks, tables, traversals and reconstructions."""

from __future__ import annotations

import argparse
import inspect
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gan_lightning.cli.flags import ALPHA, BETA, GRID_MOST
from gan_lightning.cli.pictures import FRAMES_A_SECOND, pixels, tiles, write
from gan_lightning.core import ImageGenerator
from gan_lightning.core.sampling import Between, closed_walk, lerp, slerp
from gan_lightning.latents import Latents, LatentSpace, directions
from gan_lightning.metrics import to_uint8
from gan_lightning.networks.lapgan import upsample
from gan_lightning.runtime.layout import RECONSTRUCTIONS

WALKERS = 16  # latents that walk or are traversed side by side
SECONDS_A_STATION = 1.0  # on the way from latent to latent
CODE_VALUES = 10  # of a code that is continuous
AROUND = 0.25  # of the uniform noise that is added to a result of arithmetic (Radford et al. 2016, figure 7)


class Painter:
    """Makes pictures of a checkpoint's samples.

    Args:
        module: in float64.
        given: the flags.
        how: the arguments of the model's `sample` that the flags give: "seed", "live", "truncation" and its own.

    Attributes:
        space: in which points are moved.
        stored: the latents of a file, in place of those of numbers.
        by_number: whether pictures of numbers are what the model's `sample` makes, so that all its arguments count.
        how_of_points: those arguments that pictures of points depend on too.

    Raises:
        FileNotFoundError, ValueError: the file of latents or the direction is none of this model's.
    """

    def __init__(self, module: ImageGenerator, given: argparse.Namespace, how: dict[str, Any]) -> None:
        self.module, self.how, self.batch_size = module, how, given.batch_size
        noise = getattr(given, "noise", None) or ("random" if given.latents is None else "const")
        weights = how.get("live", False), how.get("average")
        self.space = LatentSpace(module, *weights, how.get("truncation"), noise)
        self.stored = None if given.latents is None else Latents.load(given.latents, self.space)
        if self.stored is not None:
            self.space.layers = self.stored.layers
        if given.direction is not None:
            self.space.shift = shift(self.space, given)
        # The model's own methods take arguments of its own, but neither styles nor what is added to latents.
        self._by_generate = not self.space.has_styles and given.direction is None
        self.by_number = self.stored is None and given.direction is None and noise == "random"
        of_all = ("seed", "live", "truncation", "average")
        taken = inspect.signature(module.generate).parameters if self._by_generate else of_all
        self.how_of_points = {name: value for name, value in how.items() if name in taken}

    def condition(self, asked: int | str | None, numbers: Sequence[int]) -> Tensor | None:
        """(n, ...) of a class or a prompt; None for what samples of these numbers have by themselves."""
        if asked is not None:
            return self.module.condition_as(asked, len(numbers))
        if self.stored is not None and self.stored.label is not None:
            return self.stored.label[list(numbers)]
        return self.module.condition_of(numbers)

    def points(self, numbers: Sequence[int], condition: Tensor | None) -> Tensor:
        """(n, ...) the points of these numbers, with conditions (n, ...)."""
        if self.stored is not None:
            return self.stored.points[list(numbers)]
        return self.space.points(self.module.latents(numbers, self.how["seed"]), condition)

    def samples(self, numbers: range, asked: int | str | None) -> list[Tensor]:
        """(C, H, W) uint8 on the CPU each, at most a batch; see :meth:`condition`."""
        condition = self.condition(asked, numbers)
        if self.by_number:
            return pixels(self.module.sample(numbers, condition=condition, **self.how))
        return self.paint(self.points(numbers, condition), condition, numbers)

    def paint(self, points: Tensor, condition: Tensor | None, numbers: Sequence[int] | None = None) -> list[Tensor]:
        """Pictures (C, H, W) uint8 each of points (n, ...) and conditions (n, ...), a batch at a time.

        Args:
            points, condition: see :meth:`points`.
            numbers: keys of the noise of layers; 0 to n - 1 where None.
        """
        made, numbers = [], list(range(len(points)) if numbers is None else numbers)
        for rows in torch.arange(len(points)).split(self.batch_size):
            own, keys = None if condition is None else condition[rows], [numbers[row] for row in rows]
            if self._by_generate:
                images = self.module.generate(points[rows], condition=own, numbers=keys, **self.how_of_points)
            else:
                images = self.space.draw(points[rows], own, keys, self.how["seed"])
            made += pixels(images)
        return made


def shift(space: LatentSpace, given: argparse.Namespace) -> Tensor:
    """What --direction and --strength add to each point.

    Raises:
        ValueError: there is no such direction.
    """
    found = directions(space, given.directions)
    if not 0 <= given.direction < len(found):
        raise ValueError(f"--direction {given.direction}: there are the directions 0 to {len(found) - 1}")
    return (1.0 if given.strength is None else given.strength) * found[given.direction]


def way(space: LatentSpace, name: str | None = None) -> Between:
    """How a walk goes from point to point: "slerp" or "lerp"; None for what suits the distribution of the points."""
    straight = space.has_styles or space.module.uniform_latents
    return {"slerp": slerp, "lerp": lerp}[name or ("lerp" if straight else "slerp")]


# What the flags ask for.


def draw(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """Write the numbered pictures; returns the grid of the first ones."""
    asked, kept = given.asked, []
    columns = min(given.n, max(1, GRID_MOST // len(asked)))
    for row, one in enumerate(asked):
        for first in range(0, given.n, given.batch_size):
            numbers = range(first, min(first + given.batch_size, given.n))
            images = painter.samples(numbers, one)
            write(images, given.out, row * given.n + first)
            kept += images[: max(0, columns - first)]
    return tiles(kept, columns if len(asked) > 1 else None)


def walk(painter: Painter, given: argparse.Namespace) -> Iterator[Image.Image]:
    """Frames of a walk from the first images through other latents and back.

    With several classes or prompts it is through these, with the same latents, so that at each of them it shows the
    pictures of the same numbers: shares of classes change, or embeddings of texts.
    """
    asked, frames = given.asked, max(2, round(given.seconds * FRAMES_A_SECOND))
    between = way(painter.space, given.interpolate)
    first = range(min(WALKERS, given.n))
    if len(asked) > 1:
        stations = [painter.module.mixable(painter.condition(one, first)) for one in asked]
        for mixture in closed_walk(stations, frames, lerp):
            yield tiles(painter.paint(painter.points(first, mixture), mixture))
        return
    if painter.stored is not None:
        first, count = range(1), len(painter.stored.points)
    else:
        count = min(max(3, round(given.seconds / SECONDS_A_STATION)), frames)
    each = len(first)
    condition = painter.condition(asked[0], first)
    stations = [painter.points(range(i * each, (i + 1) * each), condition) for i in range(count)]
    for points in closed_walk(stations, frames, between):
        yield tiles(painter.paint(points, condition))


def animate(painter: Painter, given: argparse.Namespace) -> Iterator[Image.Image]:
    """Frames of a random walk around the picture that the model knows."""
    alpha, beta = (there if here is None else here for here, there in ((given.alpha, ALPHA), (given.beta, BETA)))
    of_frames = {name: value for name, value in painter.how.items() if name != "truncation"}
    frames = max(1, round(given.seconds * FRAMES_A_SECOND))
    for frame in painter.module.animate(frames, alpha, beta, **of_frames):
        yield tiles(pixels(frame))


def mix(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """A table: the first styles of the row's sample, the others of the column's; both stand alone at its margins.

    Karras et al. 2019, arXiv:1812.04948, figure 3.
    """
    rows, columns = given.mix
    points = {}
    for number in {*rows, *columns}:
        points[number] = painter.points([number], painter.condition(given.asked[0], [number]))
    top = [painter.paint(points[number], None, [number])[0] for number in columns]
    shown = [torch.zeros_like(top[0]), *top]
    for row in rows:
        mixed = [torch.cat([points[row][:, : given.crossover], points[c][:, given.crossover :]], 1) for c in columns]
        shown += painter.paint(torch.cat([points[row], *mixed]), None, [row] * (1 + len(columns)))
    return tiles(shown, 1 + len(columns))


def arithmetic(painter: Painter, given: argparse.Namespace) -> tuple[Image.Image, Tensor, Latents]:
    """Sums and differences of samples (Radford et al. 2016, arXiv:1511.06434, section 6.3.2 and figure 7).

    Nothing is rescaled, as in the paper: the result may lie where no latents are drawn. The noise of the neighbours is
    the paper's for its latents, which are uniform in [-1, 1), and the same for normal ones and in W.

    Returns:
        the sheet: a row for each term, its samples and then the picture of their mean; below, 3x3 pictures, the result
        in the middle of 8 to whose latents noise is added.
        (C, H, W) uint8, the result.
        its latents.
    """
    rows, result = [], 0.0
    for weight, numbers in given.arithmetic:
        condition = painter.condition(given.asked[0], numbers)
        points = painter.points(numbers, condition)
        mean = points.mean(0, keepdim=True)
        result = result + weight * mean
        images = painter.paint(points, condition, numbers)
        rows.append(images if len(numbers) == 1 else images + painter.paint(mean, condition, numbers[:1]))
    around = painter.space.neighbours(result, 8, AROUND, painter.how["seed"])
    nine = torch.cat([around[:4], result, around[4:]])
    condition = None if condition is None else condition[[0] * 9]
    images = painter.paint(nine, condition, [0] * 9)
    rows += [[], images[:3], images[3:6], images[6:]]
    columns = max(map(len, rows))
    blank = torch.zeros_like(images[0])
    sheet = tiles([image for row in rows for image in [*row, *[blank] * (columns - len(row))]], columns)
    label = condition[:1] if painter.module.num_classes and not painter.space.has_styles else None
    return sheet, images[4], Latents(result, label, painter.space.layers)


def levels(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """A row for each level, enlarged without smoothing, and between two of them a row of what the finer one adds.

    In that row middle grey is nothing, and a difference of half of the range of an image is black or white.
    """
    columns = range(min(WALKERS, given.n))
    condition = painter.condition(given.asked[0], columns)
    space = painter.space
    with torch.no_grad(), painter.module.drawing(space.network, columns, painter.how["seed"]):
        made = space.network.levels(space.moved(painter.points(columns, condition)), condition)
    rows = made[:1]
    for below, level in itertools.pairwise(made):
        rows += [level - upsample(below), level]
    size = made[-1].shape[2:]
    shown = [F.interpolate(row.float().clamp(-1, 1), size, mode="nearest") for row in rows]
    return tiles([image for row in shown for image in pixels(row)], len(columns))


def traverse(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """A row for each value of the code, a column for each latent."""
    columns = range(min(WALKERS, given.n))
    condition = painter.condition(given.asked[0], columns)
    rows = painter.module.traverse(painter.points(columns, condition), given.traverse, CODE_VALUES)
    return tiles([image for z in rows for image in painter.paint(z, condition)], len(columns))


def reconstruct(painter: Painter, given: argparse.Namespace, originals: Tensor) -> Image.Image:
    """Write the numbered reconstructions of (n, C, H, W), bytes or floats; returns the first beside originals."""
    from gan_lightning.data.base import to_unit  # nothing else that is made here needs data

    module, shown = painter.module, []
    for first in range(0, len(originals), given.batch_size):
        part = originals[first : first + given.batch_size]
        with torch.no_grad():
            made = pixels(module.reconstruct(to_unit(part).to(module.device).double()))
        write(made, given.out / RECONSTRUCTIONS, first)
        shown += [image for pair in zip(to_uint8(part), made, strict=True) for image in pair]
    shown = shown[:GRID_MOST]
    return tiles(shown, 2 * math.ceil(math.sqrt(len(shown)) / 2))
