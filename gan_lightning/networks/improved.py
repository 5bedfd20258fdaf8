"""What Improved Techniques for Training GANs adds to networks (Salimans et al. 2016, arXiv:1606.03498)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from gan_lightning.batches import gather_batch
from gan_lightning.networks.layers import Dropout2d, normal_init, pyramid
from gan_lightning.noise import normal_like
from gan_lightning.runtime.mirror import Mirror

PAIRS = 64 * 64  # of samples that minibatch discrimination compares at once


class GaussianNoise(nn.Module):
    """Adds N(0, deviation) in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * normal_like(x) if self.training and self.deviation else x


class MinibatchDiscrimination(nn.Module):
    """Tells each sample how close the others are: section 3.2.

    M_i = f_i T; the closeness of i and j under kernel b is exp(-|M_ib - M_jb|_1), and o_ib its sum over the other
    samples, which joins the features. The columns of T begin at a length of about 1, the authors'; those of their
    code are then scaled by the first batch besides.

    Args:
        features: A.
        kernels: B.
        dims: C, of each kernel.
    """

    def __init__(self, features: int, kernels: int = 100, dims: int = 5) -> None:
        super().__init__()
        self.kernels, self.dims = kernels, dims
        self.transform = nn.Parameter(torch.empty(features, kernels * dims))
        nn.init.normal_(self.transform, 0.0, features**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(n, features) -> (n, features + kernels)."""
        m = features @ self.transform
        m = m.to(torch.promote_types(m.dtype, torch.float32)).unflatten(1, (self.kernels, self.dims))
        if len(m) ** 2 <= PAIRS:
            closeness = _closeness(m, m)
        else:  # a few rows at a time, compared again in the backward pass: all pairs are n * n * B * C numbers
            parts = m.split(max(PAIRS // len(m), 1))
            again = {"use_reentrant": False, "preserve_rng_state": False}
            closeness = torch.cat([checkpoint(_closeness, rows, m, **again) for rows in parts])
        return torch.cat([features, closeness.to(features.dtype)], 1)


def _closeness(rows: Tensor, m: Tensor) -> Tensor:
    """(r, B, C), (n, B, C) -> (r, B): summed over the n, less each row's closeness to itself, which is 1."""
    return (-(rows[:, None] - m).abs().sum(3)).exp().sum(1) - 1.0


class VirtualBatchNorm2d(nn.Module):
    """Batch norm by a fixed reference batch, so that no sample depends on those it happens to be with: section 3.5.

    The reference rows come first and are normalised by their own statistics; every other sample by the reference's
    statistics blended with its own, which count as one sample of n + 1.

    Args:
        features: channels.
        reference: n, the rows of the reference batch.
    """

    def __init__(self, features: int, reference: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reference, self.eps = reference, eps
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """(reference + n, features, h, w) -> the same shape."""
        kind, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))  # squares need the digits
        mean, square = x.mean((2, 3), keepdim=True), x.square().mean((2, 3), keepdim=True)
        means = [part[: self.reference].mean(0, keepdim=True) for part in (mean, square)]
        share = 1.0 / (self.reference + 1)
        own = torch.arange(x.shape[0], device=x.device)[:, None, None, None] >= self.reference  # not of the reference
        mean, square = (
            torch.where(own, share * part + (1 - share) * of_reference, of_reference)
            for part, of_reference in zip((mean, square), means, strict=True)
        )
        normalised = (x - mean) * ((square - mean.square()).clamp(min=0) + self.eps).rsqrt()
        return (normalised * self.weight[:, None, None] + self.bias[:, None, None]).to(kind)


class ImprovedGenerator(nn.Module):
    """DCGAN's generator, with virtual batch norm by choice.

    Args:
        image_shape: (channels, height, width).
        latent_dim: of the input.
        width: channels of the last hidden layer.
        reference: latents of the fixed reference batch, drawn from U[-1, 1) once; 0 for common batch norm.

    Raises:
        ValueError: a size that no doubling reaches.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, latent_dim: int = 100, width: int = 64, reference: int = 0
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        self.register_buffer("reference", 2.0 * torch.rand(reference, latent_dim) - 1.0)
        channels = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, channels, (height, breadth), bias=False)]
        for _ in range(doublings - 1):
            layers += [_norm(channels, reference, True), nn.ReLU()]
            layers += [nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False)]
            channels //= 2
        layers += [_norm(channels, reference, True), nn.ReLU(), nn.ConvTranspose2d(channels, image_shape[0], 4, 2, 1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        normal_init(self)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape) in [-1, 1]."""
        z = torch.cat([self.reference.to(z.dtype), z])
        return self.layers(z[:, :, None, None])[len(self.reference) :]


class ImprovedDiscriminator(nn.Module):
    """DCGAN's discriminator, with what the paper adds to one by choice, for any model whose discriminator sees images.

    With minibatch discrimination, in training, the scores are those of the whole batch over all processes and
    micro-batches, of which the network is shown a part. For a loss that is a mean over scores the gradients are then
    exact, see :func:`gan_lightning.batches.gather_batch`; on several parts they are not for a gradient penalty, nor
    for a loss that gathers the scores itself (relativistic averages).

    Args:
        image_shape: (channels, height, width).
        num_classes: for a classifier, whose logits are its output (section 5); None for a score.
        width: channels of the first layer, doubled with each layer after it.
        minibatch_kernels: of minibatch discrimination, the paper's 100; 0 for none.
        reference: images of the fixed reference batch of virtual batch norm, the first of training; 0 for common
            batch norm.
        batch_norm: on every hidden layer but the first, common or virtual; off for none.
        noise: deviation of the normal noise on the image and before each layer, in training.
        dropout: share of the channels that each hidden layer loses in training.
        unit_range: sees brightness in [0, 1], in place of [-1, 1].
        weight_norm: on every layer (arXiv:1602.07868).

    Raises:
        ValueError: a size that no halving reaches, or a first batch smaller than the reference batch.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int = 64,
        minibatch_kernels: int = 0,
        reference: int = 0,
        batch_norm: bool = True,
        noise: float = 0.0,
        dropout: float = 0.0,
        unit_range: bool = False,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes, self.unit_range = num_classes, unit_range
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        self.register_buffer("reference", torch.zeros(reference, *image_shape))
        self.register_buffer("filled", torch.tensor(False))
        self._filled = Mirror()
        channels, layers = image_shape[0], []
        for i in range(doublings):
            layers += [GaussianNoise(noise), nn.Conv2d(channels, width * 2**i, 4, 2, 1)]
            channels = width * 2**i
            layers += [_norm(channels, reference, batch_norm and i > 0), nn.LeakyReLU(0.2)]
            layers += [Dropout2d(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Flatten())
        features = channels * height * breadth
        self.minibatch = MinibatchDiscrimination(features, minibatch_kernels) if minibatch_kernels else None
        self.head = nn.Linear(features + minibatch_kernels, num_classes or 1)
        normal_init(self)
        if weight_norm:
            _weight_normalise(self)

    def features(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, features), the last before the score."""
        count = len(self.reference)
        if count and self.training and not self._filled.value(self.filled):
            self._keep_reference(image)
        x = torch.cat([self.reference.to(image.dtype), image])
        return self.layers((x + 1) / 2 if self.unit_range else x)[count:]

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> scores (n,), or logits (n, num_classes)."""
        h = self.features(image)
        if self.minibatch is not None:
            h = self.minibatch(gather_batch(h) if self.training else h)
        out = self.head(h)
        return out if self.num_classes else out.squeeze(1)

    @torch.no_grad()
    def _keep_reference(self, image: Tensor) -> None:
        """Take the first images as the reference batch, the first process's on all of them."""
        if len(image) < len(self.reference):
            raise ValueError(
                f"virtual batch norm: {len(self.reference)} reference images are asked for, and a part of the batch "
                f"has {len(image)}: use a smaller reference or a greater batch"
            )
        self.reference.copy_(image[: len(self.reference)])
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(self.reference, 0)
        self._filled.set(self.filled, True)


def _norm(channels: int, reference: int, wanted: bool) -> nn.Module:
    if not wanted:
        return nn.Identity()
    return VirtualBatchNorm2d(channels, reference) if reference else nn.BatchNorm2d(channels)


def _weight_normalise(module: nn.Module) -> None:
    """Weights as a direction and a length each (Salimans and Kingma 2016, arXiv:1602.07868); they must be set."""
    for layer in [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]:
        parametrizations.weight_norm(layer)
