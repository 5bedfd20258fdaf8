"""Networks that compute what their authors' code, or the most trusted public code, computes: a change of either shows.

`reference/parity.npz` was computed by that code, in float64 by torch, and not by ours: 8 outputs of each network and
the norm of the gradient of each of its parameters, with parameters and inputs by the formula of :func:`number`. It was
run from the newest commit of each repository:

- CycleGAN and Pix2Pix: taesungp/contrastive-unpaired-translation, which holds the authors' networks as well
  (`models/networks.py`: `ResnetGenerator` and `NLayerDiscriminator` with `no_antialias`, `UnetGenerator`; Pix2Pix's
  with batch norm at a batch of 1; ours joins the two halves of a U-Net's channels in the other order);
- StarGAN: yunjey/stargan, `model.py`;
- SNGAN and WGANGP: kwotsin/mimicry, `sngan_32.py` and `wgan_gp_32.py`, with its ReLUs not in place, where they would
  change the shortcut's input too;
- SAGAN: kwotsin/mimicry, `sagan_32.py`, its ReLUs not in place either; its discriminator's attention after the first
  block, where ours has it (`attention` 16), in place of the second;
- BigGAN, its generator with attention: ajbrock/BigGAN-PyTorch, `BigGAN.py` (`hier`, `G_shared`);
- SRGAN's generator: leftthomas/SRGAN, `model.py`, before its tanh;
- DCGAN: pytorch/examples, `dcgan/main.py`, the discriminator before its sigmoid;
- BEGAN's generator: carpedm20/BEGAN-pytorch, `models.py`, before its last ELU, which the paper and its author's code of
  TensorFlow do not have; its discriminator has other convolutions than ours;
- InfoGAN's discriminator: Natsu6767/InfoGAN-PyTorch, `models/mnist_model.py`, before its sigmoid and without variances;
  its generator's batch norm is over the channels of the first map, ours and the authors' over each number of it.

Biases that only one of both has are 0. Singular vectors of spectral norm are exact, so that nothing hangs on where a
power iteration stands. InfoGAN's generator is not here: the authors' code is of TensorFlow, and was not run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_lightning import networks

REFERENCE = np.load(Path(__file__).parent / "reference" / "parity.npz")
OUTPUTS = 8


class Case(NamedTuple):
    """A network of ours, the shapes of its inputs, and the biases that the other code does not have."""

    build: Callable[[], nn.Module]
    inputs: tuple[tuple[int, ...], ...]
    zero: tuple[str, ...] = ()
    classes: int | None = None  # of labels, which are the last input


RGB = (3, 32, 32)
UNET = ("down.0.0.bias", "down.4.1.bias")
CASES = {
    "CycleGAN generator": Case(lambda: networks.ResNetTranslator(RGB, blocks=2, width=4), ((2, *RGB),)),
    "CycleGAN discriminator": Case(lambda: networks.PatchDiscriminator(RGB, width=4, affine=False), ((2, *RGB),)),
    "Pix2Pix generator": Case(lambda: networks.UNetGenerator(RGB, width=2, dropout=0.0), ((1, *RGB),), UNET),
    "Pix2Pix discriminator": Case(lambda: networks.PatchDiscriminator((6, 32, 32), width=4), ((1, 6, 32, 32),)),
    "StarGAN generator": Case(lambda: networks.AttributeTranslator(RGB, 2, blocks=2, width=4), ((2, *RGB), (2, 2))),
    "StarGAN discriminator": Case(lambda: networks.AttributeDiscriminator(RGB, 2, width=4, halvings=3), ((2, *RGB),)),
    "SNGAN generator": Case(
        lambda: networks.ResNetGenerator(RGB, latent_dim=6, width=6, upsampling="bilinear"), ((4, 6),)
    ),
    "SNGAN discriminator": Case(lambda: networks.ResNetDiscriminator(RGB, width=6), ((4, *RGB),)),
    "WGANGP discriminator": Case(
        lambda: networks.ResNetDiscriminator(RGB, width=6, spectral_norm=False, sum_pool=False), ((4, *RGB),)
    ),
    "SAGAN generator": Case(
        lambda: networks.ResNetGenerator(
            RGB, 3, latent_dim=6, width=16, attention=16, spectral_norm=True, upsampling="bilinear"
        ),
        ((4, 6),),
        (),
        3,
    ),
    "SAGAN discriminator": Case(
        lambda: networks.ResNetDiscriminator(RGB, 3, width=16, attention=16), ((4, *RGB),), (), 3
    ),
    "BigGAN generator": Case(
        lambda: networks.BigGANGenerator(RGB, 3, latent_dim=8, width=16, embedding=5, attention=16), ((4, 8),), (), 3
    ),
    "BigGAN discriminator": Case(lambda: networks.BigGANDiscriminator(RGB, 3, width=16), ((4, *RGB),), (), 3),
    "SRGAN generator": Case(lambda: networks.SRResNet(RGB, scale=2, blocks=5), ((2, 3, 6, 6),)),
    "DCGAN generator": Case(
        lambda: networks.DCGANGenerator((3, 64, 64), latent_dim=6, width=4), ((4, 6),), ("layers.12.bias",)
    ),
    "DCGAN discriminator": Case(
        lambda: networks.DCGANDiscriminator((3, 64, 64), width=4),
        ((4, 3, 64, 64),),
        ("layers.0.bias", "layers.11.bias"),
    ),
    "BEGAN generator": Case(lambda: networks.BEGANGenerator(RGB, latent_dim=6, width=4), ((2, 6),)),
    "InfoGAN discriminator": Case(lambda: networks.InfoGANDiscriminator((1, 28, 28), 10, 2), ((4, 1, 28, 28),)),
}


def number(shape: tuple[int, ...], key: int) -> Tensor:
    """Numbers in [-1, 1] that look random and are the same everywhere: sin(i^2 / 8 + key)."""
    i = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    return (i * i / 8 + key).sin().view(shape)


def parameters(network: nn.Module, zero: tuple[str, ...] = ()) -> list[nn.Parameter]:
    """Those that are compared, by the order of their names in ours."""
    return [parameter for name, parameter in network.named_parameters() if name not in zero]


@torch.no_grad()
def fill(parameters: list[nn.Parameter]) -> None:
    """Vectors and numbers lie around 1/2, filters have a size that keeps that of their inputs."""
    for key, parameter in enumerate(parameters):
        value = number(tuple(parameter.shape), key)
        fan_in = parameter.numel() / len(parameter) if parameter.ndim > 1 else 0
        parameter.copy_(value * (2 / fan_in) ** 0.5 if fan_in else 0.5 + 0.1 * value)


def inputs(case: Case) -> list[Tensor]:
    given = [number(shape, 100 + key) for key, shape in enumerate(case.inputs)]
    return given + ([torch.arange(len(given[0])) % case.classes] if case.classes else [])


def probed(outputs: Tensor | tuple[Tensor, ...], parameters: list[nn.Parameter]) -> np.ndarray:
    """8 outputs, spread over all, and the norms of the gradients of a sum of all outputs with weights."""
    every = outputs if isinstance(outputs, tuple) else (outputs,)
    flat = torch.cat([output.flatten() for output in every])
    (flat * number(tuple(flat.shape), 200)).sum().backward()
    places = torch.arange(OUTPUTS) * (len(flat) - 1) // (OUTPUTS - 1)
    norms = torch.stack([parameter.grad.norm() for parameter in parameters])
    return torch.cat([flat.detach()[places], norms]).numpy()


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Give spectral norm the singular vectors of the weights that it has now."""
    for layer in network.modules():
        if isinstance(layer, nn.utils.parametrize.ParametrizationList) and hasattr(layer[0], "_u"):
            u, _, v = torch.linalg.svd(layer.original.flatten(1), full_matrices=False)
            layer[0]._u.copy_(u[:, 0])
            layer[0]._v.copy_(v[0])


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_the_other_code_is(name):
    case = CASES[name]
    network = case.build().double().train()
    compared = parameters(network, case.zero)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    fill(compared)
    settle(network)
    found = probed(network(*inputs(case)), compared)
    np.testing.assert_allclose(
        found, REFERENCE[name], rtol=1e-9, atol=1e-10
    )  # a bias before batch norm has no gradient


def test_no_reference_is_without_its_network():
    assert set(REFERENCE.files) == set(CASES)
