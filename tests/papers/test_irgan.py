"""IRGAN: what reproductions of arXiv:1705.10513 got wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import assert_same, gap, quiet, sgd, tensors
from torch import Tensor

from gan_lightning import losses
from gan_lightning.batches import Ranked
from gan_lightning.core import Step
from gan_lightning.data import ImplicitFeedback, RankingPairs
from gan_lightning.loading import load_model
from gan_lightning.models import IRGAN
from gan_lightning.networks import LinearScorer, MatrixFactorisation, MLPScorer, RankingSizes
from gan_lightning.noise import PartNoise, drawn_by
from gan_lightning.optim import PaperAdam

USERS, ITEMS = list("abcdef"), [str(number) for number in range(9)]


def of_items(seed: int = 0, **options: Any) -> IRGAN:
    torch.manual_seed(seed)
    model = IRGAN(USERS, ITEMS, None, **(both(partial(MatrixFactorisation, dim=3, init=1.0)) | options))
    return apart(model)


def apart(model: IRGAN) -> IRGAN:
    """With what a turn would give it: random numbers, and a trainer that says when to log."""
    model.noise, model.trainer = PartNoise(7, 0, 1, torch.device("cpu")), quiet()
    return model


def of_documents(seed: int = 0, **options: Any) -> IRGAN:
    torch.manual_seed(seed)
    model = IRGAN(None, None, 4, **options)
    return apart(model)


def both(network: Any) -> dict[str, Any]:
    return {"generator": network, "discriminator": network}


def choices() -> Ranked:
    relevant = torch.rand(len(USERS), len(ITEMS), generator=torch.Generator().manual_seed(1)) < 0.4
    relevant[:, 0], relevant[:, 1] = True, False
    return Ranked(torch.arange(len(USERS)), relevant.byte(), torch.ones_like(relevant))


def documents() -> Ranked:
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(4, 7, 4, generator=generator)
    candidate = torch.arange(7) < torch.tensor([7, 5, 3, 6])[:, None]
    relevant = ((torch.arange(7) % 3 == 0) * 2).byte() * candidate
    return Ranked(query, relevant, candidate)


def gradients(model: IRGAN, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.generator.parameters()])


# The generator


def test_the_reward():
    score = torch.tensor([-3.0, 0.0, 0.5])
    expected = torch.tensor([2 * (1 / (1 + 2.718281828459045 ** -float(s)) - 0.5) for s in score])
    torch.testing.assert_close(losses.ranking_reward(score), expected)


@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_importance_sampling_leaves_the_expected_gradient(baseline):
    """The expectation written out: every item's term, by the probability with which it is drawn."""
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    reward = torch.linspace(-0.9, 0.8, 6)[None]
    (exact,) = torch.autograd.grad(-(logits.softmax(1) * reward).sum(), logits)
    p = logits.softmax(1).detach()
    p_n = losses.importance_mixture(p, torch.tensor([[True, False, True, False, False, False]]), 0.2)
    torch.testing.assert_close(p_n[0, 2], 0.8 * p[0, 2] + 0.1)
    torch.testing.assert_close(p_n[0, 1], 0.8 * p[0, 1])
    expected = torch.zeros_like(logits)
    for item in range(6):
        log_p = logits.log_softmax(1)[:, [item]]
        weight = (p / p_n)[:, [item]]
        (term,) = torch.autograd.grad(losses.policy_gradient(log_p, reward[:, [item]] - baseline, weight), logits)
        expected += p_n[0, item] * term
    torch.testing.assert_close(expected, exact)
    (unweighted,) = torch.autograd.grad(-(p_n * logits.log_softmax(1) * reward).sum(), logits)
    assert (unweighted - exact).abs().max() > 0.01  # what leaving the weights out would give


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("given", [choices(), documents()], ids=["items", "documents"])
def test_draws_estimate_the_exact_gradient(given, baseline):
    make = of_items if given.query.ndim == 1 else of_documents
    exact = make(exact=True)
    sampled = make(samples=100_000, baseline=baseline)
    whole = gradients(exact, exact.generator_loss(given)["policy"])
    drawn = gradients(sampled, sampled.generator_loss(given)["policy"])
    assert (drawn - whole).norm() < 0.02 * whole.norm()


def test_the_exact_loss_is_the_expected_reward():
    model, given = of_items(exact=True), choices()
    p = model.generator(given.query).softmax(1)
    expected = -(p * (2 * model.discriminator(given.query).sigmoid() - 1)).sum(1).mean()
    torch.testing.assert_close(model.generator_loss(given)["policy"], expected)


def test_no_gradient_of_the_reward_reaches_the_discriminator():
    model = of_items()
    model.generator_loss(choices())["policy"].backward()
    assert all(p.grad is None for p in model.discriminator.parameters())


# Draws


def test_draws_follow_the_mass():
    mass = torch.tensor([[0.0, 3.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]])
    uniform = torch.rand(2, 40_000, generator=torch.Generator().manual_seed(0))
    uniform[:, :2] = torch.tensor([0.0, 1.0 - 2**-24])  # the ends: neither falls on a column without mass
    drawn = drawn_by(mass, uniform)
    shares = torch.stack([torch.bincount(row, minlength=5) / row.numel() for row in drawn])
    assert not shares[0, [0, 2, 4]].any() and not shares[1, 4]
    torch.testing.assert_close(shares, mass / 4, atol=0.01, rtol=0)


def test_padding_is_never_drawn_nor_ranked():
    """Whatever stands in the places that are filled up, every loss is the same."""
    given = documents()
    loud = given._replace(query=torch.where(given.candidate[..., None], given.query, 1e3))
    model = of_documents(samples=200)
    assert drawn_by(model.log_probability(given).exp(), torch.rand(4, 5000)).max(1).values.tolist() == [
        6,
        4,
        2,
        5,
    ]
    for name in ("generator_loss", "discriminator_loss", "generator_pretraining", "discriminator_pretraining"):
        values = []
        for batch in (given, loud):
            model.noise = PartNoise(7, 0, 1, torch.device("cpu"))
            values.append(sum(getattr(model, name)(batch).values()))
        torch.testing.assert_close(*values)


# The discriminator


def test_negatives_are_drawn_at_a_temperature():
    given, temperature = choices(), 0.2
    exact, drawn = (of_items(exact=exact, samples=100_000, temperature=temperature) for exact in (True, False))
    d, g = exact.discriminator(given.query).sigmoid(), exact.generator(given.query)
    positive = given.relevant.bool()
    real = torch.stack([-d[row][positive[row]].log().mean() for row in range(len(d))])
    fake = -((g / temperature).softmax(1) * (1 - d).log()).sum(1)
    expected = (real + fake).mean()
    torch.testing.assert_close(sum(exact.discriminator_loss(given).values()), expected)
    torch.testing.assert_close(sum(drawn.discriminator_loss(given).values()), expected, atol=0.005, rtol=0)
    warm = (real - (g.softmax(1) * (1 - d).log()).sum(1)).mean()
    assert (warm - expected).abs() > 0.01  # what temperature 1 would give


# The stages


def test_one_candidate_is_bpr_and_many_are_the_hardest_negative():
    given = choices()
    positive = given.relevant.bool()

    def expected(hardest: bool) -> Tensor:
        means = []
        for score, mine in zip(of_items().generator(given.query), positive, strict=True):
            worse = score[~mine].max()[None] if hardest else score[~mine]
            means.append(-F.logsigmoid(score[mine][:, None] - worse[None, :]).mean())
        return torch.stack(means).mean()

    bpr = of_items(samples=50_000, candidates=1).generator_pretraining(given)["pairwise"]
    torch.testing.assert_close(bpr, expected(False), atol=0.02, rtol=0)
    dns = of_items(samples=20_000, candidates=80).generator_pretraining(given)["pairwise"]
    torch.testing.assert_close(dns, expected(True), atol=0.02, rtol=0)
    assert expected(True) > expected(False) + 0.1


def test_a_query_without_two_kinds_of_items_has_no_pairs():
    given = choices()
    given.relevant[0], given.relevant[1] = 1, 0
    model = of_items()
    loss = model.generator_pretraining(given)["pairwise"]
    loss.backward()
    assert not model.generator.user.grad[:2].any() and model.generator.user.grad[2:].any()
    assert sum(model.generator_loss(given).values()).isfinite()
    assert sum(model.discriminator_loss(given).values()).isfinite()


@pytest.mark.parametrize("pretraining", [0, 3])
def test_the_stages_come_in_order(pretraining):
    model, turns = of_items(pretraining=pretraining, discriminator_turns=2, generator_turns=1), []

    def turn(name: str, objective: Any, batch: Ranked, advances_step: bool = False) -> None:
        assert advances_step == (name == "generator") and objective.__name__.startswith(name)
        turns.append(objective.__name__)

    model.turn = turn
    for model.iteration in range(1, pretraining + 7):
        model.training_step(choices(), 0)
    game = ["discriminator_loss", "discriminator_loss", "generator_loss"]
    assert turns == ["generator_pretraining"] * pretraining + 2 * game


# Training


def feedback(folder: Path) -> ImplicitFeedback:
    """Six users, 9 items, every batch the whole set in an order of its own."""
    generator = torch.Generator().manual_seed(3)
    lines = [f"{u},{i},5\n" for u in USERS for i in ITEMS if torch.rand((), generator=generator) < 0.6]
    (folder / "r.csv").write_text("".join([f"{u},{i},1\n" for u in USERS for i in ITEMS] + lines))
    return ImplicitFeedback(str(folder / "r.csv"), batch_size=6)


def trained(model: IRGAN, data: Any, steps: int, ckpt_path: Path | None = None):
    trainer = quiet(max_steps=steps)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer


SHORT = {"pretraining": 2, "discriminator_turns": 2, "generator_turns": 2, "samples": 5}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", ["items", "documents"])
def test_micro_batches_equal_the_whole_batch(kind, exact, tmp_path):
    runs = []
    for count in (1, 2):
        torch.manual_seed(0)
        data = feedback(tmp_path) if kind == "items" else RankingPairs(batch_size=8)
        facts = data.users, data.items, data.num_features
        model = IRGAN(*facts, **sgd(0.1), **SHORT, exact=exact, pretrain_discriminator=True, step=Step(count))
        trained(model, data, 6)
        assert model.iteration == 10
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-6


@pytest.mark.parametrize("stop", [1, 3])  # in pre-training, and in the game
def test_resume_equals_the_unbroken_run(stop, tmp_path):
    def model(seed: int = 0) -> IRGAN:
        torch.manual_seed(seed)
        data = feedback(tmp_path)
        adam = partial(PaperAdam, lr=1e-2)
        optimizers = {"generator_optimizer": adam, "discriminator_optimizer": adam}
        return IRGAN(data.users, data.items, None, **SHORT, **optimizers, pretrain_discriminator=True)

    def state(trainer: Any) -> list[Any]:
        return [trainer.lightning_module.state_dict(), [optimizer.state_dict() for optimizer in trainer.optimizers]]

    unbroken = state(trained(model(), feedback(tmp_path), 6))
    trained(model(), feedback(tmp_path), stop).save_checkpoint(tmp_path / "a.ckpt")
    assert_same(state(trained(model(1), feedback(tmp_path), 6, tmp_path / "a.ckpt")), unbroken)


def test_the_game_raises_what_was_chosen():
    """With the exact expectation, from scratch: a generator that draws what users chose more and more."""
    data = ImplicitFeedback(batch_size=64)
    adam = partial(PaperAdam, lr=0.05, beta1=0.5)
    optimizers = {"generator_optimizer": adam, "discriminator_optimizer": adam}
    torch.manual_seed(0)
    game = {"pretraining": 0, "discriminator_turns": 1, "generator_turns": 1, "exact": True, "temperature": 1.0}
    model = IRGAN(data.users, data.items, None, **game, **optimizers)
    examples = data.reference("train")
    batch = examples.__getitems__(list(range(len(examples))))

    def share() -> float:
        return float((model.log_probability(batch).exp() * (batch.relevant > 0)).sum(1).mean())

    before = share()
    trained(model, data, 100)
    assert before < 0.04 and share() > 0.15


def test_the_first_stage_may_have_an_optimizer_of_its_own(tmp_path):
    """By SGD a step of each stage is its rate times a gradient: the rates are those of the two optimizers."""
    data = feedback(tmp_path)
    moves = {}
    for first in (None, 0.5, 0.25):
        torch.manual_seed(0)
        own = {} if first is None else {"pretraining_optimizer": partial(torch.optim.SGD, lr=first)}
        model = IRGAN(data.users, data.items, None, **sgd(0.125), **(SHORT | {"pretraining": 1}), **own)
        assert list(model.players()) == ["generator", "discriminator"] + ["beginner"] * (first is not None)
        before = tensors(model.generator)
        trained(model, feedback(tmp_path), 1)
        moves[first] = {name: value - before[name] for name, value in tensors(model.generator).items()}
    for first in (0.5, 0.25):
        for name, move in moves[first].items():
            torch.testing.assert_close(move / first, moves[None][name] / 0.125, rtol=1e-3, atol=1e-6)
    model = IRGAN(
        data.users, data.items, None, **sgd(0.125), **SHORT, pretraining_optimizer=partial(torch.optim.SGD, lr=1)
    )
    trained(model, feedback(tmp_path), 4)
    assert model.turns == {"beginner": 2, "discriminator": 2, "generator": 2}


# What it recommends


def test_a_checkpoint_alone_recommends_what_was_not_chosen(tmp_path):
    data = feedback(tmp_path)
    trained(IRGAN(data.users, data.items, None, **SHORT), data, 3).save_checkpoint(tmp_path / "a.ckpt")
    model = load_model(tmp_path / "a.ckpt")
    examples = data.reference("train")
    batch = examples.__getitems__(list(range(6)))
    assert (model.seen == (batch.relevant > 0)).all() and model.seen.any()
    for user in range(6):
        left = [item for item in range(len(data.items)) if not batch.relevant[user, item]]
        score = model.rank(batch)[user]
        best = sorted(left, key=lambda item: -float(score[item]))[:2]
        items, scores = model.recommend(user, 2)
        assert items.tolist() == best and items.dtype == torch.int64
        torch.testing.assert_close(scores, score[best])
        with pytest.raises(ValueError, match=f"has {len(left)} items left"):
            model.recommend(user, len(left) + 1)
    with pytest.raises(ValueError, match="user 6: there are 0 to 5"):
        model.recommend(6, 1)
    with pytest.raises(ValueError, match="ranks documents"):
        of_documents().recommend(0, 1)


def test_the_papers_networks():
    model = of_items(generator=None, discriminator=None)
    assert model.generator.user.shape == (6, 5) and model.generator.item.shape == (9, 5)
    assert model.generator.user.abs().max() <= 0.05 and not model.generator.bias.any()
    query = torch.tensor([4, 1])
    expected = [[float(model.generator.user[u] @ model.generator.item[i]) for i in range(9)] for u in (4, 1)]
    torch.testing.assert_close(model.generator(query), torch.tensor(expected))
    assert MatrixFactorisation(RankingSizes(6, 9), bias=False).bias is None
    assert of_documents().generator(torch.zeros(2, 3, 4)).shape == (2, 3)
    assert LinearScorer(RankingSizes(features=4))(torch.zeros(2, 3, 4)).shape == (2, 3)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="IRGAN needs users and items, or documents"):
        IRGAN(None, None, None)
    for wrong in ({"samples": 0}, {"candidates": 0}, {"pretraining": -1}, {"generator_turns": 0}):
        with pytest.raises(ValueError, match="IRGAN needs"):
            of_items(**wrong)
    with pytest.raises(ValueError, match="temperature"):
        of_items(temperature=0.0)
    with pytest.raises(ValueError, match="importance"):
        of_items(importance=1.0)
    with pytest.raises(ValueError, match="MatrixFactorisation needs data with users"):
        of_documents(generator=MatrixFactorisation)
    with pytest.raises(ValueError, match="MLPScorer needs data with documents"):
        of_items(generator=MLPScorer)
    with pytest.raises(ValueError, match="needs a data module of gan_lightning"):
        quiet(max_steps=1).fit(of_items(), train_dataloaders=[choices()])
