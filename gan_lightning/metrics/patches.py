"""How alike the patches of two pictures are, and how much samples of one picture differ."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gan_lightning.metrics.extractor import Features, full_float32, weights_hash
from gan_lightning.metrics.fid import FID
from gan_lightning.metrics.images import to_uint8
from gan_lightning.networks.features import VGG19_URL, RandomFeatures, VGG19Features


class PatchFeatures(nn.Module):
    """Base of what describes each patch of a picture: a frozen network with `patches(image)`, (n, D, h, w).

    Attributes:
        name: stands in the names of the scores made with it.
        dim: numbers that describe a patch.
        hash: SHA-256 of the weights.

    Args:
        network: with its weights.
    """

    name: str
    dim: int

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.hash = network, weights_hash(network)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(n, h * w, D) of images (n, 1 or 3, H, W) in [-1, 1], rounded to bytes first.

        Raises:
            ValueError: they have other channels.
        """
        if images.shape[1] not in (1, 3):
            raise ValueError(f"patches are seen in images of 1 or 3 channels, not {images.shape[1]}")
        image = to_uint8(images).float().div(127.5).sub(1).expand(-1, 3, -1, -1)
        with torch.autocast(image.device.type, enabled=False), full_float32():
            return self.network.patches(image).flatten(2).transpose(1, 2)


class RandomPatches(PatchFeatures):
    """64 features of each second pixel by filters that were never trained; see :class:`networks.RandomFeatures`."""

    name, dim = "random", 64

    def __init__(self) -> None:
        super().__init__(RandomFeatures())


class VGGPatches(PatchFeatures):
    """128 features of each second pixel, of torchvision's VGG-19 before its second pooling (relu2_2).

    Args:
        weights: a file of torchvision's VGG-19, or a URL of one.

    Raises:
        FileNotFoundError, ValueError: see :class:`networks.VGG19Features`.
    """

    name, dim = "vgg19", 128

    def __init__(self, weights: str | Path = VGG19_URL) -> None:
        super().__init__(VGG19Features(weights=str(weights)))


def patch_distance(fake: Tensor, real: Tensor) -> float:
    """The Fréchet distance between the patches of two pictures, (n, D) and (m, D) features.

    With those of Inception before its second pooling, the single-image FID of arXiv:1905.01164, section 4.2.

    Raises:
        ValueError: fewer than two patches, or features that are not finite.
    """
    metric = FID(real.shape[1]).to(real.device)
    metric.update(Features(real), real=True)
    metric.update(Features(fake), real=False)
    return float(metric.compute())


def diversity(samples: Tensor, picture: Tensor) -> float:
    """The deviation of each pixel over samples, its mean over pixels, in deviations of the picture's own pixels.

    Of intensities, the mean of the channels (arXiv:1905.01164, section 4.1); deviations are those of populations.

    Args:
        samples: (n, C, H, W).
        picture: (C, h, w).
    """
    intensity, own = samples.double().mean(1), picture.double().mean(0)
    return float(intensity.std(0, correction=0).mean() / own.std(correction=0))
