"""Any folder of image files."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning.batches import Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.contents import fingerprint_of
from gan_lightning.data.decoding import MODES, batch_of, read_image, read_pixels
from gan_lightning.data.finding import holds, image_files, listed, refuse_splits
from gan_lightning.data.sets import Examples, Split, labels_hash
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Sides, Size, sides_of

log = logging.getLogger(__name__)
DARK, BRIGHT = 64, 191  # levels that a set is nearly black below, nearly white above: 14 bits in 16 reach 63
NAMED = 20  # classes in the line that names them
Row = TypeVar("Row")


def place_of(name: str) -> float:
    """Where a file stands in [0, 1), by a hash of its name: other files change nothing about it."""
    return zlib.crc32(os.fsencode(name)) / 2**32


def held_out(name: str, fraction: float) -> bool:
    """Whether a file validates: such a share does."""
    return place_of(name) < fraction


def faults_of(
    data: ImageData, rows: Sequence[Row], read: Callable[[Row], Sequence[np.ndarray]], warn: bool = True
) -> list[str | None]:
    """What is wrong with each row of files, None where nothing is: rank 0 reads all, on all cores, and all hear.

    Args:
        data: whose files they are.
        rows: of files.
        read: a row's pictures, (height, width, channels) uint8 or uint16 each.
        warn: whether a line tells of pictures that are nearly black or nearly white.
    """

    def look(row: Row) -> tuple[str | None, list[tuple[int, int]]]:
        try:
            colours = [image[..., :3] for image in read(row)]
        except ValueError as error:
            return str(error), []
        steps = [int(np.iinfo(image.dtype).max) // 255 for image in colours]
        return None, [
            (round(int(image.min()) / step), round(int(image.max()) / step))
            for image, step in zip(colours, steps, strict=True)
        ]

    faults: list[str | None] = []
    if data.trainer is None or data.trainer.global_rank == 0:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the interpreter is released while a file is decoded
            looked = list(threads.map(look, rows))
        faults = [fault for fault, _ in looked]
        if warn:
            warn_of_levels(data.name, [levels for _, levels in looked if levels])
    return faults if data.trainer is None else data.trainer.strategy.broadcast(faults)


def warn_of_levels(name: str, levels: Sequence[Sequence[tuple[int, int]]]) -> None:
    """One line if most pictures are nearly black or nearly white, as those whose white is not their type's are.

    Args:
        name: of the set.
        levels: of each row the darkest and the brightest level of each of its pictures, of 255.
    """
    for pictures in zip(*levels, strict=True):
        darkest, brightest = (int(level) for level in np.median(np.array(pictures), 0))
        if brightest < DARK or darkest > BRIGHT:
            tone, reach = ("black", f"above {brightest}") if brightest < DARK else ("white", f"below {darkest}")
            log.warning(
                f"{name} is nearly {tone}: half of the pictures have nothing {reach} of 255. If their white is not "
                "the greatest level of their type, give it: --data.white 4095 for 12 bits in files of 16"
            )


class Files(Examples):
    """Image files that are read when they are asked for.

    Args:
        paths: one for each image.
        label: (N,) int64.
        size, channels: see :func:`read_image`; with a size of None all images must have that of the first.
        reading, fast: see :func:`read_pixels`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        label: torch.Tensor,
        size: Size | Sides | None,
        channels: int,
        reading: Reading = Reading(),
        fast: bool = False,
    ) -> None:
        self.paths, self.label, self.channels = list(paths), label, channels
        self.size = None if size is None else sides_of(size)
        self.reading, self.fast = reading, fast
        own_size = size is None and self.paths
        self.shape = self._read(0).shape if own_size else (channels, *(self.size or (None, None)))

    def _read(self, row: int) -> np.ndarray:
        return read_image(self.paths[row], self.size, self.channels, self.reading, self.fast)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, index: list[int]) -> Labeled:
        """See :class:`Examples`.

        Raises:
            ValueError: naming the file that cannot be read, or whose size differs from the first one's.
        """
        images = []
        for i in index:
            image = self._read(i)
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

    @cached_property
    def fingerprint(self) -> str:
        """Of the files' contents and their labels; see :func:`fingerprint_of`."""
        about = (self.shape, self.reading.white, labels_hash(self.label))
        return fingerprint_of(self.paths, " ".join(str(one) for one in about if one))


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

    Every file is decoded once by Pillow before training starts, on all cores, because nothing less finds a file that
    was cut off: about as long as two epochs of loading. (Outside of training a damaged file is found when it is read.)

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
        if channels not in MODES and all(path.suffix.lower() != ARRAYS for path in self.paths):
            raise ValueError(
                f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA) for image files such as {printable(self.paths[0])}, "
                f"not {channels}: any other number is of {ARRAYS} files alone"
            )
        refuse_splits(self.root, self.paths, "--data.root")
        self.classes = self._classes()
        num_classes = len(self.classes) if self.classes else None
        super().__init__(self._named(), (channels, *sides), num_classes, batch_size, num_workers, flip)
        self._readable: list[Path] | None = None
        self._checked = False

    def _named(self) -> str:
        return f"{type(self).__name__}({printable(self.root)})"

    def _classes(self) -> list[str] | None:
        """The names of the classes, in the order of their labels."""
        inner = [path.relative_to(self.root).parts for path in self.paths]
        names = {parts[0] for parts in inner if len(parts) > 1}
        loose = [parts[0] for parts in inner if len(parts) == 1]
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

    def _check(self) -> list[Path]:
        """The paths of all files that can be read; rank 0 looks, all hear of it and decide alike.

        Raises:
            ValueError: naming the files that cannot, unless they are to be skipped.
        """
        channels = self.image_shape[0]
        faults = faults_of(self, self.paths, lambda path: [read_pixels(path, channels, self.reading)])
        messages = [message for message in faults if message]
        if messages:
            named = listed(messages)
            if self.corrupt == "refuse":
                raise ValueError(f"{len(messages)} damaged files: {named}. Remove them, or use --data.corrupt skip")
            rank_zero_only(log.warning)(f"{self.name}: {len(messages)} damaged files are skipped: {named}")
        self._checked = True
        return [path for path, message in zip(self.paths, faults, strict=True) if message is None]

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
        below = {path: path.relative_to(self.root) for path in self._readable}
        val = {path for path, inner in below.items() if held_out(inner.as_posix(), self.val_fraction)}
        paths = [path for path in self._readable if (path in val) == (split == "val")]
        number = {name: label for label, name in enumerate(self.classes or [])}
        label = torch.tensor([number.get(below[path].parts[0], 0) for path in paths], dtype=torch.int64)
        return Files(paths, label, self.image_shape[1:], self.image_shape[0], self.reading, self._checked)

    def training_set(self) -> Examples:
        """All images that are not held out, or `n_train` of them.

        Raises:
            ValueError: there are not so many.
        """
        every = self.reference("train")
        if self.n_train is None:
            return every
        if self.n_train > len(every):
            raise ValueError(f"{self.name} has {len(every)} training images, fewer than n_train {self.n_train}")
        places = [place_of(path.relative_to(self.root).as_posix()) for path in every.paths]
        rows = np.sort(np.argsort(places, kind="stable")[: self.n_train])
        paths = [every.paths[row] for row in rows]
        return Files(paths, every.label[rows], self.image_shape[1:], self.image_shape[0], self.reading, self._checked)
