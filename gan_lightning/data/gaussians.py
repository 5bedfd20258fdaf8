"""Points from a mixture of Gaussians in the plane: a set whose modes can be counted."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.noise import key


class ModeStatistics(NamedTuple):
    """How a sample covers a mixture."""

    found: int  # modes that are found
    share: float  # of all points, those within three standard deviations of a centre


def mode_statistics(points: Tensor, centres: Tensor, std: float) -> ModeStatistics:
    """Count the modes that a sample finds, and the share of it that lies on one.

    As in VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN (Lin et al. 2018, arXiv:1712.04086) a point is of
    high quality when it lies within three standard deviations of the nearest centre. They count a mode as found from
    its first such point on; here it needs a tenth of its fair share, points / (10 * modes), so that strays in a large
    sample do not count. Of the mixture itself a share of 1 - exp(-9/2) = 98.9 % is of high quality.

    Args:
        points: (N, 2), or (N, 2, 1, 1) as images.
        centres: (modes, 2).
        std: of every mode.
    """
    distance, mode = torch.cdist(points.detach().double().cpu().reshape(-1, 2), centres.double().cpu()).min(1)
    good = distance <= 3 * std
    counts = torch.bincount(mode[good], minlength=len(centres))
    return ModeStatistics(int((counts >= len(points) / (10 * len(centres))).sum()), good.double().mean().item())


class Gaussians(ImageData):
    """Equally likely Gaussians on a ring or a grid, as in Metz et al. 2017 (arXiv:1611.02163), within [-1, 1].

    A point (x, y) is an image of shape (2, 1, 1), its label the number of its mode. The points are the same in every
    run; the few that would fall outside [-1, 1] are moved to its edge.

    Args:
        modes: how many; a square number on a grid.
        layout: "ring", or "grid": a square from -radius to radius.
        radius: of the ring, or half the side of the grid.
        std: of every mode in both directions.
        n: training points; a tenth as many are "val".
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        centres: (modes, 2).

    Raises:
        ValueError: a grid of a number that is no square, or an argument out of range.
    """

    def __init__(
        self,
        modes: int = 8,
        layout: Literal["ring", "grid"] = "ring",
        radius: float = 0.8,
        std: float = 0.02,
        n: int = 100_000,
        batch_size: int = 256,
        num_workers: int = 0,
    ) -> None:
        if modes < 1 or n < 1 or std <= 0 or not 0 < radius <= 1:
            raise ValueError(
                f"Gaussians needs modes ({modes}), n ({n}) and std ({std}) above 0 and a radius ({radius}) up to 1"
            )
        super().__init__("Gaussians", (2, 1, 1), modes, batch_size, num_workers)
        self.std, self.n = std, n
        if layout == "ring":
            angle = torch.arange(modes) * (2 * math.pi / modes)
            self.centres = radius * torch.stack([angle.cos(), angle.sin()], 1)
        else:
            side = math.isqrt(modes)
            if side * side != modes:
                raise ValueError(f"a grid needs a square number of modes, such as {side * side}, not {modes}")
            self.centres = torch.cartesian_prod(*[torch.linspace(-radius, radius, side)] * 2)

    def load(self, split: Split) -> InMemory:
        n = self.n if split == "train" else max(1, self.n // 10)
        generator = torch.Generator().manual_seed(key(("train", "val").index(split)))
        label = torch.randint(len(self.centres), (n,), generator=generator)
        points = self.centres[label] + self.std * torch.randn(n, 2, generator=generator)
        return InMemory(points.clamp_(-1, 1)[:, :, None, None], label)

    def mode_statistics(self, points: Tensor) -> ModeStatistics:
        """:func:`mode_statistics` of generated points (N, 2) or (N, 2, 1, 1) against this mixture."""
        return mode_statistics(points, self.centres, self.std)
