"""Feature extractors that a loss compares images by; never trained here, in no checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.runtime import torchfile

VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # convolutions in a block, their channels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels in [0, 1]


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
        found = _weights(weights)
        try:
            self.load_state_dict({k: v for k, v in found.items() if k.startswith("features.")})
        except (RuntimeError, AttributeError) as error:
            raise ValueError(f"{weights} does not hold the weights of torchvision's VGG-19") from error
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [-1, 1] -> (n, 512, h / 16, w / 16)."""
        return self.features(self._normalised(image))

    def patches(self, image: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [-1, 1] -> (n, 128, h / 2, w / 2), what the second pooling is given."""
        pooling = [number for number, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        return self.features[: pooling[1]](self._normalised(image))

    def _normalised(self, image: Tensor) -> Tensor:
        return ((image.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std


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


def _weights(source: str) -> dict[str, Any]:
    """The state_dict at a path or URL."""
    if "://" in source:
        try:
            return torch.hub.load_state_dict_from_url(source, map_location="cpu", weights_only=True)
        except OSError as error:
            raise FileNotFoundError(
                f"VGG-19's weights could not be downloaded ({error}): get {source} elsewhere and name the file"
            ) from None
        except Exception as error:  # a damaged file fails in as many ways as there are bytes
            raise ValueError(f"VGG-19's weights: what {source} gives is damaged, or holds more than data") from error
    if not Path(source).expanduser().is_file():
        raise FileNotFoundError(f"there is no file {source}: VGG-19's weights are at {VGG19_URL}")
    try:
        return torchfile.load(Path(source).expanduser())
    except torchfile.UnreadableError as error:
        raise ValueError(f"VGG-19's weights: {source} {error}") from error
