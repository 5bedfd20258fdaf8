"""A game of pairs: data with the latents of an encoder, against latents with the images of a generator.

Each pair has three scores, of its image, of its latent and of both (Donahue and Simonyan 2019, arXiv:1907.02544,
section 2); both losses are sums over the three, given here one by one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pair_hinge_discriminator(data: Tensor, generated: Tensor) -> Tensor:
    """E max(0, 1 - s(x, E(x))) + E max(0, 1 + s(G(z), z)) of each score: a hinge of the sum would be another loss.

    Args:
        data, generated: (n, 3) scores of the pairs.

    Returns:
        (3,), the summands of L_D.
    """
    return F.relu(1.0 - data).mean(0) + F.relu(1.0 + generated).mean(0)


def pair_encoder_generator(data: Tensor, generated: Tensor) -> Tensor:
    """E s(x, E(x)) - E s(G(z), z) of each score: the encoder lowers the first, the generator raises the second.

    Args:
        data, generated: (n, 3) scores of the pairs.

    Returns:
        (3,), the summands of L_EG.
    """
    return data.mean(0) - generated.mean(0)
