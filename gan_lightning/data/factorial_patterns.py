"""Patterns that independent binary causes make together: a set whose factorial code is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.noise import key

GAIN = 3.0  # of the nonlinear mixing: how far its hidden units go into tanh's curves


class FactorialPatterns(ImageData):
    """Independent binary causes through a fixed random invertible mixing, as images (dim, 1, 1) in [-1, 1].

    Patterns of independent causes that a code should find again are the task of Schmidhuber, Neural Computation 4(6),
    1992, section 6, whose "local" patterns are here too. With s in {-1, 1}^causes the causes' signs,

    - "linear": x = A s, what independent component analysis is made for;
    - "nonlinear": x = A tanh(3 Q s), Q orthogonal, which no linear map undoes;
    - "local": a place of its own for each of the 2^causes patterns, 1 there and -1 elsewhere.

    A is Gaussian, its rows divided by the sum of their absolute values, so that nothing leaves [-1, 1]; it and Q are
    the same in every run. The label of a pattern is its causes as bits of an integer; the first is the lowest bit. Of 6
    uniform causes the components of PCA, cut at zero, give 70 % of the linear and 65 % of the nonlinear patterns back,
    those of FastICA all and 75 %.

    Args:
        causes: how many.
        mixing: how they make a pattern.
        dim: numbers in a pattern, at least as many as causes; None for twice as many ("local": always 2^causes).
        probability: that a cause is 1: of all, or of each.
        n: training patterns; a tenth as many are "val".
        noise: standard deviation of Gaussian noise on every number; what leaves [-1, 1] is moved to its edge.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        probability: (causes,) float64.

    Raises:
        ValueError: an argument that is out of range, or probabilities that are not one for each cause.
    """

    def __init__(
        self,
        causes: int = 6,
        mixing: Literal["linear", "nonlinear", "local"] = "linear",
        dim: int | None = None,
        probability: float | Sequence[float] = 0.5,
        n: int = 50_000,
        noise: float = 0.0,
        batch_size: int = 256,
        num_workers: int = 0,
    ) -> None:
        if not 1 <= causes <= 16 or n < 1 or noise < 0:
            raise ValueError(
                f"FactorialPatterns needs 1 to 16 causes ({causes}), n ({n}) above 0 and noise ({noise}) not below it"
            )
        if mixing not in ("linear", "nonlinear", "local"):
            raise ValueError(f'FactorialPatterns: mixing is "linear", "nonlinear" or "local", not "{mixing}"')
        size = 2**causes if mixing == "local" else dim or 2 * causes
        if size < causes or (dim and dim != size):
            needed = f"{size}, the number of local patterns" if mixing == "local" else f"at least {causes}, the causes"
            raise ValueError(f"FactorialPatterns: dim must be {needed}, not {dim}; null chooses it")
        each = [probability] * causes if isinstance(probability, (int, float)) else list(probability)
        if len(each) != causes or not all(0 < p < 1 for p in each):
            raise ValueError(f"FactorialPatterns: {causes} causes need a probability in (0, 1) each, not {probability}")
        super().__init__("FactorialPatterns", (size, 1, 1), 2**causes, batch_size, num_workers)
        self.causes, self.mixing, self.n, self.noise = causes, mixing, n, noise
        self.probability = torch.tensor(each, dtype=torch.float64)
        generator = torch.Generator().manual_seed(key(causes, size))
        mix = torch.randn(size, causes, generator=generator, dtype=torch.float64)
        self._mix = mix / mix.abs().sum(1, keepdim=True)
        self._turn = torch.linalg.qr(torch.randn(causes, causes, generator=generator, dtype=torch.float64)).Q

    def bits(self, label: Tensor) -> Tensor:
        """(n, causes) bool, the causes that labels (n,) stand for."""
        return (label[:, None] >> torch.arange(self.causes, device=label.device)) & 1 == 1

    def patterns(self, label: Tensor) -> Tensor:
        """(n, dim, 1, 1) float32 in [-1, 1], the patterns of labels (n,), without noise."""
        if self.mixing == "local":
            x = 2 * torch.eye(self.image_shape[0])[label] - 1
        else:
            signs = 2 * self.bits(label).double() - 1
            hidden = signs if self.mixing == "linear" else (GAIN * signs @ self._turn.T).tanh()
            x = hidden @ self._mix.T
        return x.float()[:, :, None, None]

    def load(self, split: Split) -> InMemory:
        n = self.n if split == "train" else max(1, self.n // 10)
        generator = torch.Generator().manual_seed(key(("train", "val").index(split)))
        on = torch.rand(n, self.causes, generator=generator, dtype=torch.float64) < self.probability
        label = (on.long() << torch.arange(self.causes)).sum(1)
        x = self.patterns(label)
        return InMemory((x + self.noise * torch.randn(x.shape, generator=generator)).clamp_(-1, 1), label)
