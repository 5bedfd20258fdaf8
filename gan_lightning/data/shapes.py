"""Drawn sets, one for each kind of translation, that need no file: what is right is known, so error can be measured.

Every image is a function of its set's fixed seed and its own number alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import Attributed, Paired
from gan_lightning.data.base import ImageData
from gan_lightning.data.drawing import (
    BLACK,
    Layer,
    Shapes,
    as_photographed,
    between,
    eye,
    face,
    in_dim_light,
    noisy,
    paint,
    render,
    scene,
    shapes,
    uniforms,
)
from gan_lightning.data.sets import InMemory, Rows, Split
from gan_lightning.data.unpaired import Domains
from gan_lightning.noise import key
from gan_lightning.runtime.sizes import Sides, Size, sides_of

HELD_OUT = 500  # images of a domain that validate
WARM = (-0.02, 0.11)  # hues from red to orange
COOL = (0.55, 0.70)  # blues
LEFT = (-1, 0)  # the direction of light that grows to the left


def unlabeled(image: Tensor) -> InMemory:
    """Images (n, c, h, w) as a set without classes."""
    return InMemory(image, torch.zeros(len(image), dtype=torch.int64))


def seed_of(split: Split, domain: int = 0) -> int:
    """Training, validation and the two domains of each share no factor."""
    return key(("train", "val").index(split), domain)


def scenes(split: Split, n: int, size: Sides) -> InMemory:
    """The scenes of a split."""
    return unlabeled(torch.from_numpy(np.stack([scene(seed_of(split), row, size) for row in range(n)])))


class ShapeData(ImageData):
    """Base of the sets below.

    Args:
        channels: of the images.
        n: training images, of each domain where there are two; 500 more validate.
        size: one number for both sides or [height, width], with which the drawing stretches; 32 to 64 are meant.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Raises:
        ValueError: n is not positive, or the images are smaller than 16 pixels.
    """

    def __init__(self, channels: int, n: int, size: Size, batch_size: int, num_workers: int) -> None:
        name = type(self).__name__
        self.n, self.sides = n, sides_of(size)
        if n < 1 or min(self.sides) < 16:
            raise ValueError(f"{name}: n ({n}) must be positive and size ({size}) at least 16")
        super().__init__(name, (channels, *self.sides), None, batch_size, num_workers)

    def count(self, split: Split) -> int:
        return self.n if split == "train" else HELD_OUT


class ShapePairs(ShapeData):
    """Drawn pairs: the outline of a shape, to be filled with the colour of its kind.

    A source is a white line on black; its target the same shape on grey, a circle in red, a square in green, a triangle
    in blue. The outline says everything, so the target is a function of the source. Batches are `Paired`.

    Args:
        n: training pairs; 500 more validate.
        size: one number for both sides or [height, width].
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(self, n: int = 2000, size: Size = 32, batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__(3, n, size, batch_size, num_workers)

    def load(self, split: Split) -> Rows:
        factors = shapes(seed_of(split), self.count(split))
        factors = factors._replace(hue=factors.kind / 3)
        line = 1.5 / 32
        source = [paint([Layer(p, (255, 255, 255), line)], self.sides, BLACK) for p in factors.corners()]
        target = render(factors, self.sides, (128, 128, 128)).image
        return Rows(Paired(torch.from_numpy(np.stack(source)), target))


class UnpairedShapeData(ShapeData):
    """Base of the sets of two domains: a training batch draws domain B at random."""

    def training_set(self) -> Domains:
        whole = self.reference("train")
        return Domains(whole.a, whole.b, self._seed)


class ShapeDomains(UnpairedShapeData):
    """Drawn domains: shapes in warm colours, and other shapes in cool ones.

    Domain A has hues from red to orange, B blues; kind, place, size and angle are independent of both. A right
    translation changes the hue (:func:`hue_class`) and keeps the shape (:func:`shape_mask`). On black. Batches are
    `Unpaired`.

    Args:
        n: training images of each domain; 500 more of each validate.
        size: one number for both sides or [height, width].
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(self, n: int = 2000, size: Size = 32, batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__(3, n, size, batch_size, num_workers)

    def load(self, split: Split) -> Domains:
        drawn = [shapes(seed_of(split, d), self.count(split), hues=hues) for d, hues in enumerate((WARM, COOL))]
        a, b = (unlabeled(render(factors, self.sides).image) for factors in drawn)
        return Domains(a, b)


class ShapeAttributes(ShapeData):
    """Drawn attributes: a shape is warm or cool, filled or not, large or small.

    Each attribute is independent of the others and true of half of the images: the colour is red to orange, not blue;
    the shape is filled, not an outline; its radius is 0.3 to 0.36 of the side, not 0.16 to 0.2. On black. Batches are
    `Attributed`.

    Args:
        n: training images; 500 more validate.
        size: one number for both sides or [height, width].
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        attributes: names, in the order of the columns.
    """

    def __init__(self, n: int = 2000, size: Size = 32, batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__(3, n, size, batch_size, num_workers)
        self.attributes = ["Warm", "Filled", "Large"]

    def load(self, split: Split) -> Rows:
        n = self.count(split)
        has = uniforms(seed_of(split, 1), n, 3) < 0.5
        small, large = (shapes(seed_of(split), n, radius=radius) for radius in ((0.16, 0.2), (0.3, 0.36)))
        size = Shapes(*(np.where(has[:, 2], one, other) for one, other in zip(large, small, strict=True)))
        share = small.hue  # U[0, 1), the same in both
        factors = size._replace(hue=np.where(has[:, 0], between(share, *WARM), between(share, *COOL)))
        filled, outline = (render(factors, self.sides, thickness=t).image for t in (None, 2.25 / 32))
        image = torch.where(torch.from_numpy(has[:, 1])[:, None, None, None], filled, outline)
        return Rows(Attributed(image, torch.from_numpy(has.astype(np.float32))))


class Posed(Domains):
    """Two domains whose poses are known.

    Args:
        a, b: the images.
        pose_a, pose_b: (n, factors) float32 in [-1, 1], a row for each image of a and of b.
        seed: see :class:`Domains`.
    """

    def __init__(self, a: InMemory, b: InMemory, pose_a: Tensor, pose_b: Tensor, seed: int = 0) -> None:
        super().__init__(a, b, seed)
        self.pose_a, self.pose_b = pose_a, pose_b


def poses(split: Split, domain: int, n: int, factors: int) -> np.ndarray:
    """(n, factors) from U[-1, 1)."""
    return between(uniforms(seed_of(split, domain), n, factors), -1, 1)


class ShapeRefinement(UnpairedShapeData):
    """Drawn eyes: clean ones, to be refined until they look like the photographed ones and gaze as before.

    SimGAN's task (arXiv:1612.07828). Grey images of an eye whose gaze and angle are known. Domain A is synthetic, sharp
    and flat but for a fine grain, without which a refiner, a function of its input, could make no noise of it; B is the
    same drawing out of focus, darker, lit from one side, with a sensor's noise. A refined image keeps its pose, so that
    an estimator trained on refined images should do well on real ones; the sets' `pose_a` and `pose_b` (n, 3) hold
    gaze x, gaze y and angle in [-1, 1]. Batches are `Unpaired`.

    Args:
        n: training images of each domain; 500 more of each validate.
        size: one number for both sides or [height, width].
        light: where the light of domain B comes from: "random", another side for each image, which no refiner can know;
            or "left" for all.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(
        self,
        n: int = 2000,
        size: Size = 32,
        light: Literal["random", "left"] = "random",
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> None:
        super().__init__(1, n, size, batch_size, num_workers)
        self.light = light

    def eyes(self, split: Split, domain: int) -> tuple[np.ndarray, np.ndarray]:
        """Poses (n, 3), and their clean drawings (n, 1, *size)."""
        pose = poses(split, domain, self.count(split), 3)
        return pose, np.stack([eye(each, self.sides) for each in pose])

    def ideal(self, split: Split) -> Tensor:
        """(n, 1, *size) uint8: the synthetic images as the ideal refiner has them, a function of the pose alone.

        Each is as domain B, in the mean of the light that it could have, and without the sensor's noise, neither of
        which its pose tells.
        """
        _, clean = self.eyes(split, 0)
        mean = (0, 0) if self.light == "random" else LEFT
        lit = in_dim_light(clean, np.full(len(clean), 0.5), np.broadcast_to(mean, (len(clean), 2)))
        return torch.from_numpy(lit.clip(0, 255).round().astype(np.uint8))

    def load(self, split: Split) -> Posed:
        (pose_a, clean_a), (pose_b, clean_b) = (self.eyes(split, domain) for domain in (0, 1))
        a = noisy(clean_a, 3, seed_of(split, 3))
        b = as_photographed(clean_b, seed_of(split, 2), LEFT if self.light == "left" else None)
        one, other = (torch.from_numpy(pose.astype(np.float32)) for pose in (pose_a, pose_b))
        return Posed(unlabeled(torch.from_numpy(a)), unlabeled(torch.from_numpy(b)), one, other)


class ShapeIdentities(UnpairedShapeData):
    """Drawn faces of two persons, who move alike: to give one the other's face, pose and expression kept.

    The face swap's task. The persons differ in the colours and forms of skin, hair, eyes and lips; place, angle, scale
    and how far the mouth is open vary alike in both, and are known: the sets' `pose_a` and `pose_b` (n, 5) in [-1, 1].
    :func:`face` draws the right answer. Batches are `Unpaired`.

    Args:
        n: training images of each person; 500 more of each validate.
        size: one number for both sides or [height, width].
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(self, n: int = 2000, size: Size = 64, batch_size: int = 32, num_workers: int = 0) -> None:
        super().__init__(3, n, size, batch_size, num_workers)

    def load(self, split: Split) -> Posed:
        pose = [poses(split, person, self.count(split), 5) for person in (0, 1)]
        drawn = [np.stack([face(row, self.sides, person) for row in pose[person]]) for person in (0, 1)]
        one, other = (torch.from_numpy(each.astype(np.float32)) for each in pose)
        a, b = (unlabeled(torch.from_numpy(image)) for image in drawn)
        return Posed(a, b, one, other)
