"""Pictures of a checkpoint's samples: numbered files, grids, walks, traversals and reconstructions.

Images of 1, 3 or 4 channels are PNG files of 8 bits; those of others, which no picture holds, arrays (H, W, C) uint8 in
.npy files, and in grids their channels stand side by side in grey.
"""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan_lightning.cli.flags import GRID_MOST
from gan_lightning.core import ImageGenerator
from gan_lightning.core.sampling import closed_walk, lerp, slerp
from gan_lightning.metrics import PICTURE_CHANNELS, to_uint8, visible
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS, PICTURES, RECONSTRUCTIONS, is_numbered, numbered
from gan_lightning.runtime.reading import Reading

WALKERS = 16  # latents that walk or are traversed side by side
STATIONS = 5  # latents that each of them visits
CODE_VALUES = 10  # of a code that is continuous


class Painter:
    """Makes pictures of a checkpoint's samples.

    Args:
        module: in float64.
        given: the flags.
        how: the arguments of the model's `sample` that the flags give: "seed", "live", "truncation" and its own.

    Attributes:
        how_of_latents: those of them that its `generate` takes too.
    """

    def __init__(self, module: ImageGenerator, given: argparse.Namespace, how: dict[str, Any]) -> None:
        self.module, self.how, self.batch_size = module, how, given.batch_size
        taken = inspect.signature(module.generate).parameters
        self.how_of_latents = {name: value for name, value in how.items() if name in taken}

    def condition(self, label: int | None, numbers: range) -> Tensor | None:
        """(n,) the class; None for what samples of these numbers have by themselves."""
        condition = self.module.condition_of(numbers)
        return condition if label is None else condition.fill_(label)

    def latents(self, numbers: range) -> Tensor:
        """(n, ...) the latents of these numbers."""
        return self.module.latents(numbers, self.how["seed"])

    def samples(self, numbers: range, label: int | None) -> list[Tensor]:
        """(C, H, W) uint8 on the CPU each, at most a batch."""
        return pixels(self.module.sample(numbers, condition=self.condition(label, numbers), **self.how))

    def paint(self, z: Tensor, condition: Tensor | None) -> list[Tensor]:
        """The same of latents (n, ...) and conditions (n,) or (n, classes), a batch at a time; row i is number i."""
        made = []
        for numbers in torch.arange(len(z)).split(self.batch_size):
            own = None if condition is None else condition[numbers]
            rows = range(int(numbers[0]), int(numbers[-1]) + 1)
            made += pixels(self.module.generate(z[numbers], condition=own, numbers=rows, **self.how_of_latents))
        return made


def pixels(images: Tensor) -> list[Tensor]:
    """(C, H, W) uint8 on the CPU each, of images (n, C, H, W) in [-1, 1]."""
    return list(to_uint8(images).cpu())


# What the flags ask for.


def draw(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """Write the numbered pictures; returns the grid of the first ones."""
    labels, kept = given.labels, []
    columns = min(given.n, max(1, GRID_MOST // len(labels)))
    for row, label in enumerate(labels):
        for first in range(0, given.n, given.batch_size):
            numbers = range(first, min(first + given.batch_size, given.n))
            images = painter.samples(numbers, label)
            write(images, given.out, row * given.n + first)
            kept += images[: max(0, columns - first)]
    return tiles(kept, columns if len(labels) > 1 else None)


def walk(painter: Painter, given: argparse.Namespace) -> list[Image.Image]:
    """Frames of a walk from the first images through other latents and back, or through labels with these latents."""
    labels, first = given.labels, range(min(WALKERS, given.n))
    z, count = painter.latents(first), min(STATIONS, given.frames)
    if len(labels) > 1:
        classes = range(painter.module.num_classes)
        stations = [z.new_tensor([float(c == label) for c in classes]).repeat(len(z), 1) for label in labels]
        return [tiles(painter.paint(z, mixture)) for mixture in closed_walk(stations, given.frames, lerp)]
    stations = [painter.latents(range(i * len(z), (i + 1) * len(z))) for i in range(count)]
    points = closed_walk(stations, given.frames, slerp if given.interpolate == "slerp" else lerp)
    return [tiles(painter.paint(point, painter.condition(labels[0], first))) for point in points]


def traverse(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """A row for each value of the code, a column for each latent."""
    columns = range(min(WALKERS, given.n))
    condition = painter.condition(given.labels[0], columns)
    rows = painter.module.traverse(painter.latents(columns), given.traverse, CODE_VALUES)
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


def picture(image: Tensor) -> Image.Image:
    """Of (C, H, W) uint8, C 1, 3 or 4."""
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.movedim(0, 2).numpy())


def tiles(images: list[Tensor], columns: int | None = None) -> Image.Image:
    """Of (C, H, W) uint8 each, in so many columns, or in a square."""
    return picture(make_grid(visible(torch.stack(images)), nrow=columns or math.ceil(math.sqrt(len(images)))))


def write(images: list[Tensor], folder: Path, first: int) -> None:
    """Files numbered from `first`, of (C, H, W) uint8 each: PNG, or .npy (H, W, C) where PNG has no such channels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, first):
        path = folder / numbered(number, suffix_for(len(image)))
        if path.suffix == ARRAYS:
            np.save(path, image.movedim(0, 2).numpy())
        else:
            picture(image).save(path)


def suffix_for(channels: int) -> str:
    """Of the files that images of so many channels are written to."""
    return PICTURES if channels in PICTURE_CHANNELS else ARRAYS


def save(image: Image.Image, path: Path, more: Sequence[Image.Image] = ()) -> None:
    """An image, or the frames of an endless film; says where."""
    film = {"save_all": True, "append_images": more, "duration": 50, "loop": 0} if more else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **film)
    print(f"{path.stem}: {printable(path)}")


# Files.


def refuse_older(folder: Path, n: int, channels: int) -> None:
    """Refuse a folder where pictures of another call would stay among `n` new ones.

    Raises:
        ValueError: it holds pictures with greater numbers, or of other channels.
    """
    files = sorted((file for file in folder.glob("*") if is_numbered(file.name)), key=lambda file: int(file.stem))
    stay = [file.name for file in files if int(file.stem) >= n or file.suffix != suffix_for(channels)]
    if stay:
        where = printable(folder)
        raise ValueError(f"--out: {where} holds more than the {n} pictures to come, up to {stay[-1]}: empty it")


def read_pictures(folder: Path, image_shape: tuple[int, int, int], reading: Reading) -> Tensor:
    """(n, *image_shape): the pictures under a folder, sorted by name; see :class:`data.folder.Files`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are none, or one cannot be read.
    """
    from gan_lightning.data.finding import holds, image_files
    from gan_lightning.data.folder import Files

    if not folder.is_dir():
        raise FileNotFoundError(f"--reconstruct {printable(folder)}: there is no such folder")
    paths = image_files(folder)
    if not paths:
        raise ValueError(f"--reconstruct: {holds(folder)}")
    files = Files(paths, torch.zeros(len(paths)), image_shape[1:], image_shape[0], reading)
    return files.__getitems__(list(range(len(paths)))).image
