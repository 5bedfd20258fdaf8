"""Networks of other public programs: the names and shapes of their tensors, and what these are in ours."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from torch import Tensor

from gan_lightning.networks import r3gan, stylegan2
from gan_lightning.networks.peers import generators, translators
from gan_lightning.networks.peers.common import Arguments, Weights
from gan_lightning.runtime.programs import BIGGAN, CYCLEGAN, MIMICRY, R3GAN, STARGAN, STYLEGAN2


class Layout(NamedTuple):
    """How a program names and shapes the tensors of one kind of network.

    Attributes:
        program: its name, one of `runtime.programs`.
        model: ours whose network it is.
        kind: "Generator" or "Discriminator".
        network: ours, by its name in `networks`.
        marks: tensors that together no other network has.
        arguments: those of our network, from the weights.
        ours: the state of our network, from the weights.
    """

    program: str
    model: str
    kind: str
    network: str
    marks: tuple[str, ...]
    arguments: Callable[[Weights], Arguments]
    ours: Callable[[Weights], dict[str, Tensor]]


def layout_of(names: Container[str], mark: str, layouts: Iterable[Layout]) -> tuple[Layout, str] | None:
    """The layout of the network that a tensor marks, and what stands before its names; None where it marks none.

    Args:
        names: all names in the file.
        mark: the tensor's name.
        layouts: in the order in which they are tried.
    """
    for layout in layouts:
        first, *others = layout.marks
        if mark == first or mark.endswith(f".{first}"):
            prefix = mark.removesuffix(first)
            if all(f"{prefix}{other}" in names for other in others):
                return layout, prefix
    return None


_G, _D = "Generator", "Discriminator"
_STYLEGAN2 = stylegan2.published_arguments, stylegan2.from_published
_R3GAN = r3gan.published_arguments, r3gan.from_published
_UNET = ("model.model.0.weight", "model.model.3.weight")
_HEADS = ("conv2.weight", "conv1.weight", "main.0.weight")
_BIGGAN = ("output_layer.2.weight", "blocks.0.0.conv1.weight", "linear.weight")
_PROJECTED = ("embed.weight", "blocks.0.0.conv1.weight", "linear.weight")
_HALVED = ("block1.c1.weight_orig", "block2.c1.weight_orig")

LAYOUTS = (
    Layout(STYLEGAN2, "StyleGAN2", _G, "StyleGAN2Generator", ("synthesis.b4.const",), *_STYLEGAN2),
    Layout(STYLEGAN2, "StyleGAN2", _D, "StyleGAN2Discriminator", ("b4.out.weight",), *_STYLEGAN2),
    Layout(R3GAN, "R3GAN", _G, "R3GANGenerator", ("AggregationLayer.Layer.weight",), *_R3GAN),
    Layout(R3GAN, "R3GAN", _D, "R3GANDiscriminator", ("ExtractionLayer.Layer.weight",), *_R3GAN),
    Layout(CYCLEGAN, "CycleGAN", _G, "ResNetTranslator", ("model.10.conv_block.1.weight",), *translators.RESNET),
    Layout(CYCLEGAN, "Pix2Pix", _G, "UNetGenerator", _UNET, *translators.UNET),
    Layout(CYCLEGAN, "CycleGAN", _D, "PatchDiscriminator", ("model.0.weight", "model.2.weight"), *translators.PATCH),
    Layout(CYCLEGAN, "CycleGAN", _D, "PatchDiscriminator", ("net.0.weight", "net.5.weight"), *translators.PATCH),
    Layout(STARGAN, "StarGAN", _G, "AttributeTranslator", ("main.9.main.0.weight",), *translators.ATTRIBUTES),
    Layout(STARGAN, "StarGAN", _D, "AttributeDiscriminator", _HEADS, *translators.HEADS),
    Layout(BIGGAN, "BigGAN", _G, "BigGANGenerator", (*_BIGGAN, "shared.weight"), *generators.BIGGAN),
    Layout(BIGGAN, "BigGAN", _G, "ResNetGenerator", _BIGGAN, *generators.BIGGAN),
    Layout(BIGGAN, "BigGAN", _D, "BigGANDiscriminator", _PROJECTED, *generators.PROJECTED),
    Layout(MIMICRY, "SNGAN", _G, "ResNetGenerator", ("l1.weight", "block2.c1.weight"), *generators.SNGAN),
    Layout(MIMICRY, "SNGAN", _D, "ResNetDiscriminator", _HALVED, *generators.HALVED),
)
