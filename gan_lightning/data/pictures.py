"""Image files that are resized, cropped at random and mirrored: what the sets for translation are read with."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import BatchIndex, Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.contents import fingerprint_of
from gan_lightning.data.decoding import batch_of, read_pixels
from gan_lightning.data.finding import identity, listed
from gan_lightning.data.folder import faults_of, held_out
from gan_lightning.data.sets import Examples, Split, labels_hash
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Sides, Size, largest_crop, middle, sides_of

Frame = Literal["whole", "middle", "own"]


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (h, w, c) of integers at another size: averages of areas where it shrinks, bicubic where it grows."""
    if image.shape[:2] == (height, width):
        return image
    if (channels := image.shape[2]) > 4:  # which is the most that OpenCV averages
        parts = [image[..., first : first + 4] for first in range(0, channels, 4)]
        return np.concatenate([resized(np.ascontiguousarray(part), height, width) for part in parts], 2)
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    found = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return found.reshape(height, width, channels)


class Jitter:
    """Crops and mirrors at random, by albumentations; a key and the image's size decide, and nothing before them.

    Args:
        size: of the crop.
        flip: mirror half of the images left to right.
    """

    def __init__(self, size: Size | Sides, flip: bool) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network whether it is the newest
        import albumentations  # here, because it takes seconds to import

        steps = [albumentations.RandomCrop(*sides_of(size)), *[albumentations.HorizontalFlip(p=0.5)] * flip]
        self._compose = albumentations.Compose(steps, additional_targets={"second": "image"})

    def __call__(self, images: list[np.ndarray], number: int) -> list[np.ndarray]:
        """One or two images (h, w, c) of one size, drawn alike."""
        # Each step has a seed of its own: Compose would give all the same, and mirror the upper crops only.
        for place, step in enumerate(self._compose.transforms):
            step.set_random_seed(key(number, place))
        drawn = self._compose(**dict(zip(("image", "second"), images, strict=False)))
        return [drawn[name] for name in ("image", "second")[: len(images)]]


class Pictures(Examples):
    """Images of files, each brought to one size; see :meth:`with_augmentation` for training.

    Args:
        paths: one for each image.
        shape: (channels, height, width).
        frame: "whole" stretches an image to the size, "middle" takes its middle in the proportions of the size, "own"
            keeps its own scale, enlarged where it is too small, and takes the middle.
        crop: shorter side in pixels of what "middle" takes; None for as much as there is.
        beside: (N, ...), what stands beside the images; no classes where None.
        kind: of the batches, made of images and what is beside them.
        reading, fast: see :func:`read_pixels`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        shape: tuple[int, int, int],
        frame: Frame = "middle",
        crop: int | None = None,
        beside: Tensor | None = None,
        kind: type[tuple] = Labeled,
        reading: Reading = Reading(),
        fast: bool = False,
    ) -> None:
        channels, height, width = shape
        self.paths, self.shape, self.frame, self.crop = list(paths), (channels, height, width), frame, crop
        self.kind: Any = kind
        self.beside = torch.zeros(len(self.paths), dtype=torch.int64) if beside is None else beside
        self.sides: Sides = height, width
        self.seed, self.jitter = 0, self.sides
        self._draw: Jitter | None = None
        self.reading, self.fast = reading, fast

    def with_augmentation(self, jitter: Sides, flip: bool, seed: int) -> Pictures:
        """The same set, whose training batches are resized to `jitter`, cropped at random to the size and mirrored."""
        other = copy.copy(self)
        other.__dict__.pop("fingerprint", None)
        other.seed, other.jitter = seed, jitter
        other._draw = Jitter(self.sides, flip)
        return other

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> list[np.ndarray]:
        """The image, or images, of a row, (h, w, c) each.

        Raises:
            ValueError: naming the file that cannot be read.
        """
        return [self.pixels(self.paths[row])]

    def pixels(self, path: Path) -> np.ndarray:
        """A file's, (h, w, c); see :func:`read_pixels`."""
        return read_pixels(path, self.shape[0], self.reading, self.fast)

    def pack(self, index: list[int], images: list[Tensor]) -> tuple:
        """The batch of these rows' images."""
        return self.kind(images[0], self.beside[index])

    def framed(self, image: np.ndarray, sides: Sides) -> np.ndarray:
        """An image at the size that its frame says."""
        own = image.shape[:2]
        if self.frame == "own":
            factor = max(1, *(want / have for want, have in zip(sides, own, strict=True)))
            return resized(image, *(max(round(have * factor), want) for want, have in zip(sides, own, strict=True)))
        if self.frame == "middle":
            image = image[middle(own, largest_crop(own[0], own[1], sides, self.crop))]
        return resized(image, *sides)

    def _batch(self, index: list[int], keys: np.ndarray | None) -> tuple:
        rows = []
        for place, row in enumerate(index):
            images = self.read(row)
            if keys is None or self._draw is None:
                framed = [self.framed(image, self.sides) for image in images]
                rows.append([image[middle(image.shape[:2], self.sides)] for image in framed])
            else:
                rows.append(self._draw([self.framed(image, self.jitter) for image in images], int(keys[place])))
        fields = zip(*rows, strict=True)
        return self.pack(index, [batch_of([image.transpose(2, 0, 1) for image in field]) for field in fields])

    def __getitems__(self, index: list[int]) -> tuple:
        return self._batch(index, None)

    def augmented(self, index: list[int], keys: np.ndarray) -> tuple:
        return self._batch(index, None if self._draw is None else keys)

    def training_batch(self, which: BatchIndex) -> tuple:
        return self.augmented(which.index, hashes(key(self.seed, which.epoch), which.index))

    def files(self) -> Iterator[Path]:
        """Every file."""
        return iter(self.paths)

    @cached_property
    def fingerprint(self) -> str:
        """See :func:`fingerprint_of`."""
        return fingerprint_of(self.files(), self.about)

    @property
    def about(self) -> str:
        """How the files are read, and what stands beside them."""
        return f"{self.shape} {self.frame} {self.crop} {self.reading.white or ''} {labels_hash(self.beside)}"


class FileData(ImageData):
    """Base of the data modules whose images are read by :class:`Pictures`.

    Every file is decoded once by Pillow before training starts, on all cores, because nothing less finds one that was
    cut off.

    Args:
        size: of the images, one number for both sides or [height, width].
        jitter: what the shorter side of training images is resized to, the other in proportion, before a crop of `size`
            is taken at random; None for that of `size`.
        flip: mirror training images at random.
        val_fraction: share held out where no files are meant for validation.
        white, max_pixels: see :class:`gan_lightning.runtime.reading.Reading`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        jitter: int | None,
        channels: int,
        flip: bool,
        val_fraction: float,
        batch_size: int,
        num_workers: int,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        sides = sides_of(size)
        short = min(sides)
        super().__init__(name, (channels, *sides), None, batch_size, num_workers)  # Jitter mirrors, not the base
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be at least 0 and less than 1, not {val_fraction}")
        if jitter is not None and jitter < short:
            raise ValueError(f"jitter ({jitter}) must not be less than size ({short}), which is cut out of it")
        tall, wide = (round(side * (jitter or short) / short) for side in sides)
        self.jitter: Sides = tall, wide
        self.mirror, self.val_fraction = flip, val_fraction
        self.reading, self._checked = Reading(white, max_pixels), False

    def sets(self, split: Split) -> list[Pictures]:
        """The sets of files that a split is made of."""
        return [self.reference(split)]

    def setup(self, stage: str) -> None:
        """Read every file once before training; see :meth:`ImageData.setup`.

        Raises:
            ValueError: naming the files that cannot be used.
        """
        if not self._checked:
            every = [(part, split == "train") for split in ("train", "val") for part in self.sets(split)]
            found = [faults_of(self, range(len(part)), part.read, warn) for part, warn in every]
            faults = [fault for of_part in found for fault in of_part if fault]
            if faults:
                raise ValueError(f"{self.name}: {len(faults)} files cannot be used: {listed(faults)}")
            for part, _ in every:
                part.fast = True
            self._checked = True
        super().setup(stage)

    def training_set(self) -> Examples:
        return self.reference("train").with_augmentation(self.jitter, self.mirror, self._seed)

    def apart(self, paths: Sequence[Path], root: Path, split: Split) -> list[Path]:
        """The part of these files that is a split, where none are meant for validation: by a file's first name."""
        first: dict[object, Path] = {}
        names = [first.setdefault(identity(path), path) for path in paths]
        inner = [name.relative_to(root) if name.is_relative_to(root) else name for name in names]
        val = [held_out(name.as_posix(), self.val_fraction) for name in inner]
        return [path for path, held in zip(paths, val, strict=True) if held == (split == "val")]


def folder_at(root: str, what: str) -> Path:
    """A folder that must be there.

    Raises:
        FileNotFoundError: naming it.
    """
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {printable(folder)}: give {what}")
    return folder
