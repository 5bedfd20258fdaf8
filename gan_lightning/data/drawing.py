"""Drawing of shapes, scenes, eyes and faces: pure functions from factors to pixels.

Coordinates are shares of the image's width and height, x to the right and y downwards; angles are radians, clockwise as
one sees them in a square: where the sides differ the drawing is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from gan_lightning.noise import key, shares
from gan_lightning.runtime.sizes import Sides, Size, sides_of

KINDS = ("circle", "square", "triangle")
FINE = 4  # pixels are averages of so many times so many
BLACK = (0, 0, 0)

Colour = Sequence[int]  # a level from 0 to 255 for each channel


class Stripes(NamedTuple):
    """What crosses a polygon: bars of another colour, as wide as the gaps between them."""

    colour: Colour
    angle: float  # of the direction across them
    period: float  # in shares of the sides


class Layer(NamedTuple):
    """A polygon in one colour, with or without stripes."""

    corners: np.ndarray  # (corners, 2): x and y in shares of the sides
    colour: Colour
    thickness: float | None = None  # of the line in shares of the shorter side; None fills the polygon
    stripes: Stripes | None = None


def plain(height: int, width: int, colour: Colour) -> np.ndarray:
    """(height, width, channels) uint8 in one colour; by OpenCV, ten times as fast as numpy's broadcasting."""
    canvas = np.zeros((height, width, len(colour)), np.uint8)
    return cv2.rectangle(canvas, (0, 0), (width, height), list(colour), cv2.FILLED)


def paint(layers: Sequence[Layer], size: Size | Sides, background: Colour) -> np.ndarray:
    """(channels, *size) uint8: layers one over the other, antialiased, edges true to a quarter of a pixel."""
    small = sides_of(size)
    height, width = (FINE * side for side in small)
    canvas = plain(height, width, background)
    for corners, colour, thickness, stripes in layers:
        # OpenCV's coordinates are centres of pixels, here with 8 binary digits after the point.
        points = [((corners * (width, height) - 0.5) * 256).round().astype(np.int32)]
        if thickness is None:
            cv2.fillPoly(canvas, points, list(colour), cv2.LINE_8, 8)
        else:
            cv2.polylines(
                canvas, points, True, list(colour), max(round(thickness * min(height, width)), 1), cv2.LINE_8, 8
            )
        if stripes is not None:
            inside = cv2.fillPoly(np.zeros((height, width), np.uint8), points, 1, cv2.LINE_8, 8)
            y, x = ((np.arange(s, dtype=np.float32) + 0.5) / s * (2 / stripes.period) for s in (height, width))
            across = np.add.outer(y * math.sin(stripes.angle), x * math.cos(stripes.angle))
            bars = inside & (np.floor(across).astype(np.int32) & 1).astype(np.uint8)
            cv2.copyTo(plain(height, width, stripes.colour), bars, canvas)
    drawn = cv2.resize(canvas, small[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(drawn.reshape(*small, -1).transpose(2, 0, 1))


def uniforms(seed: int, n: int, factors: int) -> np.ndarray:
    """(n, factors) from U[0, 1), the same for row i whatever n is."""
    return shares(key(seed), np.arange(n * factors)).reshape(n, factors)


def between(share: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers from U[0, 1) as ones from U[low, high)."""
    return low + (high - low) * share


def rgb(hue: float) -> tuple[int, ...]:
    """The fully saturated colour of a hue: 0 and 1 are red, 1/3 green, 2/3 blue."""
    turns = [(n + 6 * hue) % 6 for n in (5, 3, 1)]
    return tuple(round(255 * (1 - max(0.0, min(turn, 4 - turn, 1.0)))) for turn in turns)


def ellipse(x: float, y: float, width: float, height: float, angle: float = 0.0) -> np.ndarray:
    """(64, 2): the corners of an ellipse with these half axes about a centre."""
    turn = np.arange(64) * (2 * math.pi / 64)
    return placed(np.stack([width * np.cos(turn), height * np.sin(turn)], 1), x, y, angle)


def placed(corners: np.ndarray, x: float, y: float, angle: float) -> np.ndarray:
    """Corners turned about the origin, which then comes to (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


class Shapes(NamedTuple):
    """The factors of n images, one shape on each."""

    kind: np.ndarray  # (n,) a place in KINDS
    x: np.ndarray  # (n,) of the centre
    y: np.ndarray
    radius: np.ndarray  # (n,) of the circle through the corners
    angle: np.ndarray
    hue: np.ndarray

    def corners(self) -> list[np.ndarray]:
        """One polygon (corners, 2) for each."""
        found = []
        for kind, x, y, radius, angle, _ in zip(*self, strict=True):
            turn = np.arange((64, 4, 3)[int(kind)]) / (64, 4, 3)[int(kind)] * 2 * math.pi
            found.append(placed(radius * np.stack([np.sin(turn), -np.cos(turn)], 1), x, y, angle))
        return found


def shapes(seed: int, n: int, radius: tuple[float, float] = (0.2, 0.35), hues: tuple[float, float] = (0, 1)) -> Shapes:
    """Shapes that lie within the image, drawn independently and uniformly."""
    share = uniforms(seed, n, 6).T
    radii = between(share[1], *radius)
    x, y = (radii + 0.02 + at * (0.96 - 2 * radii) for at in share[2:4])
    hue = between(share[5], *hues)
    return Shapes((3 * share[0]).astype(np.int64), x, y, radii, between(share[4], 0, 2 * math.pi), hue)


class Rendered(NamedTuple):
    """Shapes, drawn."""

    image: Tensor  # (n, 3, *size) uint8
    mask: Tensor  # (n, *size) bool, true where the shape covers at least half of the pixel


def render(factors: Shapes, size: Size | Sides, background: Colour = BLACK, thickness: float | None = None) -> Rendered:
    """Each shape filled with its hue, or as a line of such a thickness."""
    polygons = factors.corners()
    colours = [rgb(hue) for hue in factors.hue]
    image = [paint([Layer(p, c, thickness)], size, background) for p, c in zip(polygons, colours, strict=True)]
    cover = [paint([Layer(p, [255], thickness)], size, [0])[0] for p in polygons]
    return Rendered(torch.from_numpy(np.stack(image)), torch.from_numpy(np.stack(cover) >= 128))


def shape_mask(image: Tensor) -> Tensor:
    """(n, h, w) bool: where images (n, c, h, w) in [-1, 1] show a shape, told from black by the brightest channel."""
    return image.amax(1) > 0


def hue_class(image: Tensor) -> Tensor:
    """(n,) int64: 0 where the shape on images (n, 3, h, w) in [-1, 1] is warm, redder than blue, 1 where it is cool."""
    bluer = (image[:, 2] - image[:, 0]) * shape_mask(image)
    return (bluer.sum((1, 2)) > 0).long()


def scene(seed: int, row: int, size: Size | Sides) -> np.ndarray:
    """(3, *size) uint8: six striped shapes, one over the other, on a ground of two striped colours."""
    count = 7
    factors = shapes(key(seed, row), count, radius=(0.12, 0.32))
    more = uniforms(key(seed, row, 1), count, 5)
    ground = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    layers = []
    for corners, hue, share in zip([ground, *factors.corners()[1:]], factors.hue, more, strict=True):
        light, dark = between(share[0], 0.7, 1), between(share[1], 0.2, 0.6)
        one, other = (
            tuple(round(float(level) * c) for c in rgb(h)) for level, h in ((light, hue), (dark, hue + share[2]))
        )
        period = float(between(share[4], 0.12, 0.3))
        layers.append(Layer(corners, one, None, Stripes(other, math.pi * share[3], period)))
    return paint(layers, size, BLACK)


def eye(pose: np.ndarray, size: Size | Sides) -> np.ndarray:
    """(1, *size) uint8: an eye, clean and flat, with a gaze (x, y) and an angle, all in [-1, 1]."""
    x, y, angle = pose[0], pose[1], 0.5 * pose[2]
    pupil = placed(np.array([[0.16 * x, 0.07 * y]]), 0.5, 0.55, angle)[0]
    brow = np.array([[-0.36, -0.36], [0.36, -0.36], [0.36, -0.28], [-0.36, -0.28]])
    layers = [
        Layer(ellipse(0.5, 0.55, 0.4, 0.22, angle), [230]),
        Layer(ellipse(pupil[0], pupil[1], 0.13, 0.13), [90]),
        Layer(ellipse(pupil[0], pupil[1], 0.06, 0.06), [20]),
        Layer(placed(brow, 0.5, 0.55, angle), [40]),
    ]
    return paint(layers, size, [150])


def noisy(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Grey levels (n, 1, h, w), rounded to uint8, with normal noise; row by row, so that n moves none."""
    noise = np.random.Generator(np.random.Philox(key(seed, 2))).standard_normal(image.shape)
    return (image + deviation * noise).clip(0, 255).round().astype(np.uint8)


def in_dim_light(image: np.ndarray, level: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Images (n, 1, h, w) uint8 out of focus, in light that grows across the image: grey levels, not rounded.

    Args:
        image: the images.
        level: (n,) of the light in [0, 1), from dim to less dim.
        towards: (n, 2) the direction x, y in which it grows, of length 1; of length 0 for light that is even.
    """
    height, width = image.shape[2:]
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    found = np.empty(image.shape)
    for row, (strength, (right, down)) in enumerate(zip(level, towards, strict=True)):
        soft = cv2.GaussianBlur(image[row, 0].astype(np.float32), (0, 0), min(height, width) / 32)
        found[row, 0] = soft * ((0.55 + 0.15 * strength) * (1 + 0.6 * (x * right + y * down)))
    return found


def as_photographed(image: np.ndarray, seed: int, towards: tuple[float, float] | None = None) -> np.ndarray:
    """Images (n, 1, h, w) uint8 out of focus, in dim light from one side, with a sensor's noise.

    Args:
        image: the images.
        seed: of light and noise.
        towards: the direction x, y in which all light grows; None: a random one for each image.
    """
    level, side = uniforms(key(seed, 1), len(image), 2).T
    angle = 2 * math.pi * side
    random = np.stack([np.cos(angle), np.sin(angle)], 1)
    directions = random if towards is None else np.broadcast_to(towards, random.shape)
    return noisy(in_dim_light(image, level, directions), 6, seed)


def face(pose: np.ndarray, size: Size | Sides, identity: int) -> np.ndarray:
    """(3, *size) uint8: one of two cartoon persons; the pose is x, y, angle, scale and mouth, all in [-1, 1]."""
    x, y, angle, scale = 0.5 + 0.1 * pose[0], 0.52 + 0.1 * pose[1], 0.4 * pose[2], 1 + 0.2 * pose[3]
    opened = 0.02 + 0.035 * (pose[4] + 1)

    def at(corners: np.ndarray) -> np.ndarray:
        return placed(scale * corners, x, y, angle)

    sides = (-1, 1)
    if identity == 0:  # fair, round eyes, a brown fringe
        skin, lips = (245, 205, 170), (190, 60, 70)
        hair = [Layer(at(ellipse(0, -0.1, 0.3, 0.27)), (110, 70, 35))]
        eyes = [Layer(at(ellipse(0.1 * s, -0.05, 0.05, 0.05)), (30, 60, 160)) for s in sides]
        width = 0.24
    else:  # olive and narrow, slanted eyes, a black mohawk
        skin, lips = (165, 165, 100), (100, 40, 90)
        crest = np.array([[-0.09, -0.15], [-0.12, -0.36], [-0.04, -0.28], [0, -0.4], [0.04, -0.28], [0.12, -0.36]])
        hair = [Layer(at(np.concatenate([crest, [[0.09, -0.15]]])), (25, 25, 25))]
        eyes = [Layer(at(ellipse(0.09 * s, -0.05, 0.065, 0.022, 0.4 * s)), (15, 15, 15)) for s in sides]
        width = 0.19
    head, mouth = Layer(at(ellipse(0, 0, width, 0.28)), skin), Layer(at(ellipse(0, 0.13, 0.09, opened)), lips)
    return paint([*hair, head, *eyes, mouth], size, (70, 110, 130))
