"""Divergences, and lower bounds of mutual information."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def categorical_code(logits: Tensor, code: Tensor) -> Tensor:
    """-E log Q(c | x) of a categorical code; Chen et al. 2016, arXiv:1606.03657, equation 4, less the constant H(c).

    Args:
        logits: (n, categories) of Q.
        code: (n, categories) one-hot, what the image was made of.
    """
    return F.cross_entropy(logits, code)


def continuous_code(mean: Tensor, code: Tensor) -> Tensor:
    """-E log Q(c | x) of continuous codes under a normal Q of variance 1, less its constant: 1/2 E |c - mean|^2.

    The variance is fixed: a learned one would grow or shrink without bound instead of the codes being found. The same
    source, section 6.

    Args:
        mean: (n, codes) of Q.
        code: (n, codes).
    """
    return 0.5 * (mean - code).square().sum(1).mean()


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """D_KL(N(mean, diag(exp(log_variance))) || N(0, I)), as the mean over samples and over dimensions.

    A mean over dimensions, as in StackGAN's code (arXiv:1612.03242), not the divergence itself, which is their sum.

    Args:
        mean, log_variance: (n, dim).
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
