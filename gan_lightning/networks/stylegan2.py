"""StyleGAN2's networks (Karras et al. 2020, arXiv:1912.04958), as StyleGAN2-ADA's code has them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.equalized import ROOT_TWO, EqualizedConv2d, EqualizedLinear, MinibatchDeviation
from gan_lightning.networks.fir import BILINEAR, downsample, downsampling_conv2d, upsample
from gan_lightning.networks.layers import channels, pyramid
from gan_lightning.networks.modulated import StyledConv2d, ToImage, clamped, in_half
from gan_lightning.networks.style import LayerNoise, MappingNetwork, StyleGenerator, leaky_relu
from gan_lightning.runtime.errors import require_one_of

HalfType = Literal["bfloat16", "float16"]


class SynthesisBlock(nn.Module):
    """One level: twice the sides but for the coarsest, and an image that is added to the coarser level's.

    Args:
        inputs: channels of the level before; None for the coarsest.
        outputs, image_channels: channels.
        style_dim: of w.
        sides: (height, width).
        half: the block's type; None for the network's.
        clamp: see :class:`StyledConv2d`.
    """

    def __init__(
        self,
        inputs: int | None,
        outputs: int,
        image_channels: int,
        style_dim: int,
        sides: tuple[int, int],
        half: torch.dtype | None,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.half = half
        self.up = StyledConv2d(inputs, outputs, style_dim, sides, True, clamp) if inputs else None
        self.conv = StyledConv2d(outputs, outputs, style_dim, sides, False, clamp)
        self.to_image = ToImage(outputs, image_channels, style_dim, clamp)

    def forward(self, x: Tensor, image: Tensor | None, ws: Tensor, noise: LayerNoise) -> tuple[Tensor, Tensor]:
        """The level's map and image, of those of the coarser level and of styles (n, 2 or 3, style_dim)."""
        *layers, last = ws.unbind(1)
        x = in_half(x, self.half)
        for conv, w in zip([self.up, self.conv] if self.up else [self.conv], layers, strict=True):
            x = conv(x, w, noise)
        more = self.to_image(x, last)
        more = more.to(torch.promote_types(more.dtype, torch.float32))
        if image is None:
            return x, more
        kind = more.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            return x, upsample(image) + more  # in full precision


class StyleGAN2Synthesis(nn.Module):
    """Images from one style for each layer; arguments as of :class:`StyleGAN2Generator`."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        style_dim: int,
        base: int,
        widest: int,
        half_resolutions: int,
        half_type: HalfType,
        clamp: float | None,
    ) -> None:
        super().__init__()
        doublings, height, width = pyramid("StyleGAN2Generator", image_shape)
        counts = channels(doublings + 1, base, widest)
        self.constant = nn.Parameter(torch.randn(counts[0], height, width))
        self.blocks = nn.ModuleList()
        for level, count in enumerate(counts):
            half = getattr(torch, half_type) if level > max(doublings - half_resolutions, 0) else None
            sides = height * 2**level, width * 2**level
            inputs = counts[level - 1] if level else None
            self.blocks.append(SynthesisBlock(inputs, count, image_shape[0], style_dim, sides, half, clamp))

    def forward(self, ws: Tensor, noise: LayerNoise = "random") -> Tensor:
        """(n, num_styles, style_dim) -> (n, *image_shape); a level's image shares its style with the next level."""
        x, image = self.constant.expand(ws.shape[0], -1, -1, -1), None
        for level, block in enumerate(self.blocks):
            x, image = block(x, image, ws[:, max(2 * level - 1, 0) : 2 * level + 2], noise)
        return image


class StyleGAN2Generator(StyleGenerator):
    """Mapping network, modulated convolutions from a learned constant on, and a sum of upsampled images ("skip").

    Args:
        image_shape: (channels, height, width); the sides may differ.
        num_classes: of a conditional generator.
        latent_dim: of the input.
        style_dim: of w, and the width of the mapping network.
        mapping_layers: its layers.
        base, widest: a level has base / resolution channels, at most `widest`; see :func:`channels`.
        half_resolutions: how many of the finest levels compute in half precision; never the coarsest.
        half_type: "bfloat16", or the authors' "float16", which needs a trainer in 16-mixed precision for its scaler.
        clamp: bound of the magnitude of all layers' outputs, as the authors have it for float16; None for none.
        truncation_layers: see :class:`StyleGenerator`.

    Raises:
        ValueError: a size that no doubling reaches, or too small a `base` for it.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 512,
        style_dim: int = 512,
        mapping_layers: int = 8,
        base: int = 32_768,
        widest: int = 512,
        half_resolutions: int = 0,
        half_type: HalfType = "bfloat16",
        clamp: float | None = 256.0,
        truncation_layers: int | None = None,
    ) -> None:
        synthesis = StyleGAN2Synthesis(
            image_shape,
            style_dim=style_dim,
            base=base,
            widest=widest,
            half_resolutions=half_resolutions,
            half_type=half_type,
            clamp=clamp,
        )
        mapping = MappingNetwork(latent_dim, num_classes, width=style_dim, layers=mapping_layers)
        super().__init__(latent_dim, mapping, synthesis, 2 * len(synthesis.blocks), truncation_layers)


class ActiveConv2d(EqualizedConv2d):
    """An equalised convolution, bias and leaky ReLU.

    Args:
        inputs, outputs, kernel: see :class:`EqualizedConv2d`.
        down: whether the sides are halved.
        gain: of the outcome, beside the activation's own.
        clamp: bound of the output's magnitude, times the gain; None for none.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        down: bool = False,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__(inputs, outputs, kernel, gain=ROOT_TWO * gain)
        self.down = down
        self.gain = ROOT_TWO * gain  # of the bias; given before the activation, as in StyledConv2d
        self.clamp = clamp if clamp is None else gain * clamp

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w), or half the sides."""
        weight, bias = (self.weight * self.scale).to(x.dtype), (self.bias * self.gain).to(x.dtype)
        y = downsampling_conv2d(x, weight, bias) if self.down else F.conv2d(x, weight, bias, padding=self.padding)
        return clamped(F.leaky_relu(y, 0.2), self.clamp)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, of which the second halves the sides; with a shortcut the sum has the variance of either.

    Args:
        inputs, outputs: channels.
        residual: whether there is a shortcut.
        half: the block's type; None for the network's.
        clamp: see :class:`ActiveConv2d`.
    """

    def __init__(
        self, inputs: int, outputs: int, residual: bool, half: torch.dtype | None, clamp: float | None
    ) -> None:
        super().__init__()
        self.half = half
        gain = math.sqrt(0.5) if residual else 1.0
        self.conv = ActiveConv2d(inputs, inputs, clamp=clamp)
        self.down = ActiveConv2d(inputs, outputs, down=True, gain=gain, clamp=clamp)
        self.shortcut = EqualizedConv2d(inputs, outputs, 1, bias=None, gain=gain) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / 2, w / 2)."""
        y = self.down(self.conv(x))
        return y if self.shortcut is None else self.shortcut(downsample(x)) + y


class StyleGAN2Discriminator(nn.Module):
    """Convolutions down to the generator's constant, minibatch deviation, two linear layers; classes by projection.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional discriminator: its features' product with a mapping of the class is the score.
        architecture: "resnet", or "orig" without shortcuts.
        base, widest, half_resolutions, half_type, clamp: see :class:`StyleGAN2Generator`.
        mapping_layers: of the classes.
        group: of the minibatch deviation; see :class:`MinibatchDeviation`.

    Raises:
        ValueError: a size that no halving reaches, too small a `base` for it, or another architecture.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        architecture: Literal["resnet", "orig"] = "resnet",
        base: int = 32_768,
        widest: int = 512,
        half_resolutions: int = 0,
        half_type: HalfType = "bfloat16",
        clamp: float | None = 256.0,
        mapping_layers: int = 8,
        group: int = 4,
    ) -> None:
        super().__init__()
        require_one_of("StyleGAN2Discriminator: architecture", architecture, "resnet", "orig")
        halvings, height, width = pyramid(type(self).__name__, image_shape)
        counts = channels(halvings + 1, base, widest)[::-1]
        halves = [getattr(torch, half_type) if level < half_resolutions else None for level in range(halvings)]
        self.from_image = ActiveConv2d(image_shape[0], counts[0], 1, clamp=clamp)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(*pair, architecture == "resnet", half, clamp)
            for *pair, half in zip(counts[:-1], counts[1:], halves, strict=True)
        )
        last = counts[-1]
        self.deviation = MinibatchDeviation(group)
        self.conv = ActiveConv2d(last + 1, last, clamp=clamp)
        self.linear = EqualizedLinear(last * height * width, last)
        self.mapping = MappingNetwork(0, num_classes, width=last, layers=mapping_layers) if num_classes else None
        self.score = EqualizedLinear(last, last if num_classes else 1)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), and labels of a conditional discriminator -> (n,) scores."""
        x = self.from_image(in_half(image, self.blocks[0].half))
        for block in self.blocks:
            x = block(x.to(image.dtype) if block.half is None else in_half(x, block.half))
        x = self.conv(self.deviation(x.to(image.dtype)))
        x = self.score(leaky_relu(self.linear(x.flatten(1))))
        if self.mapping is None:
            return x.squeeze(1)
        return (x * self.mapping(None, label)).sum(1) / math.sqrt(x.shape[1])


RENAMED = {
    r"mapping\.embed\.": "mapping.embedding.",
    r"mapping\.fc(\d+)\.": r"mapping.layers.\1.",
    r"mapping\.w_avg$": "mapping.w_average",
    r"synthesis\.b4\.const$": "synthesis.constant",
    r"^b4\.conv\.": "conv.",
    r"^b4\.fc\.": "linear.",
    r"^b4\.out\.": "score.",
    r"^b\d+\.fromrgb\.": "from_image.",
    r"^(b\d+)\.conv0\.": r"\1.conv.",  # of a discriminator, whose second convolution changes the sides
    r"^(b\d+)\.conv1\.": r"\1.down.",
    r"^(b\d+)\.skip\.": r"\1.shortcut.",
    r"synthesis\.(b\d+)\.conv0\.": r"synthesis.\1.up.",
    r"synthesis\.(b\d+)\.conv1\.": r"synthesis.\1.conv.",
    r"\.torgb\.": ".to_image.",
    r"\.noise_const$": ".noise",
    r"\.noise_strength$": ".strength",
}


def from_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of ours of one network that the authors' code saved (github.com/NVlabs/stylegan2-ada-pytorch).

    It knows the architectures that they published: generators of the kind "skip", discriminators "resnet" and "orig".

    Args:
        weights: of a generator or a discriminator, by the authors' names.

    Raises:
        ValueError: it resamples by another filter than ours.
    """
    finest = max((int(size) for name in weights for size in re.findall(r"\bb(\d+)\.", name)), default=4)
    first = 4 if any(name.startswith("synthesis.") for name in weights) else finest
    taps, ours = torch.tensor(BILINEAR), {}
    for name, value in weights.items():
        if name.endswith("resample_filter"):
            if not torch.allclose(value.float(), torch.outer(taps, taps) / taps.sum() ** 2):
                raise ValueError(f"{name} is not [1, 3, 3, 1], the filter that StyleGAN2 resamples by here")
            continue
        for theirs, own in RENAMED.items():
            name = re.sub(theirs, own, name)
        if level := re.search(r"\bb(\d+)\.", name):
            number = abs(int(math.log2(int(level[1]) / first)))
            name = name.replace(level[0], f"blocks.{number}.")
        ours[name] = value
    return ours


def published_arguments(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of :class:`StyleGAN2Generator` or :class:`StyleGAN2Discriminator` for :func:`from_published`.

    Args:
        weights: as of :func:`from_published`.

    Returns:
        `image_shape` and `num_classes` too; precision, clamping and the group of the deviation are not in the weights.
    """
    ours = from_published(weights)
    generates = "synthesis.constant" in ours
    blocks = "synthesis.blocks" if generates else "blocks"
    levels = {int(name.removeprefix(f"{blocks}.").split(".")[0]) for name in ours if name.startswith(f"{blocks}.")}
    counts = [ours[f"{blocks}.{level}.conv.weight"].shape[0] for level in sorted(levels)]
    embedding = ours.get("mapping.embedding.weight")
    finest = 4 * 2 ** (len(counts) - generates)
    rgb = ours[f"{blocks}.0.to_image.weight"].shape[0] if generates else ours["from_image.weight"].shape[1]
    arguments: dict[str, Any] = {
        "image_shape": (rgb, finest, finest),
        "num_classes": None if embedding is None else embedding.shape[1],
        "base": finest * counts[-1 if generates else 0],
        "widest": counts[0] if generates else ours["conv.weight"].shape[0],  # of the coarsest level
    }
    layers = sum(bool(re.match(r"mapping\.layers\.\d+\.weight", name)) for name in ours)
    if not generates:
        arguments["architecture"] = "resnet" if "blocks.0.shortcut.weight" in ours else "orig"
        return arguments | ({"mapping_layers": layers} if layers else {})
    style_dim, inputs = ours["mapping.layers.0.weight"].shape
    latent_dim = inputs if embedding is None else inputs - style_dim
    return arguments | {"latent_dim": latent_dim, "style_dim": style_dim, "mapping_layers": layers}
