"""Networks: the sizes they build, and the papers' details that reproductions lose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gan_lightning import networks
from gan_lightning.networks.mlp import Maxout
from gan_lightning.networks.resnet import DownBlock

SIZES, CHANNELS = (28, 32, 64), (1, 3)
GENERATORS = {
    "MLPGenerator": lambda shape: networks.MLPGenerator(shape, latent_dim=5, width=8),
    "DCGANGenerator": lambda shape: networks.DCGANGenerator(shape, latent_dim=5, width=2),
    "ResNetGenerator": lambda shape: networks.ResNetGenerator(shape, latent_dim=5, width=2),
}
DISCRIMINATORS = {
    "MLPDiscriminator": lambda shape: networks.MLPDiscriminator(shape, width=8),
    "MaxoutDiscriminator": lambda shape: networks.MaxoutDiscriminator(shape, units=4, pieces=2),
    "DCGANDiscriminator": lambda shape: networks.DCGANDiscriminator(shape, width=2),
    "DCGANDiscriminator, spectral": lambda shape: networks.DCGANDiscriminator(
        shape, width=2, batch_norm=False, spectral_norm=True
    ),
    "ResNetDiscriminator": lambda shape: networks.ResNetDiscriminator(shape, width=2),
    "ResNetDiscriminator, mean": lambda shape: networks.ResNetDiscriminator(
        shape, width=2, spectral_norm=False, sum_pool=False
    ),
}


def test_every_network_is_tested():
    assert {name.split(",")[0] for name in GENERATORS | DISCRIMINATORS} == set(networks.__all__)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_build_every_size(name, size, channels):
    network = GENERATORS[name]((channels, size, size))
    assert network.latent_dim == 5
    image = network(3 * torch.randn(4, 5))
    assert image.shape == (4, channels, size, size) and image.dtype == torch.float32
    assert image.abs().max() <= 1 and image.std() > 0


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_build_every_size(name, size, channels):
    score = DISCRIMINATORS[name]((channels, size, size))(torch.rand(4, channels, size, size) * 2 - 1)
    assert score.shape == (4,) and score.isfinite().all()


def test_scores_are_logits_not_probabilities():
    """No sigmoid at the end: scale the last layer, and the scores leave [0, 1] on both sides."""
    for build in DISCRIMINATORS.values():
        network = build((1, 28, 28)).eval()
        last = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
        with torch.no_grad():
            last.bias.fill_(30.0)
            assert network(torch.zeros(2, 1, 28, 28)).min() > 5
            last.bias.fill_(-30.0)
            assert network(torch.zeros(2, 1, 28, 28)).max() < -5


def test_images_that_are_not_square():
    assert networks.DCGANGenerator((3, 32, 64), 5, 2)(torch.randn(2, 5)).shape == (2, 3, 32, 64)
    assert networks.ResNetGenerator((3, 64, 32), 5, 2)(torch.randn(2, 5)).shape == (2, 3, 64, 32)
    assert networks.DCGANDiscriminator((3, 32, 64), 2)(torch.zeros(2, 3, 32, 64)).shape == (2,)
    assert networks.ResNetDiscriminator((3, 64, 32), 2)(torch.zeros(2, 3, 64, 32)).shape == (2,)


@pytest.mark.parametrize(
    "network",
    [
        networks.DCGANGenerator,
        networks.DCGANDiscriminator,
        networks.ResNetGenerator,
        networks.ResNetDiscriminator,
    ],
)
@pytest.mark.parametrize(
    ("size", "nearest"), [(30, "28, 32"), (33, "32, "), (2, "8, "), (7, "8, "), (66, "64, "), (100, "96, ")]
)
def test_impossible_size_is_refused_in_one_line(network, size, nearest):
    with pytest.raises(ValueError, match=f"{network.__name__} cannot build {size}x{size}") as error:
        network((3, size, size))
    assert "\n" not in str(error.value) and f"nearest: {nearest}" in str(error.value)


def test_batch_norm_has_the_usual_epsilon():
    """`BatchNorm2d(channels, 0.8)` sets the epsilon, not the momentum: a slip that spread through many copies."""
    built = [build((3, 32, 32)) for build in (GENERATORS | DISCRIMINATORS).values()]
    norms = [m for network in built for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(norm.eps == 1e-5 and norm.momentum == 0.1 for norm in norms)


# DCGAN


def test_dcgan_channels_are_the_papers():
    generator, discriminator = networks.DCGANGenerator((3, 64, 64)), networks.DCGANDiscriminator((3, 64, 64))
    up = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in up] == [100, 1024, 512, 256, 128] and up[-1].out_channels == 3
    down = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [layer.out_channels for layer in down] == [128, 256, 512, 1024, 1]
    small = [m for m in networks.DCGANGenerator((1, 32, 32)).modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in small] == [100, 512, 256, 128]  # one stage less


def test_dcgan_norms_all_but_output_and_input():
    generator = list(networks.DCGANGenerator((3, 64, 64), width=4).layers)
    assert [type(m).__name__ for m in generator[-2:]] == ["ConvTranspose2d", "Tanh"]
    assert [type(m).__name__ for m in generator[:-2]] == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 4
    discriminator = list(networks.DCGANDiscriminator((3, 64, 64), width=4).layers)
    assert [type(m).__name__ for m in discriminator[:2]] == ["Conv2d", "LeakyReLU"]
    assert [type(m).__name__ for m in discriminator[2:-2]] == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3
    assert {m.negative_slope for m in discriminator if isinstance(m, nn.LeakyReLU)} == {0.2}
    without = networks.DCGANDiscriminator((3, 64, 64), width=4, batch_norm=False)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in without.modules())


def test_dcgan_initialisation():
    for network in (networks.DCGANGenerator((3, 32, 32)), networks.DCGANDiscriminator((3, 32, 32))):
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.weight.numel() > 1e4:
                assert layer.weight.mean().abs() < 1e-3 and layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.01) and not layer.bias.any()
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.3)


# The first GAN


def test_first_gan_networks():
    generator, discriminator = networks.MLPGenerator((1, 28, 28)), networks.MaxoutDiscriminator((1, 28, 28))
    assert [m.out_features for m in generator.modules() if isinstance(m, nn.Linear)] == [1200, 1200, 784]
    maxouts = [m for m in discriminator.modules() if isinstance(m, Maxout)]
    assert [(m.linear.out_features, m.pieces) for m in maxouts] == [(1200, 5), (1200, 5)]
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]


def test_maxout_is_the_greatest_of_its_pieces():
    layer, x = Maxout(3, 4, 5), torch.randn(7, 3)
    maps = layer.linear.weight.reshape(4, 5, 3), layer.linear.bias.reshape(4, 5)
    expected = (torch.einsum("upi,ni->nup", maps[0], x) + maps[1]).max(2).values
    torch.testing.assert_close(layer(x), expected)


# Spectral norm


def spectral_layers(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if parametrize.is_parametrized(m, "weight")]


@pytest.mark.parametrize(
    "build",
    [
        lambda: networks.ResNetDiscriminator((3, 16, 16), width=6),
        lambda: networks.DCGANDiscriminator((3, 16, 16), width=6, batch_norm=False, spectral_norm=True),
    ],
    ids=["resnet", "dcgan"],
)
def test_spectral_norm_equals_the_largest_singular_value(build):
    network = build()
    layers = spectral_layers(network)
    weighted = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert layers == weighted  # all of them
    with torch.no_grad():
        for _ in range(200):  # power iterations, one a pass
            network(torch.randn(2, 3, 16, 16))
        network.eval()
        for layer in layers:
            raw = layer.parametrizations.weight.original.flatten(1)
            sigma = torch.linalg.svdvals(raw)[0]
            torch.testing.assert_close(raw / layer.weight.flatten(1), sigma.expand_as(raw), rtol=1e-3, atol=0)
            assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=1e-3)


def test_one_power_iteration_a_pass_in_training_and_none_in_evaluation():
    network = networks.ResNetDiscriminator((1, 8, 8), width=4)
    power = spectral_layers(network)[1].parametrizations.weight[0]
    assert power.n_power_iterations == 1
    vectors = lambda: torch.cat([b.flatten() for n, b in network.named_buffers() if n.endswith(("_u", "_v"))])  # noqa: E731
    image, before = torch.randn(2, 1, 8, 8), vectors()
    network.eval()(image)
    assert torch.equal(vectors(), before)
    network.train()(image)
    assert not torch.equal(vectors(), before)


# ResNets


def test_sngan_sums_over_places_and_wgangp_takes_their_mean():
    for sum_pool, places in ((True, 64), (False, 1)):
        network = networks.ResNetDiscriminator((1, 32, 32), width=4, spectral_norm=False, sum_pool=sum_pool)
        network.blocks = nn.Identity()  # the pooled features are then the image's own
        network.linear = nn.Linear(1, 1, bias=False)
        nn.init.ones_(network.linear.weight)
        assert network(torch.ones(2, 1, 8, 8)).tolist() == [places, places]


@pytest.mark.parametrize(("first", "down"), [(True, True), (False, True), (False, False)])
def test_shortcut_sees_what_came_in_not_its_relu(first, down):
    """A ReLU in place would change the shortcut's input too, without a word."""
    block = DownBlock(4, 4, down=down, first=first, spectral_norm=False)
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    x = -torch.rand(2, 4, 8, 8)
    before = x.clone()
    out = block(x)
    assert torch.equal(x, before)
    expected = block.shortcut(nn.functional.avg_pool2d(x, 2)) if down else x
    torch.testing.assert_close(out, expected)
    assert all(not m.inplace for m in networks.ResNetDiscriminator((1, 8, 8)).modules() if isinstance(m, nn.ReLU))


def test_resnet_initialisation_is_glorot_with_gain():
    """Uniform with variance 2 gain^2 / (fan in + fan out): gain sqrt(2) in a block, 1 in a shortcut."""
    block = networks.ResNetDiscriminator((3, 32, 32), width=64, spectral_norm=False).blocks[1]
    for conv, gain, taps in ((block.conv1, math.sqrt(2), 9), (block.conv2, math.sqrt(2), 9), (block.shortcut, 1, 1)):
        assert conv.weight.std().item() == pytest.approx(gain * math.sqrt(2 / (128 * taps)), rel=0.05)
        assert not conv.bias.any()


def test_sngan_has_the_papers_parameters():
    """Table 4 at 32 px, counted by hand: convolutions a b k^2 + b, batch norm 2 c."""

    def conv(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel**2 + outputs

    up_block = 2 * 2 * 256 + 2 * conv(256, 256, 3) + conv(256, 256, 1)
    generator = (128 + 1) * 4 * 4 * 256 + 3 * up_block + 2 * 256 + conv(256, 3, 3)
    first = conv(3, 128, 3) + conv(128, 128, 3) + conv(3, 128, 1)
    second = 2 * conv(128, 128, 3) + conv(128, 128, 1)
    discriminator = first + second + 2 * 2 * conv(128, 128, 3) + 128 + 1

    def count(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert count(networks.ResNetGenerator((3, 32, 32))) == generator
    assert count(networks.ResNetDiscriminator((3, 32, 32))) == discriminator
    assert not any(isinstance(m, nn.BatchNorm2d) for m in networks.ResNetDiscriminator((3, 32, 32)).modules())
