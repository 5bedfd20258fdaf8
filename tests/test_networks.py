"""Networks: the sizes they build, and the papers' details that reproductions lose."""

from __future__ import annotations

import inspect
import math
from functools import partial

import pytest
import torch
from conftest import draw, shapes_alone
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lightning import networks
from gan_lightning.metrics import grid_peak
from gan_lightning.models import SNGAN
from gan_lightning.networks.layers import SelfAttention, class_batch_norm, normal_init, resize_conv
from gan_lightning.networks.mlp import Maxout
from gan_lightning.networks.resnet import DownBlock

SIZES, CHANNELS = (28, 32, 64), (1, 3)
LATENT = 60  # BigGAN cuts it into 3, 4 or 5 pieces here
GENERATORS = {
    "MLPGenerator": lambda shape, *k: networks.MLPGenerator(shape, *k, latent_dim=LATENT, width=8),
    "DCGANGenerator": lambda shape, *k: networks.DCGANGenerator(shape, *k, latent_dim=LATENT, width=2),
    "ResNetGenerator": lambda shape, *k: networks.ResNetGenerator(shape, *k, latent_dim=LATENT, width=2),
    "ResNetGenerator, SAGAN": lambda shape, *k: networks.ResNetGenerator(
        shape, *k, latent_dim=LATENT, width=8, widest=16, attention=32, spectral_norm=True
    ),
    "BigGANGenerator": lambda shape, *k: networks.BigGANGenerator(
        shape, *k, latent_dim=LATENT, width=8, widest=16, attention=16, embedding=4
    ),
    "InfoGANGenerator": lambda shape: networks.InfoGANGenerator(shape, LATENT, width=2),
    "ImprovedGenerator": lambda shape: networks.ImprovedGenerator(shape, latent_dim=LATENT, width=2),
    "ImprovedGenerator, virtual": lambda shape: networks.ImprovedGenerator(
        shape, latent_dim=LATENT, width=2, reference=3
    ),
    "SemiSupervisedGenerator": lambda shape: networks.SemiSupervisedGenerator(shape, latent_dim=LATENT, width=8),
    "ConditionalMLPGenerator": lambda shape, *k: networks.ConditionalMLPGenerator(
        shape, *(k or [3]), latent_dim=LATENT, noise_units=4, label_units=4, joint_units=8
    ),
}
ALWAYS_CONDITIONAL = ("ConditionalMLPGenerator", "ConditionalMaxoutDiscriminator", "AuxiliaryDiscriminator")
NEVER_CONDITIONAL = ("MaxoutDiscriminator", "AuxiliaryDiscriminator", "InfoGAN", "Improved", "SemiSupervised")
SEVERAL_OUTPUTS = ("AuxiliaryDiscriminator", "InfoGANDiscriminator")  # a score and more
DISCRIMINATORS = {
    "MLPDiscriminator": lambda shape, *k: networks.MLPDiscriminator(shape, *k, width=8),
    "MaxoutDiscriminator": lambda shape: networks.MaxoutDiscriminator(shape, units=4, pieces=2),
    "DCGANDiscriminator": lambda shape, *k: networks.DCGANDiscriminator(shape, *k, width=2),
    "DCGANDiscriminator, spectral": lambda shape, *k: networks.DCGANDiscriminator(
        shape, *k, width=2, batch_norm=False, spectral_norm=True
    ),
    "ResNetDiscriminator": lambda shape, *k: networks.ResNetDiscriminator(shape, *k, width=2),
    "ResNetDiscriminator, mean": lambda shape, *k: networks.ResNetDiscriminator(
        shape, *k, width=2, spectral_norm=False, sum_pool=False
    ),
    "ResNetDiscriminator, SAGAN": lambda shape, *k: networks.ResNetDiscriminator(
        shape, *k, width=8, widest=16, plain_blocks=1, attention=32
    ),
    "LAPGANDiscriminator": lambda shape, *k: networks.LAPGANDiscriminator(shape, *k, width=2),
    "BigGANDiscriminator": lambda shape, *k: networks.BigGANDiscriminator(shape, *k, width=8, attention=16),
    "ImprovedDiscriminator": lambda shape: networks.ImprovedDiscriminator(
        shape, width=2, minibatch_kernels=3, reference=2, noise=0.1
    ),
    "InfoGANDiscriminator": lambda shape: networks.InfoGANDiscriminator(shape, 3, 2, width=2),
    "SemiSupervisedDiscriminator": lambda shape: networks.SemiSupervisedDiscriminator(shape, 3, width=16),
    "ConditionalMaxoutDiscriminator": lambda shape, *k: networks.ConditionalMaxoutDiscriminator(
        shape, *(k or [3]), image_units=4, label_units=4, joint_units=4
    ),
    "AuxiliaryDiscriminator": lambda shape, *k: networks.AuxiliaryDiscriminator(shape, *(k or [3]), width=2),
}


OF_THEIR_OWN_KIND = {  # neither latent -> [-1, 1] nor image -> score: tests/papers/test_<paper>.py
    "CharCNNRNN",
    "GRUEncoder",
    "ImageEncoder",
    "PretrainedTextEncoder",
    "SinGANDiscriminators",
    "SinGANGenerator",
    "StackGANDiscriminator",
    "StackedGenerator",
    "Stage1Generator",
    "Stage2Generator",
    "BEGANDiscriminator",
    "ProGANDiscriminator",
    "ProGANGenerator",
    "StyleGANGenerator",
    "BEGANGenerator",
    "BigBiGANDiscriminator",
    "BigBiGANEncoder",
    "CodeDecoder",
    "CodeEncoder",
    "CoupledDiscriminator",
    "CoupledGenerator",
    "AttributeDiscriminator",
    "AttributeTranslator",
    "ContextGenerator",
    "FaceSwapper",
    "LAPGANGenerator",
    "LSTMGenerator",
    "LinearScorer",
    "LocalDiscriminator",
    "MLPScorer",
    "MatrixFactorisation",
    "PatchDiscriminator",
    "Predictors",
    "R3GAN2Discriminator",
    "R3GAN2Generator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "RandomFeatures",
    "Refiner",
    "ResNet56Features",
    "ResNetTranslator",
    "SRDiscriminator",
    "SRResNet",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "TextDiscriminator",
    "UNetGenerator",
    "VGG19Features",
}


def test_every_network_is_tested():
    built = {name for name in networks.__all__ if isinstance(getattr(networks, name), type)} - {"RankingSizes"}
    assert {name.split(",")[0] for name in GENERATORS | DISCRIMINATORS} | OF_THEIR_OWN_KIND == built


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_build_every_size(name, size, channels):
    network = GENERATORS[name]((channels, size, size))
    assert network.latent_dim == LATENT
    label = [torch.tensor([0, 1, 2, 2])] if name in ALWAYS_CONDITIONAL else []
    image = network(3 * torch.randn(4, LATENT), *label)
    assert image.shape == (4, channels, size, size) and image.dtype == torch.float32
    assert image.abs().max() <= 1 and image.std() > 0


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_build_every_size(name, size, channels):
    label = [torch.tensor([0, 1, 2, 2])] if name == "ConditionalMaxoutDiscriminator" else []
    score = DISCRIMINATORS[name]((channels, size, size))(torch.rand(4, channels, size, size) * 2 - 1, *label)
    if name in SEVERAL_OUTPUTS:
        score, logits, *_ = score
        assert logits.shape == (4, 3) and logits.isfinite().all()
    assert score.shape == ((4, 3) if name == "SemiSupervisedDiscriminator" else (4,)) and score.isfinite().all()


def test_scores_are_logits_not_probabilities():
    """No sigmoid at the end: scale the last layer, and the scores leave [0, 1] on both sides."""
    for name, build in DISCRIMINATORS.items():
        if name in ALWAYS_CONDITIONAL or name in SEVERAL_OUTPUTS or name == "SemiSupervisedDiscriminator":
            continue
        network = build((1, 28, 28)).eval()
        last = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
        with torch.no_grad():
            last.bias.fill_(30.0)
            assert network(torch.zeros(2, 1, 28, 28)).min() > 5
            last.bias.fill_(-30.0)
            assert network(torch.zeros(2, 1, 28, 28)).max() < -5


def test_images_that_are_not_square():
    for shape in ((3, 32, 64), (3, 64, 32)):
        for build in (networks.DCGANGenerator, networks.ResNetGenerator, networks.BigGANGenerator):
            assert build(shape, latent_dim=8, width=2)(torch.randn(2, 8)).shape == (2, *shape)
        for build in (networks.DCGANDiscriminator, networks.ResNetDiscriminator, networks.BigGANDiscriminator):
            assert build(shape, width=2)(torch.zeros(2, *shape)).shape == (2,)


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
        network.blocks = nn.ModuleList()  # the pooled features are then the image's own
        network.linear = nn.Linear(1, 1, bias=False)
        nn.init.ones_(network.linear.weight)
        assert network(torch.ones(2, 1, 8, 8)).tolist() == [places, places]


@pytest.mark.parametrize(("first", "down"), [(True, True), (False, True), (False, False)])
def test_shortcut_sees_what_came_in_not_its_relu(first, down):
    """A ReLU in place would change the shortcut's input too, without a word."""
    block = DownBlock(4, 4, down=down, first=first)
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


def test_upsampling_is_by_choice():
    """A ramp stays a ramp by bilinear upsampling, away from the border: 1/4 and 3/4 between its neighbours."""
    for upsampling, expected in (("nearest", [1.0, 1.0, 2.0, 2.0]), ("bilinear", [0.75, 1.25, 1.75, 2.25])):
        block = networks.ResNetGenerator((1, 32, 32), latent_dim=8, width=1, upsampling=upsampling).blocks[0].eval()
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.zero_()
            block.shortcut.weight.fill_(1.0)
            ramp = torch.arange(4.0).expand(1, 1, 4, 4)
            torch.testing.assert_close(block(ramp)[0, 0, 3, 2:6], torch.tensor(expected))
            block.shortcut.weight.zero_()  # and the other path: normalised, then 1 in the middle of the kernel
            block.norm1.weight.fill_(1.0)
            block.conv1.weight[..., 1, 1] = block.conv2.weight[..., 1, 1] = block.norm2.weight[:] = 1.0
            torch.testing.assert_close(block(ramp)[0, 0, 3, 2:6], torch.tensor(expected), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match='upsampling is "nearest" or "bilinear", not \'cubic\''):
        networks.ResNetGenerator((1, 32, 32), upsampling="cubic")


def test_a_resized_map_is_convolved_at_its_new_size():
    """Repeated, or 1/4 and 3/4 between neighbours with the border's repeated; then a plain convolution."""

    def between(side: int) -> Tensor:
        """(2 * side, side): each row's shares of its two neighbours."""
        shares = torch.zeros(2 * side, side)
        for row in range(2 * side):
            place = min(max((row - 0.5) / 2, 0.0), side - 1.0)
            below = min(int(place), side - 2)
            shares[row, below], shares[row, below + 1] = 1 - (place - below), place - below
        return shares

    x = draw(2, 3, 5, 6)
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for mode, larger in (("nearest", repeated), ("bilinear", between(5) @ x @ between(6).T)):
        layer = resize_conv(3, 4, mode, padding_mode="reflect", bias=False)
        padded = nn.functional.pad(larger, (1, 1, 1, 1), mode="reflect")
        torch.testing.assert_close(layer(x), nn.functional.conv2d(padded, layer[1].weight))


@pytest.mark.parametrize(
    ("build", "wanted"),
    [(networks.ResNetTranslator, []), (partial(networks.AttributeTranslator, attributes=2), [torch.ones(4, 2)])],
)
def test_transposed_convolutions_draw_a_grid_on_smooth_images_and_enlarged_maps_do_not(build, wanted):
    """Untrained networks, images of a few waves; decibels above the neighbours in the spectrum, for four seeds."""
    for seed in range(4):
        image = nn.functional.interpolate(draw(4, 3, 6, 6, seed=seed), (64, 64), mode="bicubic").tanh()
        peaks = {}
        for upsampling in ("transposed", "nearest", "bilinear"):
            torch.manual_seed(seed)
            network = build((3, 64, 64), width=16, blocks=2, upsampling=upsampling).eval()
            with torch.no_grad():
                made = network(image, *wanted)
            peaks[upsampling] = grid_peak(made)
        assert peaks["transposed"] > 3 > 1 > max(peaks["nearest"], peaks["bilinear"]), peaks


# Conditioning


CONDITIONAL = [name for name in GENERATORS | DISCRIMINATORS if not name.startswith(NEVER_CONDITIONAL)]


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_class_changes_what_comes_out_and_a_mixture_lies_between(name):
    """Labels (n,) and one-hot rows are the same; half of each class is neither."""
    build, shape = (GENERATORS | DISCRIMINATORS)[name], (3, 32, 32)
    network = build(shape, 3).eval()
    for parameter in network.parameters():  # class gains and biases begin at zero, and layers at 0.02 hide the class
        nn.init.normal_(parameter, 0.0, 0.3)
    x = torch.randn(2, LATENT) if name in GENERATORS else torch.rand(2, *shape) * 2 - 1
    first, second = (network(x, torch.full((2,), label)) for label in (0, 1))
    one_hot = torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3)
    torch.testing.assert_close(network(x, one_hot), first)
    assert not torch.allclose(first, second)
    half = network(x, torch.tensor([[0.5, 0.5, 0.0]]).expand(2, 3))
    assert not torch.allclose(half, first) and not torch.allclose(half, second)


def test_conditional_batch_norm_is_a_gain_and_a_bias_for_each_class():
    """Against torch's batch norm and an affine map written out; gain 1 and bias 0 at first."""
    layer, x, label = class_batch_norm(4, 3), torch.randn(6, 4, 5, 5), torch.tensor([0, 1, 2, 2, 1, 0])
    plain = nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(layer(x, label), plain)
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.bias.weight)
    gain, bias = 1 + layer.gain.weight, layer.bias.weight
    rows = [gain[k].view(4, 1, 1) * plain[i] + bias[k].view(4, 1, 1) for i, k in enumerate(label)]
    torch.testing.assert_close(layer(x, label), torch.stack(rows))


def test_projection_is_an_inner_product_of_the_class_and_the_pooled_features():
    network = networks.ResNetDiscriminator((1, 16, 16), 3, width=4).eval()
    image, label = torch.randn(5, 1, 16, 16), torch.tensor([0, 1, 2, 1, 0])
    pooled = network.features(image)
    expected = network.linear(pooled)[:, 0] + (network.projection.weight[label] * pooled).sum(1)
    torch.testing.assert_close(network(image, label), expected)


def test_attention_equals_a_softmax_over_the_places_that_are_looked_at():
    """Written out with loops; no scale, values pooled, and nothing at all at first, since gamma is 0."""
    layer, x = SelfAttention(16), torch.randn(2, 16, 4, 6)
    assert layer.gamma.item() == 0 and torch.equal(layer(x), x)
    nn.init.ones_(layer.gamma)
    query = layer.query(x).flatten(2)
    key, value = (nn.functional.max_pool2d(conv(x), 2).flatten(2) for conv in (layer.key, layer.value))
    out = torch.zeros(2, 8, 24)
    for n in range(2):
        for place in range(24):
            weight = torch.stack([(query[n, :, place] * key[n, :, seen]).sum() for seen in range(6)]).exp()
            out[n, :, place] = sum(weight[seen] / weight.sum() * value[n, :, seen] for seen in range(6))
    expected = x + nn.functional.conv2d(out.view(2, 8, 4, 6), layer.out.weight)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_attention_follows_the_greatest_map_that_is_allowed():
    for asked, generator, discriminator in ((64, 2, 0), (16, 1, 0), (8, 0, 3)):  # maps 8, 16, 32 and 16, 8, 8, 8
        assert networks.ResNetGenerator((1, 32, 32), width=8, attention=asked).attention_after == generator
        assert networks.ResNetDiscriminator((1, 32, 32), width=8, attention=asked).attention_after == discriminator
    with pytest.raises(ValueError, match="ResNetGenerator: no map is as small as attention 4; the smallest is 8"):
        networks.ResNetGenerator((1, 32, 32), width=8, attention=4)


# What is given by name


def test_what_may_be_left_out_is_given_by_name_but_the_number_of_classes():
    """A latent size in the place of the number of classes would make a conditional network of another size."""
    positional = set()
    for kind in filter(inspect.isclass, vars(networks).values()):
        if issubclass(kind, nn.Module):
            arguments = list(inspect.signature(kind).parameters.values())
            first = [argument for argument in arguments if argument.kind is argument.POSITIONAL_OR_KEYWORD]
            positional |= {argument.name for argument in first}
            assert all(argument.default is argument.empty or argument.name == "num_classes" for argument in first), kind
            assert [argument.name for argument in first][:1] in (
                [],
                ["image_shape"],
                ["vocabulary"],
                ["units"],
                ["sizes"],
            )
    facts = {"image_shape", "num_classes", "attributes", "vocabulary", "length", "sizes"}  # of the data
    of_others = {"latent_dim", "categories", "continuous", "units", "text_dim", "dim", "side", "first", "second"}
    assert positional == facts | of_others  # of another network
    with pytest.raises(TypeError, match="positional"):
        networks.DCGANGenerator((1, 16, 16), None, 100)


# SAGAN and BigGAN


def test_sagan_has_spectral_norm_on_both_sides_and_biggans_embedding_is_free():
    """On convolutions, linear layers and the discriminator's embedding; not on the generator's class embeddings."""
    shape = (3, 32, 32)
    sagan = networks.ResNetGenerator(shape, 3, latent_dim=8, width=8, attention=16, spectral_norm=True)
    generators = [sagan, networks.BigGANGenerator(shape, 3, latent_dim=8, width=8)]
    for network in generators:
        weighted = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        assert spectral_layers(network) == weighted
    for network in (networks.ResNetDiscriminator(shape, 3, width=8), networks.BigGANDiscriminator(shape, 3, width=8)):
        weighted = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.Embedding))]
        assert spectral_layers(network) == weighted and network.projection in weighted


def test_biggan_channels_are_the_papers():
    """Tables of appendix B at 128 px, in units of ch: G 16, 16, 8, 4, 2, 1 and D 1, 2, 4, 8, 16, 16."""
    with shapes_alone():
        generator = networks.BigGANGenerator((3, 128, 128), 1000, latent_dim=120, width=96, widest=1536, attention=64)
        discriminator = networks.BigGANDiscriminator(
            (3, 128, 128), 1000, width=96, widest=1536, plain_blocks=1, attention=64
        )
    channels = [generator.start[0], *(b.conv2.out_channels for b in generator.blocks)]
    assert channels == [96 * k for k in (16, 16, 8, 4, 2, 1)]
    assert [b.conv2.out_channels for b in discriminator.blocks] == [96 * k for k in (1, 2, 4, 8, 16, 16)]
    assert [b.down for b in discriminator.blocks] == [True] * 5 + [False]
    assert generator.attention_after == 3 and discriminator.attention_after == 0  # both on maps of 64x64
    assert generator.linear.in_features == 20
    assert all(b.norm1.gain.in_features == 20 + 128 and b.norm1.gain.bias is None for b in generator.blocks)


def test_biggan_gives_each_block_its_piece_of_the_latent():
    """A piece changes what comes after its block only."""
    network = networks.BigGANGenerator((1, 32, 32), latent_dim=10, width=4, embedding=4).eval()
    seen: list[torch.Tensor] = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    z = torch.randn(1, 10)
    network(z)
    pieces = [range(3), range(3, 6), range(6, 8), range(8, 10)]  # 10 into 4
    for number, piece in enumerate(pieces):
        other = z.clone()
        other[:, piece] += 1.0
        network(other)
        same = [torch.equal(a, b) for a, b in zip(seen[:3], seen[-3:], strict=True)]
        assert same == [block < number - 1 for block in range(3)]


def test_biggan_weights_are_orthogonal_at_first():
    generator = networks.BigGANGenerator((3, 32, 32), 10, latent_dim=16, width=8)
    for network in (generator, networks.BigGANDiscriminator((3, 32, 32), 10, width=8)):
        for layer in spectral_layers(network):
            rows = layer.parametrizations.weight.original.flatten(1)
            products = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
            torch.testing.assert_close(products, torch.eye(len(products)), rtol=0, atol=1e-5)
    small = networks.BigGANGenerator((3, 32, 32), 10, latent_dim=16, width=32, initialise=normal_init)
    weight = small.blocks[0].conv1.parametrizations.weight.original
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: networks.StyleGAN2Discriminator((1, 16, 16), architecture="skip"), '"resnet" or "orig", not \'skip\''),
        (lambda: networks.ResNetTranslator((3, 16, 16), upsampling="cubic"), '"nearest" or "bilinear", not \'cubic\''),
        (lambda: SNGAN((1, 16, 16), 3, conditioning="concat"), '"none" or "projection", not \'concat\''),
    ],
)
def test_a_word_that_an_argument_does_not_know_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
