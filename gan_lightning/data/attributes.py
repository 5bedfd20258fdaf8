"""Image files whose attributes a list gives, as CelebA's does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.batches import Attributed
from gan_lightning.data.encodings import codec_of
from gan_lightning.data.finding import identity, named_images
from gan_lightning.data.paths import Paths
from gan_lightning.data.pictures import FileData, Pictures, folder_at
from gan_lightning.data.sets import Split
from gan_lightning.data.tables import names_files, number, records, short, shown, unnamed
from gan_lightning.runtime.errors import nearest, printable
from gan_lightning.runtime.reading import MAX_PIXELS
from gan_lightning.runtime.sizes import Size

LISTS = ("list_attr_celeba.txt", "list_attr_celeba.csv")


def read_attributes(path: Path, wanted: list[str]) -> tuple[list[str], torch.Tensor]:
    """The names of the images of a list, and (N, attributes) float32, 1 where an image has a wanted one, else 0.

    CelebA's list has the number of images in its first line, the attributes' names in the second, then a line for each
    image: its name and 1 or -1 for each attribute. The first line may be missing; a number other than that of the lines
    is said. A table, with commas, semicolons or tabs between the names, has a column of the images' names, `image_id`,
    `file` or the like, else the first one; columns that are not wanted may hold anything. Either has 1 and -1, or 1 and
    0, for yes and no.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or does not know a wanted attribute.
    """
    table, lines = _lines(path)
    line, names = next(lines, (0, []))
    count = number(names[0]) if len(names) == 1 else None
    if count is not None:
        line, names = next(lines, (0, []))
    first = next(lines, None)
    if first is None:
        raise ValueError(f"{path} lists no images")
    if len(names) == len(first[1]) and sum(name in ("1", "-1", "0") for name in names) == len(names) - 1:
        raise ValueError(f"{path}, line {line}: write the attributes' names above the images, not {shown(names)}")
    if not table and not names_files(names[0]):  # CelebA's: the column of the images has no name
        names = ["", *names]
    of, columns = _columns(path, names, wanted)
    images, yes, zero, minus = [], [], 0, 0
    for line, fields in chain([first], lines):
        values = [number(fields[at]) if at < len(fields) else None for at in columns]
        if len(fields) != len(names) or not set(values) <= {1.0, -1.0, 0.0}:
            what = f"a file name and {len(names) - 1} fields, 1 or -1, for {', '.join(wanted)}"
            raise ValueError(f"{path}, line {line}: expected {what}, not {shown(fields)}")
        zero, minus = zero or line * (0.0 in values), minus or line * (-1.0 in values or "-1" in fields)
        if zero and minus:
            raise ValueError(f"{path} has 0 (line {zero}) and -1 (line {minus}): which is no? Write one of them for it")
        images.append(fields[of])
        yes.append([value == 1 for value in values])
    if count is not None and count != len(images):
        rank_zero_warn(f"{path} says {count:.0f} images and lists {len(images)}: it may have been cut off or edited")
    return images, torch.tensor(yes, dtype=torch.float32)


def _columns(path: Path, names: list[str], wanted: list[str]) -> tuple[int, list[int]]:
    """Where the images' names are, and where the wanted attributes are."""
    of = next((at for at, name in enumerate(names) if names_files(name)), 0)
    known = [name for at, name in enumerate(names) if at != of and not unnamed(name)]
    for name in wanted:
        if name not in known:
            known = [short(other) for other in known[:100]]  # CelebA has 40
            raise ValueError(f"{path} has the attributes {', '.join(known)}, not {name!r}{nearest(name, known)}")
        if known.count(name) > 1:
            raise ValueError(f"{path} has the attribute {name} {known.count(name)} times: give each its own name")
    return of, [at for name in wanted for at, other in enumerate(names) if other == name and at != of]


def _lines(path: Path) -> tuple[bool, Iterator[tuple[int, list[str]]]]:
    """Whether a list is a table, and the fields of each line that has any, with its number."""
    codec = codec_of(path, "--data.list_path")
    with path.open(encoding=codec) as file:
        head = file.readline()
        if head.strip().isdecimal():
            head = file.readline()
    mark = next((mark for mark in ("\t", ",", ";") if mark in head), " ")
    return mark != " ", records(path, codec, mark)


def list_in(root: Path, given: str | None) -> Path:
    """The path of a folder's list.

    Raises:
        FileNotFoundError, ValueError: there is none, or one of each kind.
    """
    if given is not None:
        return root / Path(given).expanduser()
    there = [root / name for name in LISTS if (root / name).is_file()]
    if len(there) > 1:
        raise ValueError(f"{root} has both {' and '.join(LISTS)}: name one by --data.list_path")
    if not there:
        raise FileNotFoundError(
            f"there is no {root / LISTS[0]}, nor .csv: --data.root needs a list, which may have another name, "
            "--data.list_path, and the folder images"
        )
    return there[0]


def attributes_in(path: Path) -> list[str]:
    """The names of all attributes of a list; see :func:`read_attributes`."""
    table, lines = _lines(path)
    names = next(lines, (0, []))[1]
    if len(names) == 1 and number(names[0]) is not None:
        names = next(lines, (0, []))[1]
    of = next((at for at, name in enumerate(names) if names_files(name)), None)
    if of is None and table:
        of = 0
    return [name for at, name in enumerate(names) if at != of and not unnamed(name)]


class AttributeImages(FileData):
    """Image files with attributes, in CelebA's layout: `images/` and `list_attr_celeba.txt`, or `.csv`.

    The forms of a list: see :func:`read_attributes`. An image that it lists twice counts once, and that is said. Of the
    list's attributes those that are asked for become the columns. A share of the images, chosen by a hash of the
    name, is held out. From each image the middle is taken, in the proportions of `size`, and resized, in training
    mirrored at random.
    Batches are `Attributed`.

    Args:
        root: the folder.
        attributes: names, in the order of the columns.
        size: of the images, one number for both sides or [height, width].
        crop: shorter side of the middle in the images' own pixels, 178 for the whole faces of CelebA (as StarGAN,
            arXiv:1711.09020); None for as much as there is, of CelebA the same.
        jitter: what the shorter side of training images is resized to, the other in proportion, before a crop of `size`
            is taken at random; None for that of `size`.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images at random.
        val_fraction: share held out, from 0 up to but not 1.
        batch_size: over all processes.
        num_workers: loader processes.
        list_path: of the list, from the folder on; None for one of CelebA's two names.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.

    Raises:
        FileNotFoundError: there is no such folder, list or listed image.
        ValueError: no images, an attribute that the list does not know, two lines of one image that differ, two lists
            to choose from, or an argument out of range.
    """

    def __init__(
        self,
        root: str,
        attributes: list[str],
        size: Size = 128,
        crop: int | None = None,
        jitter: int | None = None,
        channels: int = 3,
        flip: bool = True,
        val_fraction: float = 0.05,
        batch_size: int = 16,
        num_workers: int = 2,
        list_path: str | None = None,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.root = folder_at(root, f"--data.root the folder of {LISTS[0]} and images")
        name = f"AttributeImages({printable(self.root)})"
        super().__init__(name, size, jitter, channels, flip, val_fraction, batch_size, num_workers, white, max_pixels)
        if not attributes or len(set(attributes)) < len(attributes):
            raise ValueError(f"attributes must be one or more different names, not {attributes}")
        if crop is not None and crop < 1:
            raise ValueError(f"crop must be positive, not {crop}; leave it out for the whole short side")
        self.attributes, self.crop = list(attributes), crop
        source = list_in(self.root, list_path)
        names, has = read_attributes(source, self.attributes)
        paths, self.has = once(named_images(self.root, names, source), has, source)
        self.paths = Paths(paths)

    def load(self, split: Split) -> Pictures:
        chosen = set(self.apart(self.paths, self.root, split))
        rows = [row for row, path in enumerate(self.paths) if path in chosen]
        paths = [self.paths[row] for row in rows]
        return Pictures(paths, self.image_shape, "middle", self.crop, self.has[rows], Attributed, self.reading)


def once(paths: list[Path], has: torch.Tensor, source: Path) -> tuple[list[Path], torch.Tensor]:
    """Every path (N,) once, with its row of attributes (N, attributes).

    Raises:
        ValueError: the rows of one path differ.
    """
    rows: dict[tuple, int] = {}
    for row, path in enumerate(paths):
        first = rows.setdefault(identity(path), row)
        if first != row and not torch.equal(has[first], has[row]):
            raise ValueError(f"{source} lists {path.name} twice, with different attributes: take one of the lines out")
    if len(rows) < len(paths):
        rank_zero_warn(f"{source} lists {len(paths) - len(rows)} images again, which count once")
    kept = list(rows.values())
    return [paths[row] for row in kept], has[kept]
