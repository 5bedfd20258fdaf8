"""Networks of BigGAN and SAGAN by github.com/ajbrock/BigGAN-PyTorch, of SNGAN by github.com/kwotsin/mimicry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from gan_lightning.networks.peers.common import Arguments, Weights, count, counted, renamed

# BigGAN-PyTorch.

RENAMED = (
    (r"^shared\.", "embedding."),
    (r"^embed\.", "projection."),
    (r"^blocks\.(\d+)\.0\.", r"blocks.\1."),
    (r"^blocks\.\d+\.1\.gamma$", "attention.gamma"),
    (r"^blocks\.\d+\.1\.theta\.", "attention.query."),
    (r"^blocks\.\d+\.1\.phi\.", "attention.key."),
    (r"^blocks\.\d+\.1\.g\.", "attention.value."),
    (r"^blocks\.\d+\.1\.o\.", "attention.out."),
    (r"\.conv_sc\.", ".shortcut."),
    (r"\.bn(\d)\.(bn\.)?(stored|running)_", r".norm\1.norm.running_"),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"^output_layer\.0\.gain$", "norm.weight"),
    (r"^output_layer\.0\.bias$", "norm.bias"),
    (r"^output_layer\.0\.(bn\.)?(stored|running)_", "norm.running_"),
    (r"^output_layer\.2\.", "conv."),
)


def biggan(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`BigGANGenerator`, :class:`ResNetGenerator` or :class:`BigGANDiscriminator`.

    The singular vectors of a layer are one power iteration after those of the file: theirs makes one before each use.
    """
    found = {}
    for name, value in renamed(weights, *RENAMED).items():
        layer, _, part = name.rpartition(".")
        if re.fullmatch(r"(u|sv)\d+|accumulation_counter|num_batches_tracked", part):
            continue
        found[name] = value
    for name, u in weights.items():
        if name.endswith(".u0"):
            (layer,) = (key.removesuffix(".u0") for key in renamed({name: u}, *RENAMED))
            weight = found.pop(f"{layer}.weight")
            v = F.normalize(u @ weight.flatten(1), dim=1)
            u = F.normalize(v @ weight.flatten(1).T, dim=1)
            found |= _normalised(layer, weight, u[0], v[0])
    return counted(found)


def _normalised(layer: str, weight: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
    """What torch's spectral norm keeps of a layer."""
    within = f"{layer}.parametrizations.weight"
    return {f"{within}.original": weight, f"{within}.0._u": u, f"{within}.0._v": v}


def _attention(weights: Weights, size: Callable[[int], int]) -> int | None:
    """The size of the map that self-attention follows, by that after each block; None where there is none."""
    found = [int(name.split(".")[1]) for name in weights if re.fullmatch(r"blocks\.\d+\.1\.gamma", name)]
    if len(found) > 1:
        raise ValueError(f"blocks.{found[1]}.1.gamma: self-attention follows more than one block; ours follows one")
    return size(found[0]) if found else None


def biggan_generator_arguments(weights: Weights) -> Arguments:
    """Of :class:`BigGANGenerator`; of :class:`ResNetGenerator` where the classes share no embedding."""
    blocks = count(weights, r"blocks\.\d+\.0\.conv1\.weight")
    widest = weights["blocks.0.0.conv1.weight"].shape[1]
    rows, latent_dim = weights["linear.weight"].shape
    start = math.isqrt(rows // widest)
    arguments: Arguments = {
        "image_shape": (weights["output_layer.2.weight"].shape[0], *2 * [start << blocks]),
        "width": weights[f"blocks.{blocks - 1}.0.conv1.weight"].shape[0],
        "widest": widest,
        "attention": _attention(weights, lambda block: start << (block + 1)),
        "spectral_norm": "linear.u0" in weights,
    }
    gain = weights["blocks.0.0.bn1.gain.weight"]
    if "shared.weight" not in weights:
        return arguments | {"num_classes": gain.shape[0], "latent_dim": latent_dim}
    classes, embedding = weights["shared.weight"].shape
    if gain.shape[1] == embedding:
        raise ValueError("blocks.0.0.bn1.gain.weight: the blocks see no piece of the latent (--hier), as ours do")
    return arguments | {"num_classes": classes, "latent_dim": latent_dim * (blocks + 1), "embedding": embedding}


def biggan_discriminator_arguments(weights: Weights) -> Arguments:
    """Of :class:`BigGANDiscriminator`."""
    blocks = count(weights, r"blocks\.\d+\.0\.conv1\.weight")
    width, channels = weights["blocks.0.0.conv1.weight"].shape[:2]
    size = 4 << (blocks - 1)
    plain = 2 if blocks == 4 else 1  # at 32 px, and at more
    return {
        "image_shape": (channels, size, size),
        "num_classes": weights["embed.weight"].shape[0],
        "width": width,
        "widest": weights[f"blocks.{blocks - 1}.0.conv1.weight"].shape[0],
        "plain_blocks": plain,
        "attention": _attention(weights, lambda block: size >> min(block + 1, blocks - plain)),
    }


# mimicry.


def sngan(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`ResNetGenerator` or :class:`ResNetDiscriminator`; blocks are counted from 2 and from 1."""
    first = 2 if "l1.weight" in weights else 1
    found = renamed(
        weights,
        (r"^block(\d+)\.", lambda block: f"blocks.{int(block[1]) - first}."),
        (r"\.c(\d)\.", r".conv\1."),
        (r"\.b(\d)\.", r".norm\1."),
        (r"\.c_sc\.", ".shortcut."),
        (r"^l\d+\.", "linear."),
        (r"^b\d+\.", "norm."),
        (r"^c\d+\.", "conv."),
    )
    for name in [name for name in found if name.endswith(".weight_orig")]:
        layer = name.removesuffix(".weight_orig")
        found |= _normalised(layer, *(found.pop(f"{layer}.weight_{part}") for part in ("orig", "u", "v")))
    return counted(found)


def _widths(blocks: list[int]) -> Arguments:
    return {"width": min(blocks), "widest": max(blocks)}


def sngan_generator_arguments(weights: Weights) -> Arguments:
    """Of :class:`ResNetGenerator`, which upsamples bilinearly as theirs does."""
    blocks = count(weights, r"block\d+\.c1\.weight")
    rows, latent_dim = weights["l1.weight"].shape
    widest = weights["block2.c1.weight"].shape[1]
    size = math.isqrt(rows // widest) << blocks
    outputs = [weights[f"block{number + 2}.c1.weight"].shape[0] for number in range(blocks)]
    return {
        "image_shape": (weights[f"c{blocks + 2}.weight"].shape[0], size, size),
        "num_classes": None,
        "latent_dim": latent_dim,
        "upsampling": "bilinear",
        **_widths([widest, *outputs]),
    }


def sngan_discriminator_arguments(weights: Weights) -> Arguments:
    """Of :class:`ResNetDiscriminator`."""
    blocks = count(weights, r"block\d+\.c1\.weight_orig")
    if f"l{blocks + 1}.weight_orig" not in weights:
        raise ValueError(f"block{blocks}.c1.weight_orig: five blocks at 48 px halve once more than ours can")
    outputs = [weights[f"block{number + 1}.c2.weight_orig"].shape[0] for number in range(blocks)]
    size = 4 << (blocks - 1)
    return {
        "image_shape": (weights["block1.c1.weight_orig"].shape[1], size, size),
        "num_classes": None,
        "plain_blocks": blocks - count(weights, r"block\d+\.c_sc\.weight_orig"),
        "wide": False,
        **_widths(outputs),
    }


# For each network: its arguments, and its state.
BIGGAN = biggan_generator_arguments, biggan
PROJECTED = biggan_discriminator_arguments, biggan
SNGAN = sngan_generator_arguments, sngan
HALVED = sngan_discriminator_arguments, sngan
