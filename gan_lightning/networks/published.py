"""Names of weights in others' checkpoints, and what they are called here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lightning.networks.fir import BILINEAR

_LAYERS = {
    r"mapping\.embed\.": "mapping.embedding.",
    r"mapping\.fc(\d+)\.": r"mapping.layers.\1.",
    r"mapping\.w_avg$": "mapping.w_average",
    r"synthesis\.b4\.const$": "synthesis.constant",
    r"b4\.conv\.": "conv.",
    r"b4\.fc\.": "linear.",
    r"b4\.out\.": "score.",
    r"b\d+\.fromrgb\.": "from_image.",
    r"\.conv0\.": ".up.",
    r"\.conv1\.": ".conv.",
    r"\.torgb\.": ".to_image.",
    r"\.noise_const$": ".noise",
    r"\.noise_strength$": ".strength",
}


def stylegan2_ada(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict of a StyleGAN2Generator or a StyleGAN2Discriminator of one by NVlabs/stylegan2-ada-pytorch.

    Of the architectures that were published: "skip" generators, "resnet" and "orig" discriminators.

    Args:
        state: of the network `G`, `G_ema` or `D`, as theirs names it.

    Raises:
        ValueError: its resampling filter is not ours.
    """
    discriminator = not any(name.startswith("synthesis.") for name in state)
    finest = max(int(size) for name in state for size in re.findall(r"\bb(\d+)\.", name))
    taps = torch.tensor(BILINEAR)
    found = {}
    for name, value in state.items():
        if name.endswith("resample_filter"):
            if not torch.allclose(value.float(), torch.outer(taps, taps) / taps.sum() ** 2):
                raise ValueError(f"{name} is a filter other than [1, 3, 3, 1], which StyleGAN2 does not have here")
            continue
        if discriminator:  # its second convolution is the one that changes the sides
            name = name.replace(".conv1.", ".down.").replace(".conv0.", ".conv1.").replace(".skip.", ".shortcut.")
        for pattern, ours in _LAYERS.items():
            name = re.sub(pattern, ours, name)
        found[re.sub(r"\bb(\d+)\.", lambda level: _block(int(level[1]), finest if discriminator else 4), name)] = value
    return found


def _block(resolution: int, first: int) -> str:
    """The block of a resolution, where blocks are numbered from that of the first one on."""
    return f"blocks.{abs(int(math.log2(resolution / first)))}."


def stylegan2_ada_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of StyleGAN2Generator or StyleGAN2Discriminator that the weights of :func:`stylegan2_ada` fit.

    Args:
        state: as of :func:`stylegan2_ada`.

    Returns:
        `num_classes` too, and of a generator `image_shape`. What no shape shows is left at its default: clamps, the
        group of the minibatch deviation, half precision.
    """
    ours = stylegan2_ada(state)
    generates = "synthesis.constant" in ours
    convs = sorted(
        (int(level[1]), len(value))
        for name, value in ours.items()
        if (level := re.fullmatch(r"(?:synthesis\.)?blocks\.(\d+)\.conv\.weight", name))
    )
    counts = [count for _, count in convs]
    if not generates:
        counts = [*counts, len(ours["conv.weight"])][::-1]
    embedding = ours.get("mapping.embedding.weight")
    layers = sum(re.fullmatch(r"mapping\.layers\.\d+\.weight", name) is not None for name in ours)
    arguments: dict[str, Any] = {
        "num_classes": None if embedding is None else embedding.shape[1],
        "base": max(count * 4 * 2**level for level, count in enumerate(counts)),
        "widest": max(counts),
    }
    if layers:
        arguments["mapping_layers"] = layers
    if not generates:
        residual = any(".shortcut." in name for name in ours)
        return arguments | {"architecture": "resnet" if residual else "orig"}
    height, width = (side * 2 ** (len(counts) - 1) for side in ours["synthesis.constant"].shape[1:])
    arguments["image_shape"] = len(ours["synthesis.blocks.0.to_image.weight"]), height, width
    arguments["style_dim"] = len(ours["mapping.w_average"])
    first = ours["mapping.layers.0.weight"].shape[1]
    arguments["latent_dim"] = first if embedding is None else first - len(embedding)
    return arguments
