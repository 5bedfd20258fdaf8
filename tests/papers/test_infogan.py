"""InfoGAN (arXiv:1606.03657): what reproductions lose, and how its clusters are named."""

from __future__ import annotations

import argparse
import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from conftest import SHAPE, assert_same, draw, gap, quiet, sgd, tensors, trained, within_turn
from torch import Tensor, distributions, nn

from gan_lightning import losses
from gan_lightning.batches import Labeled
from gan_lightning.cli import codes
from gan_lightning.cli.score_sides import Checkpoint
from gan_lightning.core import ImageStep
from gan_lightning.data import Digits
from gan_lightning.metrics.clustering import matched_accuracy
from gan_lightning.models.infogan import InfoGAN
from gan_lightning.networks.infogan import InfoGANDiscriminator, InfoGANGenerator

CODES = {"noise_dim": 3, "categories": 4, "continuous": 2}


class PlainGenerator(nn.Sequential):
    """A perceptron, in which a sample never meets another sample."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        sizes = nn.Linear(latent_dim, 12), nn.ReLU(), nn.Linear(12, math.prod(image_shape))
        super().__init__(*sizes, nn.Tanh(), nn.Unflatten(1, image_shape))
        self.latent_dim = latent_dim


class PlainDiscriminator(nn.Module):
    """Likewise, with the three outputs of InfoGAN's."""

    def __init__(self, image_shape: tuple[int, int, int], categories: int, continuous: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), 12), nn.LeakyReLU(0.1))
        self.heads = nn.ModuleList(nn.Linear(12, outputs) for outputs in (1, categories, continuous))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, *image_shape) -> scores (n,), logits (n, categories), means (n, continuous)."""
        score, logits, means = (head(self.trunk(image)) for head in self.heads)
        return score.squeeze(1), logits, means


def infogan(plain: bool = True, **options: Any) -> InfoGAN:
    torch.manual_seed(0)
    networks = (PlainGenerator, PlainDiscriminator)
    if not plain:
        networks = partial(InfoGANGenerator, width=4), partial(InfoGANDiscriminator, width=4)
    given = {"generator": networks[0], "discriminator": networks[1]} | CODES | sgd() | options
    model = InfoGAN(SHAPE, **given)
    model.trainer = quiet()
    return model


def game(player: str, **options: Any) -> tuple[InfoGAN, dict[str, Tensor], Labeled, Tensor]:
    """A player's terms, the real batch and the latents that they are made of."""
    model = infogan(**options)
    batch = Labeled(draw(8, *SHAPE, seed=1).clamp(-1, 1), torch.zeros(8, dtype=torch.int64))
    with within_turn(model):
        z = model.latent(model.noise, 8)
    with within_turn(model):
        terms = getattr(model, f"{player}_loss")(batch)
    return model, terms, batch, z


def log_q(z: Tensor, logits: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """E log Q of both parts by torch's distributions, the continuous one with the constants of its density."""
    category = distributions.Categorical(logits=logits).log_prob(z[:, 3:7].argmax(1))
    normal = distributions.Independent(distributions.Normal(means, torch.ones_like(means)), 1)
    return category.mean(), normal.log_prob(z[:, 7:]).mean()


# The latent


def test_latent_is_noise_a_category_and_codes():
    """Paper, section 7.2: 62 numbers of noise, Cat(10), two of U[-1, 1]; counts within four deviations."""
    with torch.device("meta"):
        model = InfoGAN((1, 28, 28))
    assert model.generator.latent_dim == 62 + 10 + 2
    model = infogan(noise_dim=62, categories=10, continuous=2)
    with within_turn(model):
        z = model.latent(model.noise, 20_000)
    noise, category, codes = z.split([62, 10, 2], 1)
    assert set(category.unique().tolist()) == {0.0, 1.0} and (category.sum(1) == 1).all()
    assert (category.sum(0) - 2000).abs().max() < 4 * math.sqrt(20_000 * 0.1 * 0.9)
    for uniform in (noise, codes):
        assert uniform.min() >= -1 and uniform.max() < 1
        assert uniform.mean(0).abs().max() < 4.5 / math.sqrt(3 * 20_000)
        torch.testing.assert_close(uniform.var(0), torch.full(uniform.shape[1:], 1 / 3), atol=0.011, rtol=0)
    assert torch.corrcoef(z.T).fill_diagonal_(0)[:, -2:].abs().max() < 0.04  # no code repeats another number
    assert_same(model.codes_of(z), (category, codes))


def test_samples_are_numbered():
    """Image i of a seed is the same alone and among others, though its latent is made of several draws."""
    model = infogan()
    torch.testing.assert_close(model.sample(5, seed=2)[3:], model.sample([3, 4], seed=2))


# The losses


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_losses_are_the_papers(player):
    """Equation 6 with L_I in both: the variance of Q is 1, the entropy H(c) and the density's constant left out."""
    model, terms, batch, z = game(player, category_weight=0.7, continuous_weight=0.3)
    (real, *_), (fake, *codes) = model.discriminator(batch.image), model.discriminator(model.generator(z))
    category, continuous = log_q(z, *codes)
    torch.testing.assert_close(terms["category"], -0.7 * category)
    torch.testing.assert_close(terms["continuous"], -0.3 * (continuous + math.log(2 * math.pi)))
    log_odds = fake if player == "generator" else -fake
    adversarial = -distributions.Bernoulli(logits=log_odds).log_prob(torch.ones(8)).mean()
    if player == "discriminator":
        adversarial = adversarial - distributions.Bernoulli(logits=real).log_prob(torch.ones(8)).mean()
    torch.testing.assert_close(terms["adversarial"], adversarial)
    assert terms.keys() == {"adversarial", "category", "continuous"}


def test_what_is_left_out_of_the_information_is_constant():
    """-L_I - loss is one number whatever Q says, H(c) = log 4 + 2 log 2 and log 2 pi, and has no gradient."""
    model = infogan(continuous_weight=1.0)
    with within_turn(model):
        z = model.latent(model.noise, 16)
    for seed in (0, 1):
        logits, means = draw(16, 4, seed=seed).requires_grad_(), draw(16, 2, seed=seed + 2).requires_grad_()
        entropy = distributions.Categorical(logits=torch.zeros(4)).entropy()
        entropy = entropy + distributions.Uniform(-torch.ones(2), torch.ones(2)).entropy().sum()
        information = sum(log_q(z, logits, means)) + entropy
        rest = -information - sum(model.information(z, logits, means).values())
        assert rest.item() == pytest.approx(math.log(2 * math.pi) - math.log(4) - 2 * math.log(2), abs=1e-5)
        assert all(g.abs().max() < 1e-6 for g in torch.autograd.grad(rest, [logits, means]))


def test_q_has_no_variance_to_learn():
    """Its last layer gives logits and means alone, and a mean is pulled by its error over n, however great it is."""
    network = InfoGANDiscriminator(SHAPE, 4, 2, width=4)
    outputs = network(draw(6, *SHAPE))
    assert [tuple(output.shape) for output in outputs] == [(6,), (6, 4), (6, 2)]
    assert network.codes[-1].out_features == 4 + 2
    mean, code = (100 * draw(6, 2)).requires_grad_(), draw(6, 2, seed=1)
    (gradient,) = torch.autograd.grad(losses.continuous_code(mean, code), mean)
    torch.testing.assert_close(gradient, (mean - code).detach() / 6)


def test_discriminator_and_q_share_a_trunk():
    """Each term of the discriminator's turn moves it; the information of the fakes alone moves Q, never the score."""
    model, terms, *_ = game("discriminator", plain=False)
    network = model.discriminator
    for name, term in terms.items():
        network.zero_grad()
        term.backward(retain_graph=True)
        moved = {part for part, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        expected = {"trunk", "score"} if name == "adversarial" else {"trunk", "codes"}
        assert {part.split(".")[0] for part in moved} == expected, name
        assert {part for part in moved if part.startswith("trunk")} >= {"trunk.0.weight", "trunk.3.weight"}
    assert all(p.grad is None for p in model.generator.parameters())
    players = model.players()
    assert list(players) == ["generator", "discriminator"]  # no third one that steps on the information alone
    assert {id(p) for p in players["discriminator"].network.parameters()} == {id(p) for p in network.parameters()}


def test_generator_is_taught_by_the_information():
    model, terms, *_ = game("generator", plain=False)
    for name in ("category", "continuous"):
        gradients = torch.autograd.grad(terms[name], list(model.generator.parameters()), retain_graph=True)
        assert all(g.abs().max() > 0 for g in gradients[-2:]), name


def test_generator_turn_leaves_discriminator_and_q_alone():
    """Also where only the information is left of the game; running statistics aside, nothing of them moves."""
    changes = []

    class Turns(InfoGAN):
        def generator_turn(self, batch: Labeled) -> None:
            before = tensors(self.discriminator), tensors(self.generator)
            super().generator_turn(batch)
            changes.extend(map(gap, (tensors(self.discriminator), tensors(self.generator)), before))

    model = Turns(SHAPE, PlainGenerator, PlainDiscriminator, **CODES, **sgd())
    trained(model, 1)
    assert changes[0] == 0 and changes[1] > 0


def test_micro_batches_equal_the_whole_batch():
    runs = []
    for count in (1, 2):
        model = infogan(step=ImageStep(micro_batches=count))
        trained(model, 2)
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-6


def test_it_learns_to_say_its_category():
    """The generator makes what Q can tell apart, though the "real" images are noise: a sign error in L_I cannot."""
    model = infogan(category_weight=5.0)
    trained(model, 100)
    with within_turn(model):
        z = model.latent(model.noise, 64)
    accuracy = (model.classify(model.generate(z, live=True)) == z[:, 3:7].argmax(1)).float().mean()
    assert accuracy > 0.9  # 0.25 by chance


# The networks


def test_networks_are_the_papers_for_28_px():
    """Appendix C.1, table 1."""
    with torch.device("meta"):
        model = InfoGAN((1, 28, 28))
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

    def outputs(module: nn.Module) -> list[int]:
        layers = [layer for layer in module.modules() if isinstance(layer, kinds)]
        return [layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels for layer in layers]

    assert outputs(model.generator) == [1024, 7 * 7 * 128, 64, 1]
    assert outputs(model.discriminator.trunk) == [64, 128, 1024]
    assert outputs(model.discriminator.score) == [1] and outputs(model.discriminator.codes) == [128, 12]
    slopes = {layer.negative_slope for layer in model.discriminator.modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.1}
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert sum(isinstance(layer, norms) for layer in model.generator.modules()) == 3
    assert sum(isinstance(layer, norms) for layer in model.discriminator.modules()) == 3


def test_the_authors_leak_and_range_are_arguments():
    """Their discriminator sees brightness in [0, 1]; their generator gives it by a sigmoid: tanh of half the number."""
    network = InfoGANDiscriminator(SHAPE, 4, 2, width=4, leak=0.01, unit_range=True).eval()
    slopes = {layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.01} and len([m for m in network.modules() if isinstance(m, nn.LeakyReLU)]) == 4
    image = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    signed = InfoGANDiscriminator(SHAPE, 4, 2, width=4, leak=0.01).eval()
    signed.load_state_dict(network.state_dict())
    for found, expected in zip(network(2 * image - 1), signed(image), strict=True):
        torch.testing.assert_close(found, expected)
    generator = InfoGANGenerator(SHAPE, 6, width=4, unit_range=True).eval()
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(generator(z), (generator.layers[:-1](z) / 2).tanh())


@pytest.mark.parametrize(
    "network", [partial(InfoGANGenerator, latent_dim=74), partial(InfoGANDiscriminator, categories=10, continuous=2)]
)
def test_networks_refuse_a_size_that_they_cannot_build(network):
    for size in (30, 8):
        with pytest.raises(ValueError, match=f"{size}"):
            network((1, size, size))


def test_a_code_without_values_is_refused():
    for wrong in ({"categories": 0}, {"continuous": -1}, {"noise_dim": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            infogan(**wrong)


def test_continuous_codes_are_optional():
    _, terms, *_ = game("generator", continuous=0)
    assert terms["continuous"] == 0 and infogan(continuous=0).codes == 1


# What the codes are for


def test_traverse_changes_one_code_alone():
    model, z = infogan(), draw(5, 9)
    assert model.codes == 3
    rows = model.traverse(z, 0)
    assert rows.shape == (4, 5, 9)
    for value, row in enumerate(rows):
        assert (row[:, 3:7] == torch.eye(4)[value]).all()
        assert torch.equal(row[:, :3], z[:, :3]) and torch.equal(row[:, 7:], z[:, 7:])
    for code in (1, 2):
        rows = model.traverse(z, code, steps=3, span=1.5)
        assert rows.shape == (3, 5, 9)
        others = [place for place in range(9) if place != 6 + code]
        for value, row in zip((-1.5, 0.0, 1.5), rows, strict=True):
            assert (row[:, 6 + code] == value).all() and torch.equal(row[:, others], z[:, others])
    for code in (-1, 3):
        with pytest.raises(ValueError, match="codes 0"):
            model.traverse(z, code)


def test_classify_reads_q_in_evaluation_mode():
    """An image has one name, whatever is classified beside it, and the statistics of the batch norm stay."""
    model, image = infogan(plain=False), draw(6, *SHAPE)
    before = tensors(model)
    names = model.classify(image)
    assert names.shape == (6,) and names.dtype == torch.int64
    assert torch.equal(names, torch.cat([model.classify(one) for one in image.split(1)]))
    assert_same(tensors(model), before)
    assert model.discriminator.training
    assert torch.equal(names, model.discriminator.eval()(image)[1].argmax(1))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_matched_accuracy_is_the_best_of_all_namings(classes):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        cluster, label = (torch.randint(classes, (40,), generator=generator) for _ in range(2))
        namings = (torch.tensor(naming) for naming in itertools.permutations(range(classes)))
        best = max((naming[cluster] == label).double().mean().item() for naming in namings)
        assert matched_accuracy(cluster, label) == pytest.approx(best)


def test_matched_accuracy_knows_no_names_and_gives_each_once():
    label = torch.arange(30) % 3
    assert matched_accuracy((label + 1) % 3, label) == 1
    assert matched_accuracy(torch.zeros(30, dtype=torch.int64), label) == pytest.approx(1 / 3)
    assert matched_accuracy(torch.arange(30) % 6, label) == pytest.approx(1 / 2)  # two clusters to a class: one counts
    greedy = torch.tensor([0] * 5 + [0] * 4 + [1] * 4), torch.tensor([0] * 5 + [1] * 4 + [0] * 4)
    assert matched_accuracy(*greedy) == pytest.approx(8 / 13)  # the greatest cell first would give 5


class BarGenerator(nn.Module):
    """Draws bars: the second continuous code is their slant, beside the category's own, the first their width."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        self.latent_dim, self.none = latent_dim, nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        category, width, lean = z[:, 3:7].argmax(1), z[:, 7, None, None], z[:, 8, None, None]
        y, x = (torch.arange(16.0) - 7.5).view(1, 16, 1), (torch.arange(16.0) - 7.5).view(1, 1, 16)
        apart = (x + (0.2 * lean + 0.4 * (category[:, None, None] - 1.5)) * y).abs()
        return (2 * (3 + width - apart).clamp(0, 1) - 1)[:, None] * (y.abs() < 6)[:, None] - (y.abs() >= 6).float()


def test_codes_are_found_in_what_they_change():
    """Within a category the second code is the slant; overall the category's own slant hides it. The first is the
    thickness and the width."""
    model = InfoGAN((1, 16, 16), BarGenerator, PlainDiscriminator, **CODES, **sgd())
    given = argparse.Namespace(n=400, seed=0, batch_size=100, live=True, average=None, truncation=None)
    data = Digits(size=16)
    found = codes.codes(Checkpoint("a.ckpt", model, {}, 0), data, given)
    value = {name: one["value"] for name, one in found.items()}
    assert value["codes/2/slant"] > 0.95 and value["codes/1/slant"] < 0.2
    assert value["codes/2/slant/all"] < 0.6
    assert value["codes/1/thickness"] > 0.9 and value["codes/2/thickness"] < 0.3
    assert found["codes/2/slant"]["card"]["codes"] in ("slant 2, thickness 1", "slant 2, width 1")
    digits = data.reference("val")
    batch = digits.__getitems__(list(range(len(digits))))
    read = model.classify(batch.image / 127.5 - 1)
    assert value["codes/category"] == pytest.approx(matched_accuracy(read, batch.label), abs=1e-9)
    with pytest.raises(ValueError, match="needs a model with continuous codes, and InfoGAN has none"):
        codes.codes(Checkpoint("a.ckpt", infogan(continuous=0), {}, 0), data, given)


def test_correlations_within_categories_and_their_assignment():
    """Two categories in which an attribute goes with the code and against it: 1 within, 0 overall."""
    code, category = torch.arange(4.0).repeat(2)[:, None], torch.tensor([0] * 4 + [1] * 4)
    shown = torch.cat([torch.arange(4.0), -torch.arange(4.0)])[:, None]
    within, overall = codes.correlations(code, shown, category)
    assert within.item() == pytest.approx(1) and overall.item() < 0.2
    assert codes.assignment(torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.1, 0.0]])) == [1, 0, -1]  # not the greatest first
