"""StyleGAN2 (arXiv:1912.04958) with ADA (2006.06676): equal to the authors' networks, and what reproductions lose."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHAPE, Noisy, assert_same, both, draw, plain_networks, quiet, sgd, tensors, tiny, trained
from conftest import within_turn as within
from lightning.pytorch import Callback
from test_configs import ROOT, parse
from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.augment import Augment
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep
from gan_lightning.models import StyleGAN2
from gan_lightning.networks import StyleGAN2Discriminator, StyleGAN2Generator
from gan_lightning.networks.equalized import MinibatchDeviation
from gan_lightning.networks.modulated import StyledConv2d, ToImage, modulate
from gan_lightning.networks.style import MappingNetwork, mix
from gan_lightning.networks.stylegan2 import ActiveConv2d, DiscriminatorBlock, from_published, published_arguments
from gan_lightning.noise import Noise, PartNoise, drawn_by_layers
from gan_lightning.runtime.errors import NotFiniteError

Reference = dict[str, Tensor]
STRIDED = torch.arange(8).view(4, 2).T.flatten()  # their groups are every other sample, ours are consecutive ones


def part(of: Reference, prefix: str) -> Reference:
    return {key.removeprefix(prefix): value for key, value in of.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def theirs() -> Reference:
    """Arrays that the authors' code made."""
    arrays = np.load(Path(__file__).parents[1] / "reference" / "stylegan2_ada.npz")
    found = {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def loaded(kind: type[nn.Module], weights: Reference) -> Any:
    network = kind(**published_arguments(weights))
    network.load_state_dict(from_published(weights))
    return network


def assert_near(ours: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert ours.shape == expected.shape
    assert (ours - expected).norm() <= tolerance * expected.norm()


def assert_gradients(network: nn.Module, loss: Tensor, expected: Reference) -> None:
    parameters = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True, allow_unused=True)
    assert len(expected) > 10 and expected.keys() <= parameters.keys()
    for name, gradient in zip(parameters, found, strict=True):
        if name in expected:
            assert_near(gradient, expected[name], 1e-3)


# Equal to the authors'


def test_generator_is_the_authors(theirs):
    generator = loaded(StyleGAN2Generator, part(theirs, "a.G."))
    z = theirs["a.in.z"]
    w = generator.mapping(z)
    assert_near(w, theirs["a.out.w"])
    assert_near(generator.styles(w, 0.7)[:, 3], theirs["a.out.w, truncation 0.7"])
    for label, options in {
        "constant noise": {"noise": "const"},
        "no noise": {"noise": "none"},
        "truncation 0.7, constant noise": {"noise": "const", "truncation": 0.7},
    }.items():
        assert_near(generator(z[:2], **options), theirs[f"a.out.image, {label}"])


def test_mapping_of_classes_is_the_authors(theirs):
    mapping = MappingNetwork(16, 3, width=16, layers=2)
    mapping.load_state_dict(part(from_published(part(theirs, "b.G.")), "mapping."))
    assert_near(mapping(theirs["b.in.z"], theirs["b.in.label"]), theirs["b.out.w"])


@pytest.mark.parametrize("which", ["a", "b"])
def test_discriminator_and_r1_are_the_authors(theirs, which):
    """`a` is residual, `b` is not and has classes; R1 is half of what they have per sample."""
    discriminator = loaded(StyleGAN2Discriminator, part(theirs, f"{which}.D."))
    label = theirs["b.in.label"][STRIDED] if which == "b" else None
    real = theirs[f"{which}.in.real"][STRIDED].requires_grad_()
    score = discriminator(real, label)
    assert_near(score, theirs[f"{which}.out.D(real)"][STRIDED, 0])
    penalty = losses.zero_centred_penalty(score, real)
    assert float(penalty.detach()) == pytest.approx(float(theirs[f"{which}.out.r1"].mean()) / 2, rel=1e-4)
    assert_gradients(discriminator, 10 * penalty, from_published(part(theirs, f"{which}.grad of 5 r1.")))


def test_path_lengths_are_the_authors(theirs):
    generator = loaded(StyleGAN2Generator, part(theirs, "a.G."))
    ws = generator.styles(generator.mapping(theirs["a.in.z"][:4])).detach().requires_grad_()
    noise = theirs["a.out.path noise"]  # which they have divided by the square root of the pixels within
    lengths = losses.path_lengths(generator.synthesis(ws, "const"), ws, noise)
    assert_near(lengths, theirs["a.out.path lengths"])
    given = part(theirs, "a.grad of path penalty, mean 0.3.")
    expected = from_published({f"synthesis.{name}": value for name, value in given.items()})
    assert_gradients(generator, 2 * (lengths - 0.3).square().mean(), expected)


def test_another_filter_is_refused(theirs):
    weights = part(theirs, "a.D.")
    weights["b16.resample_filter"] = torch.ones(4, 4) / 16
    with pytest.raises(ValueError, match=r"b16.resample_filter is not \[1, 3, 3, 1\]"):
        from_published(weights)


# Networks


def test_demodulated_weights_have_unit_norm_and_make_the_convolution_of_equation_3():
    x, weight, style = draw(3, 4, 6, 5), 7 * draw(5, 4, 3, 3, seed=1), 3 * draw(3, 4, seed=2)
    scaled, kernel, coefficient = modulate(x, weight, style)
    y = F.conv2d(scaled, kernel, padding=1) * coefficient
    for sample in range(3):
        own = weight * style[sample][None, :, None, None]
        own = own / own.square().sum((1, 2, 3), keepdim=True).sqrt()
        torch.testing.assert_close(y[sample], F.conv2d(x[sample], own, padding=1))
        made = weight * style[sample][None, :, None, None] * coefficient[sample][:, None]
        torch.testing.assert_close(made.flatten(1).norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_demodulation_does_not_overflow_in_half_precision(half):
    """Weights and styles whose squares float16 cannot hold."""
    x, weight, style = draw(2, 64, 4, 4), 1e3 * draw(8, 64, 3, 3, seed=1), 1e4 * draw(2, 64, seed=2)
    expected = modulate(x, weight, style)
    scaled, kernel, coefficient = modulate(x.to(half), weight, style)
    assert scaled.dtype == kernel.dtype == coefficient.dtype == half
    y = F.conv2d(scaled, kernel, padding=1) * coefficient
    assert y.isfinite().all()
    assert_near(y.float(), F.conv2d(expected[0], expected[1], padding=1) * expected[2], 2e-2)


def test_mapping_learns_at_a_hundredth_of_the_rate():
    """Weights and biases are stored a hundred times as large, so that a step of Adam changes a hundredth of them."""
    mapping = MappingNetwork(400, width=400, layers=1)
    (layer,) = mapping.layers
    assert layer.weight.std().item() == pytest.approx(100, rel=0.02)
    z = draw(500, 400, seed=7)
    assert mapping(z).square().mean().item() == pytest.approx(1.04, rel=0.02)  # of a leaky ReLU, gain sqrt(2)
    torch.testing.assert_close(mapping(5 * z), mapping(z))  # z is normalised
    before = layer(z)
    optim.PaperAdam([layer.bias], lr=1.0, beta1=0.0).step(partial(backward, layer, z))
    torch.testing.assert_close(layer(z), before - 0.01)


def backward(layer: nn.Module, z: Tensor) -> None:
    layer(z).sum().backward()


@pytest.mark.parametrize(("size", "coarsest"), [((16, 16), (4, 4)), ((28, 28), (7, 7)), ((20, 48), (5, 12))])
@pytest.mark.parametrize("channels", [1, 4])
def test_any_sides_and_channels(size, coarsest, channels):
    shape = (channels, *size)
    generator = StyleGAN2Generator(shape, latent_dim=6, style_dim=8, base=64, widest=8)
    discriminator = StyleGAN2Discriminator(shape, base=64, widest=8)
    with within_layers(2):
        image = generator(draw(2, 6))
    assert image.shape == (2, *shape) and discriminator(image).shape == (2,)
    assert generator.synthesis.constant.shape == (8, *coarsest)
    assert generator.num_styles == 2 * len(generator.synthesis.blocks) == 6


def test_channels_are_the_authors():
    with torch.device("meta"):
        generator = StyleGAN2Generator((3, 1024, 1024))
        discriminator = StyleGAN2Discriminator((3, 1024, 1024))
    widths = [block.conv.weight.shape[0] for block in generator.synthesis.blocks]
    assert widths == [512, 512, 512, 512, 512, 256, 128, 64, 32] and generator.num_styles == 18
    assert [block.conv.weight.shape[0] for block in discriminator.blocks] == widths[:0:-1]
    # Of the authors' summaries for FFHQ at 1024 px: 30,370,060 with the toRGB of all levels, and 29,012,513.
    assert sum(p.numel() for p in generator.parameters()) == 30_370_060
    assert sum(p.numel() for p in discriminator.parameters()) == 29_012_513


def test_too_small_a_base_is_refused_in_a_line():
    with pytest.raises(ValueError, match="base 8 leaves no channels at the finest of 3 levels") as error:
        StyleGAN2Generator((1, 16, 16), base=8)
    assert "\n" not in str(error.value)


def within_layers(n: int, seed: int = 0) -> Any:
    return drawn_by_layers(PartNoise(seed, 0, 1, torch.device("cpu")))


def test_kinds_of_noise():
    generator = StyleGAN2Generator(SHAPE, latent_dim=6, style_dim=8, base=64, widest=8)
    z = draw(2, 6)
    assert all(layer.strength == 0 for layer in generator.modules() if isinstance(layer, StyledConv2d))
    with within_layers(2):
        assert_same(generator(z), generator(z, noise="none"))  # strengths begin at 0
    for layer in generator.modules():
        if isinstance(layer, StyledConv2d):
            nn.init.constant_(layer.strength, 0.5)
    with within_layers(2):
        drawn = generator(z)
    with within_layers(2):
        assert_same(generator(z), drawn)
    with within_layers(2, seed=1):
        assert not torch.equal(generator(z), drawn)
    constant = generator(z, noise="const")
    assert_same(generator(z, noise="const"), constant)
    assert not torch.equal(constant, generator(z, noise="none")) and not torch.equal(constant, drawn)
    same = generator(z[:1].expand(2, -1), noise="const")
    torch.testing.assert_close(same[0], same[1])


def test_truncation_goes_to_the_mean_of_w_in_the_first_layers():
    generator = StyleGAN2Generator(SHAPE, latent_dim=6, style_dim=8, base=64, widest=8, truncation_layers=2)
    nn.init.normal_(generator.mapping.w_average)
    w, average = draw(3, 8), generator.mapping.w_average
    ws = generator.styles(w, 0.3)
    torch.testing.assert_close(ws[:, :2], (0.3 * w + 0.7 * average)[:, None].expand(-1, 2, -1))
    assert_same(ws[:, 2:], w[:, None].expand(-1, 4, -1))
    assert_same(generator.styles(w), w[:, None].expand(-1, 6, -1))


def test_samples_are_truncated_in_w_not_in_z():
    model = tiny("StyleGAN2")
    nn.init.normal_(model.generator.mapping.w_average)
    images = model.sample(3, live=True, truncation=1e-6)
    with torch.no_grad():
        mean = model.generator.synthesis(model.generator.styles(model.generator.mapping.w_average[None]), "none")
    torch.testing.assert_close(images, model.bounded(mean).expand_as(images), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.sample(3, live=True, truncation=1.0), model.sample(3, live=True))


def test_a_mixture_begins_with_the_first_latent():
    first, second = draw(3, 2), draw(3, 2, seed=1)
    ws = mix(first, second, torch.tensor([1, 4, 3]), 4)
    for sample, crossover in enumerate((1, 4, 3)):
        assert_same(ws[sample, :crossover], first[sample].expand(crossover, -1))
        assert_same(ws[sample, crossover:], second[sample].expand(4 - crossover, -1))


def test_nine_images_of_ten_are_mixed_at_a_uniform_layer():
    model = tiny("StyleGAN2")
    model.trainer = quiet()
    w = draw(4000, 6)
    with within(model):
        ws = model.mixed(w, None)
    kept = (ws == w[:, None]).all(2).sum(1)
    counts = kept.bincount(minlength=7) / 4000
    assert counts[0] == 0 and counts[6].item() == pytest.approx(0.1, abs=0.02)
    assert counts[1:6].tolist() == pytest.approx([0.18] * 5, abs=0.03)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: StyledConv2d(2, 3, 4, (4, 4), False, None),
        lambda: StyledConv2d(2, 3, 4, (8, 8), True, None),
        lambda: ToImage(2, 3, 4, None),
        lambda: ActiveConv2d(2, 3),
        lambda: DiscriminatorBlock(2, 3, True, None, None),
        lambda: DiscriminatorBlock(2, 3, False, None, None),
        lambda: nn.Sequential(MinibatchDeviation(2), ActiveConv2d(3, 2)),
    ],
    ids=["styled", "styled up", "to image", "convolution", "residual", "orig", "deviation"],
)
def test_double_backward_of_every_layer(layer):
    torch.manual_seed(0)
    network = layer().double()
    x, w = draw(2, 2, 4, 4).double().requires_grad_(), draw(2, 4, seed=1).double().requires_grad_()
    parameters = [p for name, p in network.named_parameters() if name in ("weight", "bias", "conv.weight")]
    noise = ("const",) if isinstance(network, StyledConv2d) else ()
    styled = isinstance(network, (StyledConv2d, ToImage))

    def run(*_: Tensor) -> Tensor:
        return network(x, w, *noise) if styled else network(x)

    assert torch.autograd.gradgradcheck(run, (x, *([w] if styled else []), *parameters))


# Half precision


def keep(maps: list[Tensor], _: nn.Module, __: Any, y: Tensor) -> None:
    maps.append(y.detach())


@pytest.mark.parametrize("half_type", ["bfloat16", "float16"])
def test_half_resolutions_are_finite_clamped_and_near_float32(half_type):
    options = {"base": 64, "widest": 8, "clamp": 2.0}
    kinds = partial(StyleGAN2Generator, SHAPE, latent_dim=6, style_dim=8), partial(StyleGAN2Discriminator, SHAPE)
    gradients, outputs = {}, {}
    for halves in (0, 2):
        torch.manual_seed(0)
        generator, discriminator = (kind(**options, half_resolutions=halves, half_type=half_type) for kind in kinds)
        maps: list[Tensor] = []
        for layer in (*generator.modules(), *discriminator.modules()):
            if isinstance(layer, (StyledConv2d, ActiveConv2d)):
                layer.register_forward_hook(partial(keep, maps))
        image = generator(draw(8, 6), noise="const")
        score = discriminator(image)
        assert image.dtype == score.dtype == torch.float32
        assert {y.dtype for y in maps} == {torch.float32} | ({getattr(torch, half_type)} if halves else set())
        assert max(y.abs().max() for y in maps) == 2.0
        score.sum().backward()
        outputs[halves] = score.detach()
        gradients[halves] = [p.grad for p in (*generator.parameters(), *discriminator.parameters()) if p.grad.any()]
    assert_near(outputs[2], outputs[0], 0.05)
    assert len(gradients[0]) == len(gradients[2]) > 30
    flat = {halves: torch.cat([g.flatten() for g in found]) for halves, found in gradients.items()}
    assert_near(flat[2], flat[0], 0.1)


def test_penalties_are_in_float32_throughout():
    """In half precision blocks and under autocast too: equal to a model without either, in every bit."""
    figures = []
    for halves, autocast in ((0, False), (2, True)):
        narrow = {"base": 64, "widest": 8, "half_resolutions": halves}
        model = tiny(
            "StyleGAN2",
            generator=partial(StyleGAN2Generator, latent_dim=6, style_dim=6, mapping_layers=2, **narrow),
            discriminator=partial(StyleGAN2Discriminator, **narrow),
        )
        model.trainer = quiet()
        batch = Labeled(draw(8, *SHAPE), torch.zeros(8, dtype=torch.int64))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), within(model):
            terms = model.r1_penalty(batch) | model.path_penalty(batch, torch.zeros(()))
        figures.append({name: value.detach() for name, value in terms.items()})
        assert all(value.dtype == torch.float32 and value > 0 for value in terms.values())
    assert_same(figures[1], figures[0])


# The game


class Turns:
    """Notes the turns of a model: player, objective's terms, and whether the step and the averages counted it."""

    def __init__(self, model: StyleGAN2) -> None:
        self.taken: list[tuple[int, str, str]] = []
        turn = model.turn

        def noted(name: str, objective: Any, batch: Labeled, **options: Any) -> None:
            def spied(part: Labeled) -> dict[str, Tensor]:
                terms = objective(part)
                self.taken.append((model.iteration, name, "+".join(terms)))
                self.sizes.append(len(part.image))
                return terms

            turn(name, spied, batch, **options)

        self.sizes: list[int] = []
        model.turn = noted


def test_lazy_turns_come_at_their_intervals_with_the_generator_first():
    model = tiny("StyleGAN2", path_interval=2, r1_interval=3, path_shrink=4, step=ImageStep(ema_every=1))
    turns = Turns(model)
    trainer = trained(model, 4)
    main, path, critic, r1 = (
        ("generator", "adversarial"),
        ("generator", "path_length"),
        ("discriminator", "adversarial"),
        ("discriminator", "r1"),
    )
    expected = [(1, *turn) for turn in (main, path, critic, r1)] + [(2, *turn) for turn in (main, critic)]
    expected += [(3, *turn) for turn in (main, path, critic)] + [(4, *turn) for turn in (main, critic, r1)]
    assert turns.taken == expected
    assert turns.sizes[:4] == [16, 4, 16, 16]
    assert trainer.global_step == 4 and model.turns == {"generator": 4, "discriminator": 4}
    assert model.ema.calls == 4 and model.ema.images == 64  # lazy turns belong to a turn of the game


def test_without_weight_no_lazy_turn_is_taken():
    model = tiny("StyleGAN2", path_weight=0.0, gamma=0.0)
    turns = Turns(model)
    trained(model, 2)
    assert {terms for *_, terms in turns.taken} == {"adversarial"} and model.path_mean == 0


def test_adam_is_scaled_for_lazy_turns_even_where_none_is_taken():
    """The authors' numbers for CIFAR-10: .0025 * 4 / 5 = .002 and .99 ** .8; .0025 * 16 / 17 and .99 ** (16 / 17)."""
    adam = both(partial(optim.PaperAdam, lr=2.5e-3, beta1=0.0, beta2=0.99))
    model = tiny("StyleGAN2", adam, path_weight=0.0)
    trained(model, 1)
    groups = [optimizer.param_groups[0] for optimizer in model.optimizers(use_pl_optimizer=False)]
    assert [group["lr"] for group in groups] == pytest.approx([0.002, 0.0025 * 16 / 17])
    assert [group["betas"] for group in groups] == [(0.0, 0.99**0.8), (0.0, 0.99 ** (16 / 17))]


def test_terms_are_multiplied_by_interval_and_weight():
    values = []
    for options in ({}, {"r1_interval": 2, "gamma": 30.0, "path_interval": 12, "path_weight": 10.0}):
        model = tiny("StyleGAN2", **options)
        model.trainer = quiet()
        batch = Labeled(draw(8, *SHAPE), torch.zeros(8, dtype=torch.int64))
        with within(model, 1):
            terms = model.r1_penalty(batch) | model.path_penalty(batch, torch.tensor(0.5))
        values.append({name: float(value.detach()) for name, value in terms.items()})
    assert values[1]["r1"] == pytest.approx(values[0]["r1"] * 2 * 30 / (16 * 10), rel=1e-5)
    assert values[1]["path_length"] == pytest.approx(values[0]["path_length"] * 12 * 10 / (4 * 2), rel=1e-5)


class Twice(Augment):
    """What the discriminator sees is twice the image."""

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        return 2 * image


class Linear(nn.Module):
    """D(x) = a x."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int | None = None) -> None:
        super().__init__()
        self.a = nn.Parameter(draw(math.prod(image_shape)))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.a


def test_r1_is_by_the_image_before_augmentation_and_through_it():
    """Of a linear discriminator it is gamma / 2 |2 a|^2, times the interval."""
    model = tiny("StyleGAN2", discriminator=Linear, gamma=3.0, r1_interval=5, step=ImageStep(augment=Twice))
    model.trainer = quiet()
    with within(model):
        terms = model.r1_penalty(Labeled(draw(4, *SHAPE), torch.zeros(4, dtype=torch.int64)))
    expected = 5 * 3.0 / 2 * float((2 * model.discriminator.a.detach()).square().sum())
    assert float(terms["r1"].detach()) == pytest.approx(expected, rel=1e-5)


def test_path_length_is_that_of_the_jacobian():
    """Of a linear synthesis whose Jacobian is written out: image = sum over layers of J_l w_l."""
    layers, width, shape = 3, 4, (2, 5, 6)
    jacobian = draw(layers, math.prod(shape), width)
    ws, noise = draw(7, layers, width, seed=1).requires_grad_(), draw(7, *shape, seed=2)
    image = torch.einsum("lpw,nlw->np", jacobian, ws).view(7, *shape)
    lengths = losses.path_lengths(image, ws, noise)
    for sample in range(7):
        y = noise[sample].flatten() / math.sqrt(5 * 6)
        squares = [float((jacobian[layer].T @ y).square().sum()) for layer in range(layers)]
        assert lengths[sample].item() == pytest.approx(math.sqrt(sum(squares) / layers), rel=1e-5)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_moving_means_are_of_the_whole_batch_and_move_once(micro_batches):
    """Against the lengths and the w that the turns saw, written out; the average's copy of the mean of w follows."""
    still = partial(torch.optim.SGD, lr=0.0)
    step = ImageStep(micro_batches=micro_batches)
    model = tiny("StyleGAN2", plain_networks("StyleGAN2"), both(still), mixing=0.0, path_interval=1, step=step)
    seen: list[Tensor] = []
    model.generator.mapping.register_forward_hook(lambda _, __, w: seen.append(w.detach()) if w.requires_grad else None)
    lengths: list[Tensor] = []
    original = losses.path_lengths

    def noted(*arguments: Tensor) -> Tensor:
        lengths.append(original(*arguments).detach())
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "path_lengths", noted)
        trained(model, 2)
    counted = lengths if micro_batches == 1 else [*lengths[2:4], *lengths[6:8]]  # the others are of rehearsals
    first, second = (torch.cat(counted[: len(counted) // 2]), torch.cat(counted[len(counted) // 2 :]))
    assert len(first) == len(second) == 8
    mean = 0.01 * float(first.mean())
    assert model.path_mean.item() == pytest.approx(mean + 0.01 * (float(second.mean()) - mean), rel=1e-5)
    main = [w for w in seen if len(w) == 16 // micro_batches]
    half = micro_batches  # weights stand still, so that every w of a main turn is counted once
    a, b = torch.cat(main[:half]).mean(0), torch.cat(main[half : 2 * half]).mean(0)
    torch.testing.assert_close(model.generator.mapping.w_average, 0.995 * 0.005 * a + 0.005 * b)
    assert_same(model.ema.network.mapping.w_average, model.generator.mapping.w_average)


def test_path_penalty_of_micro_batches_has_the_gradient_of_the_whole_batch():
    """The moving mean is part of the graph, as in the authors' code, and mixes samples of different parts."""
    runs = []
    for count in (1, 2):
        step = ImageStep(micro_batches=count)
        model = tiny(
            "StyleGAN2", plain_networks("StyleGAN2"), sgd(1e-2), path_interval=1, path_decay=0.7, gamma=0.0, step=step
        )
        trained(model, 1)
        runs.append(tensors(model))
    for name in runs[0]:
        torch.testing.assert_close(runs[1][name], runs[0][name], rtol=1e-4, atol=1e-6)


def test_each_turn_has_fresh_latents_of_one_real_batch():
    model, latents, reals = tiny("StyleGAN2", mixing=0.0), [], []
    model.generator.mapping.register_forward_hook(lambda _, inputs, __: latents.append(inputs[0]))
    model.discriminator.register_forward_hook(lambda _, inputs, __: reals.append(inputs[0].detach()))
    trained(model, 1)
    assert [len(z) for z in latents] == [16, 8, 16]
    assert all(not torch.equal(a[:8], b[:8]) for a, b in zip(latents, latents[1:], strict=False))
    assert_same(reals[1], reals[3])  # the generator's turn sees fakes alone; the critic's reals are those of R1


def test_fakes_have_classes_as_in_the_data():
    model = tiny("StyleGAN2", conditional=True)
    model.trainer, model.trained_on = quiet(), {"class_counts": [3, 1]}
    with within(model):
        label = model.condition_like(Labeled(torch.zeros(4000, 1), torch.zeros(4000)))
    assert label.float().mean().item() == pytest.approx(0.25, abs=0.03)
    trained(model, 2)
    with pytest.raises(ValueError, match="StyleGAN2 needs data with classes"):
        tiny("StyleGAN2", conditional=True, num_classes=None)


def test_a_class_changes_the_image_and_the_score():
    model = tiny("StyleGAN2", conditional=True)
    images = [model.sample(2, condition=torch.full((2,), label)) for label in (0, 1)]
    assert not torch.equal(*images)
    scores = [model.discriminator(images[0], torch.full((2,), label)) for label in (0, 1)]
    assert not torch.allclose(*scores)


def test_a_loss_that_is_not_finite_stops_the_run():
    """The authors' code goes on with gradients of 0."""
    model = tiny("StyleGAN2")
    with torch.no_grad():
        model.generator.synthesis.constant.fill_(math.inf)
    with pytest.raises(NotFiniteError, match="generator/adversarial is not finite at iteration 1"):
        trained(model, 1)


def test_a_generator_without_styles_is_refused():
    with pytest.raises(ValueError, match="StyleGAN2 needs a generator with styles, not a MLPGenerator"):
        tiny("StyleGAN2", plain_networks("DCGAN"))
    with pytest.raises(ValueError, match="must be at least 1"):
        tiny("StyleGAN2", r1_interval=0)


def test_losses_move():
    """Twenty small steps: both players' losses change, and all weights stay finite."""
    model = tiny("StyleGAN2", step=ImageStep(ema_half_life=100.0))
    trainer = trained(model, 20, Noisy(), log_every_n_steps=1)
    figures = trainer.callback_metrics
    assert all(value.isfinite().all() for value in tensors(model).values())
    assert abs(float(figures["generator/adversarial"]) - math.log(2)) > 1e-3


# Presets


@pytest.mark.parametrize(
    ("name", "batch", "kimg", "rate", "gamma", "half_life", "rampup", "layers", "base"),
    [  # train.py of the authors: batch, length, rate, R1, average, mapping layers, 32,768 times their fmaps
        ("cifar10", 64, 100_000, 0.0025, 0.01, 500_000, 0.05, 2, 32_768),
        ("auto256", 16, 25_000, 0.0025, 0.0002 * 256**2 / 16, 5_000, 0.05, 2, 16_384),
        ("paper1024", 32, 25_000, 0.002, 2.0, 10_000, None, 8, 32_768),
    ],
)
def test_presets_are_the_authors(name, batch, kimg, rate, gamma, half_life, rampup, layers, base):
    cli = parse(f"--config={ROOT / 'stylegan2' / f'{name}.yaml'}")
    built = cli.config.model.init_args
    size = cli.config.data.init_args.batch_size
    assert size == batch and cli.config.trainer.max_steps * size == pytest.approx(kimg * 1000)
    for optimizer in (built.generator_optimizer, built.discriminator_optimizer):
        settings = optimizer.init_args
        assert (settings.lr, settings.beta1, settings.beta2, settings.eps) == (rate, 0.0, 0.99, 1e-8)
    assert built.gamma == pytest.approx(gamma)
    assert (built.step.ema_half_life, built.step.ema_rampup) == (half_life, rampup)
    generator, discriminator = built.generator.init_args, built.discriminator.init_args
    assert (generator.mapping_layers, generator.latent_dim, generator.style_dim) == (layers, 512, 512)
    for network in (generator, discriminator):
        assert (network.base, network.widest, network.half_resolutions, network.clamp) == (base, 512, 4, 256.0)
    ada = built.step.augment
    assert ada.class_path.endswith("ADA") and (ada.init_args.target, ada.init_args.speed) == (0.6, 500_000)
    assert not cli.config.data.init_args.flip
    cifar = name == "cifar10"
    assert (built.mixing, built.path_weight) == ((0.0, 0.0) if cifar else (0.9, 2.0))
    assert (discriminator.architecture, discriminator.group) == (("orig", 32) if cifar else ("resnet", 4))


def test_lazy_terms_stay_for_the_log_line() -> None:
    """Of batches 1 and 5 on the lines of batches 2, 4 and 6, and not in the loss of the game."""
    model, lines = tiny("StyleGAN2", r1_interval=4, path_interval=4), []

    class Lines(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            lines.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    trained(model, 7, Noisy(batch_size=8), log_every_n_steps=2, callbacks=[Lines()])
    second, fourth, sixth = lines[2::2]  # a callback is called before the line is written
    for name in ("discriminator/r1", "generator/path_length", "generator/path_mean"):
        assert second[name] > 0 and sixth[name] != second[name]
    for player in ("discriminator", "generator"):
        assert second[f"{player}/loss"] == pytest.approx(second[f"{player}/adversarial"])
    assert fourth["discriminator/r1"] == second["discriminator/r1"], "no turn since: the line before said it"


def test_parts_are_compiled_that_training_calls_apart() -> None:
    network = tiny("StyleGAN2").generator
    network.compile()
    assert network.mapping._compiled_call_impl is not None and network.synthesis._compiled_call_impl is not None
