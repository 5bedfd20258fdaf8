"""Features of handwritten digits, from a small classifier that ships with the package: scores that need no download.

Trained by `scripts/train_digit_features.py` on the training parts of MNIST and of scikit-learn's digits. Right on 99.4%
of MNIST's 10,000 test images (9,941 at 28 px, 9,936 at 32, 9,935 at 64) and on 99.3% (295 of 297, at each of these
sizes) of scikit-learn's held-out digits. The weights' SHA-256 is below: with any other, a score is another score.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.metrics.images import unit_interval

WEIGHTS = Path(__file__).with_name("digits.pt")
SHA256 = "e81c9b0281fbc492687b2b6ad10db406bc866de8034ab60ac9d64dc947763857"


def classifier() -> nn.Sequential:
    """The network without its weights: images (B, 1, 28, 28) in [0, 1] to the logits (B, 10) of the digits."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 5, stride=2, padding=2),  # (B, 24, 14, 14)
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1),  # (B, 48, 14, 14)
        nn.ReLU(),
        nn.Conv2d(48, 48, 3, stride=2, padding=1),  # (B, 48, 7, 7)
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48 * 7 * 7, 64),
        nn.ReLU(),  # (B, 64), the features
        nn.Linear(64, 10),
    )


def prepare(images: Tensor) -> Tensor:
    """Any images as the classifier takes them: bytes, grey (the mean of the colours), 28x28, bilinear, antialiased.

    Args:
        images: (B, 1 or 3, H, W), uint8 or float in [-1, 1].

    Returns:
        (B, 1, 28, 28) float32 in [0, 1].

    Raises:
        ValueError: another shape or type, or images that are not finite.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"digits must be images of shape (B, 1 or 3, H, W), not {tuple(images.shape)}")
    grey = unit_interval(images).mean(1, keepdim=True)
    return F.interpolate(grey, (28, 28), mode="bilinear", antialias=True)


class DigitFeatures(nn.Module):
    """The 64 pooled features of the digit classifier, in float32 whatever the caller's precision; it cannot be trained.

    Attributes:
        name: stands in the names of the scores made with it.
        feature_dim: numbers in a feature vector.
        hash: SHA-256 of the weights file.
        resizer: how images come to the size of the network.

    Args:
        weights: a copy of the file that ships with the package.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not the one that this version scores with.
    """

    name = "digits"
    feature_dim = 64
    hash = SHA256
    resizer = "bilinear-antialias-28"

    def __init__(self, weights: str | Path = WEIGHTS) -> None:
        super().__init__()
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"the digit classifier's weights are missing: no file {weights}; reinstall the package"
            )
        data = Path(weights).read_bytes()
        if hashlib.sha256(data).hexdigest() != SHA256:
            raise ValueError(
                f"{weights} is not the digit classifier of this version (SHA-256 differs); reinstall the package"
            )
        self.network = classifier()
        self.network.load_state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 64) float32 features of images (B, 1 or 3, H, W), uint8 or float in [-1, 1]."""
        return self._run(self.network[:-1], images)

    def logits(self, images: Tensor) -> Tensor:
        """(B, 10) float32, of images as in :meth:`forward`."""
        return self._run(self.network, images)

    def classify(self, images: Tensor) -> Tensor:
        """(B,) int64, the digits seen in images as in :meth:`forward`."""
        return self.logits(images).argmax(1)

    def train(self, mode: bool = True) -> DigitFeatures:
        """Stay in evaluation mode: a score's network never changes."""
        return super().train(False)

    @staticmethod
    def _run(network: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return network(prepare(images))
