"""How well an auto-encoder that is a discriminator reconstructs what it sees."""

from __future__ import annotations

from torch import Tensor


def absolute_error(image: Tensor, reconstruction: Tensor) -> Tensor:
    """L(v) = |v - D(v)|, averaged over the pixels of each image; Berthelot et al. 2017, arXiv:1703.10717, section 3.1.

    With eta 1, as in all of the paper's experiments.

    Args:
        image, reconstruction: (n, *image_shape).

    Returns:
        (n,), at least 0.
    """
    return (image - reconstruction).abs().flatten(1).mean(1)
