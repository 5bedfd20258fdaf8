"""Random numbers keyed by where they are used, not by what was drawn before.

A stored random state ties a run to its past: a resumed run, one more evaluation or another number of processes would
draw other numbers. Here each draw is a function of its key, so that none of these changes what is trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MASK = 2**64 - 1


def key(*parts: int) -> int:
    """Hash integers into one seed of 63 bits (SplitMix64's mixing, Steele et al. 2014, chained over the parts)."""
    state = 0
    for value in parts:
        state = (state + (value & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def hashes(seed: int, index: list[int] | np.ndarray) -> np.ndarray:
    """(n,) uint64: the index-th number of the SplitMix64 sequence (Steele et al. 2014) that starts at a seed."""
    state = np.uint64(seed) + np.asarray(index, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def shares(seed: int, index: np.ndarray) -> np.ndarray:
    """(n,) float64 from U[0, 1), of :func:`hashes`: their upper 53 bits."""
    return (hashes(seed, index) >> np.uint64(11)) * 2.0**-53


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed what layers such as dropout draw from on this device: the same numbers as by `torch.manual_seed`.

    That one also queues the seed for every kind of device that is not in use, and formats three stack traces to do so:
    2.4 ms of a small step's 7.5.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


def global_seed() -> int:
    """The run's seed: what `seed_everything` was given, else 0."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def require_truncation(limit: float | None) -> None:
    """Refuse a truncation that leaves nothing.

    Raises:
        ValueError: it is not positive.
    """
    if limit is not None and not limit > 0:
        raise ValueError(f"truncation must be positive, not {limit}")


def truncated_normal(z: Tensor, limit: float) -> Tensor:
    """Standard normal numbers as ones that lie within +-limit: each at its own quantile of the truncated distribution.

    A number moves continuously with the limit, where drawing again what lies outside would jump.

    Raises:
        ValueError: a limit that is not positive.
    """
    require_truncation(limit)
    below = torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64, device=z.device))
    share = torch.special.ndtr(z.double())
    return torch.special.ndtri(below + share * (1 - 2 * below)).clamp(-limit, limit).to(z.dtype)


def first_above(mass: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The first columns at which the cumulative sum of masses exceeds some numbers: inverse distribution functions.

    A column without mass is never one (unless its row has none at all).

    Args:
        mass: (n, D), at least 0.
        at: (n, k), from 0 up to but not the row's sum.

    Returns:
        (n, k) int64 columns, and how far within its column each number lies, (n, k), at least 0.
    """
    below = mass.cumsum(1)
    total = below[:, -1:]
    # Rounding may bring a number up to the total, which lies behind the last column that has any mass.
    at = torch.minimum(at, torch.nextafter(total, torch.zeros_like(total))).contiguous()
    column = torch.searchsorted(below, at, right=True).clamp_(max=mass.shape[1] - 1)
    return column, (at - below.gather(1, column) + mass.gather(1, column)).clamp_(min=0)


def drawn_by(mass: Tensor, uniform: Tensor) -> Tensor:
    """Columns (B, S) int64, each drawn with a probability in proportion to its mass; see :func:`first_above`.

    Args:
        mass: (B, D), at least 0; a row need not sum to 1.
        uniform: (B, S) from U[0, 1), a number for each draw.
    """
    mass = mass.detach().float()
    return first_above(mass, uniform * mass.sum(1, keepdim=True))[0]


class Noise:
    """A source of random rows; the two kinds below differ in what a row's numbers depend on."""

    def _rows(self, draw: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        raise TypeError("use PartNoise in training and SampleNoise for samples")

    def normal(self, n: int, *shape: int) -> Tensor:
        """(n, *shape) from N(0, 1)."""
        return self._rows(torch.randn, n, shape)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """(n, *shape) from U[0, 1)."""
        return self._rows(torch.rand, n, shape)

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        """(n, *shape) int64, uniform over 0 .. high - 1."""
        return self._rows(lambda size, **where: torch.randint(high, size, **where), n, shape)


_layers: ContextVar[Noise | None] = ContextVar("layers", default=None)


@contextmanager
def drawn_by_layers(noise: Noise) -> Iterator[None]:
    """Within it the layers of a network draw from this noise, by :func:`layer_noise`."""
    token = _layers.set(noise)
    try:
        yield
    finally:
        _layers.reset(token)


def layer_noise(n: int, *shape: int) -> Tensor:
    """(n, *shape) from N(0, 1) for a layer that adds noise to n samples: keyed as all noise is, a row a sample.

    Raises:
        RuntimeError: outside of a turn, or of what makes samples.
    """
    noise = _layers.get()
    if noise is None:
        raise RuntimeError("a layer draws noise, and nothing says for which samples: use noise.drawn_by_layers")
    return noise.normal(n, *shape)


def normal_like(x: Tensor) -> Tensor:
    """Noise of the shape and type of samples (n, ...), from N(0, 1): within a turn that of :func:`layer_noise`."""
    noise = _layers.get()
    return torch.randn_like(x) if noise is None else noise.normal(*x.shape).to(x)


def dropped(x: Tensor, p: float, channels: bool = False) -> Tensor:
    """Dropout of samples (n, ...), or of channels of (n, c, h, w): within a turn keyed as all noise is, a row a sample.

    torch's own dropout draws in the order of calls: another number of processes or micro-batches drops other units.
    """
    noise = _layers.get()
    if noise is None:  # outside of a turn
        return F.dropout2d(x, p) if channels else F.dropout(x, p)
    shape = (x.shape[1], 1, 1) if channels else x.shape[1:]
    kept = noise.uniform(len(x), *shape).ge_(p).to(x.dtype)
    return x * kept.div_(1.0 - p)  # one product to differentiate, as torch's own has


class PartNoise(Noise):
    """Noise for one part of a training batch: the part's rows of what the whole batch draws.

    One process with the whole batch, W processes with a W-th each and k micro-batches therefore train on the same
    numbers, row by row. Drawing the whole costs next to nothing against a step.
    """

    def __init__(self, seed: int, part: int, parts: int, device: torch.device) -> None:
        self._part, self._parts, self._device = part, parts, device
        self._generator = torch.Generator(device).manual_seed(seed)

    def _rows(self, draw: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        rows = draw((n * self._parts, *shape), generator=self._generator, device=self._device)
        return rows if self._parts == 1 else rows[n * self._part : n * (self._part + 1)]


class SampleNoise(Noise):
    """Noise for numbered samples: row i depends on the seed and on `indices[i]` alone.

    Drawn on the CPU, so that sample i is the same whatever the device, the batch size and the number of processes.
    """

    def __init__(self, seed: int, indices: Iterable[int], device: torch.device) -> None:
        self._device = device
        self._generators = [torch.Generator().manual_seed(key(seed, index)) for index in indices]

    def _rows(self, draw: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        if n != len(self._generators):
            raise ValueError(f"this noise is for {len(self._generators)} samples, {n} were asked for")
        return torch.stack([draw(shape, generator=generator) for generator in self._generators]).to(self._device)
