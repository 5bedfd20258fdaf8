"""Image files that are resized, cropped at random and mirrored: what the sets for translation are read with."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import BatchIndex, Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.checking import ImageFiles, check
from gan_lightning.data.decoding import batch_of, read_pixels, reduction_of, resized
from gan_lightning.data.finding import identity, listed
from gan_lightning.data.folder import held_out
from gan_lightning.data.paths import Paths
from gan_lightning.data.sets import Examples, Split, labels_hash
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Sides, Size, largest_crop, middle, sides_of

Frame = Literal["whole", "middle", "own"]


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


class Pictures(ImageFiles):
    """Images of files, each brought to one size; see :meth:`with_augmentation` for training.

    In training, JPEGs that are large enough are decoded at a reduced size where all of the picture, or its middle, is
    what is shown.

    Args:
        paths: one for each image.
        shape: (channels, height, width).
        frame: "whole" stretches an image to the size, "middle" takes its middle in the proportions of the size, "own"
            keeps its own scale, enlarged where it is too small, and takes the middle.
        crop: shorter side in pixels of what "middle" takes; None for as much as there is.
        beside: (N, ...), what stands beside the images; no classes where None.
        kind: of the batches, made of images and what is beside them.
        reading: see :func:`read_pixels`.
        sound: see :class:`ImageFiles`.
    """

    _reducible = True  # whether a row is one whole picture

    def __init__(
        self,
        paths: Iterable[Path],
        shape: tuple[int, int, int],
        frame: Frame = "middle",
        crop: int | None = None,
        beside: Tensor | None = None,
        kind: type[tuple] = Labeled,
        reading: Reading = Reading(),
        sound: np.ndarray | None = None,
    ) -> None:
        channels, height, width = shape
        self.paths = paths if isinstance(paths, Paths) else Paths(paths)
        self.shape, self.frame, self.crop = (channels, height, width), frame, crop
        self.kind: Any = kind
        self.beside = torch.zeros(len(self.paths), dtype=torch.int64) if beside is None else beside
        self.sides: Sides = height, width
        self.seed, self.jitter = 0, self.sides
        self._draw: Jitter | None = None
        self.reading, self.sound = reading, sound

    def with_augmentation(self, jitter: Sides, flip: bool, seed: int) -> Pictures:
        """The same set, whose training batches are resized to `jitter`, cropped at random to the size and mirrored."""
        other = copy.copy(self)
        other.__dict__.pop("fingerprint", None)
        other.seed, other.jitter = seed, jitter
        other._draw = Jitter(self.sides, flip)
        return other

    def read(self, row: int) -> list[np.ndarray]:
        """The image, or images, of a row, (h, w, c) each.

        Raises:
            ValueError: naming the file that cannot be read.
        """
        return [self.pixels(self.paths[row])]

    def pixels(self, path: Path, reduction: Callable[[Sides], int] | None = None) -> np.ndarray:
        """A file's, (h, w, c); see :func:`read_pixels`."""
        return read_pixels(path, self.shape[0], self.reading, self.sound is not None, reduction)

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

    def _reduction(self, own: Sides) -> int:
        """By how much a picture of this height and width may be decoded smaller in training."""
        if self.frame == "own" or self.crop is not None:
            return 1
        shown = largest_crop(own[0], own[1], self.jitter) if self.frame == "middle" else own
        return reduction_of(shown, self.jitter)

    def _batch(self, index: list[int], keys: np.ndarray | None) -> tuple:
        self.check(index)
        rows = []
        for place, row in enumerate(index):
            if keys is None or self._draw is None:
                framed = [self.framed(image, self.sides) for image in self.read(row)]
                rows.append([image[middle(image.shape[:2], self.sides)] for image in framed])
            else:
                whole = not self._reducible
                images = self.read(row) if whole else [self.pixels(self.paths[row], self._reduction)]
                rows.append(self._draw([self.framed(image, self.jitter) for image in images], int(keys[place])))
        fields = zip(*rows, strict=True)
        return self.pack(index, [batch_of([image.transpose(2, 0, 1) for image in field]) for field in fields])

    def __getitems__(self, index: list[int]) -> tuple:
        return self._batch(index, None)

    def augmented(self, index: list[int], keys: np.ndarray) -> tuple:
        return self._batch(index, None if self._draw is None else keys)

    def training_batch(self, which: BatchIndex) -> tuple:
        return self.augmented(which.index, hashes(key(self.seed, which.epoch), which.index))

    @property
    def about(self) -> str:
        """How the files are read, and what stands beside them."""
        return f"{self.shape} {self.frame} {self.crop} {self.reading.white or ''} {labels_hash(self.beside)}"


class FileData(ImageData):
    """Base of the data modules whose images are read by :class:`Pictures`.

    Every file is decoded once in its life by Pillow, because nothing less finds one that was cut off: before training
    starts, on all cores; of a domain of more than 50,000 files each when it is first read.

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
            found = [check(self, part, warn=warn) for part, warn in every]
            if faults := [fault for verdict in found for fault in verdict.faults.values()]:
                raise ValueError(f"{self.name}: {len(faults)} files cannot be used: {listed(faults)}")
            for (part, _), verdict in zip(every, found, strict=True):
                part.sound = np.full(len(part), verdict.whole)
            self._checked = True
        super().setup(stage)

    def training_set(self) -> Examples:
        return self.reference("train").with_augmentation(self.jitter, self.mirror, self._seed)

    def apart(self, paths: Sequence[Path], root: Path, split: Split) -> Paths:
        """The part of these files that is a split, where none are meant for validation: by a file's first name."""
        first: dict[object, Path] = {}
        names = [first.setdefault(identity(path), path) for path in paths]
        inner = [name.relative_to(root) if name.is_relative_to(root) else name for name in names]
        val = [held_out(name.as_posix(), self.val_fraction) for name in inner]
        return Paths(path for path, held in zip(paths, val, strict=True) if held == (split == "val"))


def folder_at(root: str, what: str) -> Path:
    """A folder that must be there.

    Raises:
        FileNotFoundError: naming it.
    """
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {printable(folder)}: give {what}")
    return folder
