"""What the page of a generator of images computes: samples, one of them moved, films and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from gan_lightning.cli import painting
from gan_lightning.cli.flags import METHODS
from gan_lightning.cli.pictures import FRAMES_A_SECOND, picture, pixels, write_film
from gan_lightning.core import ImageGenerator, TextToImage
from gan_lightning.core.sampling import closed_walk, lerp
from gan_lightning.latents import Latents, LatentSpace, directions
from gan_lightning.metrics import visible
from gan_lightning.runtime.layout import LATENTS

SAMPLES = 16  # on a page
BATCH = 16  # images made at a time
SLIDERS = 6  # directions that can be moved along, the first ones
MOST = 3.0  # truncation of normal latents that counts as none


class Centre(NamedTuple):
    """A picture to move from.

    Attributes:
        point: (1, *shape) of the space, truncated.
        condition: (1, ...) its class or text; None where there is none, or where styles hold it.
        number, seed: key of the noise that layers draw.
    """

    point: Tensor
    condition: Tensor | None
    number: int
    seed: int


class Explorer:
    """A trained generator, as its page asks for pictures.

    Generators with styles have the same noise in their layers for all pictures, so that nothing but the latent changes.

    Args:
        module: the model.

    Attributes:
        space: of its latents, not truncated.
        truncations: the least value of the slider and the greatest, which is none.
    """

    def __init__(self, module: ImageGenerator) -> None:
        self.module, self.space = module, LatentSpace(module, noise="const")
        bounded = self.space.has_styles or module.uniform_latents
        self.truncations = (0.1, 1.0 if bounded else MOST)

    @property
    def classes(self) -> list[str]:
        """Names of the classes; none where the model has none."""
        count = self.module.num_classes or 0
        names = self.module.trained_on.get("classes") or range(count)  # the data has names that no model reads, too
        return [str(name) for name in names][:count]

    @property
    def reads(self) -> list[str]:
        """What samples can be asked for: the names of classes, or the words of prompts."""
        return self.module.vocabulary if isinstance(self.module, TextToImage) else self.classes

    def painter(self, seed: int, truncation: float | None = None) -> painting.Painter:
        """What draws samples of a seed."""
        if truncation is not None and truncation >= self.truncations[1]:
            truncation = None
        given = argparse.Namespace(batch_size=BATCH, latents=None, direction=None, noise="const")
        how = {"seed": seed, "live": False, "truncation": truncation, "average": None}
        return painting.Painter(self.module, given, how)

    # Samples.

    def samples(
        self, seed: int, asked: int | str | None = None, truncation: float | None = None, n: int = SAMPLES
    ) -> list[Image.Image]:
        """Pictures 0 to n - 1 of a seed; see :meth:`Painter.condition` for what is asked of them.

        Raises:
            ValueError: no such class, or a prompt that the model cannot read.
        """
        return shown(self.painter(seed, truncation).samples(range(n), asked))

    def names(self, asked: int | str | None = None, n: int = SAMPLES) -> list[str | None]:
        """What samples 0 to n - 1 are of, where that is not asked for: their classes or captions."""
        said = None if asked is not None else self.module.asked_of(range(n))
        return [None] * n if said is None else list(said)

    def table(
        self, rows: Sequence[int], columns: Sequence[int], crossover: int, seed: int, asked: int | str | None = None
    ) -> Image.Image:
        """Styles mixed; see :func:`painting.mix`."""
        given = argparse.Namespace(mix=(rows, columns), crossover=crossover, asked=[asked])
        return painting.mix(self.painter(seed), given)

    # One of them.

    def centre(self, number: int, seed: int, asked: int | str | None = None, truncation: float | None = None) -> Centre:
        """A sample to move from."""
        painter = self.painter(seed, truncation)
        condition = painter.condition(asked, [number])
        point = painter.space.moved(painter.points([number], condition))
        return Centre(point, None if self.space.has_styles else condition, number, seed)

    def pictures(self, centre: Centre, points: Tensor | None = None) -> list[Image.Image]:
        """The picture of a centre, or those of other points (n, *shape) with its condition and noise."""
        points = centre.point if points is None else points
        made = []
        for part in points.split(BATCH):
            condition = None if centre.condition is None else centre.condition[[0] * len(part)]
            made += pixels(self.space.draw(part, condition, [centre.number] * len(part), centre.seed))
        return shown(made)

    @cache  # noqa: B019 - a page lives as long as its server
    def directions(self, method: str = METHODS[0]) -> Tensor:
        """(k, dim) the first directions; none where there are none. See :func:`latents.directions`."""
        try:
            return directions(self.space, method)[:SLIDERS]
        except ValueError:  # no layer is linear in z
            return torch.zeros(0, self.space.shape[-1])

    @cached_property
    def values(self) -> list[int]:
        """How many values each code has, of a model whose latents have codes."""
        z = self.module.latents([0])
        codes = range(self.module.codes)
        return [len(self.module.traverse(z, code, painting.CODE_VALUES)) for code in codes]

    def moved(
        self, centre: Centre, strengths: Sequence[float], values: Sequence[int] = (), method: str = METHODS[0]
    ) -> Centre:
        """A centre after moves.

        Args:
            centre: where they begin.
            strengths: standard deviations along each of the first directions.
            values: of each code, counted from 1; 0 leaves a code as it is.
            method: how directions are found.
        """
        point = centre.point
        for code, value in enumerate(values):
            if value:
                point = self.module.traverse(point, code, painting.CODE_VALUES)[value - 1]
        for strength, direction in zip(strengths, self.directions(method), strict=False):
            point = point + strength * direction.to(point)
        return centre._replace(point=point)

    def around(self, centre: Centre, radius: float, seed: int) -> list[Centre]:
        """Nine centres, the one in the middle of eight neighbours; see :meth:`LatentSpace.neighbours`."""
        near = self.space.neighbours(centre.point, 8, radius, seed)
        return [centre._replace(point=point) for point in [*near[:4].split(1), centre.point, *near[4:].split(1)]]

    def film(self, start: Centre, end: Centre, seconds: float, path: Path) -> Path:
        """A film from a picture to another and back, written as GIF; classes and texts change with the latents."""
        frames = max(2, round(seconds * FRAMES_A_SECOND))
        painter = self.painter(start.seed)
        points = torch.cat([*closed_walk([start.point, end.point], frames, painting.way(self.space))])
        condition = None
        if start.condition is not None:
            stations = [self.module.mixable(one.condition) for one in (start, end)]
            condition = torch.cat([*closed_walk(stations, frames, lerp)])
        made = painter.paint(points, condition, [start.number] * frames)
        write_film(iter(shown(made)), path)
        return path

    def save(self, centre: Centre, folder: Path) -> tuple[Path, Path]:
        """Write a centre: its latents, which `sample --latents` reads, and its picture."""
        label = centre.condition if self.module.num_classes else None
        latents, file = folder / LATENTS, folder / "picture.png"
        Latents(centre.point, label).save(latents, self.space)
        self.pictures(centre)[0].save(file)
        return latents, file


def shown(images: Sequence[Tensor]) -> list[Image.Image]:
    """Pictures of images (C, H, W) uint8 each."""
    return [picture(visible(image[None])[0]) for image in images]
