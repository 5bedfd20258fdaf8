"""What strokes look like: slant, thickness and width of white writing on black, by moments and by total variation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_lightning.metrics.images import unit_interval


def central_moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Variances of the columns and of the rows, and their covariance, in pixels: each (n,) float64.

    Args:
        images: (n, c, h, w), uint8 or in [-1, 1]; brightness is the weight of a place, and black has none.

    Returns:
        mu20, mu02 and mu11 divided by mu00; 0 of images that are black.
    """
    weight = unit_interval(images).double().mean(1)  # (n, h, w)
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-12)
    rows, columns = (torch.arange(side, dtype=torch.float64, device=weight.device) for side in weight.shape[1:])
    y = rows - (weight.sum(2) @ rows)[:, None]  # (n, h)
    x = columns - (weight.sum(1) @ columns)[:, None]  # (n, w)
    across = torch.einsum("nhw,nw->n", weight, x.square())
    along = torch.einsum("nhw,nh->n", weight, y.square())
    return across, along, torch.einsum("nhw,nh,nw->n", weight, y, x)


def slant(images: Tensor) -> Tensor:
    """How far writing leans to the right: columns to the right for each row upwards, (n,) float64.

    The shear that would make it upright, -mu11 / mu02 with rows counted downwards; 0 of images within one row.

    Args: as :func:`central_moments`.
    """
    _, along, both = central_moments(images)
    return torch.where(along > 1e-9, -both / along.clamp(min=1e-9), 0.0)


def breadth(images: Tensor) -> Tensor:
    """The standard deviation of the columns of writing, in pixels, (n,) float64.

    Args: as :func:`central_moments`.
    """
    return central_moments(images)[0].sqrt()


def thickness(images: Tensor) -> Tensor:
    """Twice the area of strokes divided by their perimeter, in pixels, (n,) float64.

    A stroke of width w and length l has 2 w l / (2 (w + l)), which is w where it is long. Both are taken of all grey
    levels at once, so that no threshold is needed: the area is the sum of the brightness, and the perimeter its total
    variation (the coarea formula), by differences to the next row and column. 0 of black images. A stroke of less than
    two pixels has grey sides alone, and is taken for a thicker one.

    Args: as :func:`central_moments`.
    """
    brightness = F.pad(unit_interval(images).double().mean(1), (1, 1, 1, 1))
    down, right = (brightness.diff(dim=dim) for dim in (1, 2))
    perimeter = (down[:, :, :-1].square() + right[:, :-1].square()).sqrt().sum((1, 2))
    return 2 * brightness.sum((1, 2)) / perimeter.clamp(min=1e-12)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of each column of (n, k) with each of (n, m): (k, m) float64, 0 of a constant column."""
    from scipy.stats import rankdata  # here, because it takes a moment to import

    ranks = [torch.from_numpy(np.asarray(rankdata(part.cpu().numpy(), axis=0), dtype=np.float64)) for part in (a, b)]
    x, y = (F.normalize(part - part.mean(0), dim=0) for part in ranks)
    return x.T @ y
