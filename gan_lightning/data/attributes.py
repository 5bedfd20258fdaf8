"""Image files whose attributes a list gives, as CelebA's does."""

from __future__ import annotations

from pathlib import Path

import torch

from gan_lightning.batches import Attributed
from gan_lightning.data.pictures import FileData, Pictures, folder_at, listed_images
from gan_lightning.data.sets import Split
from gan_lightning.errors import nearest

LIST = "list_attr_celeba.txt"


def read_attributes(path: Path, wanted: list[str]) -> tuple[list[str], torch.Tensor]:
    """The names of the images of a list, and (N, attributes) float32, 1 where an image has a wanted one, else 0.

    A list's first line is the number of images, the second the attributes' names, then a line for each image: its name
    and 1 or -1 for each attribute.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or does not know a wanted attribute.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: --data.root needs {LIST} and the folder images")
    lines = path.read_text().splitlines()
    known = lines[1].split() if len(lines) > 1 else []
    for name in wanted:
        if name not in known:
            raise ValueError(f"{path} has the attributes {', '.join(known)}, not {name!r}{nearest(name, known)}")
    rows = [line.split() for line in lines[2:] if line.strip()]
    for number, row in enumerate(rows, 3):
        if len(row) != len(known) + 1 or not set(row[1:]) <= {"1", "-1", "0"}:
            raise ValueError(f"{path}, line {number}: expected a file name and {len(known)} numbers, 1 or -1")
    columns = [known.index(name) + 1 for name in wanted]
    has = torch.tensor([[row[column] == "1" for column in columns] for row in rows], dtype=torch.float32)
    return [row[0] for row in rows], has.reshape(len(rows), len(wanted))


class AttributeImages(FileData):
    """Image files with attributes, in CelebA's layout: `images/` and `list_attr_celeba.txt`.

    Of the list's attributes those that are asked for become the columns. A share of the images, chosen by a hash of the
    name, is held out. From each image the square in its middle is taken and resized, in training mirrored at random.
    Batches are `Attributed`.

    Args:
        root: the folder.
        attributes: names, in the order of the columns.
        size: height and width of the images.
        crop: side of the middle square in the images' own pixels, 178 for the whole faces of CelebA (as StarGAN,
            arXiv:1711.09020); None for the short side, which comes to the same.
        jitter: what training images are resized to before a crop of `size` is taken at random; None is `size`.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        flip: mirror training images at random.
        val_fraction: share held out, from 0 up to but not 1.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such folder, list or listed image.
        ValueError: no images, an attribute that the list does not know, or an argument out of range.
    """

    def __init__(
        self,
        root: str,
        attributes: list[str],
        size: int = 128,
        crop: int | None = None,
        jitter: int | None = None,
        channels: int = 3,
        flip: bool = True,
        val_fraction: float = 0.05,
        batch_size: int = 16,
        num_workers: int = 2,
    ) -> None:
        self.root = folder_at(root, f"--data.root the folder of {LIST} and images")
        name = f"AttributeImages({self.root})"
        super().__init__(name, size, jitter, channels, flip, val_fraction, batch_size, num_workers)
        if not attributes or len(set(attributes)) < len(attributes):
            raise ValueError(f"attributes must be one or more different names, not {attributes}")
        if crop is not None and crop < 1:
            raise ValueError(f"crop must be positive, not {crop}; leave it out for the whole short side")
        self.attributes, self.crop = list(attributes), crop
        names, self.has = read_attributes(self.root / LIST, self.attributes)
        if not names:
            raise ValueError(f"{self.root / LIST} lists no images")
        self.paths = listed_images(self.root, names, self.root / LIST)

    def load(self, split: Split) -> Pictures:
        chosen = set(self.apart(self.paths, self.root, split))
        rows = [row for row, path in enumerate(self.paths) if path in chosen]
        paths = [self.paths[row] for row in rows]
        return Pictures(paths, self.image_shape, "square", self.crop, self.has[rows], Attributed)
