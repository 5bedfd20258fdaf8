"""The space in which the latents of a generator of images are moved: W of a generator with styles, else Z."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_lightning.core import ImageGenerator, in_own_precision
from gan_lightning.networks.style import LayerNoise, StyleGenerator
from gan_lightning.noise import SampleNoise, key, require_truncation

MANY = 10_000  # samples that the distribution of the points is known by
OWN_SEED = -2  # of those samples: none that a user would give
NEIGHBOURS = 2  # makes the key of the noise around a point another one than that of the latents


class LatentSpace:
    """Points that a generator makes images of: styles, a w for each layer, of a generator with styles, else z.

    W is less entangled than Z (Karras et al. 2019, arXiv:1812.04948, section 4).

    Args:
        module: the model.
        live, average: whose weights; see :meth:`ImageGenerator.weights`.
        truncation: of the points, towards the mean of w or as :meth:`ImageGenerator.truncate` does; None for none.
        noise: what the layers of a generator with styles add: drawn for each image, the same for all, or none.

    Attributes:
        name: "w" or "z".
        shape: of a point, (num_styles, width) or (latent_dim,).
        shift: what is added to each point after its truncation, of its shape or one that broadcasts to it.
        layers: noise of the layers in place of the network's own, for `noise="const"`, by the names of buffers.

    Raises:
        ValueError: there is no such average, or a truncation that is not positive.
    """

    def __init__(
        self,
        module: ImageGenerator,
        live: bool = False,
        average: str | None = None,
        truncation: float | None = None,
        noise: LayerNoise = "random",
    ) -> None:
        require_truncation(truncation)
        self.module, self.network = module, module.weights(live, average)
        self.truncation, self.noise = truncation, noise
        self.has_styles = isinstance(self.network, StyleGenerator)
        self.name = "w" if self.has_styles else "z"
        if self.has_styles:
            self.shape = (self.network.num_styles, len(self.network.mapping.w_average))
        else:
            self.shape = (self.network.latent_dim,)
        self.shift: Tensor | float = 0.0
        self.layers: dict[str, Tensor] = {}

    def points(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """(n, *shape) of latents (n, latent_dim), and of labels (n,) where the model has classes; not truncated."""
        if not self.has_styles:
            return z
        return self.network.styles(in_own_precision(self.network.mapping, z, condition))

    def moved(self, points: Tensor) -> Tensor:
        """Points (n, *shape) as the generator is given them: truncated, then shifted."""
        if self.has_styles:
            return self.network.styles(points, self.truncation) + self.shift
        return (points if self.truncation is None else self.module.truncate(points, self.truncation)) + self.shift

    def images(self, points: Tensor, condition: Tensor | None = None) -> Tensor:
        """(n, *image_shape) of points (n, *shape), differentiable; nothing bounds them.

        To be called within :meth:`ImageGenerator.drawing`.

        Args:
            points: see :meth:`points`.
            condition: labels (n,) of a model with classes; styles need none.
        """
        if not self.has_styles:
            return self.module.images_of(self.network, self.moved(points), condition)
        styles = self.moved(points).to(next(self.network.parameters()).dtype)
        layers = {name: value.to(styles) for name, value in self.layers.items()}
        return torch.func.functional_call(self.network.synthesis, layers, (styles, self.noise))

    @torch.no_grad()
    def draw(self, points: Tensor, condition: Tensor | None, numbers: Sequence[int], seed: int = 0) -> Tensor:
        """(n, *image_shape), float32 in [-1, 1], in evaluation mode.

        Args:
            points, condition: see :meth:`images`.
            numbers, seed: key of the noise that the layers draw; see :meth:`ImageGenerator.generate`.
        """
        with self.module.drawing(self.network, numbers, seed):
            return self.module.bounded(self.images(points, condition).float())

    @torch.no_grad()
    def distribution(self, n: int = MANY, label: int | None = None, batch_size: int = 1000) -> Tensor:
        """(n, width) w, or (n, latent_dim) z, of samples, which are always the same ones.

        Args:
            n: how many.
            label: of all; None for each class in turn.
            batch_size: at a time.
        """
        found = []
        for first in range(0, n, batch_size):
            numbers = range(first, min(first + batch_size, n))
            condition = self.module.condition_of(numbers)
            if condition is not None and label is not None:
                condition = condition.fill_(label)
            points = self.points(self.module.latents(numbers, OWN_SEED), condition)
            found.append(points[:, 0] if self.has_styles else points)
        return torch.cat(found)

    def neighbours(self, point: Tensor, n: int, radius: float, seed: int = 0) -> Tensor:
        """(n, *shape) points around one: each is moved by numbers from U[-radius, radius), the same for all styles.

        Args:
            point: (1, *shape).
            n: how many; each depends on the seed and on its place alone.
            radius: in units of the points.
            seed: of the numbers.
        """
        noise = SampleNoise(key(seed, NEIGHBOURS), range(n), self.module.device).uniform(n, self.shape[-1])
        moved = radius * (2 * noise - 1)
        return point + (moved[:, None] if self.has_styles else moved)

    def noise_buffers(self) -> dict[str, Tensor]:
        """The noise of the layers that `noise="const"` adds, by the names of the synthesis network's buffers."""
        buffers = self.network.synthesis.named_buffers() if self.has_styles else ()
        return {name: value for name, value in buffers if name.rpartition(".")[2] == "noise"}
