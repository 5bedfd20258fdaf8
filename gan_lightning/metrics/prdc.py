"""Fidelity and diversity apart: precision, recall, density and coverage; and whether fakes were learned by heart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_lightning.metrics.base import RowMetric

BLOCK = 1024  # rows of a distance matrix at a time


class PRDC(RowMetric):
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage (Naeem et al. 2020,
    arXiv:2002.09797), from balls around each image that reach to its k-th nearest neighbour of the same kind.

    - precision: share of fakes within a real image's ball; recall: share of real images within a fake's ball.
    - density: real balls that a fake lies in, over the k expected, averaged; above 1 where fakes crowd.
    - coverage: share of real balls that hold a fake.

    Distances in float64 (differences of nearby features lose their digits in float32), a block of the matrix at a time.

    Args:
        dim: numbers in a feature vector.
        real: (n, dim) the real set's features, where they are known already.
        k: neighbours; 3 is usual for precision and recall alone, 5 for all four.

    Raises:
        ValueError: k below 1.
    """

    names = ("precision", "recall", "density", "coverage")
    higher_is_better = True

    def __init__(self, dim: int, real: Tensor | None = None, k: int = 5) -> None:
        super().__init__(dim, real)
        if k < 1:
            raise ValueError(f"PRDC's k must be at least 1, not {k}")
        self.k = k

    @property
    def settings(self) -> dict[str, Any]:
        return {"prdc_k": self.k}

    def compute(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Precision, recall, density and coverage, float64, the same on every process (each must call).

        Raises:
            ValueError: a set of no more than k images.
        """
        real, fake = (rows.double() for rows in self.both())
        for kind, rows in (("real", real), ("fake", fake)):
            if len(rows) <= self.k:
                raise ValueError(f"PRDC with k={self.k} needs more than {self.k} {kind} images, there are {len(rows)}")
        real_radius, fake_radius = radii(real, self.k), radii(fake, self.k)
        in_real_balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
        recalled, covered = [], []
        for rows, radius in zip(real.split(BLOCK), real_radius.split(BLOCK), strict=True):
            distance = torch.cdist(rows, fake)  # (b, n_fake)
            inside = distance <= radius[:, None]
            in_real_balls += inside.sum(0)
            covered.append(inside.any(1))
            recalled.append((distance <= fake_radius).any(1))
        return (
            (in_real_balls > 0).double().mean(),
            torch.cat(recalled).double().mean(),
            in_real_balls.double().mean() / self.k,
            torch.cat(covered).double().mean(),
        )


def radii(rows: Tensor, k: int) -> Tensor:
    """(n,) the distance of each row to its k-th nearest other row."""
    nearest = [torch.cdist(part, rows).topk(k + 1, largest=False).values for part in rows.split(BLOCK)]
    return torch.cat(nearest)[:, k]  # the nearest of all is the row itself


class MemorisationDistance(RowMetric):
    """How far fakes are from the nearest training image: the mean of the least 1 - |cos| (Bai et al. 2021,
    arXiv:2106.03062, section 4). Near 0 where the generator has learned images by heart; compare it with that of
    images that were held out.

    Args:
        dim: numbers in a feature vector.
        real: (n, dim) the training images' features, where they are known already.
    """

    names = ("memorisation",)
    balanced = False
    higher_is_better = True

    def compute(self) -> Tensor:
        """The mean over fakes, float64, the same on every process (each must call)."""
        return self.nearest()[0].mean()

    def nearest(self) -> tuple[Tensor, Tensor]:
        """For each fake the distance to its nearest real image, float64, and the number of that image."""
        real, fake = (torch.nn.functional.normalize(rows.double()) for rows in self.both())
        best = [(part @ real.T).abs().max(1) for part in fake.split(BLOCK)]
        cosine = torch.cat([b.values for b in best]).clamp(max=1)
        return 1 - cosine, torch.cat([b.indices for b in best])
