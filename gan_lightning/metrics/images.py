"""Between images as networks make them, floats in [-1, 1], and images as files and extractors hold them, bytes."""

from __future__ import annotations

import torch
from torch import Tensor

PICTURE_CHANNELS = (1, 3, 4)  # channels that a picture can have


def to_uint8(images: Tensor) -> Tensor:
    """Round images in [-1, 1] to 256 levels, as writing them to a file does; values outside are clamped, not wrapped.

    Args:
        images: any shape, floating point; bytes are returned as they are.

    Returns:
        uint8, the same shape.

    Raises:
        ValueError: the images hold NaN or infinity (which would otherwise become a grey level), or are integers
            other than bytes, whose scale nobody can know.
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in [-1, 1] or uint8, not {images.dtype}")
    images = images.float()
    if not images.isfinite().all():
        raise ValueError("the images are not finite: they hold NaN or infinity")
    return ((images + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


def visible(images: Tensor) -> Tensor:
    """Images (n, c, h, w) as a picture can show them: of 2 channels, or more than 4, all side by side in grey.

    Returns:
        the same images of 1, 3 or 4 channels (grey, RGB, RGBA), else (n, 1, h, c * w).
    """
    return images if images.shape[1] in PICTURE_CHANNELS else images.movedim(1, 2).flatten(2)[:, None]


def unit_interval(images: Tensor) -> Tensor:
    """uint8 images, or floats in [-1, 1] rounded to bytes first, as float32 in [0, 1]: what extractors begin with."""
    return to_uint8(images).float() / 255
