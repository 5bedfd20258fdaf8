"""LAPGAN (arXiv:1506.05751): one pair of operators, levels trained on real coarser images, the chain of sampling."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Noisy, assert_same, both, draw, gap, quiet, sgd, tensors, tiny, trained, within_turn
from lightning.pytorch import Callback
from PIL import Image
from torch import Tensor, nn

from gan_lightning import sample
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep
from gan_lightning.ema import EMA
from gan_lightning.models.lapgan import LAPGAN
from gan_lightning.networks import LAPGANDiscriminator, LAPGANGenerator, MLPDiscriminator, MLPGenerator
from gan_lightning.networks.lapgan import downsample, gaussian_pyramid, level_shapes, upsample
from gan_lightning.networks.layers import Dropout
from gan_lightning.runtime.layout import numbered

SHAPE = (1, 24, 24)  # levels of 6, 12 and 24 px
SIDES = [6, 12, 24]


def model(shape: tuple[int, int, int] = SHAPE, seed: int = 0, **options: Any) -> LAPGAN:
    torch.manual_seed(seed)
    arguments = {
        "num_classes": 2,
        "conditional": True,
        "coarsest": 6,
        "coarsest_generator": partial(MLPGenerator, latent_dim=6, width=12),
        "coarsest_discriminator": partial(MLPDiscriminator, width=12),
        "generator": partial(LAPGANGenerator, width=4),
        "discriminator": partial(LAPGANDiscriminator, width=4, dropout=0.0),
        **sgd(1e-2),
    }
    return LAPGAN(shape, **(arguments | options))


def batch_of(shape: tuple[int, int, int] = SHAPE, n: int = 8) -> Labeled:
    return Labeled(draw(n, *shape).clamp(-1, 1), torch.arange(n) % 2)


def within(lapgan: LAPGAN, what: str, batch: Labeled) -> Any:
    """The result of a method as a turn would call it, with the same random numbers each time."""
    lapgan.trainer = quiet()
    with within_turn(lapgan):
        result = getattr(lapgan, what)(batch)
        return result if isinstance(result, dict) else list(result)


def data(n: int = 64) -> Noisy:
    return Noisy(SHAPE, n=n, batch_size=8)


# The pyramid


def test_down_is_the_mean_of_four_pixels_and_up_is_linear_between_centres():
    image = torch.tensor([[1.0, 3.0, 0.0, 0.0], [5.0, 7.0, 0.0, 8.0]])[None, None]
    assert torch.equal(downsample(image), torch.tensor([[[[4.0, 2.0]]]]))
    row = upsample(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]))[0, 0]
    assert torch.equal(row, torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(4, 4))  # a quarter, three quarters of the way


@pytest.mark.parametrize("side", [28, 32])
def test_an_image_is_the_sum_of_its_pyramid(side):
    """By the model's own chain, with the true residuals in the place of generated ones: equation 4."""
    image = draw(3, 2, side, side)
    levels = gaussian_pyramid(image, 3)
    assert [level.shape[2] for level in levels] == [side // 4, side // 2, side]
    torch.testing.assert_close(levels[0], image.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).mean((3, 5)))
    true = [fine - upsample(coarse) for coarse, fine in zip(levels, levels[1:], strict=False)]

    class Given(nn.Module):
        def __init__(self, value: Tensor, latent_dim: int = 1) -> None:
            super().__init__()
            self.value, self.latent_dim = value, latent_dim

        def forward(self, *_: Tensor) -> Tensor:
            return self.value

    network = model((2, side, side), coarsest=side // 4, num_classes=None, conditional=False).generator
    network.coarsest, network.finer = Given(levels[0], 6), nn.ModuleList(map(Given, true))
    made = network.levels(draw(3, network.latent_dim))
    assert (made[-1] - image).abs().max() <= 1e-6
    for picture, level in zip(made, levels, strict=True):
        torch.testing.assert_close(picture, level, rtol=0, atol=1e-6)
    assert max(residual.abs().max() for residual in true) > 1.0  # of no range that a tanh would reach


@pytest.mark.parametrize(
    ("shape", "coarsest", "expected"),
    [
        ((1, 28, 28), 7, [(7, 7), (14, 14), (28, 28)]),
        ((3, 32, 32), 8, [(8, 8), (16, 16), (32, 32)]),
        ((3, 28, 28), 8, [(14, 14), (28, 28)]),
        ((3, 96, 96), 8, [(12, 12), (24, 24), (48, 48), (96, 96)]),
        ((3, 80, 48), 8, [(20, 12), (40, 24), (80, 48)]),
    ],
)
def test_sides_of_levels(shape, coarsest, expected):
    assert level_shapes(shape, coarsest) == [(shape[0], *size) for size in expected]


@pytest.mark.parametrize(
    ("shape", "coarsest", "message"),
    [
        ((1, 30, 30), 7, "30 is not a multiple of 4 (nearest: 28, 32)"),
        ((1, 32, 34), 8, "34 is not a multiple of 4 (nearest: 32, 36)"),
        ((1, 17, 17), 8, "17 is not a multiple of 2 (nearest: 16, 18)"),
        ((1, 32, 32), 17, "have no half with sides of at least coarsest=17"),
        ((1, 32, 32), 0, "coarsest=0"),
    ],
)
def test_images_without_halves_are_refused_in_a_line(shape, coarsest, message):
    with pytest.raises(ValueError) as error:
        level_shapes(shape, coarsest)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_arguments_that_cannot_be_are_refused_in_a_line():
    for options, message in (
        ({"images_per_level": 0}, "images_per_level must be at least 1"),
        ({"num_classes": None}, "LAPGAN needs data with classes"),
        ({"coarsest": 3}, "sides of at least 9, not 6x6: set coarsest to at least 5"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**options)


# Networks


def test_layers_are_those_of_the_authors():
    with torch.device("meta"):
        generator, discriminator = LAPGANGenerator((3, 32, 32), 10), LAPGANDiscriminator((3, 32, 32), 10)
        plain = LAPGANGenerator((3, 32, 32))
    convs = [layer for layer in generator.layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == [(5, 64, 7), (64, 64, 7), (64, 3, 5)]
    assert plain.layers[0].in_channels == 4  # three colours and the noise
    assert [type(layer) for layer in discriminator.layers] == [
        *(nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Flatten, Dropout, nn.Linear, nn.Flatten)
    ]
    first, second = discriminator.layers[0], discriminator.layers[2]
    assert (first.in_channels, first.kernel_size, second.stride) == (4, (5, 5), (2, 2))
    assert discriminator.layers[6].in_features == 64 * 12 * 12  # 32 -> 28 -> 12
    for network in (generator, discriminator):
        assert [type(layer) for layer in network.plane.layers][:2] == [nn.Linear, nn.ReLU]
        assert network.plane.layers[0].weight.shape == (32 * 32, 10)


def test_a_residual_has_no_bounds():
    network = LAPGANGenerator((1, 12, 12), width=4)
    last = network.layers[-1]
    with torch.no_grad():
        last.bias.fill_(-7.0)
        last.weight.zero_()
    assert torch.equal(network(draw(2, 1, 12, 12), draw(2, 1, 12, 12)), torch.full((2, 1, 12, 12), -7.0))


def test_a_class_is_one_plane_and_changes_both_networks():
    low, z = draw(4, 1, 12, 12), draw(4, 1, 12, 12, seed=1)
    one, other = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    for network, inputs in (
        (LAPGANGenerator((1, 12, 12), 2, width=4), (low, z)),
        (LAPGANDiscriminator((1, 12, 12), 2, width=4, dropout=0.0), (low,)),
    ):
        assert not torch.allclose(network(*inputs, one), network(*inputs, other))
        mixed = F.one_hot(one, 2).float()
        torch.testing.assert_close(network(*inputs, mixed), network(*inputs, one))  # shares of classes, for walks
        plane = network.plane(low, one)[:, 1:]
        weight, bias = network.plane.layers[0].weight[:, 0], network.plane.layers[0].bias
        torch.testing.assert_close(plane[0, 0].flatten(), (weight + bias).clamp(min=0))


def test_each_level_has_its_part_of_the_latent():
    lapgan = model()
    network = lapgan.generator
    assert network.latent_dim == 6 + 12 * 12 + 24 * 24
    z, label = draw(2, network.latent_dim), torch.tensor([0, 1])
    assert_same(torch.cat([part.flatten(1) for part in network.split(z)], 1), z)
    before = network.levels(z, label)
    assert [picture.shape[2] for picture in before] == SIDES and torch.equal(network(z, label), before[-1])
    for number, first in enumerate((0, 6, 6 + 144)):
        moved = z.clone()
        moved[:, first] += 1.0
        after = network.levels(moved, label)
        changed = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert changed == [level >= number for level in range(3)]


def test_latents_are_uniform():
    lapgan = model()
    z = lapgan.latents(range(200))
    assert z.min() >= -1 and z.max() < 1 and z.std().item() == pytest.approx(3**-0.5, rel=0.02)


def test_compile_reaches_the_network_of_each_level():
    network = model().generator
    network.compile()
    assert all(part._compiled_call_impl is not None for part in (network.coarsest, *network.finer))


# The game


def test_levels_are_trained_on_real_coarser_images():
    """Teacher forcing: l = up(down(real)), the discriminator sees l + h, and of a real image the image itself."""
    lapgan, batch, seen = model(), batch_of(), []
    for network in lapgan.generator.finer:
        network.register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))
    games = within(lapgan, "games", batch)
    assert [name for name, *_ in games] == [f"adversarial_{side}" for side in SIDES]
    half = F.avg_pool2d(batch.image, 2)
    belows = F.avg_pool2d(half, 2), half
    for (_, _, fake), below, (low, z, label, residual) in zip(games[1:], belows, seen, strict=True):
        torch.testing.assert_close(low, F.interpolate(below, scale_factor=2, mode="bilinear"))
        torch.testing.assert_close(fake.image, low + residual)
        assert torch.equal(label, batch.label) and z.shape == low.shape and z.abs().max() <= 1
    assert torch.equal(games[2][1].image, batch.image) and torch.equal(games[1][1].image, half)


def test_losses_are_the_sums_of_the_levels():
    lapgan, batch = model(), batch_of()
    games = within(lapgan, "games", batch)
    for player, sign in (("discriminator", 1.0), ("generator", -1.0)):
        terms = within(lapgan, f"{player}_loss", batch)
        for level, (name, real, fake) in enumerate(games):
            network = lapgan.discriminator[level]
            r, f = network(real.image, real.label).sigmoid(), network(fake.image, fake.label).sigmoid()
            expected = -(r.log().mean() + (1 - f).log().mean()) if sign > 0 else -f.log().mean()
            torch.testing.assert_close(terms[name], expected)


def test_a_level_gets_no_gradient_from_another():
    lapgan, batch = model(), batch_of()
    for level, side in enumerate(SIDES):
        terms = within(lapgan, "generator_loss", batch)
        lapgan.zero_grad()
        terms[f"adversarial_{side}"].backward()
        parts = [lapgan.generator.coarsest, *lapgan.generator.finer]
        moved = [any(p.grad is not None and p.grad.any() for p in part.parameters()) for part in parts]
        assert moved == [number == level for number in range(3)]


def test_the_coarsest_fakes_have_classes_of_their_own_and_finer_ones_those_of_their_images():
    lapgan, batch = model(), Labeled(draw(64, *SHAPE), torch.ones(64, dtype=torch.int64))
    games = within(lapgan, "games", batch)
    assert set(games[0][2].label.tolist()) == {0, 1}
    assert all(set(fake.label.tolist()) == {1} for _, _, fake in games[1:])


def test_side_by_side_equals_each_level_alone(monkeypatch):
    """Three runs that train one level each give the weights of the run that trains all of them."""
    together = model()
    trained(together, 4, data())
    for level in range(3):
        monkeypatch.setattr(LAPGAN, "trained_levels", range(level, level + 1))
        alone = model()
        trained(alone, 4, data())
        for player in ("generator", "discriminator"):
            mine, its = (tensors(levels_of(one, player)[level]) for one in (together, alone))
            assert gap(mine, its) <= 1e-6


def levels_of(lapgan: LAPGAN, player: str) -> list[nn.Module]:
    """The network of each level."""
    if player == "discriminator":
        return list(lapgan.discriminator)
    network = lapgan.generator if player == "generator" else lapgan.ema.network
    return [network.coarsest, *network.finer]


def test_one_after_another_trains_each_level_for_its_images_and_the_last_until_the_end():
    """8 images a batch, 16 a level: two batches each, then the last level for the rest."""
    lapgan = model(images_per_level=16, step=ImageStep(ema_half_life=100.0, ema_rampup=None))
    moved: list[list[list[bool]]] = []

    class Moved(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            self.before = self.now()

        def on_train_batch_end(self, *_: Any) -> None:
            pairs = zip(self.now(), self.before, strict=True)
            moved.append([[gap(a, b) > 0 for a, b in zip(*pair, strict=True)] for pair in pairs])

        def now(self) -> list[list[dict[str, Tensor]]]:
            kinds = ("generator", "discriminator", "average")
            return [[tensors(level) for level in levels_of(lapgan, kind)] for kind in kinds]

    trainer = trained(lapgan, 7, data(), callbacks=[Moved()])
    expected = [[number == level for number in range(3)] for level in (0, 0, 1, 1, 2, 2, 2)]
    assert moved == [[level] * 3 for level in expected]  # and no average follows at rest
    assert trainer.global_step == 7  # one generator turn a batch


def test_the_average_of_a_level_at_rest_stays_what_it_was():
    """The closed form: beta of its own images, and nothing of those of later levels."""
    live = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(2)])
    for level in live:
        nn.init.zeros_(level.weight)
    ema = EMA(live, half_life=100.0, rampup=None)
    for level in live:
        nn.init.ones_(level.weight)
    live[0].weight.grad = torch.ones(1, 1)
    ema.update(100, only_moved=True)
    live[0].weight.grad, live[1].weight.grad = None, torch.zeros(1, 1)
    ema.update(300, only_moved=True)
    assert [level.weight.item() for level in ema.network] == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_resume_equals_the_unbroken_run_also_where_a_level_begins(steps, unbroken, tmp_path):
    trained(staged(), steps, data()).save_checkpoint(tmp_path / "a.ckpt")
    trainer = trained(staged(1), 6, data(), ckpt_path=tmp_path / "a.ckpt")
    assert_same(state_of(trainer), unbroken)


def staged(seed: int = 0) -> LAPGAN:
    """Two batches a level, with momentum, which a level at rest must not feel."""
    return model(seed=seed, images_per_level=16, **both(partial(torch.optim.SGD, lr=1e-2, momentum=0.5)))


def state_of(trainer: Any) -> list[Any]:
    return [trainer.lightning_module.state_dict(), [optimizer.state_dict() for optimizer in trainer.optimizers]]


@pytest.fixture(scope="module")
def unbroken() -> list[Any]:
    return copy.deepcopy(state_of(trained(staged(), 6, data())))


@pytest.mark.parametrize("images_per_level", [None, 16])
def test_micro_batches_equal_the_whole_batch(images_per_level):
    runs = []
    for count in (1, 2):
        lapgan = model(images_per_level=images_per_level, step=ImageStep(micro_batches=count))
        trained(lapgan, 4, data())
        runs.append(tensors(lapgan))
    assert gap(runs[1], runs[0]) <= 1e-6


def test_samples_are_of_the_whole_chain_and_within_bounds():
    lapgan = model()
    with torch.no_grad():
        lapgan.ema.network.finer[-1].layers[-1].bias.fill_(0.7)
        z, label = lapgan.latents(range(6)), lapgan.condition_of(range(6))
        first, second, last = lapgan.ema.network.levels(z, label)
    image = lapgan.sample(6)
    torch.testing.assert_close(image, last.clamp(-1, 1))
    assert image.shape == (6, *SHAPE) and last.max() > 1 >= image.max()
    low = upsample(second)
    residual = lapgan.ema.network.finer[1](low, z[:, -576:].view(6, 1, 24, 24), label)
    torch.testing.assert_close(last, low + residual)
    assert first.abs().max() <= 1


# `sample --levels`


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("lapgan") / "lapgan.ckpt"
    trained(model(), 2, data()).save_checkpoint(path)
    return str(path)


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_a_sheet_of_levels(checkpoint, tmp_path):
    """Rows of 6, 12 and 24 px with what is added between them, the last one the samples themselves."""
    sample.main([checkpoint, "--n", "3", "--levels", "--out", str(tmp_path)])
    sheet = grey(tmp_path / "sheets" / "levels.png")
    assert sheet.shape == (5 * 26 + 2, 3 * 26 + 2)
    cells = sheet[2:, 2:].reshape(5, 26, 3, 26)[:, :24, :, :24].swapaxes(1, 2)  # rows, columns, pixels
    for column in range(3):
        assert (cells[4, column] == grey(tmp_path / numbered(column))).all()
        for row, side in ((0, 6), (2, 12)):
            block = cells[row, column].reshape(side, 24 // side, side, 24 // side)
            assert (block == block[:, :1, :, :1]).all() and block.std() > 0  # enlarged, not smoothed
        below = torch.tensor(cells[2, column][::2, ::2] / 127.5 - 1)[None, None]
        added = cells[4, column] / 127.5 - 1 - upsample(below)[0, 0].numpy()
        assert np.abs(cells[3, column] / 127.5 - 1 - added).max() < 0.02  # but for the rounding of three pictures


def test_the_sheet_is_refused_where_it_cannot_be(checkpoint, tmp_path, capsys):
    for flags, message in ((["--levels", "--labels", "0,1"], "--levels is of one class"),):
        with pytest.raises(SystemExit) as exit_:
            sample.main([checkpoint, *flags, "--out", str(tmp_path)])
        assert exit_.value.code == 2 and message in capsys.readouterr().err
    path = tmp_path / "dcgan.ckpt"
    trained(tiny("DCGAN"), 1).save_checkpoint(path)
    with pytest.raises(SystemExit) as exit_:
        sample.main([str(path), "--levels"])
    assert exit_.value.code == 2 and "DCGAN does not take it" in capsys.readouterr().err
