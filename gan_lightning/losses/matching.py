"""Losses that compare two sets of samples: their statistics, or each with its own partner."""

from __future__ import annotations

import torch
from torch import Tensor


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """|E f(x) - E f(G(z))|^2; Salimans et al. 2016, arXiv:1606.03498, section 3.1.

    Args:
        real, fake: (n, features) of a discriminator, over the whole batch.
    """
    return (real.mean(0) - fake.mean(0)).square().sum()


def structural_matching(image: Tensor, text: Tensor, alike: Tensor, margin: float = 1.0) -> Tensor:
    """Each image's own text matches it better than others' by a margin, and each text's own image likewise.

    The symmetric structured joint embedding of Reed et al. 2016 (arXiv:1605.05395, equations 4 and 5) with one image a
    class, by the hinge and the scale of their code: the sum over both kinds of wrong pairs, divided by n^2.

    Args:
        image, text: (n, dim) features over the whole batch, row by row of one example; their dot product is the score.
        alike: (n, n) bool, where two texts say the same: such pairs are not wrong.
        margin: between a right score and a wrong one.
    """
    with torch.autocast(image.device.type, enabled=False):  # a margin of 1 is lost in half precision
        score = image.float() @ text.float().T if image.dtype.itemsize < 4 else image @ text.T  # (images, texts)
    own = score.diagonal()
    excess = (margin + score - own[:, None]).relu() + (margin + score - own[None, :]).relu()
    return torch.where(alike, 0.0, excess).sum() / len(score) ** 2
