"""Networks of CycleGAN and Pix2Pix by github.com/junyanz/pytorch-CycleGAN-and-pix2pix, of StarGAN by yunjey/stargan.

Norms are of each image's own statistics, as these programs use them: running statistics are left out, and biases that
the mean of a norm takes away.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from gan_lightning.networks.peers.common import STATISTICS, Arguments, Weights, count, renamed, without

# pytorch-CycleGAN-and-pix2pix.


def resnet_arguments(weights: Weights) -> Arguments:
    """Of :class:`ResNetTranslator`."""
    width, channels = weights["model.1.weight"].shape[:2]
    return {"image_shape": (channels, None, None), "blocks": _blocks(weights), "width": width}


def _blocks(weights: Weights) -> int:
    return count(weights, r"model\.\d+\.conv_block\.1\.weight")


def resnet(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`ResNetTranslator`.

    Theirs counts the padding before the first convolution as a layer, and the one before the last; in a block too,
    and its dropout.
    """
    last = 17 + _blocks(weights)
    found = {}
    for name, value in without(weights, STATISTICS).items():
        if not (place := re.match(r"model\.(\d+)\.", name)):
            raise ValueError(f"{name} is no tensor of a ResNet of CycleGAN")
        if name.endswith(".weight") and value.ndim == 1:
            raise ValueError(f"{name} is the gain of a batch norm: ours has instance norm, which has none")
        number = int(place[1])
        if name.endswith(".bias") and number != last:
            continue  # instance norm takes it away
        name = f"layers.{number - (2 if number == last else 1)}.{name.removeprefix(place[0])}"
        found[re.sub(r"\.conv_block\.(\d)\.", lambda at: f".layers.{0 if at[1] == '1' else 3}.", name)] = value
    return found


def _unet_levels(weights: Weights) -> list[str]:
    """What stands before the names of each level of a U-Net, from the image to the bottleneck."""
    levels = ["model.model."]
    while any(name.startswith(within := f"{levels[-1]}{1 if len(levels) == 1 else 3}.model.") for name in weights):
        levels.append(within)
    return levels


def unet_arguments(weights: Weights) -> Arguments:
    """Of :class:`UNetGenerator`; dropout follows the decoder layers that have all channels, but for the first."""
    width, channels = weights["model.model.0.weight"].shape[:2]
    halvings = len(_unet_levels(weights))
    shape = (channels, None, None)
    return {"image_shape": shape, "halvings": halvings, "width": width, "dropped": list(range(1, halvings - 4))}


def unet(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`UNetGenerator`, which joins what comes from below and beside in the other order."""
    levels = _unet_levels(weights)
    bottom = len(levels) - 1
    left = dict(without(weights, STATISTICS))
    ours: dict[str, Tensor] = {}

    def take(theirs: str, own: str, bias: bool, joined: bool = False) -> None:
        weight = left.pop(f"{theirs}.weight")
        ours[f"{own}.weight"] = torch.cat(weight.chunk(2)[::-1]) if joined else weight
        given = left.pop(f"{theirs}.bias", None)
        if bias:
            outputs = weight.shape[1 if own.startswith(("up", "out")) else 0]
            ours[f"{own}.bias"] = torch.zeros(outputs) if given is None else given

    def norm(theirs: str, own: str, features: int) -> None:
        ours[f"{own}.weight"] = left.pop(f"{theirs}.weight", torch.ones(features))
        ours[f"{own}.bias"] = left.pop(f"{theirs}.bias", torch.zeros(features))

    for level, within in enumerate(levels):
        outer, inner = level == 0, level == bottom
        take(f"{within}{0 if outer else 1}", f"down.{level}.{0 if outer else 1}", outer or inner)
        if not outer and not inner:
            norm(f"{within}2", f"down.{level}.2", len(ours[f"down.{level}.1.weight"]))
        if outer:
            take(f"{within}3", "out.1", True, True)
            continue
        up, place = f"up.{bottom - level}", 3 if inner else 5
        take(f"{within}{place}", f"{up}.1", False, not inner)
        norm(f"{within}{place + 1}", f"{up}.2", ours[f"{up}.1.weight"].shape[1])
    if left:
        raise ValueError(f"{next(iter(left))} is no tensor of a U-Net of Pix2Pix")
    return ours


def patch_arguments(weights: Weights) -> Arguments:
    """Of :class:`PatchDiscriminator`, of its patches or its single pixels (`net`)."""
    stem = "net" if "net.0.weight" in weights else "model"
    width, channels = weights[f"{stem}.0.weight"].shape[:2]
    convolutions = sum(value.ndim == 4 for value in weights.values())
    layers = 0 if stem == "net" else convolutions - 2
    return {
        "image_shape": (channels, None, None),
        "layers": layers,
        "width": width,
        "affine": f"{stem}.3.weight" in weights,
    }


def patch(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`PatchDiscriminator`."""
    found = renamed(without(weights, STATISTICS), (r"^(model|net)\.", "layers."))
    convolutions = [name.removesuffix(".weight") for name, value in found.items() if value.ndim == 4]
    for layer in convolutions[1:-1]:
        found.pop(f"{layer}.bias", None)  # a norm takes it away
    return {f"{convolutions[-1]}.bias": torch.zeros(1), **found}


# stargan.


def attribute_translator_arguments(weights: Weights) -> Arguments:
    """Of :class:`AttributeTranslator`."""
    width, inputs = weights["main.0.weight"].shape[:2]
    last = max(int(name.split(".")[1]) for name in weights)
    channels = weights[f"main.{last}.weight"].shape[0]
    blocks = count(weights, r"main\.\d+\.main\.0\.weight")
    return {
        "image_shape": (channels, None, None),
        "attributes": inputs - channels,
        "blocks": blocks,
        "width": width,
    }


def attribute_translator(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`AttributeTranslator`."""
    return renamed(without(weights, STATISTICS), (r"\bmain\.", "layers."))


def attribute_discriminator_arguments(weights: Weights) -> Arguments:
    """Of :class:`AttributeDiscriminator`."""
    width, channels = weights["main.0.weight"].shape[:2]
    halvings = count(weights, r"main\.\d+\.weight")
    attributes, _, *sides = weights["conv2.weight"].shape
    shape = (channels, *(side << halvings for side in sides))
    return {"image_shape": shape, "attributes": attributes, "width": width, "halvings": halvings}


def attribute_discriminator(weights: Weights) -> dict[str, Tensor]:
    """The state of :class:`AttributeDiscriminator`."""
    return renamed(weights, (r"^main\.", "trunk."), (r"^conv1\.", "score."), (r"^conv2\.", "attributes."))


# For each network: its arguments, and its state.
RESNET = resnet_arguments, resnet
UNET = unet_arguments, unet
PATCH = patch_arguments, patch
ATTRIBUTES = attribute_translator_arguments, attribute_translator
HEADS = attribute_discriminator_arguments, attribute_discriminator
