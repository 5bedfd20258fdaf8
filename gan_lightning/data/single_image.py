"""One picture, which a whole epoch consists of."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gan_lightning.batches import Labeled
from gan_lightning.data.base import ImageData, resize
from gan_lightning.data.decoding import batch_of, read_image, require_channels
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS
from gan_lightning.runtime.reading import MAX_PIXELS, Reading

COPIES = 1000  # in an epoch: one of a single batch would be spent on what happens between epochs
SAMPLE = "china.jpg"  # of scikit-learn's pictures


class Copies(InMemory):
    """One image, many times; it takes the memory of one.

    Args:
        image: (1, C, H, W).
        count: how many times.
    """

    def __init__(self, image: Tensor, count: int) -> None:
        super().__init__(image.expand(count, -1, -1, -1), torch.zeros(count, dtype=torch.int64))

    def __getitems__(self, index: list[int]) -> Labeled:
        n = len(index)  # numpy would first copy all rows of an expanded tensor
        return Labeled(self.image[:1].repeat(n, 1, 1, 1), self.label[:1].repeat(n))

    @cached_property
    def fingerprint(self) -> str:
        """Of the image, however often it is there."""
        return InMemory(self.image[:1], self.label[:1]).fingerprint


class SingleImage(ImageData):
    """One picture, for SinGAN: every batch consists of copies of it, and nothing is held out.

    Any file that :func:`read_image` reads: upright, what is transparent shows white, levels of 16 bits are kept. A
    picture whose longer side is above `max_size` is made smaller, in its own proportions. It is read here already,
    because its proportions are the model's.

    Args:
        path: of the file; None for a temple that comes with scikit-learn (427x640).
        max_size: the most pixels of the longer side.
        min_size: the fewest pixels of the shorter side: what the model's coarsest scale has.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        white: the level that is white, 4095 for 12 bits in a file of 16; None for the greatest of the file's type.
        max_pixels: a picture of more is refused before it is decoded.
        batch_size: copies in a batch, over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, is a folder or too small, or an argument is out of range.
    """

    def __init__(
        self,
        path: str | None = None,
        max_size: int = 250,
        min_size: int = 25,
        channels: int = 3,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 1,
        num_workers: int = 0,
    ) -> None:
        if not 1 <= min_size <= max_size:
            raise ValueError(f"min_size ({min_size}) must be at least 1, and at most max_size ({max_size})")
        self.path = _sample() if path is None else Path(path).expanduser()
        if self.path.is_dir():
            raise ValueError(f"--data.path {printable(self.path)} is a folder: name one picture in it")
        if not self.path.is_file():
            raise FileNotFoundError(f"--data.path {printable(self.path)}: there is no such file")
        if self.path.suffix.lower() != ARRAYS:
            require_channels(channels)
        image = batch_of([read_image(self.path, None, channels, Reading(white, max_pixels))])
        height, width = image.shape[2:]
        share = min(1.0, max_size / max(height, width))
        sides = [max(1, round(side * share)) for side in (height, width)]
        if min(sides) < min_size:
            small = f", {sides[1]}x{sides[0]} within max_size {max_size}" if share < 1 else ""
            raise ValueError(
                f"{printable(self.path)} has {width}x{height} pixels{small}, and needs {min_size} on its shorter side: "
                "take a larger picture, a greater max_size, or a smaller min_size of data and model"
            )
        self.image = resize(image, sides, "bicubic")  # (1, C, H, W)
        name = f"SingleImage({printable(self.path.name if path is None else self.path)})"
        _, channels, height, width = self.image.shape
        super().__init__(name, (channels, height, width), None, batch_size, num_workers)

    def load(self, split: Split) -> Copies:
        return Copies(self.image, COPIES if split == "train" else 0)


def _sample() -> Path:
    """Where scikit-learn keeps its picture."""
    import sklearn.datasets  # here, because it takes a second to import

    return Path(sklearn.datasets.__file__).with_name("images") / SAMPLE
