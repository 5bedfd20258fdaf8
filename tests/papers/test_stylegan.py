"""StyleGAN (arXiv:1812.04948): what reproductions lose."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHAPE, Noisy, assert_same, draw, gap, quiet, sgd, shapes_alone, tensors, tiny, trained, within_turn
from lightning.pytorch import Callback
from test_progan import MAPS, Written, scored
from torch import Tensor

from gan_lightning import networks
from gan_lightning.batches import Labeled
from gan_lightning.core import Growth, ImageStep
from gan_lightning.models import StyleGAN
from gan_lightning.networks import ProGANDiscriminator, StyleGANGenerator
from gan_lightning.noise import SampleNoise, drawn_by_layers

FADES = Growth(stabilise=0, fade=32)  # in batches of 16: levels 0, 0.5, 1, 1.5


def generator(shape: tuple[int, int, int] = SHAPE, classes: int | None = None, **more: Any) -> StyleGANGenerator:
    """A tiny one in float64, none of whose weights is at its first value."""
    network = StyleGANGenerator(shape, classes, latent_dim=5, style_dim=7, mapping_layers=2, **MAPS, **more).double()
    with torch.no_grad():
        for seed, p in enumerate(network.parameters()):
            p.add_(0.3 * draw(*p.shape, seed=seed))
        network.mapping.w_average.copy_(draw(7, seed=99))
    return network


# The networks


class WrittenStyles(Written):
    """The paper's layers on a state_dict, in float64."""

    def mapping(self, z: np.ndarray) -> np.ndarray:
        h = self.pixel_norm(z)
        for layer in ("mapping.layers.0", "mapping.layers.1"):
            weight, bias = 0.01 * self.at[f"{layer}.weight"], 0.01 * self.at[f"{layer}.bias"]
            h = self.leaky(h @ (weight * math.sqrt(2 / weight.shape[1])).T + bias)
        return h

    def styled(self, x: np.ndarray, w: np.ndarray, layer: int, noise: bool) -> np.ndarray:
        """Noise, bias, leaky ReLU, instance norm, style, in the authors' order."""
        name = f"synthesis.styled.{layer}"
        x = x + noise * self.at[f"{name}.noise"] * self.at[f"{name}.strength"]
        x = self.leaky(x + self.at[f"{name}.bias"])
        x = x - x.mean((2, 3), keepdims=True)
        x = x / np.sqrt((x**2).mean((2, 3), keepdims=True) + 1e-8)
        scale, shift = np.split(self.dense(w, f"{name}.style", 1.0)[:, :, None, None], 2, 1)
        return x * (scale + 1) + shift

    @staticmethod
    def blur(x: np.ndarray) -> np.ndarray:
        h, w = x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        taps = [0.25, 0.5, 0.25]
        return sum(taps[i] * taps[j] * padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3))

    def synthesis(self, ws: np.ndarray, level: float, noise: bool) -> np.ndarray:
        h = np.repeat(self.at["synthesis.constant"][None], len(ws), 0)
        h = self.styled(h, ws[:, 0], 0, noise)
        h = self.styled(self.conv(h, "synthesis.convs.0"), ws[:, 1], 1, noise)
        outs = [self.conv(h, "synthesis.to_image.0", 1.0)]
        for i in range(1, math.ceil(level) + 1):
            h = self.blur(self.conv(self.up(h), f"synthesis.convs.{2 * i - 1}"))
            h = self.styled(h, ws[:, 2 * i], 2 * i, noise)
            h = self.styled(self.conv(h, f"synthesis.convs.{2 * i}"), ws[:, 2 * i + 1], 2 * i + 1, noise)
            outs.append(self.conv(h, f"synthesis.to_image.{i}", 1.0))
        share = level - math.floor(level)
        return outs[-1] if share == 0 else share * outs[-1] + (1 - share) * self.up(outs[-2])


@pytest.mark.parametrize("noise", ["const", "none"])
@pytest.mark.parametrize("level", [0.0, 0.25, 1.0, 1.5, 2.0])
def test_generator_is_the_papers(level, noise):
    network = generator((2, 16, 16))
    network.synthesis.grow(level)
    own, z, ws = WrittenStyles(network), draw(3, 5).double(), draw(3, 6, 7).double()
    torch.testing.assert_close(network.mapping(z), torch.from_numpy(own.mapping(z.numpy())))
    expected = torch.from_numpy(own.synthesis(ws.numpy(), level, noise == "const"))
    torch.testing.assert_close(network.synthesis(ws, noise), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("level", [0.5, 2.0])
def test_discriminator_is_progans_with_a_blur(level):
    network = ProGANDiscriminator((2, 16, 16), blur=True, **MAPS).double()
    network.grow(level)
    image = draw(8, 2, *network.sizes[math.ceil(level)]).double()
    own_conv = Written.conv

    def blurred(self: Written, x: np.ndarray, name: str, gain: float = math.sqrt(2)) -> np.ndarray:
        return own_conv(self, WrittenStyles.blur(x) if name.endswith(".1") and "blocks" in name else x, name, gain)

    with patch.object(Written, "conv", blurred):
        expected = scored(network, image.numpy(), level)
    torch.testing.assert_close(network(image), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_weights_at_first():
    """A constant of ones, no noise, styles that change nothing but by their random weights, slow weights of mapping."""
    network = StyleGANGenerator(SHAPE)
    synthesis = network.synthesis
    assert torch.equal(synthesis.constant, torch.ones(512, 4, 4))
    assert all(layer.strength.shape == (512, 1, 1) and not layer.strength.any() for layer in synthesis.styled)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))
    assert network.mapping.layers[0].weight.std().item() == pytest.approx(100.0, rel=0.01)
    assert synthesis.convs[0].weight.std().item() == pytest.approx(1.0, rel=0.01)
    assert len(network.mapping.layers) == 8 and not network.mapping.w_average.any()


def test_networks_of_1024_px_have_the_published_size():
    """Section 2: 26.2 million parameters of the generator; 23.1 of the discriminator, as ProGAN's."""
    with shapes_alone():
        model = StyleGAN((3, 1024, 1024))
    millions = [
        sum(p.numel() for p in network.parameters()) / 1e6 for network in (model.generator, model.discriminator)
    ]
    assert [round(number, 1) for number in millions] == [26.2, 23.1] and model.generator.num_styles == 18


def test_noise_is_each_samples_own_and_each_layers():
    network = generator().float()
    ws = draw(1, 6, 7).expand(4, -1, -1)
    with drawn_by_layers(SampleNoise(0, range(4), torch.device("cpu"))):
        random = network.synthesis(ws)
    with drawn_by_layers(SampleNoise(0, [2], torch.device("cpu"))):
        torch.testing.assert_close(network.synthesis(ws[:1]), random[2:3])
    assert (random[0] - random[1]).abs().max() > 1e-2
    const, none = network.synthesis(ws, "const"), network.synthesis(ws, "none")
    torch.testing.assert_close(const[:1].expand_as(const), const)
    assert (const - none).abs().max() > 1e-2
    with pytest.raises(RuntimeError, match="draws noise"):
        network.synthesis(ws)
    noises = [layer.noise.flatten()[:4] for layer in network.synthesis.styled]
    assert not any(torch.equal(noises[0], other) for other in noises[1:])


def test_first_styles_are_truncated_towards_the_mean_of_w():
    network, z = generator(truncation_layers=3), draw(4, 5).double()
    w, mean = network.mapping(z), network.mapping.w_average
    ws = torch.stack([*[mean + 0.7 * (w - mean)] * 3, w, w, w], 1)
    torch.testing.assert_close(network(z, truncation=0.7, noise="const"), network.synthesis(ws, "const"))
    torch.testing.assert_close(network(z, truncation=1.0, noise="const"), network(z, noise="const"))
    assert inspect.signature(StyleGANGenerator).parameters["truncation_layers"].default == 8


def test_samples_are_truncated_in_w_and_not_in_z():
    model = tiny("StyleGAN")
    model.ema.network.mapping.w_average.copy_(draw(5))
    z = model.latents(range(3), 4)
    with drawn_by_layers(SampleNoise(0, range(3), torch.device("cpu"))), torch.no_grad():
        expected = model.ema.network(z, truncation=0.5).clamp(-1, 1)
    torch.testing.assert_close(model.sample(3, 4, truncation=0.5), expected)
    assert not torch.allclose(model.sample(3, 4), expected)


# Training


def in_turn(model: StyleGAN, level: float = 2.0) -> StyleGAN:
    model.trainer = quiet()
    model.generator.synthesis.grow(level)
    model.discriminator.grow(level)
    return model


@pytest.mark.parametrize(("mixing", "level"), [(0.9, 2.0), (0.0, 2.0), (1.0, 0.5)])
def test_share_of_images_has_the_styles_of_two_latents(mixing, level):
    """Each image by itself; the crossover is uniform over the layers in use but the first."""
    model, seen = in_turn(tiny("StyleGAN", mixing=mixing), level), []
    n, layers = 4000, 2 * (math.ceil(level) + 1)
    caught = patch.object(
        model.generator.synthesis, "forward", lambda ws, *_: seen.append(ws) or torch.zeros(n, *SHAPE)
    )
    with caught, within_turn(model), torch.no_grad():
        model.fake_like(Labeled(torch.zeros(n, *SHAPE), torch.zeros(n)))
    with within_turn(model), torch.no_grad():
        w, other = (model.generator.mapping(model.noise.normal(n, 6)) for _ in range(2))
    own = (seen[0] == w[:, None]).all(2)
    assert (own | (seen[0] == other[:, None]).all(2)).all()
    crossover = own[:, :layers].sum(1)
    assert (own.long().diff(dim=1) <= 0).all() and own[:, 0].all()  # w first, the other from the crossover on
    counts = [(crossover == layer).float().mean().item() for layer in range(layers + 1)]
    assert counts[0] == 0 and counts[layers] == pytest.approx(1 - mixing, abs=0.02)
    assert counts[1:layers] == pytest.approx([mixing / (layers - 1)] * (layers - 1), abs=0.03)


class MeansOfW(Callback):
    """What the model says of the mean of w after each batch; its average says the same."""

    def __init__(self) -> None:
        self.tracked: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, model: StyleGAN, *_: Any) -> None:
        assert torch.equal(model.generator.mapping.w_average, model.ema.network.mapping.w_average)
        self.tracked.append(model.generator.mapping.w_average.clone())


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_mean_of_w_moves_once_in_each_turn_of_the_generator(micro_batches):
    """By the whole batch, however many parts it has: written out for weights that stand still."""
    beta = 0.75
    model = tiny("StyleGAN", sgd(0.0), w_decay=beta, step=ImageStep(micro_batches=micro_batches))
    means, seen = MeansOfW(), []
    turn = model.turn

    def watched(name: str, *arguments: Any, **more: Any) -> None:
        turn(name, *arguments, **more)
        if name == "generator":  # what the turn has drawn
            with within_turn(model, model._turn_in_batch), torch.no_grad():
                seen.append(model.generator.mapping(model.noise.normal(16, 6)).mean(0))

    model.turn = watched
    trained(model, 3, callbacks=[means])
    expected = torch.zeros(5)
    for mean, tracked in zip(seen, means.tracked, strict=True):
        expected = beta * expected + (1 - beta) * mean
        torch.testing.assert_close(tracked, expected)


@pytest.mark.parametrize("level", [2.0, 0.5, 0.0])
def test_losses_are_the_papers(level):
    """Non-saturating; R1 by the gradient of the whole image, to which the authors enlarge lower levels."""
    model = in_turn(tiny("StyleGAN", gamma=10.0, mixing=0.0), level)
    batch = Labeled(draw(8, *SHAPE).clamp(-1, 1), torch.zeros(8, dtype=torch.int64))
    with within_turn(model):
        terms = model.discriminator_loss(batch)
        generator_terms = model.generator_loss(batch)
    with within_turn(model), torch.no_grad():
        fakes = [model.fake_like(batch).image, model.fake_like(batch).image]
    factor = 2 ** (2 - math.ceil(level))
    real = model.discriminator.shrink(batch.image)
    whole = F.interpolate(real, scale_factor=float(factor)).requires_grad_()
    real_score = model.discriminator(F.avg_pool2d(whole, factor))
    (gradient,) = torch.autograd.grad(real_score.sum(), whole)
    torch.testing.assert_close(terms["r1"].detach(), 10.0 / 2 * gradient.flatten(1).square().sum(1).mean())
    fake_score = [model.discriminator(fake) for fake in fakes]
    expected = F.softplus(-real_score).mean() + F.softplus(fake_score[0]).mean()
    torch.testing.assert_close(terms["adversarial"], expected)
    torch.testing.assert_close(generator_terms["adversarial"], F.softplus(-fake_score[1]).mean())


def test_two_parts_equal_one_while_a_level_fades_in():
    runs = []
    for count in (1, 2):
        model = tiny("StyleGAN", sgd(1e-4), growth=FADES, step=ImageStep(micro_batches=count))
        trained(model, 4)
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-6


def test_a_fade_goes_on_bit_for_bit(tmp_path):
    runs = []
    for stop in (None, 2):
        model = tiny("StyleGAN", growth=FADES)
        trainer = trained(model, stop or 4)
        if stop:
            trainer.save_checkpoint(tmp_path / "a.ckpt")
            model = tiny("StyleGAN", growth=FADES, seed=1)
            trainer = trained(model, 4, ckpt_path=tmp_path / "a.ckpt")
        runs.append([model.state_dict(), [optimizer.state_dict() for optimizer in trainer.optimizers]])
    assert model.generator.synthesis.level.item() == 1.5
    assert_same(runs[1], runs[0])


def test_rates_rise_with_the_side_and_training_begins_with_8_px():
    """The authors' rates of Adam by resolution."""
    growth: Growth = inspect.signature(StyleGAN).parameters["growth"].default
    sides = [4 * 2**i for i in range(9)]
    first = {growth.side(images, sides): images for images in range(1_200_000 * 8, -1, -100_000)}
    assert list(first) == [1024, 512, 256, 128, 64, 32, 16, 8] and growth.level(0, sides) == 1
    factor = growth.step_of(ImageStep(), sides).learning_rate()
    rates = [1e-3 * factor.at(first[side]) for side in (8, 64, 128, 256, 512, 1024)]
    assert rates == pytest.approx([0.001, 0.001, 0.0015, 0.002, 0.003, 0.003])


def test_without_growth_all_levels_are_trained_from_the_beginning():
    model = tiny("StyleGAN", growth=Growth(start=None))
    trainer = trained(model, 3)
    assert model.generator.synthesis.level.item() == 2
    assert {int(state["step"]) for optimizer in trainer.optimizers for state in optimizer.state.values()} == {3}


def test_a_conditional_model_tells_both_players_the_class():
    model = tiny("StyleGAN", conditional=True)
    trained(model, 2, Noisy())
    z = model.latents([0, 0, 0, 0])
    images = model.generate(z, condition=torch.tensor([0, 1, 0, 1]), numbers=[0, 0, 0, 0])
    torch.testing.assert_close(images[0], images[2])
    assert (images[0] - images[1]).abs().max() > 1e-4
    discriminator = in_turn(model).discriminator
    image, label = draw(4, *SHAPE), torch.tensor([0, 1, 1, 0])
    with patch.object(discriminator.score, "forward", lambda h: torch.tensor([[1.0, 2.0]] * 4)):
        assert discriminator(image, label).tolist() == [1.0, 2.0, 2.0, 1.0]
    with pytest.raises(ValueError, match="needs data with classes"):
        tiny("StyleGAN", conditional=True, num_classes=None)
    assert tiny("StyleGAN").num_classes is None  # classes that are there are not told unless asked for


def test_networks_that_cannot_grow_are_refused():
    with pytest.raises(ValueError, match="StyleGAN needs networks that grow.* MLPGenerator cannot"):
        tiny("StyleGAN", generator=partial(networks.MLPGenerator, latent_dim=4, width=4))


def test_sides_may_differ_and_channels_be_any():
    shape = (4, 16, 24)
    model = tiny("StyleGAN", image_shape=shape, growth=Growth(stabilise=16, fade=16))
    trained(model, 2, Noisy(shape))
    assert model.sample(2).shape == (2, *shape)
    with pytest.raises(ValueError, match="StyleGANGenerator cannot build 18x16"):
        partial(StyleGANGenerator, **MAPS)((1, 18, 16))
