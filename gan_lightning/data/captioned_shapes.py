"""Drawn scenes of one or two shapes, and the grammar of their captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.captioned import CaptionedExamples
from gan_lightning.data.drawing import BLACK, KINDS, Layer, between, ellipse, paint, rgb, uniforms
from gan_lightning.data.sets import Split
from gan_lightning.data.shapes import ShapeData, seed_of, unlabeled
from gan_lightning.noise import key, shares
from gan_lightning.runtime.errors import nearest
from gan_lightning.runtime.sizes import Sides, Size
from gan_lightning.text import SPECIAL, caption_parts

SIZES = (("small", "little"), ("large", "big"))  # each with its synonym
COLOURS = {"red": 0, "yellow": 1 / 6, "green": 1 / 3, "blue": 2 / 3, "magenta": 5 / 6}  # hues
# From the first of two shapes to the second, and from the second to the first.
RELATIONS = (
    (("left of", "to the left of"), ("right of", "to the right of")),
    (("above", "over"), ("below", "under")),
)
FACTORS = ("shapes", "size", "colour", "kind", "second size", "second colour", "second kind", "relation")
VOCABULARY = [
    *SPECIAL,
    *("a", *SIZES[0], *SIZES[1], *COLOURS, *KINDS),
    *("to", "the", "left", "right", "of", "above", "over", "below", "under"),
]
LENGTH = 12  # of the longest caption, "a small red circle to the left of a large blue square"
WORDINGS = 4  # captions of a scene, at most
RADII = ((0.095, 0.105), (0.145, 0.16))  # of the circles that are as large as a small and as a large shape
MARGIN, GAP, ASKEW = 0.02, 0.09, 0.06  # around a scene, between its shapes, and how far off the axis the second is
# Each kind about the middle of its box, with the area of a circle of radius 1.
OUTLINES = (
    ellipse(0, 0, 1, 1),
    math.sqrt(math.pi) / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),
    math.sqrt(math.pi / math.sqrt(3))
    * np.array([[0, -math.sqrt(3) / 2], [1, math.sqrt(3) / 2], [-1, math.sqrt(3) / 2]]),
)

Factors = tuple[int, ...]  # the numbers of one scene, in the order of FACTORS


def caption(
    factors: Sequence[int], size: int = 0, second_size: int = 0, relation: int = 0, turned: bool = False
) -> str:
    """A caption of a scene in one of its wordings.

    Args:
        factors: of the scene, see :class:`CaptionedShapes`.
        size, second_size, relation: which synonym of each, 0 or 1.
        turned: begin with the second of two shapes.
    """
    shapes = [
        f"a {SIZES[large][word]} {list(COLOURS)[colour]} {KINDS[kind]}"
        for (large, colour, kind), word in zip((factors[1:4], factors[4:7]), (size, second_size), strict=True)
    ]
    if factors[0] == 1:
        return shapes[0]
    words = RELATIONS[factors[7]][turned][relation]
    return f"{shapes[turned]} {words} {shapes[not turned]}"


def wordings(factors: Sequence[int]) -> list[str]:
    """All captions of a scene: 2 of one shape, 16 of two."""
    if factors[0] == 1:
        return [caption(factors, size) for size in (0, 1)]
    four = product((0, 1), repeat=4)
    return [caption(factors, size, second, relation, bool(turned)) for size, second, relation, turned in four]


def parse(text: str) -> Factors:
    """The factors of the scene that a caption describes, in the order of FACTORS; see :class:`CaptionedShapes`.

    Raises:
        ValueError: it is no caption of the grammar; the message names the part that is none, and what is near it.
    """
    words = caption_parts(text, "word")
    first, rest = _shape(words, text), words[4:]
    if not rest:
        return (1, *first, -1, -1, -1, -1)
    between_them = " ".join(rest[:-4])
    for relation, sides in enumerate(RELATIONS):
        for turned, synonyms in enumerate(sides):
            if between_them in synonyms:
                second = _shape(rest[-4:], text)
                return (2, *(second + first if turned else first + second), relation)
    known = [words for sides in RELATIONS for synonyms in sides for words in synonyms]
    raise ValueError(f"{text!r}: {between_them!r} is no relation of {', '.join(known)}{nearest(between_them, known)}")


def _shape(words: Sequence[str], text: str) -> Factors:
    """Size, colour and kind of "a small red circle"."""
    choices = [{"a": 0}, {word: n for n, size in enumerate(SIZES) for word in size}]
    choices += [{word: n for n, word in enumerate(names)} for names in (COLOURS, KINDS)]
    found = []
    for place, known in enumerate(choices):
        word = words[place] if place < len(words) else ""
        if word not in known:
            raise ValueError(f"{text!r}: {word!r} stands where one of {', '.join(known)} must{nearest(word, known)}")
        found.append(known[word])
    return tuple(found[1:])


def scene_factors(seed: int, n: int, single: float) -> np.ndarray:
    """(n, 8) int64: the factors of scenes, see :class:`CaptionedShapes`."""
    share = uniforms(seed, n, 8)
    choices = (2, len(SIZES), len(COLOURS), len(KINDS), len(SIZES), len(COLOURS), len(KINDS), len(RELATIONS))
    factors = (share * choices).astype(np.int64)
    alone = share[:, 0] < single
    factors[:, 0] = np.where(alone, 1, 2)
    factors[alone, 4:] = -1
    return factors


def draw(factors: Sequence[int], places: np.ndarray, size: Size | Sides) -> np.ndarray:
    """(3, *size) uint8: a scene on black.

    Args:
        factors: of the scene.
        places: (6,) in [0, 1), where its shapes are and how large within their size's range.
        size: of the image.
    """
    shapes = [factors[1:4], factors[4:7]][: factors[0]]
    radii = [between(share, *RADII[large]) for (large, _, _), share in zip(shapes, places, strict=False)]
    outlines = [radius * OUTLINES[kind] for radius, (_, _, kind) in zip(radii, shapes, strict=True)]
    half = np.array([outline.max(0) for outline in outlines])  # of each box, (shapes, 2)
    centre = between(places[2:4], MARGIN + half[0], 1 - MARGIN - half[0])[None]
    if len(shapes) == 2:
        along = factors[7]  # the axis from the first to the second: x, or y
        across = 1 - along
        room = 1 - 2 * MARGIN - GAP - 2 * half[:, along].sum()
        before, after = np.sort(places[2:4]) * room
        centre = np.empty((2, 2))
        centre[0, along] = MARGIN + before + half[0, along]
        centre[1, along] = MARGIN + after + GAP + 2 * half[0, along] + half[1, along]
        inner = MARGIN + half[:, across].max() + ASKEW / 2
        middle = between(places[4], inner, 1 - inner)
        askew = between(places[5], -ASKEW / 2, ASKEW / 2)
        centre[:, across] = middle - askew, middle + askew
    colours = [rgb(list(COLOURS.values())[colour]) for _, colour, _ in shapes]
    layers = [Layer(outline + at, colour) for outline, at, colour in zip(outlines, centre, colours, strict=True)]
    return paint(layers, size, BLACK)


class Scenes(CaptionedExamples):
    """Drawn scenes with captions; wrong ones describe another scene, in whatever words.

    Args:
        name: of the set, for messages.
        image: (n, 3, h, w) uint8.
        texts: captions of each.
        factors: (n, 8) int64, see :class:`CaptionedShapes`.
    """

    def __init__(self, name: str, image: Tensor, texts: Sequence[Sequence[str]], factors: np.ndarray) -> None:
        meanings = [[tuple(row)] * len(of_row) for row, of_row in zip(factors.tolist(), texts, strict=True)]
        super().__init__(name, unlabeled(image), texts, VOCABULARY, LENGTH, meanings)
        self.factors = factors


class CaptionedShapes(ShapeData):
    """Drawn scenes with captions: a shape, or two of which one is left of the other or above it.

    "a large green triangle", "a small red circle left of a large blue square". A shape is small or large, red, yellow,
    green, blue or magenta, a circle, a square or a triangle; shapes of one size have one area whatever their kind, and
    do not touch. A caption says all of this, so it has one right answer: :func:`parse`. A scene has up to four
    wordings ("big" for large, "to the left of", "below" seen from the other shape); a wrong caption describes another
    scene, in whatever words. On black. Batches are `Captioned`.

    A split's `factors` (n, 8) int64 are in the order of FACTORS: the number of shapes; size, colour and kind of the
    first one, each a place in SIZES, COLOURS, KINDS; the same of the second; the relation, 0 where the first is left of
    the second, 1 where it is above. The first is thus the left or the upper one, however a caption says it, and what an
    image shows decides all factors. Those of a second shape that is not there are -1.

    Args:
        n: training images; 500 more validate.
        size: one number for both sides or [height, width].
        single: share of the scenes with one shape, from 0 to 1.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, n: int = 5000, size: Size = 64, single: float = 0.25, batch_size: int = 32, num_workers: int = 0
    ) -> None:
        super().__init__(3, n, size, batch_size, num_workers)
        if not 0 <= single <= 1:
            raise ValueError(f"CaptionedShapes: single must be from 0 to 1, not {single}")
        self.single, self.vocabulary, self.length = single, VOCABULARY, LENGTH

    def load(self, split: Split) -> Scenes:
        n, seed = self.count(split), seed_of(split)
        factors, places = scene_factors(seed, n, self.single), uniforms(seed_of(split, 1), n, 6)
        image = np.stack([draw(row, place, self.sides) for row, place in zip(factors.tolist(), places, strict=True)])
        texts = [
            [every[i] for i in shares(key(seed, row), np.arange(len(every))).argsort()[:WORDINGS]]
            for row, every in enumerate(map(wordings, factors.tolist()))
        ]
        return Scenes(self.name, torch.from_numpy(image), texts, factors)

    def training_set(self) -> CaptionedExamples:
        return self.reference("train").in_training(self._seed)
