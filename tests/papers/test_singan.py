"""SinGAN: the pyramid, what each scale learns and keeps, and what is made of one picture."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import assert_same, draw, game, gap, played, quiet, tensors, trained, within_turn
from lightning.pytorch import Callback, Trainer
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from gan_lightning import fit, losses, metrics, networks, sample, translate
from gan_lightning.cli.manipulation import softened
from gan_lightning.core import ImageStep
from gan_lightning.data import Digits, SingleImage
from gan_lightning.loading import load_model
from gan_lightning.models import SinGAN
from gan_lightning.networks.singan import pyramid_sizes, resized
from gan_lightning.noise import SampleNoise

ROOT = Path(__file__).parents[2]
WITH_NORM = {
    "generator": partial(networks.SinGANGenerator, width=4),
    "discriminator": partial(networks.SinGANDiscriminators, width=4),
}
SIZES = [(12, 18), (14, 21), (16, 24)]  # of `game`: 0.75 asks for one scale below, and the rule adds one


def singan(**more: Any) -> SinGAN:
    return game("SinGAN", WITH_NORM, **more)


def run(model: SinGAN, steps: int, **options: Any) -> Trainer:
    return trained(model, steps, played("SinGAN"), **options)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of all three scales, two batches each."""
    path = tmp_path_factory.mktemp("singan") / "singan.ckpt"
    run(singan(), 6).save_checkpoint(path)
    return str(path)


@pytest.fixture(scope="module")
def made(checkpoint: str) -> SinGAN:
    """With last layers that are heard: after six batches all would be next to 0."""
    model = load_model(checkpoint)
    with torch.no_grad():
        for scale in (*model.generator.scales, *model.ema.network.scales):
            scale[-1].weight *= 30
    return model


# The pyramid


@pytest.mark.parametrize(
    ("height", "width", "min_size", "expected"),
    [
        # ceil(log(25/186) / log(.75)) + 1 = ceil(6.98) + 1 = 8 steps of (25/186)^(1/8) = .7781, sides rounded up
        (
            186,
            248,
            25,
            [(25, 34), (33, 43), (42, 56), (54, 71), (69, 91), (88, 117), (113, 151), (145, 193), (186, 248)],
        ),
        # ceil(log(25/40) / log(.75)) + 1 = ceil(1.63) + 1 = 3 steps of (25/40)^(1/3) = .8550: 40, 34.2, 29.24, 25
        (60, 40, 25, [(38, 25), (44, 30), (52, 35), (60, 40)]),
        (16, 24, 12, SIZES),  # log(12/16) / log(.75) = 1: 2 steps of .8660
        (25, 50, 25, [(25, 50), (25, 50)]),  # the factor is 1
    ],
)
def test_sizes_are_those_of_the_authors_rule(height, width, min_size, expected):
    assert pyramid_sizes(height, width, min_size) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((20, 80, 25), "the picture has 80x20 pixels, and the coarsest scale 25"),
        ((64, 64, 10), "min_size must be at least 11"),
        ((64, 64, 25, 1.0), "above 0 and below 1"),
    ],
)
def test_a_pyramid_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        pyramid_sizes(*arguments)


def test_widths_double_every_four_scales_up_to_128():
    sizes = [(12, 12)] * 13
    for network in (
        networks.SinGANGenerator((3, 12, 12), sizes).scales,
        networks.SinGANDiscriminators((3, 12, 12), sizes),
    ):
        assert [scale[0].out_channels for scale in network] == [32] * 4 + [64] * 4 + [128] * 5
        for scale in network:
            layers = [layer for layer in scale if isinstance(layer, nn.Conv2d)]
            assert len(layers) == 5 and all(layer.kernel_size == (3, 3) for layer in layers)
            assert sum(isinstance(layer, nn.BatchNorm2d) for layer in scale) == 4


@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_the_receptive_field_is_11(kind, made):
    network = made.generator.scales[0] if kind == "generator" else made.discriminator[0]
    image = draw(1, 3, 21, 21).requires_grad_()
    out = network.eval()(image)
    assert out.shape[2:] == (11, 11)
    (gradient,) = torch.autograd.grad(out[0, :, 5, 5].sum(), image)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 15, 5, 15)


def test_a_scale_is_tanh_of_zeros_around_noise_and_image_plus_the_image():
    """Written out again, convolution by convolution: zeros outside once, and nowhere within."""
    generator = networks.SinGANGenerator((3, 16, 24), SIZES, width=4).eval()
    generator.amplitude.copy_(torch.tensor([1.0, 0.25, 0.5]))
    with torch.no_grad():
        for conv in (layer for layer in generator.modules() if isinstance(layer, nn.Conv2d)):
            conv.weight *= 12  # of images that fill their range
    one, three = draw(2, 1, 12, 18, seed=1), draw(2, 3, 14, 21, seed=2)

    def psi(scale: int, x: Tensor) -> Tensor:
        around = torch.zeros(*x.shape[:2], x.shape[2] + 10, x.shape[3] + 10)
        around[:, :, 5:-5, 5:-5] = x
        for number in range(5):
            conv = generator.scales[scale][3 * number]
            around = F.conv2d(around, conv.weight, conv.bias)
            if number < 4:
                norm = generator.scales[scale][3 * number + 1]
                shape = (1, -1, 1, 1)
                around = (around - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
                around = around * norm.weight.view(shape) + norm.bias.view(shape)
                around = torch.where(around > 0, around, 0.2 * around)
        return around.tanh()

    coarse, finer = generator.draw([one, three])
    expected = psi(0, one.expand(-1, 3, -1, -1))  # one map for all channels
    torch.testing.assert_close(coarse, expected)
    assert coarse.std() > 0.2
    up = F.interpolate(expected, (14, 21), mode="bicubic", antialias=True).clamp(-1, 1)
    torch.testing.assert_close(finer, psi(1, 0.25 * three + up) + up)


# Training


class Watch(Callback):
    """The state of each batch's end, and every fake of its turns."""

    def __init__(self, model: SinGAN) -> None:
        self.states: list[dict[str, Tensor]] = [tensors(model)]
        self.fakes: list[list[Tensor]] = []
        self.rates: list[float] = []
        made = model.fake_like

        def kept(batch: Any) -> Any:
            fake = made(batch)
            self.fakes[-1].append(fake.image.detach().clone())
            return fake

        model.fake_like = kept

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.fakes.append([])

    def on_train_batch_end(self, trainer: Trainer, model: SinGAN, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.states.append(tensors(model))


@pytest.fixture(scope="module")
def watched() -> tuple[SinGAN, Watch, Trainer]:
    model = singan(decay_after=1, generator_turns=3)
    watch = Watch(model)
    return model, watch, run(model, 100, callbacks=[watch])


def moved(before: dict[str, Tensor], after: dict[str, Tensor], player: str) -> set[int]:
    """The scales of a player whose weights differ."""
    place = 2 if player == "generator" else 1
    return {
        int(name.split(".")[place])
        for name in before
        if name.startswith(f"{player}.") and name.endswith("weight") and not torch.equal(before[name], after[name])
    }


def test_scales_train_one_after_another_and_the_run_ends_by_itself(watched):
    model, watch, trainer = watched
    assert trainer.global_step == model.iteration == len(watch.fakes) == 6  # one step a batch
    for player in ("generator", "discriminator"):
        found = [moved(*pair, player) for pair in zip(watch.states, watch.states[1:], strict=False)]
        assert found == [{0}, {0}, {1}, {1}, {2}, {2}]
    assert [fakes[0].shape[2:] for fakes in watch.fakes] == [size for size in SIZES for _ in range(2)]


def test_every_turn_has_a_fresh_fake(watched):
    """Two of the discriminator and three of the generator, on a graph of its own each."""
    for fakes in watched[1].fakes:
        assert len(fakes) == 5
        assert all(gap({"x": a}, {"x": b}) > 1e-3 for n, a in enumerate(fakes) for b in fakes[:n])


def test_the_rate_falls_within_each_scale_and_adam_begins_anew(watched):
    _, watch, trainer = watched
    assert watch.rates == pytest.approx([5e-5, 5e-4] * 3)  # of the next batch: 5e-4, then a tenth of it
    for optimizer in trainer.optimizers:
        counts = [int(state["step"]) for state in optimizer.state.values()]
        turns = 3 if optimizer is trainer.optimizers[0] else 2
        assert counts and set(counts) == {2 * turns}  # of the last scale's parameters alone
        assert len(counts) == len(list(trainer.lightning_module.discriminator[2].parameters()))


def test_a_users_schedule_takes_the_place_of_the_papers():
    model = singan(step=ImageStep(ema_half_life=0.0, scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1)))
    watch = Watch(model)
    run(model, 2, callbacks=[watch])
    assert watch.rates == [5e-4, 5e-4]


def test_amplitudes_are_measured_once_from_the_reconstruction(watched):
    """1, then a tenth of the error of what z* gives one scale below, when a scale begins."""
    model, watch, _ = watched
    amplitudes = torch.stack([state["generator.amplitude"] for state in watch.states])
    assert (amplitudes[:, 0] == 1).all()
    assert (amplitudes[:3, 1:] == 0).all() and (amplitudes[:5, 2] == 0).all()
    picture = played("SinGAN").image.float() / 127.5 - 1
    for scale in (1, 2):
        first = 2 * scale + 1
        other = singan()
        other.load_state_dict(watch.states[first - 1], strict=False)  # before the scale begins
        below = other.generator.eval().draw(other.generator.anchors()[:scale])[-1]
        error = resized(below, SIZES[scale]) - resized(picture, SIZES[scale])
        expected = 0.1 * error.square().mean().sqrt()
        for state in watch.states[first:]:
            torch.testing.assert_close(state["generator.amplitude"][scale], expected)


def test_z_is_fixed_unless_it_is_to_be_redrawn(watched):
    """The paper's way; the code's draws it anew while the coarsest scale trains, and then never again."""
    anchors = [state["generator.anchor"] for state in watched[1].states]
    assert all(torch.equal(anchor, anchors[0]) for anchor in anchors) and anchors[0].std() > 0.8
    watch = Watch(model := singan(redraw=True))
    run(model, 4, callbacks=[watch])
    start, first, second, third, last = (state["generator.anchor"] for state in watch.states)
    assert not any(torch.equal(*pair) for pair in ((start, first), (first, second)))
    assert torch.equal(second, third) and torch.equal(second, last)
    assert all(not anchor.any() for anchor in model.generator.anchors()[1:])


def test_a_scale_starts_from_the_one_below_where_widths_agree():
    sizes = [(12, 12)] * 5
    for network in (
        networks.SinGANGenerator((3, 12, 12), sizes, width=2),
        networks.SinGANDiscriminators((1, 12, 12), sizes, width=2),
    ):
        scales = getattr(network, "scales", network)
        before = tensors(scales[4])
        for scale in (0, 1, 4):
            network.begin(scale)
        assert_same(tensors(scales[1]), tensors(scales[0]))
        assert_same(tensors(scales[4]), before)  # twice as wide
        assert not torch.equal(scales[2][0].weight, scales[0][0].weight)


def test_the_penalty_is_of_each_pixel_over_channels():
    """Of a critic that is linear in each pixel, the gradient there is its weight vector: (|w| - 1)^2."""
    weight = torch.tensor([3.0, 4.0, 12.0])[:, None, None]

    def critic(image: Tensor) -> Tensor:
        return (weight * image).sum(1, keepdim=True)

    real, fake, epsilon = draw(2, 3, 7, 5), draw(2, 3, 7, 5, seed=1), torch.rand(2, 1, 1, 1)
    assert losses.gradient_penalty(critic, real, fake, epsilon, by_pixel=True).item() == pytest.approx(12.0**2)
    whole = losses.gradient_penalty(critic, real, fake, epsilon).item()
    assert whole == pytest.approx((13 * math.sqrt(35) - 1) ** 2, rel=1e-5)


def test_losses_are_the_papers(made):
    model = singan(penalty_weight=0.3, reconstruction_weight=7.0)
    model.load_state_dict(made.state_dict())
    model.trainer, model.iteration = quiet(), 5  # the last scale
    batch = played("SinGAN").reference("train").__getitems__([0, 1])
    batch = batch._replace(image=batch.image.float() / 127.5 - 1)
    model.eval()
    with within_turn(model):
        fake = model.fake_like(batch).image
    with within_turn(model):
        terms = model.generator_loss(batch)
    critic = model.discriminator[2]
    torch.testing.assert_close(terms["critic"], -critic(fake).mean())
    rebuilt = model.generator.draw(model.generator.anchors())[-1]
    torch.testing.assert_close(terms["reconstruction"], 7 * (rebuilt - batch.image[:1]).square().mean())
    with within_turn(model):
        terms = model.discriminator_loss(batch)
    torch.testing.assert_close(terms["critic"], critic(fake).mean() - critic(batch.image).mean())
    with within_turn(model):
        fake, epsilon = model.fake_like(batch).image.detach(), model.noise.uniform(2, 1, 1, 1)
    x = (epsilon * batch.image + (1 - epsilon) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    torch.testing.assert_close(terms["penalty"], 0.3 * (gradient.norm(dim=1) - 1).square().mean())


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4])  # within a scale, and at the step where one begins
def test_resume_equals_the_unbroken_run(at, redraw, tmp_path):
    def state(trainer: Trainer) -> list[Any]:
        return [trainer.lightning_module.state_dict(), [one.state_dict() for one in trainer.optimizers]]

    unbroken = state(run(singan(redraw=redraw), 5))
    run(singan(redraw=redraw), at).save_checkpoint(tmp_path / "a.ckpt")
    assert_same(state(run(singan(redraw=redraw, seed=1), 5, ckpt_path=tmp_path / "a.ckpt")), unbroken)


def test_micro_batches_equal_the_whole_batch():
    """Through all scales, without batch norm, in which the parts of a batch would not meet."""
    runs = []
    for count in (1, 2):
        model = game("SinGAN", step=ImageStep(ema_half_life=0.0, micro_batches=count))
        run(model, 6, precision="64-true")
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-9


def test_a_checkpoint_holds_all_scales_z_and_amplitudes(made, watched):
    names = made.state_dict().keys()
    assert {"generator.amplitude", "generator.anchor", "generator.reached"} <= names
    for scale in range(3):
        assert {f"generator.scales.{scale}.12.weight", f"discriminator.{scale}.12.weight"} <= names
    assert made.finest == 2 and (made.generator.amplitude > 0).all()


def test_an_unfinished_pyramid_shows_what_it_has(tmp_path):
    """Its newest scale, in the whole size."""
    trainer = run(singan(), 3)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    model = load_model(tmp_path / "a.ckpt")
    assert model.finest == 1
    z = model.latents(range(2))
    small = model.ema.network.draw(model.generator.maps(z)[:2])[-1]
    torch.testing.assert_close(model.sample(2), resized(small, (16, 24)).detach().clamp(-1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps_per_scale": 4}, "scale 1 was in training after 3 batches"), ({"steps_per_scale": 1}, "all 3 scales")],
)
def test_a_run_does_not_go_on_with_other_scales(change, message, tmp_path):
    run(singan(), 3).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=message):
        run(singan(**change), 6, ckpt_path=tmp_path / "a.ckpt")


def test_data_of_several_pictures_is_refused():
    with pytest.raises(ValueError, match="SinGAN learns one picture, and Digits has several"):
        quiet(max_steps=1).fit(SinGAN((1, 16, 16), min_size=12), Digits(size=16))


# What a trained pyramid makes


def test_samples_have_any_size_and_depend_on_their_number_alone(made):
    assert made.sample(3, size="30x80").shape == (3, 3, 30, 80) and made.sample(1, size="20").shape == (1, 3, 20, 20)
    torch.testing.assert_close(made.sample([2], seed=4), made.sample(3, seed=4)[2:])
    assert_same(made.sample(2), made.generate(made.latents(range(2))))  # the latents are the noise maps
    assert_same(made.sample(2, size="16x24"), made.sample(2))
    assert made.sample(2, truncation=0.5).shape == (2, 3, 16, 24)


def test_scales_below_the_first_take_z(made):
    generator = made.ema.network
    own = made.sample(2, from_scale=2)
    maps = generator.maps(made.latents(range(2)))
    expected = generator.draw([*(z.expand(2, -1, -1, -1) for z in generator.anchors()[:2]), maps[2]])[-1]
    torch.testing.assert_close(own, expected.detach().clamp(-1, 1))
    assert gap({"x": own}, {"x": made.sample(2)}) > 0.01
    assert made.sample(2, size="30x80", from_scale=1).std(0).max() > 0


def test_an_animation_walks_around_z(made):
    """z' = a z* + (1 - a)(z + b (z - z_before) + (1 - b) u), begun a twentieth of the way to u."""
    generator, noise = made.ema.network, SampleNoise(5, [0], made.device)
    frames = list(generator.walk(SampleNoise(5, [0], made.device), 3, 0.2, 0.7))
    star = torch.cat([z.flatten(1) for z in generator.anchors()], 1)
    u = [noise.normal(1, generator.latent_dim) for _ in range(4)]
    z = [star, 0.95 * star + 0.05 * u[0]]
    for n in (1, 2, 3):
        z.append(0.2 * star + 0.8 * (z[-1] + 0.7 * (z[-1] - z[-2]) + 0.3 * u[n]))
    torch.testing.assert_close(torch.cat(frames), torch.cat(z[2:]))
    still = list(made.animate(2, alpha=1.0, beta=0.5))  # all the way back to z*
    rebuilt = generator.draw(generator.anchors())[-1].detach().clamp(-1, 1)
    torch.testing.assert_close(still, [rebuilt, rebuilt])
    moves = torch.cat(list(made.animate(3, alpha=0.1, beta=0.5, from_scale=1, size="20x20")))
    assert moves.shape == (3, 3, 20, 20) and moves.std(0).max() > 0


def test_a_picture_enters_at_its_scale(made):
    """Brought down to the scale below, up again, and drawn from there on, with noise."""
    generator, image = made.ema.network, draw(1, 3, 40, 60).clamp(-1, 1)
    z = SampleNoise(7, [0], made.device)
    own = generator.manipulated(image, 2, SampleNoise(7, [0], made.device))
    up = resized(resized(image, (14, 21)), (16, 24))
    seen = F.pad(up + generator.amplitude[2] * z.normal(1, 3, 16, 24), [5] * 4)
    torch.testing.assert_close(own, generator.scales[2](seen).tanh() + up)
    assert_same(made.manipulate(image, 1, seed=3), made.manipulate(image, 1, seed=3))
    assert not torch.equal(made.manipulate(image, 1, seed=3), made.manipulate(image, 1, seed=4))


def test_super_resolution_takes_the_root_nearest_to_the_pyramids_factor(made, monkeypatch):
    """12 to 16 px in two steps: 1.155 each. log 4 / log 1.155 = 9.6: ten times 4^(1/10)."""
    generator, sizes = made.ema.network, []
    monkeypatch.setattr(
        generator, "draw", lambda maps, image, scale: sizes.append((*maps[0].shape[2:], scale)) or [maps[0]]
    )
    assert made.enlarge(torch.zeros(1, 3, 10, 20), 4.0).shape == (1, 3, 40, 80)
    assert sizes == [(round(10 * 4 ** (n / 10)), round(20 * 4 ** (n / 10)), 2) for n in range(1, 11)]
    with pytest.raises(ValueError, match="at least 1"):
        made.enlarge(torch.zeros(1, 3, 10, 20), 0.5)


# Scores


def test_diversity_by_hand():
    """Two samples +-s around a constant deviate by s in each pixel; the picture of two values +-2 by 2."""
    samples = torch.stack([torch.full((3, 2, 2), 0.3), torch.full((3, 2, 2), 0.1)])
    samples[:, :, 0, 0] = 0.5  # a pixel that never varies
    picture = torch.tensor([2.0, -2.0]).view(1, 1, 2).expand(3, 1, 2)
    assert metrics.diversity(samples, picture) == pytest.approx(0.75 * 0.1 / 2)
    coloured = torch.stack([torch.tensor([1.0, -1.0, 0.0]), torch.tensor([-1.0, 1.0, 0.0])])[:, :, None, None]
    assert metrics.diversity(coloured, picture) == 0  # of equal intensity


def test_the_distance_of_patches_in_closed_form():
    real = draw(500, 4)
    shift = torch.tensor([1.0, 2.0, 0.0, -2.0])
    assert metrics.patch_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert metrics.patch_distance(real + shift, real) == pytest.approx(9, rel=1e-5)
    spread = real.mean(0) + 3 * (real - real.mean(0))  # (3 - 1)^2 tr C
    assert metrics.patch_distance(spread, real) == pytest.approx(4 * real.double().var(0).sum().item(), rel=1e-4)


def test_patches_are_seen_before_the_second_pooling(monkeypatch):
    seen = metrics.RandomPatches()
    image = draw(2, 3, 20, 31).clamp(-1, 1)
    first, second, _ = seen.network.convs
    bytes_ = ((image + 1) * 127.5).round() / 127.5 - 1
    once = F.leaky_relu(F.conv2d(bytes_, first.weight, padding=1), 0.2)
    twice = F.leaky_relu(F.conv2d(F.avg_pool2d(once, 2), second.weight, padding=1), 0.2)
    assert seen(image).shape == (2, 10 * 15, seen.dim)
    torch.testing.assert_close(seen(image)[1, 15 * 3 + 4], twice[1, :, 3, 4])
    assert_same(seen(image[:, :1]), seen(image[:, :1].expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        seen(draw(1, 2, 20, 20))

    monkeypatch.setattr(networks.features, "VGG19_BLOCKS", ((2, 4), (2, 8), (1, 8)))
    monkeypatch.setattr(networks.features, "_weights", lambda *_: {})
    monkeypatch.setattr(networks.VGG19Features, "load_state_dict", lambda *_: None)
    vgg = networks.VGG19Features()
    expected = vgg.features[:9](
        ((image + 1) / 2 - vgg.normalised.mean) / vgg.normalised.std
    )  # conv, relu, twice, a pooling, and again
    torch.testing.assert_close(vgg.patches(image), expected)
    assert isinstance(vgg.features[9], nn.MaxPool2d) and expected.shape == (2, 8, 10, 15)


def test_reconstruction_errors_by_hand(made):
    picture = played("SinGAN").image.float() / 127.5 - 1
    generator, expected = made.ema.network, []
    for scale in range(3):
        image = generator.draw(generator.anchors()[: scale + 1])[-1]
        expected.append(float((image - resized(picture, SIZES[scale])).square().mean().sqrt()))
    assert made.reconstruction_errors(picture) == pytest.approx(expected, rel=1e-5)


# Data


def saved(path: Path, array: np.ndarray, **how: Any) -> str:
    Image.fromarray(array).save(path, **how)
    return str(path)


def test_one_picture_of_any_kind(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 4), dtype=np.uint8)
    colour = SingleImage(saved(tmp_path / "a.png", noise[..., :3]))
    assert colour.image_shape == (3, 60, 90) and colour.num_classes is None and len(colour.reference("val")) == 0
    batch = colour.reference("train").__getitems__([0, 999])
    assert torch.equal(batch.image[1], torch.from_numpy(noise[..., :3]).movedim(2, 0)) and len(batch.image) == 2
    assert SingleImage(saved(tmp_path / "grey.png", noise[..., 0])).image_shape == (3, 60, 90)
    assert SingleImage(str(tmp_path / "a.png"), channels=1).image_shape == (1, 60, 90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert SingleImage(saved(tmp_path / "turned.jpg", noise[..., :3], exif=exif)).image_shape == (3, 90, 60)
    noise[..., 3] = 0
    assert (SingleImage(saved(tmp_path / "clear.png", noise)).image == 255).all()  # white
    deep = SingleImage(saved(tmp_path / "deep.png", noise[..., 0].astype(np.uint16) * 256 + 1))
    assert deep.image.is_floating_point() and (deep.image * 32767.5 + 32767.5).round().remainder(256).eq(1).all()
    small = SingleImage(str(tmp_path / "a.png"), max_size=45)
    assert small.image_shape == (3, 30, 45) and small.image.dtype == torch.uint8
    same = SingleImage(str(tmp_path / "a.png"), batch_size=4)
    assert same.reference("train").fingerprint == colour.reference("train").fingerprint
    assert same.reference("train").fingerprint != small.reference("train").fingerprint


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"path": "none.png"}, "--data.path none.png: there is no such file"),
        ({"path": "."}, "--data.path . is a folder: name one picture in it"),
        ({"path": "text.png"}, "text.png cannot be read: it is no image"),
        ({"path": "tiny.png"}, "tiny.png has 40x12 pixels, and needs 25 on its shorter side"),
        ({"path": "long.png"}, "long.png has 600x40 pixels, 250x17 within max_size 250, and needs 25"),
        ({"max_size": 20}, r"min_size \(25\) must be at least 1, and at most max_size \(20\)"),
        ({"path": "long.png", "channels": 2}, "channels must be 1"),
    ],
)
def test_a_picture_that_cannot_be(how, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    saved(Path("tiny.png"), np.zeros((12, 40, 3), np.uint8))
    saved(Path("long.png"), np.zeros((40, 600, 3), np.uint8))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SingleImage(**how)


# The command line


@pytest.fixture
def pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture and a mask of its size, white in a square; the commands write here."""
    monkeypatch.chdir(tmp_path)
    saved(Path("in.png"), np.random.default_rng(1).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    mask = np.zeros((80, 120), np.uint8)
    mask[5:10, 5:10] = 255
    saved(Path("mask.png"), mask)
    saved(Path("other.png"), mask[:40])
    saved(Path("black.png"), 0 * mask)
    return tmp_path


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_outside_the_mask_the_original_stays(checkpoint, pasted):
    flags = ["--input", "in.png", "--scale", "1", "--seed", "2"]
    translate.main([checkpoint, *flags, "--out", "whole"])
    translate.main([checkpoint, *flags, "--out", "masked", "--mask", "mask.png", "--dilation", "0"])
    before, whole, masked = pixels("in.png"), pixels("whole/in.png"), pixels("masked/in.png")
    assert whole.shape == masked.shape == before.shape
    assert np.abs(whole - before).mean() > 20
    assert np.abs(masked - whole)[6:8, 6:8].max() <= 12  # the middle of the hole is the model's
    assert np.abs(masked - before)[:, 115:].mean() < np.abs(masked - before)[:, :5].mean() / 10


def test_a_picture_grows_by_the_factor(checkpoint, pasted):
    saved(Path("clear.png"), np.full((20, 30, 4), 128, np.uint8))
    translate.main([checkpoint, "--input", "clear.png", "--factor", "2.5", "--out", "large"])
    assert pixels("large/clear.png").shape == (50, 75, 4)  # with its alpha channel


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --scale, from 1 to 2, to draw the picture anew, or --factor to enlarge it"),
        (["--scale", "1", "--factor", "2"], "give --scale, from 1 to 2"),
        (["--scale", "3"], "--scale must be from 1 to 2, the finest trained scale, not 3"),
        (["--scale", "0"], "--scale must be from 1 to 2, the finest trained scale, not 0"),
        (["--factor", "0.5"], "--factor must be at least 1, not 0.5"),
        (["--factor", "nan"], "--factor must be at least 1, not nan"),
        (["--factor", "2", "--mask", "mask.png"], "--mask is of --scale"),
        (["--scale", "1", "--mask", "none.png"], "--mask none.png: there is no such file"),
        (["--scale", "1", "--mask", "other.png"], "--mask other.png has 120x40 pixels, and the picture 120x80"),
        (["--scale", "1", "--mask", "black.png"], "--mask black.png has no white: nothing may change"),
        (["--scale", "1", "--dilation", "3"], "--dilation is of --mask"),
        (["--scale", "1", "--tile", "128"], "SinGAN sees whole pictures: leave --tile out"),
        (["--scale", "1", "--direction", "AtoB"], "unknown argument '--direction': SinGAN does not take it"),
    ],
)
def test_translate_refuses_what_does_not_fit(flags, message, checkpoint, pasted, capsys):
    with pytest.raises(SystemExit) as stopped:
        translate.main([checkpoint, "--input", "in.png", *flags])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1


@pytest.mark.parametrize("dilation", [0, 7, 20])
def test_a_mask_is_widened_and_blurred_as_by_the_authors(dilation):
    """A disc, then a Gaussian of 5 px, to the range from 0 to 1: scipy's, which scikit-image calls."""
    mask = np.zeros((70, 90), bool)
    mask[20:30, 60:88] = True
    y, x = np.ogrid[-dilation : dilation + 1, -dilation : dilation + 1]
    wide = ndimage.binary_dilation(mask, x * x + y * y <= dilation**2).astype(np.float64)
    soft = ndimage.gaussian_filter(wide, 5, truncate=4, mode="nearest")
    expected = (soft - soft.min()) / (soft.max() - soft.min())
    np.testing.assert_allclose(softened(mask, dilation), expected, atol=1e-5)
    assert (softened(np.ones((30, 30), bool), dilation) == 1).all()


def test_sample_draws_sizes_and_films(checkpoint, pasted, capsys):
    flags = ["--n", "2", "--size", "30x80", "--from_scale", "2", "--grid", "--animate", "film.gif", "--seconds", "0.2"]
    sample.main([checkpoint, *flags, "--out", "drawn", "--beta", "0.5", "--device", "cpu"])
    assert "animate: film.gif" in capsys.readouterr().out
    assert pixels("drawn/000001.png").shape == (30, 80, 3) and Path("drawn/sheets/grid.png").is_file()
    model = load_model(checkpoint).double()
    expected = metrics.to_uint8(model.sample([1], size="30x80", from_scale=2))[0].movedim(0, 2)
    assert (pixels("drawn/000001.png") == expected.numpy()).all()
    with Image.open("film.gif") as film:
        assert film.n_frames == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "0x8"], "size must be HEIGHTxWIDTH in pixels, such as 300x800, or one number, not '0x8'"),
        (["--from_scale", "3"], "from_scale must be from 0 to 2, the finest trained scale, not 3"),
        (["--animate", "film.txt"], "--animate film.txt: give a file that ends in .gif or .mp4"),
        (["--animate", "film.gif", "--alpha", "2"], "argument --alpha: it must be a number from 0 to 1, not '2'"),
        (["--beta", "0.5"], "--beta is of --animate: give that too"),
        (["--animate", "film.gif", "--truncation", "1"], "--truncation is of samples, not of the walk of --animate"),
        (["--animate", "film.gif", "--walk", "film.gif"], "--walk and --animate name one file"),
        (["--seconds", "3"], "--seconds is of --walk or --animate: give that too"),
    ],
)
def test_sample_refuses_what_does_not_fit(flags, message, checkpoint, pasted, capsys):
    with pytest.raises(SystemExit) as stopped:
        sample.main([checkpoint, "--n", "1", "--out", "drawn", *flags])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1


def test_a_film_is_of_the_weights_that_are_asked_for(checkpoint):
    model = load_model(checkpoint).double()
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(1.5)
    (averaged,), (live,) = model.animate(1, 0.1, 0.9), model.animate(1, 0.1, 0.9, live=True)
    assert not torch.equal(averaged, live)
    torch.testing.assert_close(next(iter(model.animate(1, 0.1, 0.9, average="generator"))), averaged)


def test_the_mask_is_not_overwritten(checkpoint, pasted, capsys):
    before = Path("mask.png").read_bytes()
    Path("in").mkdir()
    Image.open("in.png").save("in/mask.png")
    with pytest.raises(SystemExit):
        translate.main([checkpoint, "--input", "in/mask.png", "--mask", "mask.png", "--scale", "1", "--out", "."])
    assert "is read, and would be overwritten" in capsys.readouterr().err
    assert Path("mask.png").read_bytes() == before


def test_the_papers_setting_runs_five_steps(tmp_path, monkeypatch):
    """Its own sizes and numbers, at reduced width."""
    monkeypatch.chdir(tmp_path)
    flags = [f"--model.{player}.{name}=2" for player in ("generator", "discriminator") for name in ("width", "widest")]
    flags += ["--trainer.max_steps=5", "--trainer.callbacks.n=2", "--trainer.logger=false", "--grid.rows=1"]
    flags += ["--trainer.enable_progress_bar=false"]
    fit.main([f"--config={ROOT / 'configs' / 'singan' / 'paper250.yaml'}", *flags])
    (path,) = tmp_path.glob("runs/*/*/last.ckpt")
    model = load_model(path)
    assert model.sizes[0] == (25, 38) and model.sizes[-1] == (167, 250) and len(model.sizes) == 9
    with Image.open(path.parent / "samples.png") as grid:
        assert grid.width > 1.3 * grid.height  # samples as wide as the picture
    assert model.step.ema_half_life == 0  # the last weights
