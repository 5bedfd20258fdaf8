"""R3GAN2: equal to the authors' networks, magnitudes preserved; the game is tested in test_r3gan.py."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from conftest import SHAPE, assert_same, quiet, tensors, tiny, trained, within_turn
from papers.test_r3gan import Reference, assert_close, assert_gradients, part, reference
from scipy import integrate, stats
from torch import Tensor, nn

from gan_lightning import networks
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep
from gan_lightning.models import R3GAN2
from gan_lightning.networks.r3gan2 import Blocks, Convolution, GenerativeBasis, Normalized, activation, down, up
from gan_lightning.noise import Noise, drawn_by_layers

HEADS = {
    "G": {"LinearLayer1": "linear", "LinearLayer2.Basis": "basis", "LinearLayer3": "narrow"},
    "D": {"LinearLayer1": "widen", "LinearLayer2.Basis": "basis", "LinearLayer3": "linear"},
}


def ours(weights: Reference, kind: str) -> Reference:
    """By our names; a parameter of each block, the alphas, is one row of ours."""
    found: Reference = {}
    alphas: dict[str, list[Tensor]] = {}
    for name, value in weights.items():
        if name.endswith("Kernel"):
            continue
        if alpha := re.fullmatch(r"MainLayers\.(\d)\.ParametrizedAlphas\.\d\.Value", name):
            alphas.setdefault(f"stages.{alpha[1]}.alpha", []).append(value)
            continue
        name = re.sub(r"Head\.(LinearLayer\d(\.Basis)?)", lambda match: HEADS[kind][match[1]], name)
        for theirs, own in {
            "MainLayers": "stages",
            "Layers": "blocks",
            "LinearLayer1": "expand",
            "LinearLayer2": "spatial",
            "LinearLayer3": "project",
            "ExtractionLayer": "from_image",
            "AggregationLayer": "to_image",
            "EmbeddingLayer": "embedding",
            "Weight.Weight": "weight",
            "Weight": "weight",
            "Gain": "gain",
        }.items():
            name = name.replace(theirs, own)
        found[name] = value[..., None, None] if value.ndim == 2 and "embedding" not in name else value
    return found | {name: torch.stack(rows) for name, rows in alphas.items()}


class Given(Noise):
    """Noise that is there."""

    def __init__(self, rows: Iterator[Tensor]) -> None:
        self.rows = rows

    def normal(self, n: int, *shape: int) -> Tensor:
        row = next(self.rows)
        assert row.shape == (n, *shape)
        return row


@pytest.fixture(scope="module")
def theirs() -> Reference:
    return reference("r3gan2")


@pytest.fixture
def model(theirs: Reference) -> R3GAN2:
    """Ours with the weights of the file, whose latents are the file's."""
    sizes = {"width": [16, 8], "blocks": 2, "group": 16}
    model = R3GAN2(
        (3, 16, 16),
        3,
        conditional=True,
        generator=partial(networks.R3GAN2Generator, latent_dim=6, embedding=5, **sizes),
        discriminator=partial(networks.R3GAN2Discriminator, embedding=7, **sizes),
        gamma=float(theirs["gamma"]),
        step=ImageStep(),
    )
    model.generator.load_state_dict(ours(part(theirs, "G."), "G"))
    model.discriminator.load_state_dict(ours(part(theirs, "D."), "D"))
    model.latent = lambda noise, n: theirs["z"]
    model.trainer = quiet()
    return model


def drawn(theirs: Reference) -> Given:
    rows = part(theirs, "noise.")
    return Given(rows[str(number)] for number in range(len(rows)))


def test_networks_equal_the_authors(theirs, model):
    with torch.no_grad(), drawn_by_layers(drawn(theirs)):
        assert_close(model.generator(theirs["z"], theirs["label"]), theirs["G(z, label)"])
        assert_close(model.discriminator(theirs["real"], theirs["label"]), theirs["D(real, label)"])


def test_both_turns_equal_the_authors(theirs, model):
    batch = Labeled(theirs["real"], theirs["label"])
    with within_turn(model), drawn_by_layers(drawn(theirs)):
        terms = model.discriminator_loss(batch)
    for name in ("r1", "r2"):
        assert_close(terms[name], float(theirs["gamma"]) / 2 * theirs[name].mean())
    sum(terms.values()).backward()
    whole = {name: value for name, value in ours(part(theirs, "grad.D."), "D").items()}
    assert_gradients(model.discriminator, whole)
    with within_turn(model), drawn_by_layers(drawn(theirs)):
        sum(model.generator_loss(batch).values()).backward()
    assert_gradients(model.generator, ours(part(theirs, "grad.G."), "G"))


def test_weights_are_normalised_as_the_authors_are(theirs, model):
    from gan_lightning.networks.r3gan2 import normalize_weights

    normalize_weights(model.discriminator)
    expected = ours(part(theirs, "normalized.D."), "D")
    assert len(expected) > 5
    for name, weight in expected.items():
        assert_close(model.discriminator.get_parameter(name), weight)


# Magnitudes


def test_activation_keeps_variance_one():
    """Of N(0, 1), by numerical integration; its mean is dropped by filters whose mean is 0."""
    density = stats.norm.pdf
    mean, square = (
        integrate.quad(lambda t, k=k: float(activation(torch.tensor(t))) ** k * density(t), -12, 12, points=[0])[0]
        for k in (1, 2)
    )
    assert square - mean**2 == pytest.approx(1, abs=1e-5)


def layers(network: nn.Module) -> list[Normalized]:
    return [layer for layer in network.modules() if isinstance(layer, Normalized)]


@pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
def test_filters_have_one_length_and_mean_zero(kind):
    """sum w^2 = 1 of every filter, so that independent inputs of variance 1 give outputs of variance 1, exactly."""
    network = getattr(networks, f"R3GAN2{kind}")((3, 32, 32), 3, width=16)
    assert len(layers(network)) == 3 * 4 * 3 + 5
    with torch.no_grad():
        for layer in layers(network):
            layer.weight.mul_(7.0).add_(0.5)  # whatever the parameters are
            filters = layer.filters().flatten(1)
            torch.testing.assert_close(filters.square().mean(1), torch.ones(len(filters)), rtol=1e-3, atol=0)
            assert (filters.mean(1).abs().max() < 1e-6) == layer.centered
    free = {name for name, layer in network.named_modules() if isinstance(layer, Normalized) and not layer.centered}
    assert free == {{"Generator": "to_image", "Discriminator": "from_image"}[kind]}


def test_convolutions_and_the_basis_keep_variance_one():
    torch.manual_seed(0)
    with torch.no_grad(), drawn_by_layers(Noise()):
        x = torch.randn(64, 32, 12, 12)
        for layer in (Convolution(32, 64), Convolution(32, 32, 3, groups=4), Convolution(32, 64, (12, 12), groups=2)):
            y = layer(x)
            y = y[..., 1:-1, 1:-1] if y.shape[2] > 1 else y  # what the border's zeros do not reach
            assert y.var().item() == pytest.approx(1, rel=0.03)
        y = GenerativeBasis(64, 32, 4, 4)(torch.randn(64, 64, 1, 1))
        assert y.shape == (64, 64, 4, 4) and y.var().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("noise", [True, False])
def test_residual_sums_keep_variance_one(noise):
    """Whatever the blocks add, each alpha^2: the sum times the factor that comes with it."""
    torch.manual_seed(0)
    stage = Blocks(64, 3, 2, 32, noise)

    class Fresh(Noise):
        def normal(self, n: int, *shape: int) -> Tensor:
            return torch.randn(n, *shape)

    with torch.no_grad(), drawn_by_layers(Fresh()):
        x = torch.randn(64, 64, 8, 8)
        y, scale = stage(x)
        assert torch.equal(y, x) and torch.equal(scale, torch.ones(64))  # alphas begin at 0
        stage.alpha.normal_(0.0, 1.0)
        y, scale = stage(x)
        torch.testing.assert_close(scale, (1 + stage.alpha.tanh().square().sum(0)).rsqrt())
        assert y.var().item() > 1.5
        inner = (y * scale[:, None, None])[..., 3:-3, 3:-3]
        assert inner.var().item() == pytest.approx(1, rel=0.05)


def test_a_change_of_width_has_no_parameters():
    """Twice the size and half the width, and back: constant images stay what they are, away from the border."""
    x = torch.randn(1, 8, 1, 1).expand(2, 8, 6, 6)
    y = up(x, 4)
    assert y.shape == (2, 4, 12, 12)
    torch.testing.assert_close(y[:, :, 5, 5], x[:, :, 0, 0].repeat_interleave(2, 1).view(2, 4, 4).mean(2))
    z = down(torch.ones(2, 4, 12, 12), 8)
    assert z.shape == (2, 8, 6, 6)
    torch.testing.assert_close(z[:, :, 2, 2], torch.ones(2, 8))
    with pytest.raises(ValueError, match="multiple of the width before it"):
        networks.R3GAN2Generator((3, 16, 16), width=[12, 4])


# Training


def test_a_step_leaves_the_weights_of_its_player_normalised_and_no_others():
    """Before the average follows: with a half-life of 0 it is the generator, bit for bit."""
    model = tiny("R3GAN2", step=ImageStep(ema_half_life=0.0), gamma=1.0)
    before = tensors(model.generator)
    seen: list[tuple[int, float, float]] = []

    def off(network: nn.Module) -> float:
        """How far the worst filter is from length 1 and, where it should be, mean 0."""
        rows = [(layer.weight.detach().flatten(1), layer.centered) for layer in layers(network)]
        return max(
            max((w.square().mean(1) - 1).abs().max().item(), w.mean(1).abs().max().item() * centered)
            for w, centered in rows
        )

    turn = model.turn

    def watched(*arguments: object, **more: object) -> None:
        turn(*arguments, **more)
        seen.append((model.iteration, off(model.discriminator), off(model.generator)))
        if model.iteration == 1:
            assert_same(tensors(model.generator), before)

    model.turn = watched
    trained(model, 2)
    assert [iteration for iteration, *_ in seen] == [1, 2, 3, 4]
    assert all(discriminator < 1e-3 for _, discriminator, _ in seen)
    assert seen[0][2] > 0.1 and all(generator < 1e-3 for *_, generator in seen[1:])
    assert_same(tensors(model.ema.network), tensors(model.generator))


def test_noise_is_one_map_for_each_sample_and_belongs_to_its_number():
    model = tiny("R3GAN2")
    for stage in model.generator.stages:
        nn.init.ones_(stage.alpha)
    z, label = torch.randn(1, 6).expand(3, -1), torch.zeros(3, dtype=torch.int64)
    images = model.generate(z, live=True, condition=label)
    assert not torch.equal(images[0], images[1])
    again = model.generate(z[:1], live=True, condition=label[:1], numbers=[2])
    torch.testing.assert_close(again[0], images[2])
    layer = Convolution(4, 6, noise=True, bias=True)

    class Ones(Noise):
        def normal(self, n: int, *shape: int) -> Tensor:
            assert (n, shape) == (2, (1, 3, 5))
            return torch.ones(n, *shape)

    with drawn_by_layers(Ones()):
        y = layer(torch.zeros(2, 4, 3, 5))
    expected = layer.filters()[:, 4:].sum(1).view(1, 6, 1, 1) / math.sqrt(4 + 2)  # noise and bias are inputs, too
    torch.testing.assert_close(y, expected.expand(2, 6, 3, 5))


def test_class_vectors_begin_alike():
    with torch.device("cpu"):
        model = tiny("R3GAN2")
    for network in (model.generator, model.discriminator):
        rows = network.embedding.weight.detach()
        assert torch.equal(rows[0], rows[1]) and rows.square().mean().item() == pytest.approx(1, rel=1e-3)


def test_upper_stages_compute_in_bfloat16():
    generator = networks.R3GAN2Generator((1, 32, 32), latent_dim=6, width=16, blocks=1, bf16_stages=2)
    discriminator = networks.R3GAN2Discriminator((1, 32, 32), width=16, blocks=1, bf16_stages=2)
    seen: list[torch.dtype] = []
    for stage in [*generator.stages, *discriminator.stages]:
        stage.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0].dtype))

    class Fresh(Noise):
        def normal(self, n: int, *shape: int) -> Tensor:
            return torch.randn(n, *shape)

    with drawn_by_layers(Fresh()):
        image = generator(torch.randn(2, 6))
    score = discriminator(image)
    half, full = torch.bfloat16, torch.float32
    assert seen == [full, half, half, half, half, full]
    assert image.dtype == score.dtype == full and image.shape == (2, 1, 32, 32)


def test_defaults_are_the_preset_of_cifar10():
    """EDM2's rate: up to 1 over a million images, then as 1 / sqrt of the images in 1,000 batches of 512."""
    with torch.device("meta"):
        model = R3GAN2((3, 32, 32))
    rate = model.step.learning_rate()
    assert [rate.at(images) for images in (0, 256e3, 2048e3)] == pytest.approx([0.0, 0.256, 0.5])
    assert [model.step.beta2().at(images) for images in (0, 2e7)] == pytest.approx([0.9, 0.99])
    assert {"generator_power_010", "generator_power_050", "generator_power_100"} < set(model.averages)
    assert model.image_shape == (3, 32, 32) != SHAPE
    stages = model.generator.stages
    assert [(len(stage.blocks), stage.alpha.shape[1]) for stage in stages] == 3 * [(4, 512)]
    assert stages[0].blocks[0].spatial.groups == 1024 // 32
