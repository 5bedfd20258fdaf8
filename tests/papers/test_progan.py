"""ProGAN (arXiv:1710.10196): what reproductions lose."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import (
    SHAPE,
    Noisy,
    assert_same,
    draw,
    gap,
    quiet,
    sgd,
    shapes_alone,
    tensors,
    tiny,
    trained,
    within_turn,
)
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from gan_lightning import networks, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import Growth, ImageStep, TwoPlayerGAN
from gan_lightning.loading import load_model
from gan_lightning.models import ProGAN
from gan_lightning.networks import ProGANDiscriminator, ProGANGenerator
from gan_lightning.networks.growing import Growing, enlarge

SIDES = [4, 8, 16]  # of SHAPE
MAPS = {"base": 64, "widest": 12}  # by level 12, 8, 4
PHASES = Growth(stabilise=32, fade=32)  # in batches of 16


class Diary(Callback):
    """Notes what each batch was trained with, and saves the model where it is told to."""

    def __init__(self, folder: Path | None = None, save_at: tuple[int, ...] = ()) -> None:
        self.folder, self.save_at = folder, save_at
        self.levels: list[float] = []
        self.sizes: list[int] = []
        self.rates: list[set[float]] = []
        self.adam_steps: list[set[int]] = []

    def on_train_batch_end(
        self, trainer: Trainer, model: TwoPlayerGAN, outputs: Any, batch: Labeled, index: int
    ) -> None:
        self.levels.append(model.generator.level.item())
        assert self.levels[-1] == model.discriminator.level.item() == model.ema.network.level.item()
        self.sizes.append(len(batch.image))
        self.rates.append({group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups})
        used = [model.generator.linear.weight, model.discriminator.score.weight]
        steps = [o.state[p]["step"] for o, p in zip(trainer.optimizers, used, strict=True) if "step" in o.state[p]]
        self.adam_steps.append({int(step) for step in steps})
        if trainer.global_step in self.save_at:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


# Growth


def test_level_of_images_at_every_boundary():
    growth = Growth(start=4, stabilise=6, fade=4)
    expected = {0: 0, 5: 0, 6: 0, 7: 0.25, 9: 0.75, 10: 1, 15: 1, 16: 1, 17: 1.25, 18: 1.5, 20: 2, 26: 2, 10**9: 2}
    assert {images: growth.level(images, SIDES) for images in expected} == expected
    later = Growth(start=8, stabilise=6, fade=4)
    assert [later.level(images, SIDES) for images in (0, 6, 8, 10, 99)] == [1, 1, 1.5, 2, 2]
    at_once, always = Growth(stabilise=6, fade=0), Growth(stabilise=0, fade=4)
    assert [at_once.level(images, SIDES) for images in (0, 5, 6, 12)] == [0, 0, 1, 2]
    assert [always.level(images, SIDES) for images in (0, 2, 4, 6, 8)] == [0, 0.5, 1, 1.5, 2]
    assert {Growth(start=start).level(0, SIDES) for start in (None, 9, 16, 64)} == {2}  # no growth
    assert Growth(start=4).level(1.2e6 + 9e5, [7, 14, 28]) == 1.5  # the paper's phases; 28 px begin with 7


@pytest.mark.parametrize("phases", [(0, 0), (-1, 5), (5, -1)])
def test_phases_without_images_are_refused(phases):
    with pytest.raises(ValueError, match="numbers of images"):
        Growth(stabilise=phases[0], fade=phases[1])


def test_what_a_side_has_holds_from_it_on_and_from_the_beginning_of_its_fade():
    growth = Growth(stabilise=6, fade=4, batch_size={8: 32}, rate={8: 2.0, 16: 3.0})
    assert [growth.batch_size_after(images, SIDES) for images in (0, 6, 7, 10, 17, 99)] == [None, None, 32, 32, 32, 32]
    rate = growth.step_of(ImageStep(), SIDES).learning_rate()
    assert [rate.at(images) for images in (0, 6, 7, 16, 17, 99)] == [1, 1, 2, 2, 3, 3]
    assert Growth().batch_size_after(0, SIDES) is None and Growth().step_of(ImageStep(), SIDES) == ImageStep()


def test_images_in_use_are_averages_of_squares_and_a_fade_blends_two_levels():
    """Real images as fakes are: else the discriminator could tell them by what has not faded in yet."""
    network = ProGANDiscriminator((2, 16, 24), **MAPS)
    image = draw(3, 2, 16, 24)

    def averaged(factor: int) -> np.ndarray:
        """By loops, in the size of the whole image."""
        out = np.empty(image.shape)
        for y in range(0, 16, factor):
            for x in range(0, 24, factor):
                block = image.numpy()[:, :, y : y + factor, x : x + factor]
                out[:, :, y : y + factor, x : x + factor] = block.mean((2, 3), keepdims=True)
        return out

    for level, expected in (
        (0.0, averaged(4)),
        (0.25, 0.75 * averaged(4) + 0.25 * averaged(2)),
        (1.0, averaged(2)),
        (1.9, 0.1 * averaged(2) + 0.9 * averaged(1)),
        (2.0, averaged(1)),
    ):
        network.grow(level)
        shrunk = network.shrink(image)
        assert shrunk.shape[2:] == network.sizes[math.ceil(level)]
        whole = F.interpolate(shrunk, size=(16, 24), mode="nearest")
        torch.testing.assert_close(whole, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [1, 2])
def test_nothing_jumps_where_a_fade_begins_and_where_it_ends(level):
    """The images and scores of a level are those of the next one as its fade begins."""
    generator, discriminator = ProGANGenerator(SHAPE, latent_dim=5, **MAPS), ProGANDiscriminator(SHAPE, **MAPS)
    z, little = draw(4, 5), 1e-6

    def at(level: float) -> tuple[Tensor, Tensor]:
        generator.grow(level)
        discriminator.grow(level)
        image = generator(z)
        return enlarge(image, SHAPE), discriminator(image)

    torch.testing.assert_close(at(level - little), at(float(level)), rtol=1e-4, atol=1e-4)  # ends
    torch.testing.assert_close(at(level - 1 + little), at(level - 1.0), rtol=1e-4, atol=1e-4)  # begins
    half, whole = at(level - 0.5), at(float(level))
    assert (half[0] - whole[0]).abs().max() > 1e-2 and (half[1] - whole[1]).abs().max() > 1e-2


def test_what_is_idle_has_no_gradient_and_no_moments():
    model = tiny("ProGAN", growth=Growth(stabilise=0, fade=32))
    trainer = trained(model, 2)  # levels 0 and 0.5
    for network, ways, optimizer in zip(
        (model.generator, model.discriminator),
        (model.generator.to_image, model.discriminator.from_image),
        trainer.optimizers,
        strict=True,
    ):
        assert all(
            p.grad is None and p not in optimizer.state
            for p in (*ways[2].parameters(), *network.blocks[1].parameters())
        )
        assert all(p.grad is not None for p in (*ways[0].parameters(), *ways[1].parameters()))


def test_level_is_read_again_only_after_another_hand_has_changed_it():
    network, other = ProGANDiscriminator(SHAPE, **MAPS), ProGANDiscriminator(SHAPE, **MAPS)
    with shapes_alone():  # where a number cannot be read
        assert ProGANDiscriminator(SHAPE, **MAPS).in_use() == (2, False)
    network.grow(0.7)
    assert network.reached == pytest.approx(0.7) and (*network.in_use(), network.reduction) == (1, True, 2)
    other.load_state_dict(network.state_dict())
    assert other.reached == network.reached and other.in_use() == (1, True)
    other.level.copy_(torch.tensor(2.0))
    assert (*other.in_use(), other.reduction) == (2, False, 1)
    network.grow(1 + 1e-9)  # the buffer cannot hold it: the number must not say otherwise
    assert network.in_use() == (1, False)


def test_networks_that_cannot_grow_are_refused():
    with pytest.raises(ValueError, match="ProGAN needs networks that grow.* MLPDiscriminator"):
        tiny("ProGAN", discriminator=partial(networks.MLPDiscriminator, width=4))


# Training


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Diary, list[Any], Path]:
    """A run through all levels, in batches that differ by side, saved on the way; and where it ended."""
    folder = tmp_path_factory.mktemp("grown")
    diary = Diary(folder, save_at=(2, 5, 9))
    trainer = trained(growing(), 14, Noisy(batch_size=16), callbacks=[diary])
    return diary, state(trainer), folder


def growing(seed: int = 0) -> ProGAN:
    growth = Growth(stabilise=32, fade=32, batch_size={8: 16, 16: 8}, rate={8: 0.5})
    return tiny("ProGAN", growth=growth, seed=seed)


def state(trainer: Trainer) -> list[Any]:
    model = trainer.lightning_module
    return [model.state_dict(), model.images_seen, [optimizer.state_dict() for optimizer in trainer.optimizers]]


def test_a_run_stabilises_then_fades_by_images(grown):
    diary, *_ = grown
    assert diary.levels == [0, 0, 0, 0.5, 1, 1, 1, 1.5, 1.75, 2, 2, 2, 2, 2]  # at 0, 16, ..., 112, 120, 128, ... images
    assert diary.sizes == 7 * [16] + 7 * [8]
    assert diary.rates == 3 * [{1e-3}] + 11 * [{0.5e-3}]


def test_adam_begins_anew_at_both_ends_of_each_fade(grown):
    """Also on a path whose buffers say so: the count of steps of layers that are always in use."""
    diary, *_ = grown
    assert diary.adam_steps == [{n} for n in (1, 2, 3, 1, 1, 2, 3, 1, 2, 1, 2, 3, 4, 5)]


@pytest.mark.parametrize("step", [2, 5, 9], ids=["stabilising", "as a fade ended", "in a fade"])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(step, grown):
    _, expected, folder = grown
    resumed = trained(growing(seed=1), 14, Noisy(batch_size=16), ckpt_path=folder / f"{step}.ckpt")
    assert_same(state(resumed), expected)


def test_an_average_and_a_file_have_the_level_of_their_network(grown):
    *_, folder = grown
    for step, side in ((2, 4), (5, 8), (9, 16)):
        model = load_model(folder / f"{step}.ckpt")
        assert model.growth == growing().growth  # sides are numbers again, not text
        image = model.sample(3)
        assert image.shape == (3, *SHAPE) and image.abs().max() <= 1
        blocks = F.interpolate(F.avg_pool2d(image, 16 // side), scale_factor=16 // side)
        torch.testing.assert_close(blocks, image)
        assert side == 16 or not torch.allclose(F.interpolate(F.avg_pool2d(image, 32 // side), size=16), image)


@pytest.mark.parametrize("growth", [PHASES, Growth(stabilise=0, fade=32)], ids=["whole levels", "fades"])
def test_two_parts_equal_one(growth):
    runs = []
    for count in (1, 2):
        model = tiny("ProGAN", sgd(1e-3), growth=growth, step=ImageStep(micro_batches=count))
        trained(model, 4)
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-6


# The loss


@pytest.mark.parametrize(("level", "target"), [(2.0, 1.0), (2.0, 750.0), (0.5, 1.0), (0.0, 3.0)])
def test_critic_is_penalised_by_the_gradient_of_the_whole_image(level, target):
    """The authors enlarge all images to the whole size: written out so, with lambda / target^2 and the drift."""
    model = tiny("ProGAN", penalty_weight=10.0, target=target, drift_weight=0.25)
    model.trainer = quiet()
    model.generator.grow(level)
    model.discriminator.grow(level)
    batch = Labeled(draw(8, *SHAPE).clamp(-1, 1), torch.zeros(8, dtype=torch.int64))
    with within_turn(model):
        terms = model.discriminator_loss(batch)
    factor = 2 ** (2 - math.ceil(level))
    with within_turn(model):
        fake = model.generator(model.noise.normal(8, 6)).detach()
        epsilon = model.noise.uniform(8, 1, 1, 1)
    real = model.discriminator.shrink(batch.image)
    whole = F.interpolate(epsilon * real + (1 - epsilon) * fake, scale_factor=float(factor)).requires_grad_()
    (gradient,) = torch.autograd.grad(model.discriminator(F.avg_pool2d(whole, factor)).sum(), whole)
    norm = gradient.flatten(1).norm(dim=1)
    torch.testing.assert_close(terms["penalty"].detach(), 10.0 / target**2 * (norm - target).square().mean())
    scores = model.discriminator(real), model.discriminator(fake)
    torch.testing.assert_close(terms["critic"], scores[1].mean() - scores[0].mean())
    torch.testing.assert_close(terms["drift"], 0.25 * (scores[0] ** 2).mean())
    assert terms.keys() == {"critic", "penalty", "drift"}
    with within_turn(model):
        assert model.generator_loss(batch).keys() == {"critic"}


# The networks, written out again in numpy; weights are found by the names that a checkpoint has


class Written:
    """The paper's layers on a state_dict, in float64."""

    def __init__(self, network: Growing) -> None:
        self.at = {name: value.numpy().astype(np.float64) for name, value in network.state_dict().items()}

    def dense(self, x: np.ndarray, name: str, gain: float) -> np.ndarray:
        weight = self.at[f"{name}.weight"]
        return x @ (weight * gain / math.sqrt(weight.shape[1])).T + self.at.get(f"{name}.bias", 0.0)

    def conv(self, x: np.ndarray, name: str, gain: float = math.sqrt(2)) -> np.ndarray:
        weight = self.at[f"{name}.weight"]
        weight = weight * gain / math.sqrt(np.prod(weight.shape[1:]))
        r, (h, w) = weight.shape[2] // 2, x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (r, r), (r, r)))
        out = sum(
            np.einsum("ncyx,oc->noyx", padded[:, :, i : i + h, j : j + w], weight[:, :, i, j])
            for i in range(2 * r + 1)
            for j in range(2 * r + 1)
        )
        return out + (self.at[f"{name}.bias"][:, None, None] if f"{name}.bias" in self.at else 0.0)

    @staticmethod
    def leaky(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0.2 * x)

    @staticmethod
    def pixel_norm(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)

    @staticmethod
    def up(x: np.ndarray) -> np.ndarray:
        return x.repeat(2, 2).repeat(2, 3)

    @staticmethod
    def down(x: np.ndarray) -> np.ndarray:
        return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def generated(network: ProGANGenerator, z: np.ndarray, level: float) -> np.ndarray:
    own = Written(network)

    def layer(x: np.ndarray) -> np.ndarray:
        return own.pixel_norm(own.leaky(x))

    h = own.dense(own.pixel_norm(z), "linear", math.sqrt(2) / 4).reshape(len(z), -1, 4, 4)
    h = layer(own.conv(layer(h + own.at["bias"]), "conv"))
    outs = [own.conv(h, "to_image.0", 1.0)]
    for i in range(math.ceil(level)):
        h = layer(own.conv(own.up(h), f"blocks.{i}.0"))
        h = layer(own.conv(h, f"blocks.{i}.1"))
        outs.append(own.conv(h, f"to_image.{i + 1}", 1.0))
    share = level - math.floor(level)
    return outs[-1] if share == 0 else share * outs[-1] + (1 - share) * own.up(outs[-2])


def scored(network: ProGANDiscriminator, image: np.ndarray, level: float, group: int = 4) -> np.ndarray:
    own, top = Written(network), math.ceil(level)
    h = own.leaky(own.conv(image, f"from_image.{top}"))
    for i in range(top - 1, -1, -1):
        h = own.leaky(own.conv(h, f"blocks.{i}.0"))
        h = own.leaky(own.down(own.conv(h, f"blocks.{i}.1")))
        if i == top - 1 and level != top:
            share = level - math.floor(level)
            h = share * h + (1 - share) * own.leaky(own.conv(own.down(image), f"from_image.{i}"))
    deviation = [np.sqrt(h[i : i + group].var(0) + 1e-8).mean() for i in range(0, len(h), group)]
    plane = np.repeat(deviation, group)[:, None, None, None] * np.ones((1, 1, *h.shape[2:]))
    h = own.leaky(own.conv(np.concatenate([h, plane], 1), "conv"))
    return own.dense(own.leaky(own.dense(h.reshape(len(h), -1), "linear", math.sqrt(2))), "score", 1.0)[:, 0]


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0, 1.5, 2.0])
def test_networks_are_the_papers(level):
    shape = (2, 16, 16)
    generator = ProGANGenerator(shape, latent_dim=5, **MAPS)
    discriminator = ProGANDiscriminator(shape, **MAPS)
    for network in (generator, discriminator):
        network.double()
        network.grow(level)
        with torch.no_grad():  # biases begin at 0: others tell where they stand
            for name, p in network.named_parameters():
                if name.endswith("bias"):
                    p.copy_(draw(*p.shape, seed=len(name)))
    z = draw(8, 5, seed=1).double()
    image = generator(z)
    torch.testing.assert_close(image, torch.from_numpy(generated(generator, z.numpy(), level)), rtol=1e-6, atol=1e-8)
    expected = scored(discriminator, image.detach().numpy(), level)
    torch.testing.assert_close(discriminator(image), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_weights_are_normal_and_biases_zero_at_first():
    for network in (ProGANGenerator(SHAPE, latent_dim=64), ProGANDiscriminator(SHAPE)):
        for name, p in network.named_parameters():
            if name.endswith("bias"):
                assert not p.any()
            elif p.numel() > 10_000:
                assert p.std().item() == pytest.approx(1.0, abs=0.02), name


def test_networks_of_1024_px_have_the_papers_size():
    """Table 2: 23.1 million parameters each; 512 maps up to 32 px, then 256, 128, 64, 32, 16."""
    with shapes_alone():
        both = ProGANGenerator((3, 1024, 1024)), ProGANDiscriminator((3, 1024, 1024))
    assert [round(sum(p.numel() for p in network.parameters()) / 1e6, 1) for network in both] == [23.1, 23.1]
    assert [layer.in_channels for layer in both[0].to_image] == [512] * 4 + [256, 128, 64, 32, 16]


@pytest.mark.parametrize("name", ["ProGAN", "StyleGAN"])
def test_batches_that_cannot_be_shared_are_refused_before_they_come(name: str) -> None:
    growth = Growth(start=4, stabilise=8, fade=8, batch_size={4: 8, 16: 6})
    model = tiny(name, growth=growth, step=ImageStep(micro_batches=4))
    with pytest.raises(ValueError, match="6 images from 16 px on cannot be shared by 4"):
        trained(model, 1, Noisy(batch_size=8))


def test_rates_by_side_and_a_scheduler_are_refused() -> None:
    step = ImageStep(scheduler=partial(optim.LinearDecay, end=9))
    with pytest.raises(ValueError, match="growth.rate and step.scheduler"):
        tiny("ProGAN", growth=Growth(rate={8: 2.0}), step=step)
