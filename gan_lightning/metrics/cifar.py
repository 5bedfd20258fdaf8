"""Features of CIFAR-10's classes from a small residual network: a stand-in where Inception cannot be had.

A Fréchet distance or a score made with it is no FID and no IS, and is comparable with none.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from gan_lightning.metrics.extractor import Extractor, Features, fit_weights, read_weights
from gan_lightning.metrics.images import unit_interval
from gan_lightning.networks.features import Normalised, ResNet56, resnet56_file, resnet56_state


class CIFARResNet56(Extractor):
    """The 64 pooled features and 10 logits of the public ResNet-56 classifier of CIFAR-10 (93.6% on its test images).

    Args:
        weights: the file `cifar10_resnet56-4bfd9763.th` of akamaster/pytorch_resnet_cifar10; by default
            $GAN_LIGHTNING_DATA/weights/<that name>.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else.
    """

    name, resizer, feature_dim, num_classes = "cifar-resnet56", "bilinear-antialias-32", 64, 10
    channels = (1, 3)

    def __init__(self, weights: str | Path | None = None) -> None:
        path = resnet56_file(weights, "CIFARResNet56")
        state, digest = read_weights(path, "CIFARResNet56")
        network = ResNet56()
        fit_weights(network, resnet56_state(state), "CIFARResNet56", path)
        super().__init__(network, digest)
        self.normalised = Normalised()

    def look(self, images: Tensor) -> Features:
        x = F.interpolate(unit_interval(images), (32, 32), mode="bilinear", antialias=True)
        pooled = self.network(self.normalised(x))
        return Features(pooled, self.network.linear(pooled))
