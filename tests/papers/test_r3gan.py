"""R3GAN (arXiv:2501.05441): equal to the authors' networks and losses, and what reproductions lose."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHAPE, Noisy, assert_same, gap, plain_networks, quiet, sgd, tensors, tiny, trained, within_turn
from lightning.pytorch import Callback, Trainer
from test_configs import ROOT, parse
from torch import Tensor, nn

from gan_lightning import networks, schedules
from gan_lightning.augment import Augment
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep, TwoPlayerGAN
from gan_lightning.models import R3GAN
from gan_lightning.networks.r3gan import BiasedActivation, Block, from_published, published_arguments
from gan_lightning.noise import Noise

GAMES = ["R3GAN", "R3GAN2"]  # of the same rules
Reference = dict[str, Tensor]


def reference(name: str) -> Reference:
    """Arrays that the authors' code made; its weights are exact in float16."""
    arrays = np.load(Path(__file__).parents[1] / "reference" / f"{name}.npz")
    found = {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def part(of: Reference, prefix: str) -> Reference:
    return {key.removeprefix(prefix): value for key, value in of.items() if key.startswith(prefix)}


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert (ours - theirs).norm() <= tolerance * theirs.norm()


def assert_gradients(network: nn.Module, theirs: Reference) -> None:
    """Those that the file holds."""
    own = {name: p.grad for name, p in network.named_parameters()}
    assert len(theirs) > 10
    for name, gradient in theirs.items():
        assert_close(own[name], gradient)


@pytest.fixture(scope="module")
def theirs() -> Reference:
    return reference("r3gan")


def of_reference(theirs: Reference, gamma: float = 1.0) -> R3GAN:
    """Our model with the weights of the file, whose latents are the file's."""
    arguments = {name: published_arguments(part(theirs, f"{name}.")) for name in "GD"}
    shapes = [(one.pop("image_shape"), one.pop("num_classes")) for one in arguments.values()]
    assert shapes == 2 * [((3, 16, 16), 3)]
    model = R3GAN(
        *shapes[0],
        conditional=True,
        generator=partial(networks.R3GANGenerator, **arguments["G"]),
        discriminator=partial(networks.R3GANDiscriminator, **arguments["D"]),
        gamma=gamma,
        step=ImageStep(),
    )
    model.generator.load_state_dict(from_published(part(theirs, "G.")))
    model.discriminator.load_state_dict(from_published(part(theirs, "D.")))
    model.latent = lambda noise, n: theirs["z"]
    model.trainer = quiet()
    return model


# The authors' numbers


def test_networks_equal_the_authors(theirs):
    model = of_reference(theirs)
    with torch.no_grad():
        assert_close(model.generator(theirs["z"], theirs["label"]), theirs["G(z, label)"])
        assert_close(model.discriminator(theirs["real"], theirs["label"]), theirs["D(real, label)"])


def test_the_discriminators_turn_equals_the_authors(theirs):
    """Loss, both penalties and gradients: relativistic pairs, gamma / 2 of squared norms."""
    gamma = float(theirs["gamma"])
    model, batch = of_reference(theirs, gamma), Labeled(theirs["real"], theirs["label"])
    with within_turn(model):
        terms = model.discriminator_loss(batch)
    assert list(terms) == ["adversarial", "r1", "r2"]
    assert_close(terms["adversarial"], theirs["discriminator.adversarial"].mean())
    for name in ("r1", "r2"):
        assert_close(terms[name], gamma / 2 * theirs[f"discriminator.{name}"].mean())
    model.generator.requires_grad_(False)
    sum(terms.values()).backward()
    assert_gradients(model.discriminator, from_published(part(theirs, "grad.D.")))


def test_the_generators_turn_equals_the_authors(theirs):
    model = of_reference(theirs)
    with within_turn(model):
        terms = model.generator_loss(Labeled(theirs["real"], theirs["label"]))
    assert_close(terms["adversarial"], theirs["generator.adversarial"].mean())
    sum(terms.values()).backward()
    assert_gradients(model.generator, from_published(part(theirs, "grad.G.")))


@pytest.mark.parametrize(("classes", "generator", "discriminator"), [(10, 20.78, 21.28), (None, 20.73, 20.68)])
def test_cifar10_has_the_papers_parameters(classes, generator, discriminator):
    """In millions; those without labels are counted by hand."""
    with torch.device("meta"):
        built = networks.R3GANGenerator((3, 32, 32), classes), networks.R3GANDiscriminator((3, 32, 32), classes)
    counts = [sum(p.numel() for p in network.parameters()) for network in built]
    assert [round(count / 1e6, 2) for count in counts] == [generator, discriminator]
    if classes is None:
        blocks = 8 * (2 * 768 * 1536 + 1536 * 16 * 9 + 2 * 1536)
        assert counts == [blocks + 768 * 16 + 64 * 768 + 3 * 768, blocks + 3 * 768 + 768 * 16 + 768]


# The networks


@pytest.mark.parametrize(("kind", "blocks"), [("Generator", 2), ("Discriminator", 3)])
def test_initial_weights_are_fix_ups(kind, blocks):
    """gain / sqrt(fan-in) L^(-1/4), L the blocks of the whole network, and zero last: the network begins linear."""
    network = getattr(networks, f"R3GAN{kind}")((3, 32, 32), 10, width=128, blocks=blocks)
    gain, count = math.sqrt(2 / 1.04), 4 * blocks
    found = [module for module in network.modules() if isinstance(module, Block)]
    assert len(found) == count
    for block in found:
        assert not block.project.weight.any()
        for conv, fan_in in ((block.expand, 128), (block.spatial, 16 * 9)):
            expected = gain * count**-0.25 / math.sqrt(fan_in)
            assert conv.weight.std().item() == pytest.approx(expected, rel=0.03)
        assert block.spatial.groups == 256 // 16
        x = torch.randn(2, 128, 4, 4)
        assert torch.equal(block(x), x)
    dim = {"Generator": 64, "Discriminator": 128}[kind]
    expected = {"Generator": 1, "Discriminator": 1 / math.sqrt(dim)}[kind] / math.sqrt(10)  # of one-hot labels
    assert network.embedding.weight.shape == (10, dim)
    assert network.embedding.weight.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("network", [networks.R3GANGenerator, networks.R3GANDiscriminator])
def test_only_activations_have_biases(network):
    built = network((3, 16, 16), 2, width=16)
    biases = {name.rsplit(".", 1)[0] for name, _ in built.named_parameters() if name.endswith("bias")}
    activations = {name for name, module in built.named_modules() if isinstance(module, BiasedActivation)}
    assert biases == activations and len(activations) == 2 * 2 * 3
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)) for m in built.modules())


def test_images_have_no_bounds_and_samples_have():
    """Nothing follows the residual sum: at first the images are linear in the latent."""
    model = tiny("R3GAN")
    z, label = torch.randn(2, 6), torch.tensor([0, 1])
    network = networks.R3GANGenerator(SHAPE, latent_dim=6, width=4)
    torch.testing.assert_close(network(1000 * z), 1000 * network(z), rtol=1e-4, atol=1e-3)
    sampled = model.generate(1000 * z, live=True, condition=label)
    torch.testing.assert_close(sampled, model.generator(1000 * z, label).clamp(-1, 1))
    assert sampled.abs().max() == 1


def test_upper_stages_compute_in_bfloat16():
    """As many as are asked for, from the largest resolution down; weights, images and scores are float32."""
    generator = networks.R3GANGenerator((3, 32, 32), 2, width=16, bf16_stages=3)
    discriminator = networks.R3GANDiscriminator((3, 32, 32), 2, width=16, bf16_stages=3)
    seen: dict[str, list[torch.dtype]] = {"G": [], "D": []}
    for name, network in (("G", generator), ("D", discriminator)):
        for block in (module for module in network.modules() if isinstance(module, Block)):
            block.register_forward_hook(lambda module, inputs, y, name=name: seen[name].append(y.dtype))
    z, label = torch.randn(4, 64), torch.tensor([0, 1, 1, 0])
    image = generator(z, label)
    score = discriminator(image, label)
    half, full = torch.bfloat16, torch.float32
    assert seen == {"G": 2 * [full] + 6 * [half], "D": 6 * [half] + 2 * [full]}
    assert {image.dtype, score.dtype, *(p.dtype for p in generator.parameters())} == {full}
    generator.bf16_stages = discriminator.bf16_stages = 0
    assert 0 < gap({"": image}, {"": generator(z, label)}) < 0.02
    assert 0 < gap({"": score}, {"": discriminator(image, label)}) < 0.05


@pytest.mark.parametrize("paper", GAMES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 16), (5, 20, 40), (2, 64, 64)])
def test_networks_build_for_sides_that_differ_and_any_channels(paper, shape):
    sizes = {"width": 4, "blocks": 1}
    generator = getattr(networks, f"{paper}Generator")(shape, 3, latent_dim=5, **sizes)
    discriminator = getattr(networks, f"{paper}Discriminator")(shape, 3, **sizes)
    model = tiny(paper, image_shape=shape, generator=lambda *_: generator, discriminator=lambda *_: discriminator)
    mixed = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    image = model.generate(torch.randn(2, 5), condition=mixed)
    assert image.shape == (2, *shape)
    assert_close(model.discriminator(image, mixed)[1], model.discriminator(image, torch.tensor([0, 2]))[1])


@pytest.mark.parametrize("paper", GAMES)
@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((3, 30, 30), {}, "cannot build 30x30"),
        ((3, 32, 32), {"width": [8, 8]}, "width names 2"),
        ((3, 32, 32), {"width": 9, "group": 8}, "not whole groups of 8"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_line(paper, shape, options, said):
    for kind in ("Generator", "Discriminator"):
        with pytest.raises(ValueError, match=said) as error:
            getattr(networks, f"{paper}{kind}")(shape, **options)
        assert "\n" not in str(error.value)


# The game


class Threefold(Augment):
    """Images times 3."""

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        return 3.0 * image


class Weighted(nn.Module):
    """<w, x> + 1: a score whose gradient is w everywhere."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int | None = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(image_shape, generator=torch.Generator().manual_seed(1)))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        return (self.w * image).flatten(1).sum(1) + 1.0


@pytest.mark.parametrize("paper", GAMES)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_penalties_are_by_the_images_before_augmentation(paper, precision):
    """Through it: 3 w for every image; and in float32, whatever the trainer's precision."""
    model = tiny(paper, discriminator=Weighted, gamma=0.5, step=ImageStep(augment=Threefold))
    model.trainer = quiet(precision=precision)
    batch = Labeled(torch.rand(4, *SHAPE), torch.tensor([0, 1, 1, 0]))
    with within_turn(model), model.trainer.precision_plugin.forward_context():
        terms = model.discriminator_loss(batch)
    expected = 0.5 / 2 * 9 * model.discriminator.w.detach().square().sum()
    torch.testing.assert_close(terms["r1"].detach(), expected)
    torch.testing.assert_close(terms["r2"].detach(), expected)
    assert expected > 1


@pytest.mark.parametrize("paper", GAMES)
def test_each_player_has_real_images_of_its_own_and_each_fake_its_partners_class(paper):
    model = tiny(paper, plain_networks(), step=ImageStep())
    shown: list[tuple[str, Labeled]] = []
    discriminate = model.discriminate

    def watched(sample: Labeled) -> Tensor:
        shown.append((model.training_log.player, sample.detach()))
        return discriminate(sample)

    model.discriminate = watched
    trained(model, 2)
    assert [player for player, _ in shown] == 2 * (2 * ["discriminator"] + 2 * ["generator"])
    pairs = [(a, b) for (_, a), (_, b) in zip(shown[::2], shown[1::2], strict=True)]
    for a, b in pairs:
        assert torch.equal(a.label, b.label) and not torch.equal(a.image, b.image)
    assert {0, 1} == set(pairs[0][0].label.tolist())
    of_data = {image.numpy().tobytes() for image in Noisy().load("train").image.float() / 127.5 - 1}
    reals = [sample.image for _, sample in shown if all(x.numpy().tobytes() in of_data for x in sample.image)]
    assert len(reals) == 4  # batches, all 64 images once
    assert len({image.numpy().tobytes() for real in reals for image in real}) == 64


@pytest.mark.parametrize("paper", GAMES)
def test_gamma_follows_its_schedule(paper):
    """0.05 -> 0.005 over 20 million images on half a cosine, half-way between at half-time."""
    model = tiny(paper, discriminator=Weighted, generator=plain_networks()["generator"])
    model.trainer = quiet()
    batch = Labeled(torch.rand(2, *SHAPE), torch.tensor([0, 1]))
    norm = model.discriminator.w.detach().square().sum()
    for images, gamma in ((0, 0.05), (10_000_000, 0.0275), (20_000_000, 0.005), (50_000_000, 0.005)):
        model.clock = images
        with within_turn(model):
            terms = model.discriminator_loss(batch)
        torch.testing.assert_close(terms["r1"].detach(), gamma / 2 * norm)
        torch.testing.assert_close(terms["r2"].detach(), gamma / 2 * norm)


@pytest.mark.parametrize("paper", GAMES)
def test_two_parts_equal_one(paper):
    """With the papers' own networks, the noise of their layers included."""
    runs = []
    for count in (1, 2):
        model = tiny(paper, sgd(1e-3), step=ImageStep(micro_batches=count))
        trained(model, 2, precision="64-true")
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-9


class SavesAt(Callback):
    """Saves when a batch has ended."""

    def __init__(self, iteration: int, path: Path) -> None:
        self.iteration, self.path = iteration, path

    def on_train_batch_end(self, trainer: Trainer, model: TwoPlayerGAN, *_: Any) -> None:
        if model.iteration == self.iteration:
            trainer.save_checkpoint(self.path)


SCHEDULED = {
    "learning_rate": partial(schedules.Cosine, start=1.0, end=0.25, images=128),
    "beta2": partial(schedules.Cosine, start=0.9, end=0.99, images=128),
    "ema_half_life": partial(schedules.Cosine, start=0.0, end=64.0, images=128),
    "ema_rampup": None,
    "ema_power": [0.05, 0.1],
}


@pytest.mark.parametrize("paper", GAMES)
def test_a_run_goes_on_between_the_two_turns_of_a_step_bit_for_bit(paper, tmp_path):
    def model(seed: int = 0) -> TwoPlayerGAN:
        gamma = partial(schedules.Cosine, start=1.0, end=0.1, images=128)
        return tiny(paper, seed=seed, gamma=gamma, step=ImageStep(**SCHEDULED))

    def state(trainer: Trainer) -> list[Any]:
        return [trainer.lightning_module.state_dict(), [o.state_dict() for o in trainer.optimizers]]

    path = tmp_path / "a.ckpt"
    unbroken = trained(model(), 4, callbacks=[SavesAt(3, path)])  # the discriminator's second turn
    content = torch.load(path, weights_only=True)["gan_lightning"]
    assert content["turns"] == {"discriminator": 2, "generator": 1}
    assert_same(state(trained(model(1), 4, ckpt_path=path)), state(unbroken))


# The settings


SHEET: dict[str, tuple[Any, ...]] = {
    # widths and cardinalities from 4 px up, gamma, p, half-life, images of the schedules, batch, stages in bfloat16
    "cifar10": ([768] * 4, [96] * 4, (0.05, 0.005), 0.55, 5e6, 2e7, 512, 3),
    "ffhq64": ([768] * 4 + [384], [96] * 4 + [48], (2.0, 0.2), 0.3, 5e5, 2e7, 256, 4),
    "ffhq256": ([768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12], (150.0, 15.0), 0.3, 5e5, 2e7, 256, 4),
    "imagenet32": ([1536] * 4, [96] * 4, (0.5, 0.05), 0.5, 5e7, 2e8, 4096, 3),
    "imagenet64": ([1536] * 5, [96] * 5, (1.0, 0.1), 0.4, 5e7, 2e8, 4096, 4),
}


def cosine(described: Any) -> tuple[float, float, float]:
    assert described.class_path == "gan_lightning.schedules.Cosine"
    assert not (described.init_args.after or described.init_args.warmup)
    return described.init_args.start, described.init_args.end, described.init_args.images


@pytest.mark.parametrize("name", SHEET)
def test_presets_are_the_authors(name):
    widths, cardinalities, gamma, p, half_life, images, batch, bf16_stages = SHEET[name]
    config = parse(f"--config={ROOT / 'r3gan' / name}.yaml").config
    model, side = config.model.init_args, 2 ** (len(widths) + 1)
    assert config.data.init_args.batch_size == batch and config.data.init_args.flip
    assert model.conditional == (not name.startswith("ffhq"))
    for kind in ("generator", "discriminator"):
        described = getattr(model, kind)
        build = getattr(networks, described.class_path.rsplit(".", 1)[1])
        with torch.device("meta"):
            network = build((3, side, side), **vars(described.init_args))
        stages = list(network.stages)[:: 1 if kind == "generator" else -1]
        blocks = [[module for module in stage if isinstance(module, Block)] for stage in stages]
        assert [[b.project.out_channels for b in stage] for stage in blocks] == [2 * [w] for w in widths]
        assert [[b.spatial.groups for b in stage] for stage in blocks] == [2 * [c] for c in cardinalities]
        assert {b.spatial.in_channels // b.project.out_channels for stage in blocks for b in stage} == {2}
        assert network.bf16_stages == bf16_stages
        settings = getattr(model, f"{kind}_optimizer").init_args
        assert (settings.lr, settings.beta1, settings.eps) == (2e-4, 0.0, 1e-8)
    assert model.generator.init_args.latent_dim == 64
    assert cosine(model.gamma) == (*gamma, images)
    assert cosine(model.step.learning_rate) == (1.0, 0.25, images)
    assert cosine(model.step.beta2) == (0.9, 0.99, images)
    assert cosine(model.step.ema_half_life) == (0.0, half_life, images) and model.step.ema_rampup is None
    augment = model.step.augment.init_args
    assert cosine(augment.p) == (0.0, p, images) and augment.target is None
    strengths = {name: 1.0 for name in ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "cutout")}
    strengths |= {name: 0.5 for name in ("brightness", "contrast", "lumaflip", "hue", "saturation")}
    assert {name: augment[name] for name in strengths} == strengths
    assert (augment.imgfilter, augment.noise) == (0.0, 0.0)


def test_defaults_are_the_preset_of_cifar10():
    """But for labels, augmentation and bfloat16, which are choices of a run."""
    with torch.device("meta"):
        model = R3GAN((3, 32, 32))
    assert sum(p.numel() for p in model.generator.parameters()) == pytest.approx(20.73e6, rel=1e-3)
    schedules_of_step = model.step.learning_rate(), model.step.beta2(), model.step.ema_half_life(), model.gamma
    for schedule, values in zip(
        schedules_of_step,
        [(1.0, 0.625, 0.25), (0.9, 0.945, 0.99), (0.0, 2.5e6, 5e6), (0.05, 0.0275, 0.005)],
        strict=True,
    ):
        assert [schedule.at(images) for images in (0, 1e7, 2e7)] == pytest.approx(values)


@pytest.mark.parametrize("paper", GAMES)
def test_classes_are_told_by_choice(paper):
    kind = type(tiny(paper))
    with torch.device("meta"):
        assert kind((3, 32, 32), 10).num_classes is None
        assert kind((3, 32, 32), 10, conditional=True).num_classes == 10
    with pytest.raises(ValueError, match=f"{paper} needs data with classes"):
        kind((3, 32, 32), None, conditional=True)
