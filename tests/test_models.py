"""Every model keeps one contract; then what each paper asks for; then whether it learns."""

from __future__ import annotations

import inspect
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import (
    GAMES,
    GANS,
    SHAPE,
    TEXT_TO_IMAGE,
    TRANSLATORS,
    assert_same,
    both,
    gap,
    plain_networks,
    quiet,
    sgd,
    shapes_alone,
    tensors,
    tiny,
    within_turn,
)
from conftest import trained as trained_
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gan_lightning import losses, models, networks, optim
from gan_lightning.batches import LINKED_ARGUMENTS, Labeled
from gan_lightning.core import (
    AdversarialModule,
    Growth,
    ImageStep,
    Inpainter,
    Manipulator,
    Ranker,
    SequenceGenerator,
    TextToImage,
    Translator,
    TwoPlayerGAN,
)
from gan_lightning.data import Gaussians
from gan_lightning.loading import load_model

UNCONDITIONAL = ["GAN", "DCGAN", "WGAN", "WGANGP", "LSGAN", "GeometricGAN", "RelativisticGAN", "SNGAN"]
OF_PAIRS = ["BigBiGAN"]  # its discriminator sees images with latents: its own file has what follows here
every_model = pytest.mark.parametrize("name", GANS)
every_paper = pytest.mark.parametrize("name", models.__all__)
of_images = pytest.mark.parametrize("name", [name for name in GANS if name not in OF_PAIRS])


def trained(model: TwoPlayerGAN, steps: int, **options: Any) -> Trainer:
    return trained_(model, steps, log_every_n_steps=1, **options)


class Moves(Callback):
    """Whose weights each batch changed."""

    def __init__(self) -> None:
        self.before: dict[str, dict[str, Tensor]] = {}
        self.moved: list[set[str]] = []

    def on_train_batch_start(self, trainer: Trainer, model: TwoPlayerGAN, *_: Any) -> None:
        self.before = {name: parameters(player.network) for name, player in model.players().items()}

    def on_train_batch_end(self, trainer: Trainer, model: TwoPlayerGAN, *_: Any) -> None:
        after = {name: parameters(player.network) for name, player in model.players().items()}
        self.moved.append({name for name in after if gap(after[name], self.before[name]) > 0})


def at_defaults(name: str, shape: tuple[int, int, int]) -> TwoPlayerGAN:
    """The model as its paper has it, of ten classes where it takes classes."""
    kind = getattr(models, name)
    return kind(shape, **({"num_classes": 10} if "num_classes" in inspect.signature(kind).parameters else {}))


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


# The contract


@every_model
def test_contract(name, tmp_path):
    """Two generator steps: who moved, what was logged, what comes out, and that a checkpoint gives it all back."""
    model, moves = tiny(name), Moves()
    trainer = trained(model, 2, callbacks=[moves])
    expected = [{"discriminator"}] * (model.n_critic - 1) + [{"discriminator", "generator"}]
    if model.batches_per_step == 2:
        expected = [{"discriminator"}, {"generator"}]
    assert trainer.global_step == 2 and model.iteration == 2 * len(expected)
    assert moves.moved == 2 * expected

    figures = {figure: float(value) for figure, value in trainer.callback_metrics.items()}  # both players' last
    players = {
        f"{player}/{figure}" for player in ("discriminator", "generator") for figure in ("loss", "gradient_norm")
    }
    accuracies = {"discriminator/accuracy_real", "discriminator/accuracy_fake"}
    assert figures.keys() >= players | accuracies | {"generator/deviation", "images_per_second", "images_seen"}
    assert all(math.isfinite(value) for value in figures.values())
    assert all(figures[name] > 0 for name in figures if name.endswith(("gradient_norm", "deviation", "second")))
    assert all(0 <= figures[name] <= 1 for name in accuracies)
    assert figures["images_seen"] == 2 * 16 * len(expected)

    images = model.sample(5, seed=3)
    assert images.shape == (5, *SHAPE) and images.dtype == torch.float32
    assert images.isfinite().all() and images.abs().max() <= 1 and images.std() > 0

    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt")  # from the file alone
    assert type(loaded) is type(model)
    assert_same(tensors(loaded), tensors(model))
    assert_same(loaded.sample(5, seed=3), images)
    assert loaded.iteration == model.iteration and loaded.images_seen == model.images_seen


@of_images
def test_micro_batches_equal_the_whole_batch(name):
    runs = []
    for count in (1, 2):
        model = tiny(name, plain_networks(name), sgd(1e-3), step=ImageStep(micro_batches=count))
        trained(model, 2)
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-6


@of_images
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("sides", [(28, 28), (32, 32), (64, 64), (32, 48), (80, 48)])
def test_default_networks_build_for_every_image(name, sides, channels):
    shape = (channels, *sides)
    with shapes_alone():
        model = at_defaults(name, shape)
        label = torch.zeros(2, dtype=torch.int64)
        image = model.generator(torch.empty(2, model.generator.latent_dim), *[label] if model.num_classes else [])
        assert image.shape == (2, *shape)
        score = model.discriminate(Labeled(image, label))
        assert (score[0] if isinstance(score, tuple) else score).shape == (2,)


@every_paper
def test_it_is_a_paper(name):
    """A docstring with the paper's arXiv id, a year in the first line of the file, one file each."""
    kind = getattr(models, name)
    assert "arXiv:" in kind.__doc__
    assert inspect.getmodule(kind).__doc__.rstrip(".").split()[-1].isdigit()
    bases = {Translator: TRANSLATORS, Inpainter: TRANSLATORS, TwoPlayerGAN: GANS}
    bases |= {AdversarialModule: GAMES, SequenceGenerator: GAMES, Ranker: GAMES, Manipulator: GAMES}
    bases |= {TextToImage: TEXT_TO_IMAGE}
    assert name in bases[kind.__mro__[1]]
    first = next(iter(inspect.signature(kind).parameters.values()))
    assert first.name in LINKED_ARGUMENTS and first.default is inspect.Parameter.empty


# Paper defaults


def defaults(name: str) -> dict[str, Any]:
    return {n: p.default for n, p in inspect.signature(getattr(models, name)).parameters.items()}


ADAM_DCGAN = (torch.optim.Adam, {"lr": 2e-4, "betas": (0.5, 0.999)})
ADAM_WGANGP = (torch.optim.Adam, {"lr": 2e-4, "betas": (0.0, 0.9)})
PAPERS: dict[str, tuple[tuple[type, dict], dict[str, Any]]] = {
    "GAN": (ADAM_DCGAN, {"n_critic": 1, "minimax": False}),
    "DCGAN": (ADAM_DCGAN, {"n_critic": 1, "real_target": 1.0}),
    "WGAN": ((torch.optim.RMSprop, {"lr": 5e-5, "momentum": 0}), {"n_critic": 5, "clip": 0.01}),
    "WGANGP": (ADAM_WGANGP, {"n_critic": 5, "penalty_weight": 10.0}),
    "LAPGAN": (
        (torch.optim.SGD, {"lr": 0.02, "momentum": 0.5}),
        {"n_critic": 1, "conditional": False, "coarsest": 8, "images_per_level": None},
    ),
    "LSGAN": (ADAM_DCGAN, {"n_critic": 1, "a": 0.0, "b": 1.0, "c": 1.0}),
    "GeometricGAN": (ADAM_DCGAN, {"n_critic": 1}),
    "RelativisticGAN": (ADAM_DCGAN, {"n_critic": 1, "loss": losses.relativistic_average}),
    "SNGAN": (ADAM_WGANGP, {"n_critic": 5, "conditioning": "none"}),
    "CGAN": (ADAM_DCGAN, {"n_critic": 1}),
    "BEGAN": ((torch.optim.Adam, {"lr": 1e-4, "betas": (0.5, 0.999)}), {"gamma": 0.5, "lambda_k": 0.001}),
    "CoGAN": (ADAM_DCGAN, {"n_critic": 1}),
    "BigBiGAN": (
        (torch.optim.Adam, {"lr": (5e-5, 2e-4), "betas": (0.0, 0.999), "eps": 1e-6}),
        {"n_critic": 2, "encoder_rate": 10.0},
    ),
    "InfoGAN": (
        (torch.optim.Adam, {"lr": (1e-3, 2e-4), "betas": (0.5, 0.999)}),
        {"noise_dim": 62, "categories": 10, "continuous": 2, "category_weight": 1.0, "continuous_weight": 0.1},
    ),
    "ImprovedGAN": (
        (torch.optim.Adam, {"lr": 3e-4, "betas": (0.5, 0.999)}),
        {"real_target": 0.9, "feature_matching": False, "historical_weight": 0.0, "semi_supervised": False},
    ),
    "ACGAN": (ADAM_DCGAN, {"n_critic": 1, "class_weight": 1.0}),
    "SAGAN": ((torch.optim.Adam, {"lr": (1e-4, 4e-4), "betas": (0.0, 0.9)}), {"n_critic": 1}),
    "BigGAN": (
        (torch.optim.Adam, {"lr": (5e-5, 2e-4), "betas": (0.0, 0.999), "eps": 1e-6}),
        {"n_critic": 2, "orthogonal_weight": 1e-4},
    ),
    "StyleGAN2": (
        (torch.optim.Adam, {"lr": 2e-3, "betas": (0.0, 0.99), "eps": 1e-8}),
        {"mixing": 0.9, "gamma": 10.0, "r1_interval": 16, "path_weight": 2.0, "path_interval": 4}
        | {"path_shrink": 2, "path_decay": 0.01, "w_decay": 0.995, "conditional": False},
    ),
    "R3GAN": ((torch.optim.Adam, {"lr": 2e-4, "betas": (0.0, 0.9), "eps": 1e-8}), {"conditional": False}),
    "R3GAN2": ((torch.optim.Adam, {"lr": 1e-2, "betas": (0.0, 0.9), "eps": 1e-8}), {"conditional": False}),
    "ProGAN": (
        (torch.optim.Adam, {"lr": 1e-3, "betas": (0.0, 0.99), "eps": 1e-8}),
        {"n_critic": 1, "penalty_weight": 10.0, "target": 1.0, "drift_weight": 0.001, "growth": Growth()},
    ),
    "StyleGAN": (
        (torch.optim.Adam, {"lr": 1e-3, "betas": (0.0, 0.99), "eps": 1e-8}),
        {"n_critic": 1, "gamma": 10.0, "mixing": 0.9, "w_decay": 0.995, "conditional": False},
    ),
    "Pix2Pix": (ADAM_DCGAN, {"l1_weight": 100.0}),
    "CycleGAN": (ADAM_DCGAN, {"cycle_weight": 10.0, "identity_weight": 0.5, "pool": 50}),
    "StarGAN": (
        (torch.optim.Adam, {"lr": 1e-4, "betas": (0.5, 0.999)}),
        {"n_critic": 5, "penalty_weight": 10.0, "class_weight": 1.0, "reconstruction_weight": 10.0},
    ),
    "SimGAN": (
        (torch.optim.SGD, {"lr": 1e-3, "momentum": 0}),
        {"refiner_warmup": 1000, "discriminator_warmup": 200, "refiner_turns": 2, "discriminator_turns": 1},
    ),
    "FaceSwap": ((torch.optim.Adam, {"lr": (5e-5, 2e-4), "betas": (0.5, 0.999)}), {"coverage": 160 / 256}),
    "ContextEncoder": (
        (torch.optim.Adam, {"lr": (2e-3, 2e-4), "betas": (0.5, 0.999)}),
        {"reconstruction_weight": 0.999, "overlap": 4, "overlap_weight": 10.0},
    ),
    "SRGAN": (
        (torch.optim.Adam, {"lr": 1e-4, "betas": (0.9, 0.999)}),
        {"pretraining": 1_000_000, "adversarial_weight": 1e-3, "content_weight": pytest.approx(0.006, rel=0.03)},
    ),
    "StackGAN": (
        ADAM_DCGAN,
        {"stage_1_side": 64, "text_images": 0, "stage_1_images": 5_313_000, "kl_weight": 2.0},  # 600 epochs of CUB
    ),
    "SinGAN": (
        (torch.optim.Adam, {"lr": 5e-4, "betas": (0.5, 0.999)}),
        {"min_size": 25, "factor": 0.75, "steps_per_scale": 2000, "decay_after": 1600, "noise": 0.1, "redraw": False}
        | {"discriminator_turns": 3, "generator_turns": 3, "penalty_weight": 0.1, "reconstruction_weight": 10.0},
    ),
    "SeqGAN": (
        (torch.optim.Adam, {"lr": (1e-2, 1e-2, 1e-4, 1e-2), "betas": (0.9, 0.999)}),
        {"pretraining": 120 * 156, "discriminator_turns": 5 * 3 * 156, "rollouts": 16, "baseline": "none"},
    ),
    "IRGAN": ((torch.optim.SGD, {"lr": 64e-3, "momentum": 0}), {"temperature": 0.2, "importance": 0.2, "exact": False}),
    "PredictabilityMinimization": (  # the paper names no rates
        (torch.optim.Adam, {"lr": (1e-3, 1e-2)}),
        {"unpredictability_weight": 1.0, "variance_weight": 0.0, "reconstruction_weight": 0.0},
    ),
}
PITFALLS = Path(__file__).parent / "papers"


def test_every_paper_is_checked():
    assert set(PAPERS) == set(models.__all__)
    own = {name for name in models.__all__ if (PITFALLS / f"test_{file_of(name)}.py").exists()}
    assert set(LOSSES) | own == set(models.__all__)


def file_of(name: str) -> str:
    return Path(inspect.getfile(getattr(models, name))).stem


@every_paper
def test_defaults_are_the_papers(name):
    (optimizer_type, settings), arguments = PAPERS[name]
    for argument, expected in arguments.items():
        assert defaults(name)[argument] == expected, argument
    players = [argument for argument, build in defaults(name).items() if build and argument.endswith("_optimizer")]
    assert len(players) >= 2
    for place, player in enumerate(players):
        optimizer = defaults(name)[player]([nn.Parameter(torch.zeros(1))])
        assert isinstance(optimizer, optimizer_type)
        for setting, expected in settings.items():
            of_player = expected[place] if setting == "lr" and isinstance(expected, tuple) else expected
            assert optimizer.defaults[setting] == of_player, setting


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_default_networks_are_the_papers(name):
    with shapes_alone():
        model = getattr(models, name)((3, 32, 32))
    kinds = {
        "GAN": (networks.MLPGenerator, networks.MaxoutDiscriminator, 100),
        "WGANGP": (networks.ResNetGenerator, networks.ResNetDiscriminator, 128),
        "SNGAN": (networks.ResNetGenerator, networks.ResNetDiscriminator, 128),
    }
    generator, discriminator, latent_dim = kinds.get(name, (networks.DCGANGenerator, networks.DCGANDiscriminator, 100))
    assert isinstance(model.generator, generator) and isinstance(model.discriminator, discriminator)
    assert model.generator.latent_dim == latent_dim
    normed = any(isinstance(m, nn.BatchNorm2d) for m in model.discriminator.modules())
    assert normed == (discriminator is networks.DCGANDiscriminator)
    layers = [m for m in model.discriminator.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert all(parametrize.is_parametrized(layer) == (name == "SNGAN") for layer in layers)
    if discriminator is networks.ResNetDiscriminator:
        assert model.discriminator.sum_pool == (name == "SNGAN")
        assert model.generator.conv.in_channels == {"WGANGP": 128, "SNGAN": 256}[name]
        assert model.discriminator.linear.in_features == 128


@pytest.mark.parametrize("name", [name for name in GANS if name not in ("InfoGAN", "LAPGAN")])  # tests of their own
def test_latents_have_the_papers_distribution(name):
    model = tiny(name)
    model.trainer = quiet()
    with within_turn(model):
        z = model.latent(model.noise, 4000)
    uniform = name in ("GAN", "DCGAN", "CGAN", "ImprovedGAN", "BEGAN", "CoGAN")
    assert z.shape == (4000, 6) and z.mean().abs() < 0.03
    assert z.std().item() == pytest.approx(1 / math.sqrt(3) if uniform else 1, rel=0.02)
    assert (z.abs().max() <= 1) == uniform


# Paper losses, written out again


def bce(score: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))


def relativistic_average(a: Tensor, b: Tensor) -> Tensor:
    return bce(a - b.mean(), 1.0) + bce(b - a.mean(), 0.0)


LOSSES = {  # discriminator's loss of (real, fake) without penalties, generator's
    "GAN": (lambda r, f: bce(r, 1) + bce(f, 0), lambda r, f: bce(f, 1)),
    "DCGAN": (lambda r, f: bce(r, 1) + bce(f, 0), lambda r, f: bce(f, 1)),
    "WGAN": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "WGANGP": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "LSGAN": (lambda r, f: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2, lambda r, f: ((f - 1) ** 2).mean() / 2),
    "GeometricGAN": (lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(), lambda r, f: -f.mean()),
    "RelativisticGAN": (lambda r, f: relativistic_average(r, f), lambda r, f: relativistic_average(f, r)),
    "SNGAN": (lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(), lambda r, f: -f.mean()),
    "CGAN": (lambda r, f: bce(r, 1) + bce(f, 0), lambda r, f: bce(f, 1)),
    "SAGAN": (lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(), lambda r, f: -f.mean()),
    "BigGAN": (lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(), lambda r, f: -f.mean()),
}


def evaluated(model: TwoPlayerGAN, player: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The terms of a player's loss, and the scores of the real and the fake images that it is made of."""
    model.trainer = quiet()
    image = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    batch = Labeled(image, torch.arange(8) % 2)
    with within_turn(model):
        fake = model.fake_like(batch)
        real_score, fake_score = model.discriminate(batch), model.discriminate(fake)
    with within_turn(model):
        terms = getattr(model, f"{player}_loss")(batch)
    return terms, real_score, fake_score


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_papers(name):
    for player, expected in zip(("discriminator", "generator"), LOSSES[name], strict=True):
        model = tiny(name, plain_networks(name))
        terms, real, fake = evaluated(model, player)
        value = sum(term for label, term in terms.items() if label not in ("penalty", "orthogonal"))
        torch.testing.assert_close(value, expected(real, fake))
        assert ("penalty" in terms) == (name == "WGANGP" and player == "discriminator")


@of_images
def test_discriminator_turn_sends_no_gradient_to_the_generator(name):
    """Its fakes are detached: the generator's graph would be kept and walked for nothing."""
    model = tiny(name, plain_networks(name))
    terms, *_ = evaluated(model, "discriminator")
    sum(terms.values()).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.discriminator.parameters())
    terms, *_ = evaluated(model, "generator")
    sum(terms.values()).backward()
    grown = getattr(model.generator, "synthesis", model.generator)
    ways_out = getattr(grown, "to_image", None)  # of a network that grows only the last is in use
    idle = [p for way_out in ways_out[:-1] for p in way_out.parameters()] if ways_out else []
    assert all((p.grad is None) == any(p is one for one in idle) for p in model.generator.parameters())


def test_minimax_is_an_option():
    terms, _, fake = evaluated(tiny("GAN", plain_networks(), minimax=True), "generator")
    torch.testing.assert_close(terms["adversarial"], (1 - fake.sigmoid()).log().mean())


def test_lsgan_targets_are_options():
    model = tiny("LSGAN", plain_networks(), a=-1.0, b=1.0, c=0.0)
    terms, real, fake = evaluated(model, "discriminator")
    torch.testing.assert_close(terms["adversarial"], ((real - 1) ** 2).mean() / 2 + ((fake + 1) ** 2).mean() / 2)
    assert model.boundary == 0 and tiny("LSGAN").boundary == 0.5


def test_wgangp_penalty_is_weighted_and_has_one_epsilon_for_each_sample():
    model, seen = tiny("WGANGP", plain_networks(), penalty_weight=3.0), []
    model.discriminator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    terms, *_ = evaluated(model, "discriminator")
    real, fake, between = seen[-3:]
    epsilon = ((between - fake) / (real - fake)).flatten(1)
    assert (epsilon.std(1) < 1e-2).all() and epsilon.mean(1).std() > 0.05  # one for a sample, not for a batch
    assert epsilon.min() > -0.01 and epsilon.max() < 1.01
    with torch.enable_grad():
        x = between.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.discriminator(x).sum(), x)
    expected = 3 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(terms["penalty"].detach(), expected)


def test_wgangp_adds_noise_of_a_grey_level_to_real_images_alone():
    shown = {}
    for dequantise in (0.0, 1 / 128):
        model, seen = tiny("WGANGP", plain_networks(), dequantise=dequantise), []
        model.discriminator.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(inputs[0]))
        evaluated(model, "discriminator")
        shown[dequantise] = [image.detach() for image in seen[-3:]]
    (real, fake, _), (noisy, same, between) = shown.values()
    noise = (noisy - real) * 128
    assert torch.equal(fake, same) and noise.min() > -1e-4 and noise.max() < 1 + 1e-4
    assert noise.mean().item() == pytest.approx(1 / 2, abs=0.05) and noise.std().item() == pytest.approx(
        12**-0.5, abs=0.05
    )
    epsilon = ((between - fake) / (noisy - fake)).flatten(1)
    assert (epsilon.std(1) < 1e-3).all()  # the penalty is between the fake and the noisy image


@pytest.mark.parametrize("loss", ["relativistic", "relativistic_average_least_squares", "relativistic_average_hinge"])
def test_relativistic_variants(loss):
    loss = getattr(losses, loss)
    for player in ("discriminator", "generator"):
        terms, real, fake = evaluated(tiny("RelativisticGAN", plain_networks(), loss=loss), player)
        expected = loss(real, fake) if player == "discriminator" else loss(fake, real)
        torch.testing.assert_close(terms["adversarial"], expected)


# WGAN's clipping


def test_wgan_clips_all_of_the_critic_after_its_step_and_nothing_else():
    clip, unclipped, at_the_generators_turn = 0.01, [], []
    model = tiny("WGAN", clip=clip)
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.discriminator.modules())  # its weights are clipped too
    turn, clip_weights = model.turn, model.clip_weights

    def largest(network: nn.Module) -> float:
        return max(p.abs().max().item() for p in network.parameters())

    def watched_turn(name: str, *arguments: Any, **more: Any) -> None:
        if name == "generator":
            at_the_generators_turn.append(largest(model.discriminator))
        turn(name, *arguments, **more)

    def watched_clip() -> None:
        unclipped.append(largest(model.discriminator))
        clip_weights()

    model.turn, model.clip_weights = watched_turn, watched_clip
    trained(model, 2)
    limit = pytest.approx(clip)
    assert len(unclipped) == 10 and max(unclipped) > clip  # the step itself goes beyond
    assert at_the_generators_turn == [limit, limit]
    assert largest(model.discriminator) == limit
    assert largest(model.generator) > 10 * clip and largest(model.ema) > 10 * clip
    assert all(p.detach().abs().max() <= clip for p in model.discriminator.parameters())


# Learning: the ring of eight Gaussians


def spread_generator(image_shape: tuple[int, int, int], num_classes: int | None = None) -> nn.Module:
    """With He's initial weights (arXiv:1502.01852) fakes begin all over the plane, and no mode is out of reach."""
    network = networks.MLPGenerator(image_shape, num_classes, latent_dim=2, width=128, depth=3)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return network


def spectral_discriminator(image_shape: tuple[int, int, int], num_classes: int | None = None) -> nn.Module:
    network = networks.MLPDiscriminator(image_shape, num_classes, width=128, depth=3)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            parametrizations.spectral_norm(layer)
    return network


NO_DROPOUT = {"dropout_image": 0.0, "dropout_hidden": 0.0}  # of two coordinates none can be spared
RING_ADAM = both(partial(optim.PaperAdam, lr=1e-3, beta1=0.0, beta2=0.9))
RING: dict[str, tuple[int, dict[str, Any]]] = {  # generator steps, and what differs from RING_ADAM
    "GAN": (2000, {"discriminator": partial(networks.MaxoutDiscriminator, units=64, pieces=3, **NO_DROPOUT)}),
    "DCGAN": (2000, {}),
    "LSGAN": (2000, {}),
    "GeometricGAN": (2000, {}),
    "RelativisticGAN": (2000, {}),
    "WGAN": (2000, both(partial(torch.optim.RMSprop, lr=5e-4)) | {"clip": 0.3, "n_critic": 3}),
    "WGANGP": (2000, {"penalty_weight": 0.1, "n_critic": 2}),  # the weight of the authors' own toy problems
    "SNGAN": (4000, {"discriminator": spectral_discriminator, "n_critic": 1}),
}


def on_the_ring(name: str, seed: int = 0) -> tuple[int, float, float]:
    """Modes found, share of samples within 3 sigma, and seconds of one core, of a model trained on the ring."""
    steps, differs = RING[name]
    data = Gaussians()
    torch.manual_seed(seed)
    model = getattr(models, name)(
        data.image_shape,
        **{
            "generator": spread_generator,
            "discriminator": partial(networks.MLPDiscriminator, width=128, depth=3),
            "step": ImageStep(
                scheduler=partial(optim.LinearDecay, end=steps + 1, start=steps // 2), ema_half_life=20_000.0
            ),
            **RING_ADAM,
            **differs,
        },
    )
    start = time.process_time()
    quiet(max_steps=steps).fit(model, data)
    seconds = time.process_time() - start
    return *data.mode_statistics(model.sample(5000)), seconds


@pytest.mark.slow
@pytest.mark.parametrize("name", RING)
def test_ring_of_gaussians(name, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    modes, share, seconds = on_the_ring(name)
    print(f"{name}: {modes} modes, {share:.1%} within 3 sigma, {seconds:.0f} s")
    assert modes >= 7
    assert share >= 0.8
    assert seconds <= 60  # of one core, measured as processor time: other work on the machine does not count
