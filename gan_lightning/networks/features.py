"""Feature extractors that a loss compares images by; never trained here, in no checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.runtime import torchfile

VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # convolutions in a block, their channels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels in [0, 1]
RESNET56_FILE = "cifar10_resnet56-4bfd9763.th"  # of akamaster/pytorch_resnet_cifar10
RESNET56_BLOCKS = 9  # in each of the three stages: 6 * 9 + 2 = 56 layers


class Normalised(nn.Module):
    """Images (n, 1 or 3, h, w) in [0, 1] to three channels of ImageNet's mean 0 and deviation 1."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image.expand(-1, 3, -1, -1) - self.mean) / self.std


class VGG19Features(nn.Module):
    """phi_5,4 of SRGAN (Ledig et al. 2017, arXiv:1609.04802, eq. 5): VGG-19 up to the last convolution's ReLU.

    Simonyan and Zisserman 2015 (arXiv:1409.1556), with the names of torchvision's weights.

    Args:
        weights: a file of torchvision's VGG-19, or a URL of one, which is downloaded to torch's cache.

    Raises:
        FileNotFoundError: there is no such file, or the URL cannot be had.
        ValueError: the file does not hold VGG-19's weights.
    """

    def __init__(self, *, weights: str = VGG19_URL) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for count, channels in VGG19_BLOCKS:
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers[:-1])  # the last pooling follows phi_5,4
        found = _weights(weights, "VGG-19", f" are at {VGG19_URL}")
        try:
            self.load_state_dict({k: v for k, v in found.items() if k.startswith("features.")})
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"{weights} does not hold the weights of torchvision's VGG-19") from error
        self.normalised = Normalised()
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [-1, 1] -> (n, 512, h / 16, w / 16)."""
        return self.features(self.normalised((image + 1) / 2))

    def patches(self, image: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [-1, 1] -> (n, 128, h / 2, w / 2), what the second pooling is given."""
        pooling = [number for number, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        return self.features[: pooling[1]](self.normalised((image + 1) / 2))


class PaddedBlock(nn.Module):
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
    """He et al. 2016 (arXiv:1512.03385, section 4.2): images (n, 3, 32, 32) to pooled features (n, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        more = RESNET56_BLOCKS - 1
        self.layer1 = nn.Sequential(PaddedBlock(16, 16, 1), *(PaddedBlock(16, 16, 1) for _ in range(more)))
        self.layer2 = nn.Sequential(PaddedBlock(16, 32, 2), *(PaddedBlock(32, 32, 1) for _ in range(more)))
        self.layer3 = nn.Sequential(PaddedBlock(32, 64, 2), *(PaddedBlock(64, 64, 1) for _ in range(more)))
        self.linear = nn.Linear(64, 10)

    def stages(self, x: Tensor, last: int) -> Tensor:
        """The map after stage 1, 2 or 3: (n, 3, h, w) -> (n, 8 * 2^last, h / 2^(last - 1), w / 2^(last - 1))."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3)[:last]:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x, 3).mean((2, 3))


def resnet56_file(weights: str | Path | None, name: str) -> Path:
    """The weights file that `weights` names; None: the public one in weights/ of the folder $GAN_LIGHTNING_DATA.

    Raises:
        FileNotFoundError: None, and there is no GAN_LIGHTNING_DATA; the message says that `name` needs the file.
    """
    if weights is not None:
        return Path(weights).expanduser()
    if (home := os.environ.get("GAN_LIGHTNING_DATA")) is None:
        raise FileNotFoundError(
            f"{name} needs its weights, {RESNET56_FILE}: name the file, or set GAN_LIGHTNING_DATA to the folder that "
            "holds weights/"
        )
    return Path(home, "weights", RESNET56_FILE)


def resnet56_state(found: dict[str, Any]) -> dict[str, Any]:
    """The state of a :class:`ResNet56` in what the public file holds: under "state_dict", saved in parallel."""
    return {name.removeprefix("module."): value for name, value in found.get("state_dict", found).items()}


class ResNet56Features(nn.Module):
    """A map in the middle of the public ResNet-56 classifier of CIFAR-10: trained features that are quick to compute.

    A stand-in for VGG's in SRGAN's content loss. The classifier saw images of 32 x 32 pixels; its convolutions take
    any size. (The argument is no `weights`: a command line would hand VGG-19's over.)

    Args:
        path: the file `cifar10_resnet56-4bfd9763.th` of akamaster/pytorch_resnet_cifar10; by default
            $GAN_LIGHTNING_DATA/weights/<that name>.
        stage: after which the map is taken, 1, 2 or 3.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not hold such weights, or there is no such stage.
    """

    def __init__(self, *, path: str | None = None, stage: int = 2) -> None:
        super().__init__()
        if stage not in (1, 2, 3):
            raise ValueError(f"ResNet56Features: the network has stages 1, 2 and 3, not {stage}")
        self.normalised, self.network, self.stage = Normalised(), ResNet56(), stage
        file = resnet56_file(path, "ResNet56Features")
        found = _weights(str(file), "ResNet-56", f" are the file {RESNET56_FILE}")
        try:
            self.network.load_state_dict(resnet56_state(found))
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"{file} does not hold the weights of CIFAR-10's ResNet-56") from error
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [-1, 1] -> (n, 8 * 2^stage, h / 2^(stage - 1), w / 2^(stage - 1))."""
        return self.network.stages(self.normalised((image + 1) / 2), self.stage)

    def train(self, mode: bool = True) -> ResNet56Features:
        """Stay in evaluation mode: batch norm keeps the statistics of the file."""
        return super().train(False)


class RandomFeatures(nn.Module):
    """Three scales of orthogonal filters that were never trained: a stand-in where no weights can be had.

    What they see of an image is edges and textures at random angles, which is enough to prefer sharp images to
    blurred ones, and no more; numbers with it are not comparable with VGG's.

    Args:
        channels: of images, in.
        width: channels of the first scale, doubled at each further one.
        seed: of the filters.
    """

    def __init__(self, *, channels: int = 3, width: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        generator = torch.Generator().manual_seed(seed)
        before = channels
        for level in range(3):
            conv = nn.Conv2d(before, width << level, 3, padding=1, bias=False)
            nn.init.orthogonal_(conv.weight, generator=generator)
            self.convs.append(conv)
            before = width << level
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, features); each scale has a third of a mean over them, however many are its."""
        found = [image.flatten(1) for image in self._scales(image)]
        total = sum(scale.shape[1] for scale in found)
        return torch.cat([scale * (total / (len(found) * scale.shape[1])) ** 0.5 for scale in found], 1)

    def patches(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, 2 * width, h / 2, w / 2), what the second pooling is given."""
        return self._scales(image)[1]

    def _scales(self, image: Tensor) -> list[Tensor]:
        found = []
        for conv in self.convs:
            found.append(F.leaky_relu(conv(image), 0.2))
            image = F.avg_pool2d(found[-1], 2)
        return found


def _weights(source: str, name: str, known: str) -> dict[str, Any]:
    """The state_dict at a path or URL, of a network with this name.

    Raises:
        FileNotFoundError: there is nothing; the message says where the weights are `known` to be.
        ValueError: it is damaged, or holds more than data.
    """
    if "://" in source:
        try:
            return torch.hub.load_state_dict_from_url(source, map_location="cpu", weights_only=True)
        except OSError as error:
            raise FileNotFoundError(
                f"{name}'s weights could not be downloaded ({error}): get {source} elsewhere and name the file"
            ) from None
        except Exception as error:  # a damaged file fails in as many ways as there are bytes
            raise ValueError(f"{name}'s weights: what {source} gives is damaged, or holds more than data") from error
    if not Path(source).expanduser().is_file():
        raise FileNotFoundError(f"there is no file {source}: {name}'s weights{known}")
    try:
        return torchfile.load(Path(source).expanduser())
    except torchfile.UnreadableError as error:
        raise ValueError(f"{name}'s weights: {source} {error}") from error
