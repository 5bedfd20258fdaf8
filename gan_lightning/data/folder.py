"""Any folder of image files."""

from __future__ import annotations

import io
import logging
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image, ImageOps

from gan_lightning.batches import Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.contents import fingerprint_of
from gan_lightning.data.sets import Examples, Split
from gan_lightning.layout import FIRST, SHEETS

log = logging.getLogger(__name__)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
ORIENTATION = 0x0112  # the EXIF tag
END_OF_JPEG = b"\xff\xd9"
Row = TypeVar("Row")

cv2.setNumThreads(0)  # loader processes are what reads in parallel; OpenCV's own threads do not survive a fork


def read_pixels(path: Path, channels: int) -> np.ndarray:
    """An image file as (height, width, channels) uint8, upright.

    16-bit grey levels are scaled to 8 bits; what is transparent shows white, unless the image keeps its alpha channel
    (4 channels); CMYK and palettes are converted. OpenCV decodes the common kinds, twice as fast as Pillow and to the
    same pixels; Pillow knows all the others, and tells what is wrong with a file.

    Raises:
        ValueError: naming the file: it is no image, is cut off, or holds 32-bit floats, whose white is unknown.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as file:  # reads the header only
            pixels = _decode(content, file)
            # Pillow reads all of it here: a file that is cut off ends.
            image = ImageOps.exif_transpose(file) if pixels is None else Image.fromarray(pixels)
            if image.mode == "F":
                raise ValueError("32-bit float pixels; save it with 8 or 16 bits")
            if image.mode.startswith("I"):  # Pillow's own conversion to 8 bits would clip, not scale
                levels = np.asarray(image, dtype=np.float32).clip(0, 65535)
                image = Image.fromarray((levels / 257).round().astype(np.uint8))
            if channels < 4 and image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            if pixels is None or image.mode != MODES[channels]:
                pixels = np.asarray(image.convert(MODES[channels]))
            return pixels.reshape(image.height, image.width, channels)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _decode(content: bytes, header: Image.Image) -> np.ndarray | None:
    """OpenCV's pixels, (h, w) or (h, w, 3), of a whole upright JPEG or PNG file of grey levels or RGB, else None."""
    if header.format not in ("JPEG", "PNG") or header.mode not in ("L", "RGB") or header.has_transparency_data:
        return None
    if header.getexif().get(ORIENTATION, 1) != 1:
        return None
    if header.format == "JPEG" and not content.endswith(END_OF_JPEG):  # OpenCV would fill what is missing with grey
        return None
    colour = header.mode == "RGB"
    flags = (cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if colour and pixels is not None else pixels


def read_image(path: Path, size: int | None, channels: int) -> np.ndarray:
    """An image file as (channels, size, size) uint8: short side resized to `size`, centre cropped; else `read_pixels`.

    A size of None keeps the image's own height and width. Resized by Pillow, bicubic with antialiasing.

    Raises:
        ValueError: see :func:`read_pixels`.
    """
    pixels = read_pixels(path, channels)
    if size is not None and pixels.shape[:2] != (size, size):
        image = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).reshape(size, size, channels)
    return pixels.transpose(2, 0, 1)


def held_out(name: str, fraction: float) -> bool:
    """Whether a file validates, by a hash of its name: such a share does, and other files change nothing about it."""
    return zlib.crc32(os.fsencode(name)) / 2**32 < fraction


def faults_of(data: ImageData, rows: Sequence[Row], read: Callable[[Row], object]) -> list[str | None]:
    """What is wrong with each row of files, None where nothing is: rank 0 reads all, on all cores, and all hear."""

    def fault(row: Row) -> str | None:
        try:
            read(row)
        except ValueError as error:
            return str(error)
        return None

    faults: list[str | None] = []
    if data.trainer is None or data.trainer.global_rank == 0:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the interpreter is released while a file is decoded
            faults = list(threads.map(fault, rows))
    return faults if data.trainer is None else data.trainer.strategy.broadcast(faults)


def listed(messages: list[str]) -> str:
    """The first five of these, and how many more there are."""
    return "; ".join(messages[:5]) + (f"; and {len(messages) - 5} more" if len(messages) > 5 else "")


class Files(Examples):
    """Image files that are read when they are asked for.

    Args:
        paths: one for each image.
        label: (N,) int64.
        size, channels: see :func:`read_image`; with a size of None all images must have that of the first.
    """

    def __init__(self, paths: Sequence[Path], label: torch.Tensor, size: int | None, channels: int) -> None:
        self.paths, self.label, self.size, self.channels = list(paths), label, size, channels
        own_size = size is None and self.paths
        self.shape = read_image(self.paths[0], None, channels).shape if own_size else (channels, size, size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, index: list[int]) -> Labeled:
        """See :class:`Examples`.

        Raises:
            ValueError: naming the file that cannot be read, or whose size differs from the first one's.
        """
        images = np.empty((len(index), *self.shape), np.uint8)
        for row, i in enumerate(index):
            image = read_image(self.paths[i], self.size, self.channels)
            if image.shape != self.shape:
                (_, height, width), (_, first_height, first_width) = image.shape, self.shape
                raise ValueError(
                    f"unequal image sizes: {self.paths[i]} has {width}x{height} pixels, {self.paths[0]} "
                    f"{first_width}x{first_height}"
                )
            images[row] = image
        return Labeled(torch.from_numpy(images), self.label[index])

    @cached_property
    def fingerprint(self) -> str:
        """See :func:`fingerprint_of`."""
        return fingerprint_of(self.paths, f"{self.shape}")


def image_files(root: Path) -> list[Path]:
    """The image files under a folder, at any depth, sorted; hidden ones and sheets of `sample` left out."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        own = FIRST in files  # pictures that `sample` wrote, whose sheets are no further ones
        folders[:] = [name for name in folders if not (name.startswith(".") or (own and name == SHEETS))]
        found += [Path(folder, n) for n in files if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    return sorted(found)


class ImageFolder(ImageData):
    """The images under a folder, at any depth, of any size and kind, brought to one shape (see :func:`read_image`).

    Where all images lie in two or more sub-folders, the first level of these are the classes, in alphabetical order;
    otherwise there are none. A fixed share of the images, chosen by a hash of each one's path below `root`, is held
    out as "val"; adding images moves no other.

    Every file is decoded once before training starts, on all cores, because nothing less finds a file that was cut
    off: about as long as one epoch of loading. (Outside of training a damaged file is found when it is read.)

    Args:
        root: the folder.
        size: height and width of the images.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        flip: mirror training images left to right at random.
        corrupt: "refuse" stops with the names of files that cannot be read; "skip" goes on without them, naming them.
        val_fraction: share held out, from 0 up to but not 1.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        size: int = 64,
        channels: int = 3,
        flip: bool = False,
        corrupt: Literal["refuse", "skip"] = "refuse",
        val_fraction: float = 0.05,
        batch_size: int = 64,
        num_workers: int = 2,
    ) -> None:
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no folder {self.root}: give --data.root a folder of images")
        if channels not in MODES:
            raise ValueError(f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA), not {channels}")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be at least 0 and less than 1, not {val_fraction}")
        self.corrupt, self.val_fraction = corrupt, val_fraction
        self.paths = image_files(self.root)
        if not self.paths:
            raise ValueError(f"{self.root} holds no images (files that end in {' '.join(SUFFIXES)})")
        inner = [path.relative_to(self.root).parts for path in self.paths]
        self.classes = sorted({parts[0] for parts in inner if len(parts) > 1})
        if len(self.classes) < 2 or any(len(parts) == 1 for parts in inner):
            self.classes = None
        name, num_classes = f"ImageFolder({self.root})", self.classes and len(self.classes)
        super().__init__(name, (channels, size, size), num_classes, batch_size, num_workers, flip)
        self._readable: list[Path] | None = None

    def _check(self) -> list[Path]:
        """The paths of all files that can be read; rank 0 looks, all hear of it and decide alike.

        Raises:
            ValueError: naming the files that cannot, unless they are to be skipped.
        """

        channels, size, _ = self.image_shape
        faults = faults_of(self, self.paths, lambda path: read_image(path, size, channels))
        messages = [message for message in faults if message]
        if messages:
            named = listed(messages)
            if self.corrupt == "refuse":
                raise ValueError(f"{len(messages)} damaged files: {named}. Remove them, or use --data.corrupt skip")
            rank_zero_only(log.warning)(f"{self.name}: {len(messages)} damaged files are skipped: {named}")
        return [path for path, message in zip(self.paths, faults, strict=True) if message is None]

    def setup(self, stage: str) -> None:
        """Look for files that cannot be read before training begins; see :meth:`ImageData.setup`."""
        self._readable = self._readable or self._check()
        super().setup(stage)

    def load(self, split: Split) -> Files:
        if self._readable is None:  # outside of training, where reading a file is check enough
            self._readable = self._check() if self.corrupt == "skip" else self.paths
        below = {path: path.relative_to(self.root) for path in self._readable}
        val = {path for path, inner in below.items() if held_out(inner.as_posix(), self.val_fraction)}
        paths = [path for path in self._readable if (path in val) == (split == "val")]
        label = [self.classes.index(below[path].parts[0]) if self.classes else 0 for path in paths]
        return Files(paths, torch.tensor(label, dtype=torch.int64), self.image_shape[1], self.image_shape[0])
