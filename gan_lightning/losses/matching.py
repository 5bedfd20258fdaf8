"""Losses that compare statistics of two sets of samples."""

from __future__ import annotations

from torch import Tensor


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """|E f(x) - E f(G(z))|^2; Salimans et al. 2016, arXiv:1606.03498, section 3.1.

    Args:
        real, fake: (n, features) of a discriminator, over the whole batch.
    """
    return (real.mean(0) - fake.mean(0)).square().sum()
