"""Files of pictures: what is written, films too, and what is read.

Images of 1, 3 or 4 channels are PNG files of 8 bits; those of others, which no picture holds, arrays (H, W, C) uint8 in
.npy files, and in grids their channels stand side by side in grey.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan_lightning.metrics import PICTURE_CHANNELS, to_uint8, visible
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS, PICTURES, is_numbered, numbered
from gan_lightning.runtime.reading import Reading

FILMS = (".gif", ".mp4")
FRAMES_A_SECOND = 25  # GIF counts in hundredths of a second


def pixels(images: Tensor) -> list[Tensor]:
    """(C, H, W) uint8 on the CPU each, of images (n, C, H, W) in [-1, 1]."""
    return list(to_uint8(images).cpu())


def picture(image: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """A picture from (C, H, W) uint8, C 1, 3 or 4, and an alpha channel (H, W) uint8 of its own where given."""
    made = Image.fromarray(image[0].numpy() if len(image) == 1 else image.movedim(0, 2).numpy())
    if alpha is not None:
        made.putalpha(Image.fromarray(alpha.numpy()))
    return made


def tiles(images: list[Tensor], columns: int | None = None) -> Image.Image:
    """One picture of images (C, H, W) uint8 each, in so many columns, or in a square."""
    return picture(make_grid(visible(torch.stack(images)), nrow=columns or math.ceil(math.sqrt(len(images)))))


def write(images: list[Tensor], folder: Path, first: int) -> None:
    """Write images (C, H, W) uint8 to files numbered from `first`: PNG, or .npy (H, W, C) for other channels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, first):
        path = folder / numbered(number, suffix_for(len(image)))
        if path.suffix == ARRAYS:
            np.save(path, image.movedim(0, 2).numpy())
        else:
            picture(image).save(path)


def suffix_for(channels: int) -> str:
    """The suffix of the files that images of so many channels are written to."""
    return PICTURES if channels in PICTURE_CHANNELS else ARRAYS


def save(image: Image.Image, path: Path) -> None:
    """Write an image; says where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    print(f"{path.stem}: {printable(path)}")


def save_film(frames: Iterator[Image.Image], path: Path, name: str = "walk") -> None:
    """Write a film; says where, by the name of the flag that asked for it.

    Raises:
        ValueError: nothing here encodes mp4.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(frames, path, name)
    print(f"{name}: {printable(path)}")


def write_film(frames: Iterator[Image.Image], path: Path, name: str = "walk") -> None:
    """Write a film, an endless one as GIF; see :func:`save_film`."""
    if path.suffix.lower() == ".gif":
        first, *more = frames
        first.save(path, save_all=True, append_images=more, duration=1000 // FRAMES_A_SECOND, loop=0)
    else:
        write_mp4(frames, path, name)


def write_mp4(frames: Iterator[Image.Image], path: Path, name: str) -> None:
    """Write a film as MPEG-4, by OpenCV; a black line is added where a side is odd, which the codec does not take.

    Raises:
        ValueError: nothing here encodes it.
    """
    import cv2  # nothing else that is made here needs it

    first = next(frames)
    size = first.width + first.width % 2, first.height + first.height % 2
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FRAMES_A_SECOND, size)
    try:
        if not writer.isOpened():
            raise ValueError(f"--{name} {printable(path)}: OpenCV cannot encode mp4 here: give a .gif")
        for frame in itertools.chain([first], frames):
            whole = Image.new("RGB", size)
            whole.paste(frame)
            writer.write(np.asarray(whole)[:, :, ::-1].copy())  # OpenCV's order is BGR
    finally:
        writer.release()


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

    if not folder.is_dir():
        raise FileNotFoundError(f"--reconstruct {printable(folder)}: there is no such folder")
    paths = image_files(folder)
    if not paths:
        raise ValueError(f"--reconstruct: {holds(folder)}")
    return read_files(paths, image_shape, reading)


def read_files(paths: Sequence[Path], image_shape: tuple[int, int, int], reading: Reading) -> Tensor:
    """(n, *image_shape) uint8 of image files, resized and cropped as data modules do.

    Raises:
        ValueError: one cannot be read.
    """
    from gan_lightning.data.folder import Files

    files = Files(paths, torch.zeros(len(paths)), image_shape[1:], image_shape[0], reading)
    return files.__getitems__(list(range(len(paths)))).image
