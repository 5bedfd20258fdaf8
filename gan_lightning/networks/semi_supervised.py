"""The perceptrons of semi-supervised learning on MNIST (Salimans et al. 2016, arXiv:1606.03498, section 5)."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_lightning.networks.improved import GaussianNoise
from gan_lightning.runtime.mirror import Mirror


class WeightNormLinear(nn.Module):
    """A linear layer whose weights are a direction and a length for each unit (arXiv:1602.07868).

    Args:
        inputs, units: numbers.
        trained_length: whether the lengths are trained; they begin at 1.
    """

    def __init__(self, inputs: int, units: int, *, trained_length: bool) -> None:
        super().__init__()
        self.direction = nn.Parameter(0.1 * torch.randn(units, inputs))  # of the authors' deviation
        self.bias = nn.Parameter(torch.zeros(units))
        if trained_length:
            self.length = nn.Parameter(torch.ones(units))
        else:
            self.register_buffer("length", torch.ones(units))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, units)."""
        scale = self.length * self.direction.square().sum(1).rsqrt()
        return F.linear(x, self.direction) * scale + self.bias

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set length and bias so that each unit's output for x (n, inputs) has mean 0 and deviation 1 (section 3)."""
        with torch.autocast(x.device.type, enabled=False):
            out = F.linear(x.to(self.direction.dtype), self.direction) / self.direction.norm(dim=1)
        deviation, mean = torch.std_mean(out, 0, correction=0)
        self.length.copy_(1.0 / deviation.clamp(min=1e-2))  # a batch of one image has none
        self.bias.copy_(-mean * self.length)


class SemiSupervisedGenerator(nn.Module):
    """latent -> two layers of 500, batch norm, softplus -> image, tanh: of the paper's MNIST experiment.

    The last layer has weight norm, as in the authors' code. Deviations: batch norm has a gain, which theirs has not;
    the image is tanh(a), where their sigmoid of a is tanh(a / 2) here; layers begin as torch's do, where theirs begin
    by Glorot's rule. In their form the distance of features did not fall within 2,000 batches, in this one it does.

    Args:
        image_shape: (channels, height, width).
        latent_dim: of the input.
        width: of both hidden layers.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, latent_dim: int = 100, width: int = 500) -> None:
        super().__init__()
        self.latent_dim, self.image_shape = latent_dim, tuple(image_shape)
        layers: list[nn.Module] = []
        for inputs in (latent_dim, width):
            layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.Softplus()]
        last = parametrizations.weight_norm(nn.Linear(width, math.prod(image_shape)))
        self.layers = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape) in [-1, 1]."""
        return self.layers(z).unflatten(1, self.image_shape)


class SemiSupervisedDiscriminator(nn.Module):
    """image -> 1000, 500, 250, 250, 250 ReLU with weight norm and noise -> logits: of the paper's MNIST experiment.

    It sees brightness in [0, 1], which the paper's noise is measured by. As in the authors' code the first images of
    training set lengths and biases (:meth:`WeightNormLinear.initialise`), and the weights of the hidden layers keep
    their lengths: ones that grew would make the noise small. Deviation: these images are the first that it is shown in
    training, on the first process, where the authors take 500.

    Args:
        image_shape: (channels, height, width).
        num_classes: of the logits; the class "generated" has the logit 0 and no output of its own.
        width: of the first layer; the second has half as many units, the others a quarter.
        noise_image, noise: deviations of the normal noise before the first layer and before the others, in training.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        width: int = 1000,
        noise_image: float = 0.3,
        noise: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("initialised", torch.tensor(False))
        self._initialised = Mirror()
        inputs, layers = math.prod(image_shape), [nn.Flatten()]
        for i, units in enumerate((width, width // 2, width // 4, width // 4, width // 4)):
            dense = WeightNormLinear(inputs, units, trained_length=False)
            layers += [GaussianNoise(noise if i else noise_image), dense, nn.ReLU()]
            inputs = units
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(GaussianNoise(noise), WeightNormLinear(inputs, num_classes, trained_length=True))

    def features(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, width / 4)."""
        brightness = (image + 1) / 2
        if self.training and not self._initialised.value(self.initialised):
            self._initialise(brightness)
        return self.layers(brightness)

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> logits (n, num_classes)."""
        return self.head(self.features(image))

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        """Set lengths and biases by images, those of the first process on all of them."""
        for layer in (*self.layers, *self.head):
            if isinstance(layer, WeightNormLinear):
                layer.initialise(x)
                if dist.is_available() and dist.is_initialized():
                    for value in (layer.length, layer.bias):
                        dist.broadcast(value.detach(), 0)
            x = layer(x)
        self._initialised.set(self.initialised, True)
