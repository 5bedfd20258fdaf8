"""A generator of variants of one picture, scale by scale, that changes other pictures too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gan_lightning.core.image_generator import ImageGenerator
from gan_lightning.core.sampling import in_own_precision
from gan_lightning.noise import SampleNoise, key, require_truncation

OF_ONE = 2  # makes the key of the noise for one picture another one than those of samples


class Manipulator(ImageGenerator):
    """A kind of model: of one picture at several scales, the coarsest, 0, first.

    Its generator is fully convolutional, and is asked for what :class:`networks.SinGANGenerator` has: `reached`,
    `sizes_of`, `shapes`, `walk`, `manipulated`, `enlarged`, `reconstruction_errors`, and images of other sizes.
    """

    @property
    def finest(self) -> int:
        """The finest scale that is trained."""
        return int(self.generator.reached)

    def require_scale(self, scale: int, least: int, name: str = "scale") -> None:
        """Refuse a scale that there is not.

        Raises:
            ValueError: saying which there are.
        """
        if self.finest < least:
            raise ValueError(f"{name} {scale}: no scale above the coarsest is trained yet")
        if not least <= scale <= self.finest:
            raise ValueError(f"{name} must be from {least} to {self.finest}, the finest trained scale, not {scale}")

    def bounded(self, image: Tensor) -> Tensor:
        return image.clamp(-1, 1)

    @torch.no_grad()
    def sample(
        self,
        numbers: Sequence[int] | int,
        seed: int = 0,
        live: bool = False,
        truncation: float | None = None,
        condition: Tensor | None = None,
        average: str | None = None,
        size: str | None = None,
        from_scale: int = 0,
    ) -> Tensor:
        """Images by number, of any size: each depends on the seed, on its number, size and first scale alone.

        Args:
            size: HEIGHTxWIDTH in pixels, such as 300x800, or one number for both; None for the picture's.
            from_scale: the first scale with random noise; those below it take that of the picture itself.

        Returns:
            (n, C, H, W), float32 in [-1, 1].

        Raises:
            ValueError: see :meth:`ImageGenerator.sample`; or a size or a scale that cannot be.
        """
        require_truncation(truncation)
        self.require_scale(from_scale, 0, "from_scale")
        numbers = range(numbers) if isinstance(numbers, int) else numbers
        sizes, network = self.generator.sizes_of(size), self.weights(live, average)
        length = sum(math.prod(shape) for shape in self.generator.shapes(sizes))
        z = SampleNoise(seed, numbers, self.device).normal(len(numbers), length).to(self.dtype)
        z = z if truncation is None else self.truncate(z, truncation)
        with self.drawing(network, numbers, seed):
            return self.bounded(in_own_precision(network, z, sizes, from_scale).float())

    @torch.no_grad()
    def animate(
        self,
        frames: int,
        alpha: float,
        beta: float,
        from_scale: int = 0,
        seed: int = 0,
        size: str | None = None,
        live: bool = False,
        average: str | None = None,
    ) -> Iterator[Tensor]:
        """Frames (1, C, H, W), float32 in [-1, 1], of a random walk around the picture.

        Args:
            frames: how many.
            alpha: from 0 to 1, how near they stay to the picture.
            beta: from 0 to 1, how smooth the motion is.
            from_scale: the first scale that moves.
            seed: of the walk.
            size, live, average: see :meth:`sample`.

        Raises:
            ValueError: there is no such scale, size or average.
        """
        self.require_scale(from_scale, 0, "from_scale")
        sizes, network = self.generator.sizes_of(size), self.weights(live, average)
        for z in network.walk(self._noise(seed), frames, alpha, beta, sizes):
            with self.drawing(network, [0], seed):
                yield self.bounded(in_own_precision(network, z, sizes, from_scale).float())

    @torch.no_grad()
    def manipulate(self, image: Tensor, scale: int, seed: int = 0) -> Tensor:
        """(1, *image_shape), float32 in [-1, 1]: a picture (1, C, h, w) in [-1, 1] drawn anew from a scale on.

        Raises:
            ValueError: there is no such scale above the coarsest.
        """
        self.require_scale(scale, 1)
        with self.drawing(network := self.weights(), [0], seed):
            return self.bounded(network.manipulated(image.to(self.dtype), scale, self._noise(seed)).float())

    @torch.no_grad()
    def enlarge(self, image: Tensor, factor: float, seed: int = 0) -> Tensor:
        """(1, C, factor * h, factor * w), float32 in [-1, 1]: a picture (1, C, h, w) with finer details.

        Raises:
            ValueError: a factor below 1.
        """
        with self.drawing(network := self.weights(), [0], seed):
            return self.bounded(network.enlarged(image.to(self.dtype), factor, self._noise(seed)).float())

    @torch.no_grad()
    def reconstruction_errors(self, image: Tensor) -> list[float]:
        """The root mean squared error, at each trained scale, of what the model gives for its picture (1, C, H, W)."""
        with self.drawing(network := self.weights(), [0]):
            return network.reconstruction_errors(image.to(self.dtype))

    def _noise(self, seed: int) -> SampleNoise:
        return SampleNoise(key(seed, OF_ONE), [0], self.device)
