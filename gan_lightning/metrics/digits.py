"""Features of handwritten digits, from a small classifier that ships with the package: scores that need no download.

Trained by `scripts/train_digit_features.py` on the training parts of MNIST and of scikit-learn's digits. Right on 99.4%
of MNIST's 10,000 test images (9,941 at 28 px, 9,936 at 32, 9,935 at 64) and on 99.3% (295 of 297, at each of these
sizes) of scikit-learn's held-out digits. The weights' SHA-256 is below: with any other, a score is another score.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.metrics.extractor import Extractor, Features, fit_weights, read_weights
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


class DigitFeatures(Extractor):
    """The 64 pooled features and 10 logits of the digit classifier that ships with the package.

    Args:
        weights: a copy of the file that ships with the package.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not the one that this version scores with.
    """

    name, resizer, feature_dim, num_classes = "digits", "bilinear-antialias-28", 64, 10
    channels = (1, 3)

    def __init__(self, weights: str | Path = WEIGHTS) -> None:
        state, digest = read_weights(weights, "the digit classifier", SHA256)
        network = classifier()
        fit_weights(network, state, "the digit classifier", weights)
        super().__init__(network, digest)

    def look(self, images: Tensor) -> Features:
        pooled = self.network[:-1](prepare(images))
        return Features(pooled, self.network[-1](pooled))


class StackedDigitFeatures(DigitFeatures):
    """The digit classifier on each of three colour channels, which hold a digit each: 192 features, 1,000 logits.

    The logit of the number abc is log p(a) + log p(b) + log p(c): the channels are judged apart, so the joint
    probabilities are products, and the likeliest number is that of the three likeliest digits.
    """

    name, feature_dim, num_classes = "stacked-digits", 192, 1000
    channels = (3,)

    def look(self, images: Tensor) -> Features:
        seen = super().look(images.flatten(0, 1)[:, None])  # (3 B, 1, H, W)
        hundreds, tens, ones = seen.logits.log_softmax(1).view(-1, 3, 10).unbind(1)
        joint = hundreds[:, :, None, None] + tens[:, None, :, None] + ones[:, None, None, :]
        return Features(seen.pooled.view(-1, 192), joint.flatten(1))
