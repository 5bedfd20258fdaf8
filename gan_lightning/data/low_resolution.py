"""Images, and the small ones to make them of."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gan_lightning.batches import BatchIndex, Paired
from gan_lightning.data.base import resize
from gan_lightning.data.folder import ImageFolder
from gan_lightning.data.pictures import Pictures
from gan_lightning.data.sets import Derived, Examples, Split
from gan_lightning.data.shapes import ShapeData, scenes
from gan_lightning.runtime.reading import MAX_PIXELS
from gan_lightning.runtime.sizes import Size, sides_of


class LowResolution(Derived):
    """Images of a set as targets, and the same `factor` times smaller as sources: bicubic, antialiased, bytes of bytes.

    Args:
        images: the set, whose batches begin with the images.
        factor: by which their sides shrink.
    """

    def __init__(self, images: Examples, factor: int) -> None:
        super().__init__(images, str(factor))
        self.factor = factor

    def _pairs(self, image: Tensor) -> Paired:
        return Paired(resize(image, [side // self.factor for side in image.shape[2:]], "bicubic"), image)

    def __getitems__(self, index: list[int]) -> Paired:
        return self._pairs(self.images.__getitems__(index)[0])

    def training_batch(self, which: BatchIndex) -> Paired:
        return self._pairs(self.images.training_batch(which)[0])


def dividing(factor: int, size: Size) -> int:
    """The factor, if it divides both sides.

    Raises:
        ValueError: it does not.
    """
    if factor < 2 or any(side % factor for side in sides_of(size)):
        raise ValueError(f"factor ({factor}) must be at least 2 and divide size ({size})")
    return factor


class LowResolutionImages(ImageFolder):
    """The images under a folder (see ImageFolder), and small ones to make them of: super-resolution.

    A target is a crop of an image in its own scale, random in training and central in validation (as SRGAN,
    arXiv:1609.04802); images that are smaller than a crop are enlarged to it. Batches are `Paired`.

    Args:
        root: the folder.
        size: of the targets, one number for both sides or [height, width].
        factor: how many times smaller the sources are.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images left to right at random.
        corrupt: "refuse" stops with the names of files that cannot be read; "skip" goes on without them.
        val_fraction: share held out, from 0 up to but not 1.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        size: Size = 96,
        factor: int = 4,
        channels: int = 3,
        flip: bool = True,
        corrupt: Literal["refuse", "skip"] = "refuse",
        val_fraction: float = 0.05,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 16,
        num_workers: int = 2,
    ) -> None:
        super().__init__(root, size, channels, flip, corrupt, val_fraction, white, max_pixels, batch_size, num_workers)
        self.factor = dividing(factor, size)

    def _classes(self) -> None:
        return None  # a batch has no labels

    def load(self, split: Split) -> LowResolution:
        files = super().load(split)
        images = Pictures(files.paths, self.image_shape, "own", reading=self.reading, sound=files.sound)
        return LowResolution(images, self.factor)

    def training_set(self) -> LowResolution:
        images = self.reference("train").images
        crops = images.with_augmentation(self.image_shape[1:], flip=False, seed=self._seed)  # the base mirrors
        return LowResolution(crops, self.factor)


class ShapeResolution(ShapeData):
    """Drawn pictures of many striped shapes, and small ones to make them of.

    Edges and stripes of the small picture say where those of the large one are. Batches are `Paired`.

    Args:
        n: training images; 500 more validate.
        size: of the targets, one number for both sides or [height, width].
        factor: how many times smaller the sources are.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(
        self, n: int = 2000, size: Size = 64, factor: int = 4, batch_size: int = 16, num_workers: int = 0
    ) -> None:
        super().__init__(3, n, size, batch_size, num_workers)
        self.factor = dividing(factor, size)

    def load(self, split: Split) -> LowResolution:
        return LowResolution(scenes(split, self.count(split), self.sides), self.factor)
