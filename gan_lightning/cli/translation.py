"""What `translate` does: pictures of files, what a model makes of them, and where that is written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gan_lightning.batches import central_hole
from gan_lightning.cli import manipulation, pictures
from gan_lightning.cli.arguments import program
from gan_lightning.core import AdversarialModule, ImageGenerator, Inpainter, Manipulator, Translator
from gan_lightning.core.tiling import LEAST, lengthened, resized, resized_alpha, tiled
from gan_lightning.data.base import to_unit
from gan_lightning.data.decoding import read_image
from gan_lightning.data.finding import holds, image_files
from gan_lightning.data.levels import as_bytes
from gan_lightning.metrics import to_uint8
from gan_lightning.metrics.extractor import full_float32
from gan_lightning.runtime.errors import out_of_memory, printable
from gan_lightning.runtime.layout import ARRAYS
from gan_lightning.runtime.reading import Reading, opened, reading_of

OPAQUE = 128  # alpha from which a pixel counts as there
TOUCHED = 1e-3  # share of hidden pixels in a resized one from which it is hidden too


class Picture(NamedTuple):
    """A file's pixels."""

    image: Tensor  # (C, H, W) uint8
    alpha: Tensor | None  # (H, W) uint8; None where the file has none


# Files.


def files_of(source: Path, out: Path, mask: Path | None = None) -> dict[Path, Path]:
    """What is read -> what is written: the same name with `.png`, in the same folder below `out`.

    Args:
        source: a picture, or a folder; those below `out`, which an earlier call made, are left out.
        mask: another file that is read.

    Raises:
        ValueError: there are no pictures, or one would be written over one that is read or over another's.
    """
    root = source if source.is_dir() else source.parent
    if out.resolve() == root.resolve():
        raise ValueError(f"--out {printable(out)} is the folder that is read: nothing is translated in place")
    paths = image_files(source, names=True) if source.is_dir() else [source]
    if root.resolve() in out.resolve().parents:
        paths = [path for path in paths if out.resolve() not in path.resolve().parents]
    if not paths:
        raise ValueError(f"--input: {holds(source)}")
    files = {path: (out / path.relative_to(root)).with_suffix(".png") for path in paths}
    read = {path.resolve() for path in (*paths, *([] if mask is None else [mask]))}
    makers: dict[str, Path] = {}
    for path, target in files.items():
        if target.resolve() in read:
            raise ValueError(f"{printable(target)} is read, and would be overwritten: choose another --out")
        other = makers.setdefault(str(target).lower(), path)  # some file systems do not tell A from a
        if other is not path:
            raise ValueError(
                f"{printable(other)} and {printable(path)} would both become {printable(target)}: rename one"
            )
    return files


def read(path: Path, channels: int, reading: Reading) -> Picture:
    """A picture upright, grey or in colour, of 8 bits; see :func:`data.decoding.read_image`.

    Raises:
        ValueError: naming the file, which cannot be read.
    """
    if path.suffix.lower() == ARRAYS:
        return Picture(torch.from_numpy(as_bytes(read_image(path, None, channels, reading))), None)
    pixels = np.ascontiguousarray(as_bytes(read_image(path, None, 4, reading)))
    colours = pixels[:3]
    if channels == 1:
        colours = np.asarray(Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0))).convert("L"))[None]
    with opened(path) as file:
        alpha = torch.from_numpy(pixels[3].copy()) if file.has_transparency_data else None
    return Picture(torch.from_numpy(colours.copy()), alpha)


def write(made: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures.picture(*made).save(path)


# What the model can do.


def require_pictures(module: AdversarialModule) -> None:
    """Refuse a model that makes no pictures of pictures.

    Raises:
        ValueError: saying what to use instead.
    """
    name = type(module).__name__
    if isinstance(module, ImageGenerator) and not isinstance(module, Manipulator):
        raise ValueError(f"{name} makes images from latents: use {program('sample')}")
    if not isinstance(module, (Translator, Manipulator)):
        raise ValueError(f"{name} does not translate images")
    if module.image_shape[0] not in (1, 3):
        raise ValueError(f"{name} was trained on images of {module.image_shape[0]} channels: pictures have 1 or 3")


def refuse_tiles(module: Translator, tile: int, overlap: int) -> None:
    """Refuse tiles that the model cannot be shown.

    Raises:
        ValueError: it sees whole pictures, or tiles of other sides.
    """
    name, multiple = type(module).__name__, module.multiple
    if module.attributes:
        raise ValueError(f"{name} reads attributes off the whole picture: leave --tile out")
    if not module.any_size:
        height, width = module.image_shape[1:]
        raise ValueError(f"{name} makes images of {width}x{height} only, and resizes pictures: leave --tile out")
    if tile % multiple or tile < LEAST:
        raise ValueError(f"--tile {tile}: {name} needs at least {LEAST}, and a multiple of {multiple}")
    if tile - overlap < multiple:
        most = tile - multiple
        raise ValueError(f"--overlap {overlap}: tiles of {tile} of {name} overlap by {most} at the most")


# From a picture to a picture.


def hole_in(picture: Picture) -> Tensor:
    """(H, W) bool: what is transparent; the centre of a picture without alpha."""
    return central_hole(*picture.image.shape[1:]) if picture.alpha is None else picture.alpha < OPAQUE


def seen(module: Translator, picture: Picture) -> Tensor:
    """(1, C, H, W) float32 in [-1, 1], of sides that the model takes, with the mask as a last channel for holes."""
    source = to_unit(picture.image)[None]
    fixed, fills = tuple(side // module.scale for side in module.image_shape[1:]), isinstance(module, Inpainter)
    if fills:
        source = torch.cat([source, hole_in(picture)[None, None].float()], 1)
    if module.any_size:
        return lengthened(source, module.multiple)
    source = resized(source, fixed)
    if fills and picture.alpha is None:  # its own centre, not that of the picture, a pixel wider
        source[:, -1] = central_hole(*fixed).float()
    return source


def network_of(module: Translator, how: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """What the model makes of (1, C, H, W), with the mask of :func:`seen` for holes."""
    if isinstance(module, Inpainter):
        return lambda source: module.fill(source[:, :-1], source[:, -1:] > TOUCHED, **how)
    return lambda source: module.translate(source, **how)


def translated(module: Translator, picture: Picture, given: argparse.Namespace, how: dict[str, Any]) -> Picture:
    """What the model makes of a picture, `scale` times as large."""
    if isinstance(module, Manipulator):
        image = manipulation.made_of(module, picture.image, given, reading_of(given))
        return Picture(image, resized_alpha(picture.alpha, tuple(image.shape[1:])))
    fills = isinstance(module, Inpainter)
    if fills and not hole_in(picture).any():
        return Picture(picture.image, None)
    source, network = seen(module, picture).to(module.device), network_of(module, how)
    torch.manual_seed(0)  # for a model that draws noise in evaluation too
    if given.tile is None:
        made = network(source)
    else:
        made = tiled(network, source, given.tile, given.overlap, module.multiple, module.scale)
    height, width = (module.scale * side for side in picture.image.shape[1:])
    made = made[:, :, :height, :width] if module.any_size else resized(made, (height, width))
    image = to_uint8(made)[0].cpu()
    if fills:
        return Picture(torch.where(hole_in(picture), image, picture.image), None)
    return Picture(image, resized_alpha(picture.alpha, (height, width)))


@contextmanager
def exact(device: str) -> Iterator[None]:
    """The same file gives the same picture: no TF32, no algorithm that adds up in an order of its own."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(device == "cpu")  # on GPUs some layers have none
    try:
        with torch.no_grad(), full_float32():
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def smaller(module: Translator, given: argparse.Namespace) -> str:
    """What to do about a picture that does not fit into memory."""
    if getattr(given, "factor", None) is not None:
        return "use a smaller --factor"
    if not getattr(module, "any_size", False):
        return "use --device cpu"
    return "use --tile 512" if given.tile is None else "use less"


def translate_all(module: Translator, files: dict[Path, Path], given: argparse.Namespace, how: dict[str, Any]) -> int:
    """Write what the model makes of every file; those that cannot be read are named on stderr.

    Args:
        module: in float32.
        files: what is read -> what is written.
        given: the flags.
        how: the arguments of the model's `translate` that they give.

    Returns:
        how many were translated.

    Raises:
        ValueError: a picture does not fit into memory, or the model makes NaN of it.
    """
    done, reading = 0, reading_of(given)
    for path, target in (bar := tqdm(files.items(), "translated", unit="picture", disable=None, leave=False)):
        try:
            picture = read(path, module.image_shape[0], reading)
        except ValueError as error:
            bar.write(f"skipped: {error}", file=sys.stderr)
            continue
        try:
            made = translated(module, picture, given, how)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            _, height, width = picture.image.shape
            way = smaller(module, given)
            raise ValueError(f"{printable(path)}, {width}x{height}, does not fit into memory: {way}") from error
        write(made, target)
        done += 1
    return done
