"""What a model of a kind may be that no paper here is yet: further players, noise in layers, averages, conditions."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHAPE, Noisy, assert_same, gap, plain_networks, quiet, sgd, tensors, tiny, trained, within_turn
from PIL import Image
from scipy import stats
from torch import Tensor, nn

from gan_lightning import losses, networks, sample
from gan_lightning.augment import Augment
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import FID
from gan_lightning.core import ImageGenerator, ImageShape, ImageStep, Player, Terms, TwoPlayerGAN
from gan_lightning.loading import load_model
from gan_lightning.metrics import DigitFeatures, frechet_distance, to_uint8
from gan_lightning.noise import Noise, layer_noise
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.scoring import Protocol

PIXELS = math.prod(SHAPE)


# A generator of images whose game is not of two players.


class Levels(nn.Module):
    """Coarse images, and what is finer."""

    latent_dim = 6

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.coarse = networks.MLPGenerator((1, 8, 8), latent_dim=6, width=8)
        self.fine = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.fine(nn.functional.interpolate(self.coarse(z), scale_factor=2)).tanh()


class Pyramid(ImageGenerator):
    """Two generators, each a player, against one discriminator."""

    def __init__(self, image_shape: ImageShape, step: ImageStep = ImageStep(ema_half_life=100.0)) -> None:
        super().__init__(image_shape, Levels(image_shape), step)
        self.discriminator = networks.MLPDiscriminator(image_shape, width=8)

    def players(self) -> dict[str, Player]:
        fast = partial(torch.optim.SGD, lr=0.1)
        parts = {"coarse": self.generator.coarse, "fine": self.generator.fine, "discriminator": self.discriminator}
        return {name: Player(network, fast) for name, network in parts.items()}

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        self.turn("discriminator", self.discriminator_loss, batch)
        self.turn("coarse", self.generator_loss, batch)
        self.turn("fine", self.generator_loss, batch, advances_step=True)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        fake = self.fake_like(batch).detach().image
        return {"": losses.hinge_discriminator(self.discriminator(batch.image), self.discriminator(fake))}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"": losses.hinge_generator(self.discriminator(self.fake_like(batch).image))}


def test_a_game_of_three_players_generates_images(tmp_path: Path) -> None:
    """It trains, is scored by FID as anything else, and `sample` draws what the model draws."""
    model, extractor = Pyramid(SHAPE), DigitFeatures()
    before = {name: tensors(player.network) for name, player in model.players().items()}
    fid = FID(extractor, Protocol(n_fake=8, n_real=8, split="val"))
    trainer = trained(model, 3, callbacks=[fid], plugins=[AtomicCheckpointIO()])
    for name, player in model.players().items():
        assert gap(tensors(player.network), before[name]) > 0 and model.turns[name] == 3
    assert gap(tensors(model.ema.network), tensors(model.generator)) > 0

    real = Noisy().reference("val").__getitems__(list(range(8))).image
    features = [extractor(images).pooled.double() for images in (real, to_uint8(model.sample(8)))]
    expected = frechet_distance(*(moment for x in features for moment in (x.mean(0), x.T.cov())))
    assert fid.scores["FID-digits"] == pytest.approx(float(expected), rel=1e-4)

    trainer.save_checkpoint(tmp_path / "last.ckpt")
    sample.main([str(tmp_path / "last.ckpt"), "--n", "3", "--out", str(tmp_path / "drawn")])
    drawn = [list(Image.open(tmp_path / "drawn" / f"{i:06d}.png").tobytes()) for i in range(3)]
    images = to_uint8(load_model(tmp_path / "last.ckpt").double().sample(3))
    assert drawn == images.flatten(1).tolist()


def test_an_average_follows_all_players_that_move_its_network() -> None:
    model = Pyramid(SHAPE, ImageStep(ema_half_life=0.0))
    trained(model, 2)
    assert_same(tensors(model.ema.network), tensors(model.generator))


# Noise in layers.


class Rough(nn.Module):
    """A perceptron with noise on its hidden units and on its pixels."""

    latent_dim = 6

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, math.prod(image_shape))

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z).tanh()
        h = h + layer_noise(len(h), 12)
        image = self.last(h).view(-1, *self.image_shape)
        return (image + 0.1 * layer_noise(len(h), *self.image_shape)).tanh()


def rough(step: ImageStep = ImageStep()) -> TwoPlayerGAN:
    return tiny("LSGAN", plain_networks(), sgd(), generator=Rough, step=step)


def test_noise_in_layers_belongs_to_the_sample() -> None:
    model = rough()
    images = model.sample(8)
    assert len(images.flatten(1).unique(dim=0)) == 8
    for numbers in ([3], [5, 3, 0], range(2, 6)):
        torch.testing.assert_close(model.sample(numbers), images[list(numbers)])
    z = model.latents(range(8))
    same_latents = model.generate(z, seed=1)
    assert not torch.isclose(same_latents, images).flatten(1).all(1).any()
    torch.testing.assert_close(model.generate(z[[3]], numbers=[3]), images[[3]])


def test_noise_in_layers_is_not_that_of_the_latents() -> None:
    class Bare(nn.Module):
        latent_dim = PIXELS

        def __init__(self, image_shape: ImageShape) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, z: Tensor) -> Tensor:
            return self.gain * layer_noise(len(z), *SHAPE)

    model = tiny("LSGAN", plain_networks(), generator=Bare)
    noise, z = model.sample(64).flatten(), model.latents(range(64)).flatten()
    assert abs(float(torch.corrcoef(torch.stack([noise, z]))[0, 1])) < 5 / math.sqrt(len(z))
    assert stats.kstest(noise.numpy(), "norm").pvalue > 1e-3


def test_noise_in_layers_trains_alike_in_micro_batches() -> None:
    after = []
    for count in (1, 2):
        model = rough(ImageStep(micro_batches=count))
        trained(model, 3, Noisy(floating=True), precision="64-true")
        after.append(tensors(model))
    assert gap(after[1], after[0]) <= 1e-12
    assert gap(after[0], tensors(rough())) > 1e-3


def test_a_layer_draws_no_noise_that_belongs_to_nothing() -> None:
    model = rough()
    with pytest.raises(RuntimeError, match="use noise.drawn_by_layers"):
        model.generator(torch.zeros(2, 6))
    model.trainer = quiet()
    with within_turn(model):
        assert model.generator(torch.zeros(2, 6)).shape == (2, *SHAPE)


# Several averages.


def test_several_averages_follow_one_network(tmp_path: Path) -> None:
    model = tiny(
        "LSGAN", plain_networks(), sgd(0.5), n_critic=1, step=ImageStep(ema_half_life=[0.0, 100.0], ema_rampup=None)
    )
    slow, after_turn = tensors(model.generator), model.generator_turn

    def followed(batch: Labeled) -> None:
        after_turn(batch)
        for name, value in tensors(model.generator).items():
            slow[name] = slow[name] + (1 - 0.5 ** (16 / 100)) * (value - slow[name])

    model.generator_turn = followed
    trainer = trained(model, 5, plugins=[AtomicCheckpointIO()])
    del model.generator_turn
    expected = {"generator": tensors(model.generator), "generator_100": slow}
    assert gap(expected["generator"], slow) > 1e-3
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    for made in (model, load_model(tmp_path / "last.ckpt")):
        assert list(made.averages) == list(expected)
        assert_same(tensors(made.averages["generator"].network), expected["generator"])
        assert gap(tensors(made.averages["generator_100"].network), slow) <= 1e-6
        assert made.ema is made.averages["generator"], "the first is the one that is sampled"


# Conditions.


class Spied(nn.Module):
    """A network of classes that keeps the labels it was given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, []
        self.latent_dim = getattr(network, "latent_dim", None)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        self.seen.append(label)
        return self.network(x, label)


class OwnLabels(TwoPlayerGAN):
    """Fakes are of the classes of the real images beside them."""

    num_classes = 2

    def __init__(self, image_shape: ImageShape) -> None:
        generator = Spied(networks.MLPGenerator(image_shape, 2, latent_dim=6, width=8))
        discriminator = Spied(networks.MLPDiscriminator(image_shape, 2, width=8))
        still = partial(torch.optim.SGD, lr=0.0)
        super().__init__(image_shape, generator, discriminator, still, still, 1, ImageStep())

    def condition_like(self, batch: Labeled) -> Tensor:
        return batch.label

    def discriminator_loss(self, batch: Labeled) -> Terms:
        return {"": losses.hinge_discriminator(*self.score_pair(batch, self.fake_like(batch).detach()))}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}


def test_what_fakes_are_conditioned_on_is_the_models_word() -> None:
    model = OwnLabels(SHAPE)
    model.trainer = quiet()
    batch = Labeled(torch.zeros(4, *SHAPE), torch.tensor([1, 0, 1, 1]))
    for loss, players in ((model.discriminator_loss, "gdd"), (model.generator_loss, "gd")):
        with within_turn(model):
            loss(batch)
        seen = [*model.generator.seen, *model.discriminator.seen]
        assert len(seen) == len(players) and all(torch.equal(label, batch.label) for label in seen)
        model.generator.seen.clear()
        model.discriminator.seen.clear()


# Truncation.


@pytest.mark.parametrize("psi", [0.3, 0.9, 2.5])
@pytest.mark.parametrize("name", ["SNGAN", "DCGAN"])
def test_truncated_latents_keep_their_quantiles(name: str, psi: float) -> None:
    """Against scipy's distributions: N(0, 1) within +-psi, U(-1, 1) within +-psi where psi is below 1."""
    model = tiny(name, plain_networks())
    z = model.latents(range(200), 3)
    z, truncated = z.double(), model.truncate(z, psi).double()
    if model.uniform_latents:
        most = min(psi, 1.0)
        expected = stats.uniform(-most, 2 * most).ppf(stats.uniform(-1, 2).cdf(z))
    else:
        expected = stats.truncnorm(-psi, psi).ppf(stats.norm.cdf(z))
    torch.testing.assert_close(truncated, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.sample(4, 3, truncation=psi), model.generate(truncated[:4].float()))


@pytest.mark.parametrize("psi", [0.0, -0.5, math.nan])
@pytest.mark.parametrize("name", ["SNGAN", "DCGAN", "InfoGAN"])
def test_a_truncation_that_is_not_positive_is_refused(name: str, psi: float) -> None:
    with pytest.raises(ValueError, match="truncation must be positive"):
        tiny(name).sample(1, truncation=psi)


def test_codes_are_not_truncated() -> None:
    model = tiny("InfoGAN")
    z = model.latents(range(5))
    truncated = model.truncate(z, 0.5)
    torch.testing.assert_close(truncated[:, : model.noise_dim], 0.5 * z[:, : model.noise_dim])
    assert torch.equal(truncated[:, model.noise_dim :], z[:, model.noise_dim :])


# Penalties of scores that are there.


class Halves(nn.Module):
    """Images in half precision, the same ones in any precision of training."""

    latent_dim = PIXELS

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        return (self.gain * z).tanh().bfloat16().view(-1, *SHAPE)


class Double(Augment):
    """Twice each image."""

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        return 2 * image


class Sum(nn.Module):
    """w.x for each image x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, PIXELS))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.weight


class Penalised(TwoPlayerGAN):
    """R1 and R2 of the scores of the loss itself; with `alone` nothing but them."""

    def __init__(self, discriminator: nn.Module, step: ImageStep = ImageStep(), alone: bool = False) -> None:
        still = partial(torch.optim.SGD, lr=0.0)
        super().__init__(SHAPE, Halves(SHAPE), discriminator, still, still, 1, step)
        self.alone = alone

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = batch.differentiable(), self.fake_like(batch).differentiable()
        with losses.exact_gradients(self.device):
            real_score, fake_score = self.score_pair(real, fake)
        terms = {
            "r1": losses.zero_centred_penalty(real_score, real.image),
            "r2": losses.zero_centred_penalty(fake_score, fake.image),
        }
        return terms if self.alone else terms | {"hinge": losses.hinge_discriminator(real_score, fake_score)}

    def generator_loss(self, batch: Labeled) -> Terms:
        fake = self.fake_like(batch).image.float()
        return {"": losses.hinge_generator(self.show(fake))}


def test_penalties_share_the_forward_passes_of_the_scores() -> None:
    torch.manual_seed(0)
    model, calls = Penalised(networks.MLPDiscriminator(SHAPE, width=8)), []
    model.discriminator.register_forward_hook(lambda *_: calls.append(model.training_log.player))
    trained(model, 1)
    assert calls == ["discriminator", "discriminator", "generator"]


def test_a_penalty_is_by_the_image_before_augmentation() -> None:
    """D(T(x)) = w.(2 x): both penalties are (2 |w|)^2 / 2."""
    model = Penalised(Sum(), ImageStep(augment=Double))
    model.trainer = quiet()
    with within_turn(model):
        terms = model.discriminator_loss(Labeled(torch.rand(3, *SHAPE), torch.zeros(3, dtype=torch.int64)))
    expected = (2 * model.discriminator.weight.norm().item()) ** 2 / 2
    assert terms["r1"].item() == pytest.approx(expected) and terms["r2"].item() == pytest.approx(expected)


def test_a_penalty_of_shared_scores_is_exact_in_half_precision() -> None:
    def gradients(precision: str) -> dict[str, Any]:
        torch.manual_seed(0)
        model = Penalised(networks.MLPDiscriminator(SHAPE, width=8), alone=True)
        model.generator_turn = lambda batch: None
        trained(model, 1, precision=precision, limit_train_batches=1, max_epochs=1)
        return {name: p.grad for name, p in model.discriminator.named_parameters() if p.grad is not None}

    exact, mixed = gradients("32-true"), gradients("bf16-mixed")
    assert exact and all(grad.dtype == torch.float32 for grad in mixed.values())
    assert gap(mixed, exact) <= 1e-5


def test_averages_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two would be averages of one name"):
        tiny("DCGAN", step=ImageStep(ema_half_life=[10.0, 100.0, 100.2]))
