"""The kernel distance between two sets of features, Bińkowski et al. 2018, arXiv:1801.01401 (there the KID)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lightning.metrics.base import RowMetric

BLOCK = 1024  # rows of a kernel matrix at a time


class KID(RowMetric):
    """Unbiased squared maximum mean discrepancy of real and fake features under the kernel (x.y / d + 1)^3.

    Averaged over random subsets, each drawn without replacement from either set by NumPy's RandomState, the fake one
    first, as torch-fidelity does: the same seed, the same subsets. It has no bias with few images, as FID has, and may
    be a little below 0.

    Args:
        dim: numbers in a feature vector.
        real: (n, dim) the real set's features, where they are known already.
        subsets: how many.
        subset_size: images of each kind in a subset.
        seed: of the subsets.
    """

    names = ("KID", "KID/std")
    higher_is_better = False

    def __init__(
        self, dim: int, real: Tensor | None = None, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
    ) -> None:
        super().__init__(dim, real)
        if subsets < 1 or subset_size < 2:
            raise ValueError(f"KID needs subsets ({subsets}) of at least 2 images, not {subset_size}")
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed

    @property
    def settings(self) -> dict[str, Any]:
        return {"kid_subsets": self.subsets, "kid_subset_size": self.subset_size, "kid_seed": self.seed}

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the subsets, float64, the same on every process (each must call).

        Raises:
            ValueError: a set of fewer images than a subset.
        """
        real, fake = (rows.double() for rows in self.both())
        for kind, rows in (("real", real), ("fake", fake)):
            if len(rows) < self.subset_size:
                raise ValueError(
                    f"KID's subsets of {self.subset_size} images need as many {kind} ones, there are {len(rows)}: "
                    "use a smaller subset_size"
                )
        random = np.random.RandomState(self.seed)
        drawn = [
            [random.choice(len(rows), self.subset_size, replace=False) for rows in (fake, real)]
            for _ in range(self.subsets)
        ]
        # All subsets can share one kernel matrix of all images, each can have its own: whichever is the smaller work.
        shared = len(fake) ** 2 + len(real) ** 2 + len(fake) * len(real) <= 3 * self.subsets * self.subset_size**2
        groups = [drawn] if shared else [[pair] for pair in drawn]
        discrepancy = torch.cat([self._discrepancies(fake, real, group) for group in groups])
        return discrepancy.mean(), discrepancy.std(correction=0)

    def _discrepancies(self, fake: Tensor, real: Tensor, group: list[list[np.ndarray]]) -> Tensor:
        """(g,) for a group of subsets, from the kernel of the images that are in any of them."""
        sides = []
        for rows, chosen in zip((fake, real), zip(*group, strict=True), strict=True):
            union = np.unique(np.concatenate(chosen))
            member = np.zeros((len(union), len(group)))
            for column, subset in enumerate(chosen):
                member[np.searchsorted(union, subset), column] = 1
            sides.append((rows[torch.from_numpy(union).to(rows.device)], torch.from_numpy(member).to(rows.device)))
        (x, in_x), (y, in_y) = sides
        m = self.subset_size
        within = sum(kernel_sums(z, z, i, i) - i.T @ kernel_diagonal(z) for z, i in sides)
        return within / (m * (m - 1)) - 2 * kernel_sums(x, y, in_x, in_y) / m**2


def kernel_sums(x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """(g,) the sums of the kernel over the pairs of each subset, a block of the matrix at a time.

    Args:
        x, y: (n, d), (m, d).
        in_x, in_y: (n, g), (m, g) 1 where a row belongs to a subset, else 0.
    """
    sums = torch.zeros(in_x.shape[1], dtype=x.dtype, device=x.device)
    for rows, member in zip(x.split(BLOCK), in_x.split(BLOCK), strict=True):
        kernel = (rows @ y.T / x.shape[1] + 1) ** 3
        sums += ((kernel @ in_y) * member).sum(0)
    return sums


def kernel_diagonal(x: Tensor) -> Tensor:
    """(n,) of each row with itself."""
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
