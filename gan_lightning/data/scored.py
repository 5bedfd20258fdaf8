"""Which images of a folder a score counts: samples, each once, and not what was made of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from gan_lightning.data.contents import threaded
from gan_lightning.data.decoding import ORIENTATION
from gan_lightning.data.finding import holds, image_files, listed
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS, FIRST, is_numbered
from gan_lightning.runtime.reading import opened, opened_array
from gan_lightning.runtime.sizes import Size

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # a JPEG with several frames is a photo with a preview, a TIFF has pages


class Counted(NamedTuple):
    """The images of a folder that are scored, and what is to be said of the others, a line each."""

    paths: list[Path]
    remarks: list[str]


class Header(NamedTuple):
    """What a file says of itself before its pixels."""

    size: tuple[int, int] = (0, 0)  # width and height, upright
    animated: bool = False


def images_to_score(folder: Path, size: Size | None) -> Counted:
    """The images under a folder, sorted: of one that `sample` wrote the numbered pictures, of any other all of them.

    Animations are left out, which would count as their first frame. Pictures of other sizes than most are counted
    where they are brought to one, and said, since they may be sheets of the others.

    Args:
        folder: searched at any depth.
        size: that the images are brought to; None for their own, which must be equal.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images.
    """
    name = printable(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {name}")
    paths: Sequence[Path] = image_files(folder)
    remarks: list[str] = []
    if not paths:
        raise ValueError(holds(folder))
    if any((folder / name).is_file() for name in FIRST):
        own = [path.parent == folder and is_numbered(path.name) for path in paths]
        if others := [path for path, ours in zip(paths, own, strict=True) if not ours]:
            paths = [path for path, ours in zip(paths, own, strict=True) if ours]
            remarks.append(f"{name}: {len(paths)} numbered pictures count, left out: {_named(folder, others)}")
    headers = threaded(_header, paths)
    if films := [path for path, header in zip(paths, headers, strict=True) if header.animated]:
        remarks.append(f"{name}: animations are left out: {_named(folder, films)}")
    still = [(path, header.size) for path, header in zip(paths, headers, strict=True) if not header.animated]
    if not still:
        raise ValueError(f"{name} holds no images but animations")
    (usual, most), *more = Counter(own for _, own in still).most_common()
    if size is not None and more and most > len(still) / 2:
        odd = [path for path, own in still if own != usual]
        remarks.append(
            f"{name}: {most} pictures have {usual[0]}x{usual[1]} pixels, {len(odd)} others, which count too, have "
            f"not: {_named(folder, odd)}"
        )
    return Counted([path for path, _ in still], remarks)


def _named(folder: Path, paths: list[Path]) -> str:
    return listed([printable(path.relative_to(folder)) for path in paths])


def _header(path: Path) -> Header:
    """Of a file that cannot be read an empty one: it is named when it is decoded."""
    try:
        if path.suffix.lower() == ARRAYS:
            return Header(opened_array(path).shape[1::-1])
        with opened(path) as file:
            # Photos may lie on their side; of a PNG Pillow would read all pixels to say so.
            upright = file.format == "PNG" or file.getexif().get(ORIENTATION, 1) < 5
            animated = file.format in ANIMATED and getattr(file, "is_animated", False)
            return Header(file.size if upright else file.size[::-1], animated)
    except Exception:  # whatever a damaged file makes Pillow raise
        return Header()


def refuse_nested(real: Path, fake: Path) -> None:
    """Refuse a folder of fakes within that of real images, where the next search would count them as real.

    Raises:
        ValueError: one is the other, or within it.
    """
    at_real, at_fake = real.resolve(), fake.resolve()
    if at_real == at_fake:
        raise ValueError(f"--real and --fake are the same folder, {printable(at_fake)}: give two")
    if at_real in at_fake.parents:
        raise ValueError(f"--fake {printable(fake)} is within --real {printable(real)}: move it out")
    if at_fake in at_real.parents:
        raise ValueError(f"--real {printable(real)} is within --fake {printable(fake)}: move it out")


def refuse_one_folder(reals: Iterable[Path], fakes: Iterable[Path]) -> None:
    """Refuse real and fake files of one folder, by whatever way it is reached.

    Raises:
        ValueError: naming the folder.
    """
    real, fake = _folders(reals), _folders(fakes)
    if both := sorted(printable(fake[place]) for place in real.keys() & fake.keys()):
        raise ValueError(f"the fake images in {listed(both)} are among the real ones too: keep them apart")


def _folders(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """The folders of these files by device and inode, by whatever way they are reached."""
    return {(stat.st_dev, stat.st_ino): path for path in {path.parent for path in paths} for stat in [os.stat(path)]}
