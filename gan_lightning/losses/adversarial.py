"""Adversarial losses: functions of the discriminator's scores (n,) of real and of fake images, to be minimised.

Scores are logits or critic values, never probabilities: no sigmoid stands before any of these.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def logistic_discriminator(real: Tensor, fake: Tensor, real_target: float = 1.0) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))), with D = sigmoid(score); Goodfellow et al. 2014, arXiv:1406.2661, eq. 1.

    `real_target` below 1 is one-sided label smoothing (Salimans et al. 2016, arXiv:1606.03498, section 3.4).
    """
    target = torch.full_like(real, real_target)
    return F.binary_cross_entropy_with_logits(real, target) + F.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E log D(G(z)); arXiv:1406.2661, section 3, the form that is trained with."""
    return F.softplus(-fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """E log(1 - D(G(z))); arXiv:1406.2661, eq. 1. Its gradient vanishes where the discriminator is sure."""
    return -F.softplus(fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E D(G(z)) - E D(x); Arjovsky et al. 2017, arXiv:1701.07875, eq. 2."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """-E D(G(z)); arXiv:1701.07875, eq. 2."""
    return -fake.mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2; Mao et al. 2017, arXiv:1611.04076, eq. 2."""
    return 0.5 * (real - b).square().mean() + 0.5 * (fake - a).square().mean()


def least_squares_generator(fake: Tensor, c: float = 1.0) -> Tensor:
    """1/2 E (D(G(z)) - c)^2; arXiv:1611.04076, eq. 2."""
    return 0.5 * (fake - c).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))); Lim and Ye 2017, arXiv:1705.02894, section 3."""
    return F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E D(G(z)); arXiv:1705.02894, section 3: no hinge on the generator's side."""
    return -fake.mean()


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """RSGAN, -E log sigmoid(C(better) - C(worse)) in pairs; Jolicoeur-Martineau 2018, arXiv:1807.00734, section 4.1.

    The discriminator minimises it with (real, fake), the generator with (fake, real).
    """
    return F.softplus(worse - better).mean()


def relativistic_average(better: Tensor, worse: Tensor) -> Tensor:
    """RaSGAN: each score against the mean of the other side; arXiv:1807.00734, section 4.2.

    Both terms stand in both players' losses: (real, fake) for the discriminator, (fake, real) for the generator.
    """
    above, below = better - worse.mean(), worse - better.mean()
    return F.softplus(-above).mean() + F.softplus(below).mean()


def relativistic_average_least_squares(better: Tensor, worse: Tensor) -> Tensor:
    """RaLSGAN, targets +1 and -1; arXiv:1807.00734, appendix."""
    above, below = better - worse.mean(), worse - better.mean()
    return (above - 1.0).square().mean() + (below + 1.0).square().mean()


def relativistic_average_hinge(better: Tensor, worse: Tensor) -> Tensor:
    """RaHingeGAN, margins of 1; arXiv:1807.00734, appendix."""
    above, below = better - worse.mean(), worse - better.mean()
    return F.relu(1.0 - above).mean() + F.relu(1.0 + below).mean()
