"""Features of CIFAR-10's classes from a small residual network: a stand-in where Inception cannot be had.

A Fréchet distance or a score made with it is no FID and no IS, and is comparable with none.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.metrics.extractor import Extractor, Features, fit_weights, read_weights
from gan_lightning.metrics.images import unit_interval

FILE = "cifar10_resnet56-4bfd9763.th"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the images that it was trained on
DEPTH = 9  # blocks in each of the three stages: 6 * 9 + 2 = 56 layers


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut that drops pixels and adds channels of zeros (He et al.'s option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added // 2))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet56(nn.Module):
    """He et al. 2016 (arXiv:1512.03385, section 4.2): images (B, 3, 32, 32) to pooled features (B, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(DEPTH)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(DEPTH - 1)))
        self.layer3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(DEPTH - 1)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))


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
        if weights is None:
            home = os.environ.get("GAN_LIGHTNING_DATA")
            if home is None:
                raise FileNotFoundError(
                    f"CIFARResNet56 needs its weights, {FILE}: name the file as the extractor's `weights`, or set "
                    "GAN_LIGHTNING_DATA to the folder that holds weights/"
                )
            weights = Path(home, "weights", FILE)
        state, digest = read_weights(weights, "CIFARResNet56")
        state = state.get("state_dict", state)
        network = ResNet56()
        state = {name.removeprefix("module."): value for name, value in state.items()}
        fit_weights(network, state, "CIFARResNet56", weights)
        super().__init__(network, digest)

    def look(self, images: Tensor) -> Features:
        x = F.interpolate(unit_interval(images), (32, 32), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
        mean, std = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, STD))
        pooled = self.network((x - mean) / std)
        return Features(pooled, self.network.linear(pooled))
