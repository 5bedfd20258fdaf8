"""Any folder of image files."""

from __future__ import annotations

import copy
import logging
import os
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning.batches import Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.checking import ImageFiles, check
from gan_lightning.data.decoding import MODES, batch_of, read_image, read_pixels, reduced_image
from gan_lightning.data.finding import holds, image_files, listed, refuse_splits
from gan_lightning.data.paths import Paths
from gan_lightning.data.sets import Examples, Split, labels_hash
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Sides, Size, sides_of

log = logging.getLogger(__name__)
NAMED = 20  # classes in the line that names them


def place_of(name: str) -> float:
    """Where a file stands in [0, 1), by a hash of its name: other files change nothing about it."""
    return zlib.crc32(os.fsencode(name)) / 2**32


def held_out(name: str, fraction: float) -> bool:
    """Whether a file validates: such a share does."""
    return place_of(name) < fraction


class Files(ImageFiles):
    """Image files that are read when they are asked for.

    Args:
        paths: one for each image.
        label: (N,) int64.
        size, channels: see :func:`read_image`; with a size of None all images must have that of the first.
        reading: see :func:`read_pixels`.
        sound: see :class:`ImageFiles`.
    """

    _trains = False

    def __init__(
        self,
        paths: Iterable[Path],
        label: torch.Tensor,
        size: Size | Sides | None,
        channels: int,
        reading: Reading = Reading(),
        sound: np.ndarray | None = None,
    ) -> None:
        self.paths = paths if isinstance(paths, Paths) else Paths(paths)
        self.label, self.channels = label, channels
        self.size = None if size is None else sides_of(size)
        self.reading, self.sound = reading, sound
        self.shape: tuple = (channels, *(self.size or (None, None)))
        if size is None and self.paths:
            self.shape = self._image(0).shape

    def in_training(self) -> Files:
        """The same set, whose large JPEGs are decoded at a reduced size, then averaged over areas."""
        other = copy.copy(self)
        other._trains = True
        return other

    def take(self, rows: np.ndarray) -> Files:
        """Those of these rows."""
        sound = None if self.sound is None else self.sound[rows]
        return Files(self.paths.take(rows), self.label[rows], self.size, self.channels, self.reading, sound)

    def read(self, row: int) -> list[np.ndarray]:
        return [read_pixels(self.paths[row], self.channels, self.reading, self.sound is not None)]

    def _image(self, row: int) -> np.ndarray:
        """(channels, height, width)."""
        fast = self.sound is not None
        if not (fast and self._trains and self.size):
            return read_image(self.paths[row], self.size, self.channels, self.reading, fast)
        return reduced_image(partial(read_pixels, self.paths[row], self.channels, self.reading, fast), self.size)

    def __getitems__(self, index: list[int]) -> Labeled:
        """See :class:`Examples`.

        Raises:
            ValueError: naming the file that cannot be read, or whose size differs from the first one's.
        """
        self.check(index)
        images = []
        for i in index:
            image = self._image(i)
            if image.shape != self.shape:
                (_, height, width), (_, first_height, first_width) = image.shape, self.shape
                raise ValueError(
                    f"unequal image sizes: {printable(self.paths[i])} has {width}x{height} pixels, "
                    f"{printable(self.paths[0])} {first_width}x{first_height}"
                )
            images.append(image)
        return Labeled(batch_of(images), self.label[index])

    @property
    def class_counts(self) -> list[int]:
        return self.label.long().bincount().tolist()

    @property
    def about(self) -> str:
        about = (self.shape, self.reading.white, labels_hash(self.label))
        return " ".join(str(one) for one in about if one)


class ImageFolder(ImageData):
    """The images under a folder, at any depth, of any size and kind, brought to one shape (see :func:`read_image`).

    Where all images lie in two or more sub-folders, the first level of these are the classes, in alphabetical order,
    or in that of their numbers where all are numbers; otherwise there are none, and a line says so where pictures lie
    beside folders. A fixed share of the images, chosen by a hash of each one's path below `root`, is held out as "val";
    adding images moves no other. A file counts once, however many names and links it has. What hidden folders and those
    that systems leave behind hold, and files of other kinds than Pillow reads, are left out: one line says how many.

    Arrays (.npy) are images as well, (height, width) or (height, width, channels). Images of 16 bits keep their levels:
    a batch that holds one is float32 in [-1, 1] where others are bytes. Images are cropped in the middle to the
    proportions of `size`, and resized.

    Pillow decodes every file once in its life, because nothing less finds a file that was cut off: before training
    starts, on all cores; of more than 50,000 files each when it is first read, unless `corrupt` is "skip". (Outside of
    training a damaged file is found when it is read.) In training, large JPEGs are decoded at 1/2, 1/4 or 1/8 of their
    size, as long as that is enough, and averaged over areas.

    Args:
        root: the folder.
        size: of the images, one number for both sides or [height, width].
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images left to right at random.
        corrupt: "refuse" stops with the names of files that cannot be read; "skip" goes on without them, naming them.
        val_fraction: share held out, from 0 up to but not 1.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.
        batch_size: over all processes.
        num_workers: loader processes.
        n_train: how many of the images that are not held out train, chosen by the same hash; None for all. Scores
            compare with all of them still.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or the splits of a set, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        size: Size = 64,
        channels: int = 3,
        flip: bool = False,
        corrupt: Literal["refuse", "skip"] = "refuse",
        val_fraction: float = 0.05,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 64,
        num_workers: int = 2,
        n_train: int | None = None,
    ) -> None:
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {printable(self.root)}: give --data.root a folder of images")
        sides = sides_of(size)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be at least 0 and less than 1, not {val_fraction}")
        if n_train is not None and n_train < 1:
            raise ValueError(f"n_train must be at least 1, or null for all, not {n_train}")
        self.n_train = n_train
        self.corrupt, self.val_fraction, self.reading = corrupt, val_fraction, Reading(white, max_pixels)
        self.paths = image_files(self.root)
        if not self.paths:
            raise ValueError(holds(self.root))
        if channels not in MODES and not any(name.lower().endswith(ARRAYS) for name in self.paths.names()):
            raise ValueError(
                f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA) for image files such as {printable(self.paths[0])}, "
                f"not {channels}: any other number is of {ARRAYS} files alone"
            )
        refuse_splits(self.root, self.paths, "--data.root")
        self.classes = self._classes()
        num_classes = len(self.classes) if self.classes else None
        super().__init__(self._named(), (channels, *sides), num_classes, batch_size, num_workers, flip)
        self._readable: Paths | None = None
        self._whole: bool | None = None  # whether every file has been checked; None before any was

    def _named(self) -> str:
        return f"{type(self).__name__}({printable(self.root)})"

    def _classes(self) -> list[str] | None:
        """The names of the classes, in the order of their labels."""
        names: set[str] = set()
        loose: list[str] = []
        for name in self.paths.below(self.root):
            first, inner, _ = name.partition("/")
            if inner:
                names.add(first)
            else:
                loose.append(first)
        if len(names) < 2:
            return None
        if loose:
            named = listed(sorted(map(printable, names)))
            rank_zero_only(log.warning)(
                f"{self._named()} has no classes: beside the {len(names)} folders {named} lie images in none, "
                f"{len(loose)} of them, such as {printable(loose[0])}"
            )
            return None
        numbers = {int(name) for name in names if name.isascii() and name.isdecimal()}
        return sorted(names, key=int if len(numbers) == len(names) else None)

    def _check(self) -> Paths:
        """The paths of all files that can be read, as far as is known before training; see :func:`check`.

        Raises:
            ValueError: naming the files that cannot, unless they are to be skipped.
        """
        files = Files(self.paths, torch.empty(0), self.image_shape[1:], self.image_shape[0], self.reading)
        faults, self._whole = check(self, files, every=self.corrupt == "skip")
        if not faults:
            return self.paths
        named = listed(list(faults.values()))
        if self.corrupt == "refuse":
            raise ValueError(f"{len(faults)} damaged files: {named}. Remove them, or use --data.corrupt skip")
        rank_zero_only(log.warning)(f"{self.name}: {len(faults)} damaged files are skipped: {named}")
        return self.paths.take(row for row in range(len(self.paths)) if row not in faults)

    def setup(self, stage: str) -> None:
        """Name the classes, and look for files that cannot be read before training; see :meth:`ImageData.setup`."""
        if stage == "fit" and self.classes:
            named = [f"{number} {printable(name)}" for number, name in enumerate(self.classes[:NAMED])]
            more = [f"and {len(self.classes) - NAMED} more"] * (len(self.classes) > NAMED)
            rank_zero_only(print)(f"classes: {', '.join(named + more)}")
        self._readable = self._readable or self._check()
        super().setup(stage)

    def load(self, split: Split) -> Any:
        if self._readable is None:  # outside of training, where reading a file is check enough
            self._readable = self._check() if self.corrupt == "skip" else self.paths
        held = np.array([held_out(name, self.val_fraction) for name in self._readable.below(self.root)])
        rows = np.flatnonzero(held == (split == "val"))
        paths = self._readable if len(rows) == len(held) else self._readable.take(rows)
        number = {name: label for label, name in enumerate(self.classes or [])}
        first = (name.partition("/")[0] for name in paths.below(self.root))
        label = torch.tensor([number.get(name, 0) for name in first], dtype=torch.int64)
        sound = None if self._whole is None else np.full(len(paths), self._whole)
        return Files(paths, label, self.image_shape[1:], self.image_shape[0], self.reading, sound)

    def training_set(self) -> Examples:
        """All images that are not held out, or `n_train` of them.

        Raises:
            ValueError: there are not so many.
        """
        every = self.reference("train").in_training()
        if self.n_train is None:
            return every
        if self.n_train > len(every):
            raise ValueError(f"{self.name} has {len(every)} training images, fewer than n_train {self.n_train}")
        places = [place_of(name) for name in every.paths.below(self.root)]
        return every.take(np.sort(np.argsort(places, kind="stable")[: self.n_train])).in_training()
