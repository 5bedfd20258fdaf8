"""Pictures that are cut out around what they show, by CUB's bounding boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_lightning.data.encodings import codec_of
from gan_lightning.data.finding import identity, listed
from gan_lightning.data.pictures import Pictures
from gan_lightning.data.tables import number, records, shown
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.sizes import Sides

FLAG = "--data.boxes"


def read_boxes(path: Path, pictures: Sequence[Path]) -> np.ndarray:
    """(N, 4) float64: x, y, width and height in pixels of the box in each picture.

    CUB's two files: `path`, bounding_boxes.txt, has a picture's number and these four on each line; images.txt beside
    it the number and the name below the folder `images`, which is there too.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a line that is none of such a file, or a picture without a box.
    """
    boxes: dict[str, list[Any]] = {fields[0]: [number(field) for field in fields[1:]] for fields in _lines(path, 5)}
    wrong = [name for name, box in boxes.items() if None in box or min(box[2:]) <= 0]
    if wrong:
        raise ValueError(f"{printable(path)}: the boxes of {listed(wrong)} are not x, y, a width and a height above 0")
    found = {}
    for name, image in _lines(path.with_name("images.txt"), 2):
        picture = path.parent / "images" / image
        if name in boxes and picture.is_file():
            found[identity(picture)] = boxes[name]
    missing = [printable(picture) for picture in pictures if identity(picture) not in found]
    if missing:
        raise ValueError(f"{printable(path)} and images.txt have no box of {len(missing)} pictures: {listed(missing)}")
    return np.array([found[identity(picture)] for picture in pictures]).reshape(-1, 4)


def _lines(path: Path, count: int) -> list[list[str]]:
    rows = list(records(path, codec_of(path, FLAG), " "))
    for line, fields in rows:
        if len(fields) != count:
            raise ValueError(f"{printable(path)}, line {line}: {count} fields are expected, not {shown(fields)}")
    return [fields for _, fields in rows]


def around(box: Sequence[float], own: Sides, sides: Sides, ratio: float) -> tuple[slice, slice]:
    """The rows and columns of a window around a box, within the picture.

    Args:
        box: x, y, width and height.
        own: (height, width) of the picture.
        sides: whose proportions the window has.
        ratio: of the box to the window, along the side where it is larger, or more where the picture is too small.
    """
    x, y, width, height = box
    scale = min(max(height / sides[0], width / sides[1]) / ratio, own[0] / sides[0], own[1] / sides[1])
    places = []
    for centre, side, most in zip((y + height / 2, x + width / 2), sides, own, strict=True):
        length = max(1, min(round(scale * side), most))
        first = min(max(round(centre - length / 2), 0), most - length)
        places.append(slice(first, first + length))
    return places[0], places[1]


class Boxed(Pictures):
    """Pictures of each of which the window around a box is taken, then what `frame` says; see :class:`Pictures`.

    Attributes:
        boxes: (N, 4), see :func:`read_boxes`.
        ratio: see :func:`around`.
    """

    boxes: np.ndarray
    ratio: float
    _reducible = False  # boxes are in the picture's own pixels

    def read(self, row: int) -> list[np.ndarray]:
        image = self.pixels(self.paths[row])
        return [image[around(self.boxes[row], image.shape[:2], self.sides, self.ratio)]]

    @property
    def about(self) -> str:
        return f"{super().about} {self.boxes.tolist()} {self.ratio}"
