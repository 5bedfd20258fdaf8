"""The networks of R3GAN (Huang et al. 2024, arXiv:2501.05441, config E), for any size that doubles from 4 .. 7.

Residual blocks without normalisation, at each resolution as many in the generator as in the discriminator. Weights
begin so that no normalisation is needed (Fix-up, Zhang et al. 2019, arXiv:1901.09321): the last convolution of a block
is zero, the others are scaled down by the number of blocks. Only activations have biases, and nothing follows the
residual sums: the generator's images have no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks import fir
from gan_lightning.networks.layers import ClassEmbedding, pyramid

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # He's (arXiv:1502.01852, equation 15) before this leaky ReLU


def scaled_normal(weight: Tensor, fan_in: int, gain: float = 1.0) -> None:
    """N(0, gain^2 / fan_in)."""
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in))


class Convolution(nn.Conv2d):
    """A convolution of an odd kernel that keeps the size, without bias, in its input's precision."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, groups: int = 1, gain: float = 1.0) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
        scaled_normal(self.weight, inputs // groups * kernel**2, gain)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        return F.conv2d(x, self.weight.to(x.dtype), padding=self.padding, groups=self.groups)


class BiasedActivation(nn.Module):
    """A bias for each channel, zero at first, and a leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape."""
        return F.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], SLOPE)


def groups_of(channels: int, group: int) -> int:
    """How many groups channels are; where there are fewer than a group, one.

    Raises:
        ValueError: they are not whole groups.
    """
    if channels > group and channels % group:
        raise ValueError(
            f"{channels} channels are not whole groups of {group}: choose another width, expansion or group"
        )
    return max(1, channels // group)


class Block(nn.Module):
    """x + f(x), f an inverted bottleneck: 1x1 to more channels, 3x3 in groups, 1x1 back.

    Args:
        width: channels of x.
        expansion: channels within, over those of x.
        group: channels of a group; where there are fewer, they are one group.
        blocks: of the whole network: f's standard deviation falls as their number to -1/4 for each layer but the last.

    Raises:
        ValueError: see :func:`groups_of`.
    """

    def __init__(self, width: int, expansion: int, group: int, blocks: int) -> None:
        super().__init__()
        wide = width * expansion
        gain = GAIN * blocks ** (-1 / 4)  # L^(-1 / (2 m - 2)) of m = 3 layers
        self.expand = Convolution(width, wide, gain=gain)
        self.activation1 = BiasedActivation(wide)
        self.spatial = Convolution(wide, wide, 3, groups=groups_of(wide, group), gain=gain)
        self.activation2 = BiasedActivation(wide)
        self.project = Convolution(wide, width, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) -> the same shape."""
        y = self.spatial(self.activation1(self.expand(x)))
        return x + self.project(self.activation2(y))


class Up(nn.Module):
    """1x1 convolution where the width changes, then twice the size."""

    def __init__(self, inputs: int, outputs: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs) if inputs != outputs else nn.Identity()
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, 2 h, 2 w)."""
        return fir.upsample(self.conv(x), self.taps)


class Down(nn.Module):
    """Half the size, then a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs) if inputs != outputs else nn.Identity()
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, 2 h, 2 w) -> (n, outputs, h, w)."""
        return self.conv(fir.downsample(x, self.taps))


class GenerativeBasis(nn.Module):
    """One learned picture for each channel, each as strong as a linear layer of the latent says."""

    def __init__(self, inputs: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, height, width))
        self.linear = nn.Linear(inputs, channels, bias=False)
        scaled_normal(self.linear.weight, inputs)

    def forward(self, z: Tensor) -> Tensor:
        """(n, inputs) -> (n, channels, height, width)."""
        return self.basis * self.linear(z)[:, :, None, None]


class DiscriminativeBasis(nn.Module):
    """How much each channel is like one learned picture, and a linear layer of that."""

    def __init__(self, channels: int, height: int, width: int, outputs: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(channels, height, width))
        self.linear = nn.Linear(channels, outputs, bias=False)
        scaled_normal(self.basis, height * width)
        scaled_normal(self.linear.weight, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, outputs)."""
        return self.linear((x * self.basis).sum((2, 3)))


def widths_of(name: str, width: int | list[int], stages: int) -> list[int]:
    """The width of each resolution, from the smallest up.

    Raises:
        ValueError: another number of widths.
    """
    widths = list(width) if isinstance(width, (list, tuple)) else [width] * stages
    if len(widths) != stages:
        raise ValueError(
            f"{name} has {stages} resolutions, and width names {len(widths)}: give one number, or one each"
        )
    return widths


class R3GANGenerator(nn.Module):
    """Latent -> learned basis of 4x4 .. 7x7 -> at each resolution residual blocks, twice the size -> 1x1 to the image.

    Args:
        image_shape: (channels, height, width); the sides may differ.
        num_classes: of a conditional generator: the label's embedding is joined to the latent.
        latent_dim: of the input.
        width: channels, of every resolution or of each, from the smallest up.
        blocks: at each resolution.
        group, expansion: see :class:`Block`; the paper's cardinality is width * expansion / group.
        embedding: of the label.
        bf16_stages: resolutions, from the largest down, that compute in bfloat16.
        taps: of the resampling filter.

    Raises:
        ValueError: a size that no doubling reaches; see also :func:`widths_of` and :class:`Block`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 64,
        width: int | list[int] = 768,
        blocks: int = 2,
        group: int = 16,
        expansion: int = 2,
        embedding: int = 64,
        bf16_stages: int = 0,
        taps: Sequence[float] = fir.BILINEAR,
    ) -> None:
        super().__init__()
        self.latent_dim, self.bf16_stages = latent_dim, bf16_stages
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        widths = widths_of(type(self).__name__, width, doublings + 1)
        first = GenerativeBasis(latent_dim + (embedding if num_classes else 0), widths[0], height, breadth)
        transitions = [first, *(Up(a, b, taps) for a, b in zip(widths, widths[1:], strict=False))]
        self.stages = nn.ModuleList(
            nn.Sequential(transition, *(Block(w, expansion, group, blocks * len(widths)) for _ in range(blocks)))
            for transition, w in zip(transitions, widths, strict=True)
        )
        self.to_image = Convolution(widths[-1], image_shape[0])
        if num_classes:
            self.embedding = ClassEmbedding(num_classes, embedding)
            scaled_normal(self.embedding.weight, num_classes)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *image_shape), without bounds."""
        x = z if label is None else torch.cat([z, self.embedding(label)], 1)
        for left, stage in zip(range(len(self.stages), 0, -1), self.stages, strict=True):
            x = stage(x.to(torch.bfloat16) if left <= self.bf16_stages else x)
        return self.to_image(x).to(z.dtype)


class R3GANDiscriminator(nn.Module):
    """The generator mirrored: 1x1 from the image, residual blocks and half the size, learned basis -> score.

    Args:
        image_shape, width, blocks, group, expansion, bf16_stages, taps: as of :class:`R3GANGenerator`; the resolutions
            from the smallest up, too.
        num_classes: of a conditional discriminator, whose score is a dot product with the label's embedding.
        embedding: of the label; None for the width of the smallest resolution.

    Raises:
        ValueError: as of :class:`R3GANGenerator`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int | list[int] = 768,
        blocks: int = 2,
        group: int = 16,
        expansion: int = 2,
        embedding: int | None = None,
        bf16_stages: int = 0,
        taps: Sequence[float] = fir.BILINEAR,
    ) -> None:
        super().__init__()
        self.bf16_stages = bf16_stages
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        widths = widths_of(type(self).__name__, width, doublings + 1)[::-1]
        outputs = (embedding or widths[-1]) if num_classes else 1
        last = DiscriminativeBasis(widths[-1], height, breadth, outputs)
        transitions = [*(Down(a, b, taps) for a, b in zip(widths, widths[1:], strict=False)), last]
        self.from_image = Convolution(image_shape[0], widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(w, expansion, group, blocks * len(widths)) for _ in range(blocks)), transition)
            for transition, w in zip(transitions, widths, strict=True)
        )
        if num_classes:
            self.embedding = ClassEmbedding(num_classes, outputs)
            scaled_normal(self.embedding.weight, num_classes, 1 / math.sqrt(outputs))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), labels of a conditional discriminator -> (n,) scores."""
        x = self.from_image(image.to(torch.bfloat16) if self.bf16_stages else image)
        for number, stage in enumerate(self.stages):
            x = stage(x if number < self.bf16_stages else x.to(image.dtype))
        x = x.to(image.dtype)
        return x.squeeze(1) if label is None else (x * self.embedding(label)).sum(1)


RENAMED = {  # parts of the published names, in the order in which they are replaced, and ours
    "Model.": "",
    "MainLayers": "stages",
    ".Layers.": ".",
    "LinearLayer1.Layer": "expand",
    "LinearLayer2.Layer": "spatial",
    "LinearLayer3.Layer": "project",
    "LinearLayer.Layer": "conv",
    "LinearLayer": "linear",
    "NonLinearity": "activation",
    "Basis.weight": "basis",
    "Basis": "basis",
    "AggregationLayer.Layer": "to_image",
    "ExtractionLayer.Layer": "from_image",
    "EmbeddingLayer": "embedding",
    "Bias": "bias",
}


def from_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of ours of one network that the authors' code saved (github.com/brownvc/R3GAN).

    Args:
        weights: of a generator or a discriminator, by the authors' names.
    """
    ours = {}
    for name, value in weights.items():
        if name.endswith("Resampler.Kernel"):
            continue
        for theirs, own in RENAMED.items():
            name = name.replace(theirs, own)
        if name.endswith("basis"):
            value = value.reshape(value.shape[0], *value.shape[-2:])
        ours[name] = value.T if name == "embedding.weight" else value
    return ours


def published_arguments(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of :class:`R3GANGenerator` or :class:`R3GANDiscriminator` for :func:`from_published` weights.

    Args:
        weights: as of :func:`from_published`, the filters of the resampling included.

    Returns:
        `image_shape` and `num_classes` too; `bf16_stages` is not among the weights.
    """
    ours = from_published(weights)
    generates = "to_image.weight" in ours
    stages = 1 + max(int(name.split(".")[1]) for name in ours if name.startswith("stages."))
    block = 1 if generates else 0  # in a stage, the first
    expand = [ours[f"stages.{stage}.{block}.expand.weight"] for stage in range(stages)]
    last = next(name.removesuffix("basis") for name in ours if name.endswith("basis"))
    height, breadth = (side * 2 ** (stages - 1) for side in ours[f"{last}basis"].shape[1:])
    arguments: dict[str, Any] = {
        "image_shape": (
            ours["to_image.weight"].shape[0] if generates else ours["from_image.weight"].shape[1],
            height,
            breadth,
        ),
        "num_classes": None,
        "width": [weight.shape[1] for weight in expand][:: 1 if generates else -1],
        "blocks": sum(name.startswith("stages.0.") and name.endswith("expand.weight") for name in ours),
        "group": ours[f"stages.0.{block}.spatial.weight"].shape[1],
        "expansion": expand[0].shape[0] // expand[0].shape[1],
    }
    if "embedding.weight" in ours:
        arguments["num_classes"], arguments["embedding"] = ours["embedding.weight"].shape
    if generates:
        arguments["latent_dim"] = ours[f"{last}linear.weight"].shape[1] - arguments.get("embedding", 0)
    kernel = next((value for name, value in weights.items() if name.endswith("Resampler.Kernel")), None)
    return arguments if kernel is None else arguments | {"taps": kernel.sum(0).tolist()}
