"""The Fréchet distance between two sets of features, Heusel et al. 2017, arXiv:1706.08500 (there the FID).

Its name depends on who made the features: FID is what the Inception network of 2015 gives, and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan_lightning.metrics.base import FeatureMetric, checked, total
from gan_lightning.metrics.extractor import Features


class Gaussian(NamedTuple):
    """The normal distribution that a set of features is summarised by."""

    mean: Tensor  # (D,) float64
    covariance: Tensor  # (D, D) float64, unbiased
    n: int | None = None  # features that it was estimated from; None where a file does not say


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> Tensor:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared 2-Wasserstein distance of two normal distributions.

    The product's root has the trace of (C1^(1/2) C2 C1^(1/2))^(1/2), whose eigenvalues are those of a symmetric matrix:
    no general matrix root, no imaginary parts, no jitter for degenerate covariances.

    Args:
        mean1, mean2: (D,).
        covariance1, covariance2: (D, D), symmetric.

    Returns:
        float64 scalar, at least 0.
    """
    mean1, covariance1, mean2, covariance2 = (x.double() for x in (mean1, covariance1, mean2, covariance2))
    values, vectors = torch.linalg.eigh(covariance1)
    # Directions without variance add nothing but the root of the rounding error: leave them out.
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root = vectors[:, kept] * values[kept].sqrt()  # (D, rank), root @ root.T = C1
    common = torch.linalg.eigvalsh(root.T @ covariance2 @ root).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * common
    return distance.clamp(min=0)  # equal sets give a rounding error of either sign


class FID(FeatureMetric):
    """Fréchet distance of real and fake features, each set seen a batch at a time by any number of processes.

    Holds nothing but the count, the sum and the sum of outer products of each set, in float64 (in float32 these lose
    half the digits where features have large means), so that memory does not grow with the number of images and
    processes add up what they have: in whatever batches the features come, and whoever sees them, the value is the
    same.

    Args:
        dim: numbers in a feature vector.
        real: the real set's statistics, where they are known already; it is then closed for :meth:`update`.

    Raises:
        ValueError: `real` is of another dimension.
    """

    names = ("FID",)
    needs = "gaussian"
    higher_is_better = False

    def __init__(self, dim: int, real: Gaussian | None = None) -> None:
        super().__init__(dist_sync_fn=total)
        self.dim = dim
        if real is not None and (real.mean.shape != (dim,) or real.covariance.shape != (dim, dim)):
            raise ValueError(f"the real statistics are of {real.mean.numel()} numbers, the features have {dim}")
        self.real = real
        for kind in ("real", "fake"):
            self.add_state(f"{kind}_n", torch.zeros((), dtype=torch.int64), "sum")
            self.add_state(f"{kind}_sum", torch.zeros(dim, dtype=torch.float64), "sum")
            self.add_state(f"{kind}_outer", torch.zeros(dim, dim, dtype=torch.float64), "sum")

    def update(self, seen: Features, real: bool, index: Tensor | None = None) -> None:
        """See :meth:`FeatureMetric.update`; sums know no order, so the index does not matter.

        Raises:
            ValueError: wrong shape, NaN or infinity among the features, or real features where the statistics of the
                real set were given.
        """
        kind = "real" if real else "fake"
        if real and self.real is not None:
            raise ValueError("the real set's statistics were given: it takes no further features")
        rows = checked(seen.pooled, kind, self.dim).to(self.device).double()
        n, sums, outer = self._sums(kind)
        n += len(rows)
        sums += rows.sum(0)
        outer.addmm_(rows.T, rows)

    def compute(self) -> Tensor:
        """The distance, float64, the same on every process (each must call).

        Raises:
            ValueError: a set of fewer than two features.
        """
        real = self.real or self._gaussian("real")
        fake = self._gaussian("fake")
        moments = (real.mean, real.covariance, fake.mean, fake.covariance)
        return frechet_distance(*(x.to(self.device) for x in moments))

    def statistics(self, real: bool) -> Gaussian:
        """Mean, covariance and count of one set over all processes (each must call)."""
        if real and self.real is not None:
            return self.real
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            gaussian = self._gaussian("real" if real else "fake")
        return gaussian

    def _sums(self, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        return getattr(self, f"{kind}_n"), getattr(self, f"{kind}_sum"), getattr(self, f"{kind}_outer")

    def _gaussian(self, kind: str) -> Gaussian:
        n, sums, outer = self._sums(kind)
        if n < 2:
            raise ValueError(f"a Fréchet distance needs at least 2 {kind} features, there are {int(n)}")
        mean = sums / n
        return Gaussian(mean, (outer - n * torch.outer(mean, mean)) / (n - 1), int(n))
