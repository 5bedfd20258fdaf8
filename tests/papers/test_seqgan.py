"""SeqGAN: what reproductions of arXiv:1609.05473 got wrong, and the oracle that its synthetic data come from."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_same, gap, quiet, tensors
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from gan_lightning import fit
from gan_lightning.batches import Sequences, part, split
from gan_lightning.callbacks import TextScores
from gan_lightning.core import Step
from gan_lightning.data import OracleSequences
from gan_lightning.loading import load_model
from gan_lightning.models import SeqGAN
from gan_lightning.networks import LSTMGenerator, TextDiscriminator
from gan_lightning.networks.text import _inverted
from gan_lightning.noise import PartNoise

WORDS = [str(word) for word in range(7)]
LENGTH = 5
GENERATOR = partial(LSTMGenerator, embedding=3, hidden=4, std=1.0)
DISCRIMINATOR = partial(TextDiscriminator, embedding=4, kernels=(1, 2, 3), maps=(3, 4, 5), dropout=0.0)
SHORT = {"pretraining": 2, "discriminator_pretraining": 3, "generator_turns": 1, "discriminator_turns": 2}


def tiny(seed: int = 0, vocabulary: list[str] = WORDS, length: int = LENGTH, **options: Any) -> SeqGAN:
    """A small model from the same initial weights each time."""
    torch.manual_seed(seed)
    defaults = {"generator": GENERATOR, "discriminator": DISCRIMINATOR, "rollouts": 3}
    return SeqGAN(vocabulary, length, **(defaults | SHORT | options))


def apart(model: SeqGAN) -> SeqGAN:
    """With what a turn would give it: random numbers, and a trainer that says when to log."""
    model.noise, model.trainer = noise(), quiet()
    return model


def noise() -> PartNoise:
    return PartNoise(7, 0, 1, torch.device("cpu"))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(n: int, length: int = LENGTH, words: int = len(WORDS), seed: int = 0) -> Tensor:
    return torch.randint(words, (n, length), generator=torch.Generator().manual_seed(seed))


class Verdict(nn.Module):
    """A discriminator that is a table of numbers: the first tokens count most."""

    def forward(self, token: Tensor) -> Tensor:
        weight = torch.tensor([1.0, -0.7, 0.5, -0.3, 0.2], dtype=torch.float64)[: token.shape[1]]
        return ((token - 2.0) * weight).sum(1) + token[:, 0] * token[:, -1] / 5


def logits_after(network: LSTMGenerator, read: list[int]) -> np.ndarray:
    """(vocabulary,) logits of the token after those read: an LSTM's equations, in float64, from the very start."""
    embedding, w, u, b, b2, out, bias = (p.detach().double().numpy() for p in network.parameters())
    units = u.shape[1]
    h, c = np.zeros(units), np.zeros(units)
    for token in [0, *read]:
        i, f, g, o = (w @ embedding[token] + u @ h + b + b2).reshape(4, units)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
    return out @ h + bias


def probabilities_after(network: LSTMGenerator, read: list[int]) -> np.ndarray:
    weight = np.exp(logits_after(network, read))
    return weight / weight.sum()


def chosen(probability: np.ndarray, at: float) -> int:
    """Inversion: the first token up to which the probabilities exceed a number."""
    total = 0.0
    for token, p in enumerate(probability):
        total += p
        if total > at:
            return token
    raise AssertionError("a number beyond the probabilities' sum")


# What the defaults are


def test_the_defaults_are_the_authors():
    model = SeqGAN([str(word) for word in range(50)], 20)
    players = model.players()
    assert list(players) == ["imitator", "generator", "discriminator"]
    assert players["imitator"].network is players["generator"].network is model.generator
    for name, rate in (("imitator", 1e-2), ("generator", 1e-2), ("discriminator", 1e-4)):
        optimizer = players[name].optimizer(players[name].network.parameters())
        assert type(optimizer) is torch.optim.Adam and players[name].scheduler is None
        assert optimizer.defaults["lr"] == rate and optimizer.defaults["betas"] == (0.9, 0.999)
        assert optimizer.defaults["weight_decay"] == 0
    assert model.step == Step(gradient_clip=5.0)
    assert (model.pretraining, model.discriminator_pretraining) == (120 * 156, 150 * 156)
    assert (model.generator_turns, model.discriminator_turns) == (1, 15 * 156)
    assert (model.rollouts, model.rollout_decay, model.weight_decay, model.baseline) == (16, 0.8, 0.2, "none")


def test_each_stage_has_an_optimizer_of_its_own():
    rates = {"generator": 0.1, "pretraining": 0.2, "discriminator": 0.3}
    model = tiny(**{f"{name}_optimizer": partial(torch.optim.SGD, lr=rate) for name, rate in rates.items()})
    found = {name: player.optimizer(player.network.parameters()) for name, player in model.players().items()}
    found = {name: optimizer.defaults["lr"] for name, optimizer in found.items()}
    assert found == {"imitator": 0.2, "discriminator": 0.3, "generator": 0.1}


def test_the_authors_generator():
    torch.manual_seed(0)
    network = SeqGAN([str(word) for word in range(5000)], 20).generator
    assert network.embedding.weight.shape == (5000, 32) and network.output.weight.shape == (5000, 32)
    assert (network.lstm.input_size, network.lstm.hidden_size, network.lstm.num_layers) == (32, 32, 1)
    assert not network.lstm.bias_hh_l0.any()  # one bias, as in the equations
    for name, parameter in network.named_parameters():
        if name != "lstm.bias_hh_l0":
            count = parameter.numel()  # five standard errors of a mean and of a deviation
            assert abs(parameter.mean()) < 0.1 * 5 / math.sqrt(count), name
            assert abs(parameter.std() - 0.1) < 0.1 * 5 / math.sqrt(2 * count), name


def test_the_authors_discriminator():
    torch.manual_seed(0)
    network = SeqGAN([str(word) for word in range(5000)], 20).discriminator
    kernels = [detector.kernel_size[1] for detector in network.detectors]
    assert kernels == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20]
    maps = [100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160]
    assert [detector.out_channels for detector in network.detectors] == maps
    assert network.embedding.weight.shape == (5000, 64) and network.dropout.p == 0.25
    assert network.output.weight.shape == (1, sum(maps)) == (1, 1720)
    assert -1 <= network.embedding.weight.min() < -0.999 and 0.999 < network.embedding.weight.max() <= 1
    cut = 0.1 * 0.8796  # the deviation of a normal distribution that is cut at two
    for layer in (*network.detectors, network.output):
        assert layer.weight.abs().max() <= 0.2 and abs(layer.weight.std() - cut) < 0.01
        assert (layer.bias == 0.1).all()
    glorot = math.sqrt(6 / (1720 + 1720))  # of the code's `get_variable`, for vectors too
    for parameter in (*network.gate.parameters(), *network.change.parameters()):
        assert 0.95 * glorot < parameter.abs().max() <= glorot and abs(parameter.mean()) < 0.1 * glorot
    score = network.eval()(torch.randint(5000, (200, 20), generator=torch.Generator().manual_seed(0)))
    assert score.abs().mean() < 4  # it begins undecided: a gate that favours one side saturates it


# Choosing a token


def test_inversion_gives_each_token_its_share():
    """Of N numbers an equal step apart, a token gets N p of them, give or take the two at its ends."""
    logits = torch.tensor([0.3, -1.0, -math.inf, 2.0, 0.0, -4.0])
    n = 20_000
    at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    found = torch.bincount(_inverted(logits.expand(n, -1), at), minlength=6)
    expected = n * np.exp(logits.double().numpy()) / np.exp(logits.double().numpy()).sum()
    assert np.abs(found.numpy() - expected).max() <= 2
    assert found[2] == 0


@pytest.mark.parametrize("logits", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("numbers", [torch.float32, torch.float64])
def test_a_token_without_probability_is_never_chosen(logits, numbers):
    """Not at the ends either: at 0, and at the last number before 1, whatever it is rounded to."""
    ends = torch.tensor([0.0, 1.0 - torch.finfo(numbers).eps / 2], dtype=numbers)
    assert ends.max() < 1
    generator = torch.Generator().manual_seed(0)
    for words in (1, 2, 7, 5000):
        row = torch.randn(60, words + 4, generator=generator)
        row[:, [0, 1, -1, -2]] = -math.inf
        first, last = _inverted(row.to(logits).repeat(2, 1), ends.repeat_interleave(60)).split(60)
        assert (first == 2).all()  # the first with any
        assert (last >= 2).all() and (last <= words + 1).all() and last.dtype == torch.int64
        plain = row[:, 2:-2].to(logits)
        assert _inverted(plain, ends[1:].expand(60)).max() < words


def test_samples_follow_the_model():
    """27 sequences of three words: as many of each as the equations say, within five standard deviations."""
    torch.manual_seed(1)
    network, n = LSTMGenerator(3, 3, embedding=4, hidden=4, std=1.0), 60_000
    token = network.sample(uniform(n, 3).float())
    assert token.dtype == torch.int64 and token.shape == (n, 3)
    found = torch.bincount((token * torch.tensor([9, 3, 1])).sum(1), minlength=27)
    for place, sequence in enumerate(product(range(3), repeat=3)):
        p = math.prod(probabilities_after(network, list(sequence[:k]))[sequence[k]] for k in range(3))
        assert abs(found[place] - n * p) < 5 * math.sqrt(n * p * (1 - p)) + 1


def test_the_likelihood_is_that_of_the_equations():
    """The start token is a word like any other: it is generated, read and counted."""
    torch.manual_seed(5)
    network = LSTMGenerator(7, LENGTH, embedding=3, hidden=4, std=1.0).double()
    nn.init.normal_(network.lstm.bias_hh_l0)  # as after training
    token = network.sample(uniform(100, LENGTH))
    at = uniform(100, LENGTH)
    expected = np.zeros((100, LENGTH))
    for row, sequence in enumerate(token.tolist()):
        for k, word in enumerate(sequence):
            p = probabilities_after(network, sequence[:k])
            assert word == chosen(p, float(at[row, k]))
            expected[row, k] = math.log(p[word])
    assert (token[:, 0] == 0).any() and (token[:, 1:-1] == 0).any()
    np.testing.assert_allclose(network.log_likelihood(token).detach().numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(network(token).detach()[3, 2].numpy(), logits_after(network, token[3, :2].tolist()))
    network.float()
    np.testing.assert_allclose(network.log_likelihood(token).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


# Roll-outs


@pytest.mark.parametrize("length", [2, 3, 6])
def test_roll_outs_equal_a_loop_over_prefixes(length):
    """Every prefix and every roll-out by itself, each further token chosen after reading all from the start."""
    torch.manual_seed(3)
    network = LSTMGenerator(6, length, embedding=3, hidden=4, std=1.5).double()
    given, at = tokens(3, length, 6), uniform(3, 2, length - 1, length)
    before = given.clone()
    expected = torch.empty(at.shape, dtype=torch.int64)
    for row, roll_out, prefix in product(range(3), range(2), range(length - 1)):
        made = given[row, : prefix + 1].tolist()
        while len(made) < length:
            made.append(chosen(probabilities_after(network, made), float(at[row, roll_out, prefix, len(made)])))
        expected[row, roll_out, prefix] = torch.tensor(made)
    found = network.roll_out(given, at)
    assert torch.equal(found, expected) and torch.equal(given, before)
    for prefix in range(length - 1):
        assert (found[:, :, prefix, : prefix + 1] == given[:, None, : prefix + 1]).all()
    assert len(found.unique()) > 2  # they say something
    assert (found[:, 0] != found[:, 1]).any() or length == 2
    assert torch.equal(network.float().roll_out(given, at.float()), expected)


def test_roll_outs_of_more_rows_than_are_computed_at_a_time():
    """The rows of one call and those of many calls: nothing depends on how they are cut."""
    torch.manual_seed(4)
    network, given, at = (
        LSTMGenerator(7, LENGTH, embedding=3, hidden=4, std=1.0).double(),
        tokens(50),
        uniform(50, 4, 4, LENGTH),
    )
    one_by_one = torch.cat([network.roll_out(*row) for row in zip(given.split(1), at.split(1), strict=True)])
    assert torch.equal(network.roll_out(given, at), one_by_one)


# Rewards


def test_rewards_are_verdicts_on_what_prefixes_become():
    model = apart(tiny(discriminator=lambda *_: Verdict(), weight_decay=0.0)).double()
    nn.init.normal_(model.rollout_policy.output.bias)  # it is by this policy, not by the generator
    token = tokens(4)
    reward = model.rewards(token)
    at = noise().uniform(4, 3, LENGTH - 1, LENGTH)
    assert torch.equal(at, at.float())
    expected = torch.zeros(4, LENGTH, dtype=torch.float64)
    for row, t in product(range(4), range(LENGTH)):
        verdicts = []
        for roll_out in range(3):
            made = token[row, : t + 1].tolist()
            while len(made) < LENGTH:
                p = probabilities_after(model.rollout_policy, made)
                made.append(chosen(p, float(at[row, roll_out, t, len(made)])))
            score = float(Verdict()(torch.tensor([made])))
            verdicts.append(1 / (1 + math.exp(-score)))
        expected[row, t] = np.mean(verdicts)
    torch.testing.assert_close(reward, expected)
    torch.testing.assert_close(reward[:, -1], Verdict()(token).sigmoid())
    assert not reward.requires_grad


def test_rewards_are_without_dropout():
    model = apart(tiny(discriminator=partial(TextDiscriminator, dropout=0.9)))
    token, found = tokens(4), []
    assert model.training and model.discriminator.training
    for seed in (1, 2):
        torch.manual_seed(seed)
        model.noise = noise()
        found.append(model.rewards(token))
        assert model.discriminator.training and model.discriminator.dropout.training
    assert torch.equal(*found)
    assert not torch.equal(model.discriminator(token), model.discriminator(token))  # as in its own turn
    model.discriminator.eval()
    torch.testing.assert_close(found[0][:, -1], model.discriminator(token).sigmoid())
    model.rewards(token)
    assert not model.discriminator.training  # as it was


# The policy gradient


def fixed(model: SeqGAN, token: Tensor, reward: Tensor) -> SeqGAN:
    """A model that makes these sequences and gives them these rewards."""
    apart(model)
    model.made = lambda n: token[:n]
    model.rewards = lambda made: reward[: len(made)]
    return model


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_the_policy_loss_is_equation_8(baseline):
    """A sum over tokens, a mean over sequences."""
    token, reward = tokens(4), uniform(4, LENGTH, seed=5)
    model = fixed(tiny(baseline=baseline).double(), token, reward)
    loss = model.policy_loss(Sequences(token))
    assert list(loss) == ["policy"]
    expected = 0.0
    for row, t in product(range(4), range(LENGTH)):
        p = probabilities_after(model.generator, token[row, :t].tolist())[token[row, t]]
        taken_off = sum(float(reward[other, t]) for other in range(4)) / 4 if baseline == "mean" else 0.0
        expected -= math.log(p) * (float(reward[row, t]) - taken_off) / 4
    assert float(loss["policy"]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("baseline", ["none", "mean", "learned"])
def test_a_constant_reward_tells_nothing_of_the_discriminator(baseline):
    model, token = apart(tiny(reward="constant", baseline=baseline).double()), tokens(4)
    model.made = lambda n: token[:n]
    model.discriminator.forward = None  # whoever asks it fails
    reward = model.rewards(token)
    assert reward.shape == (4, LENGTH) and (reward == 0.5).all()
    left = 0.5 if baseline == "none" else 0.0  # what a baseline of any kind leaves of a constant
    expected = -left * model.generator.log_likelihood(token).sum(1).mean()
    torch.testing.assert_close(model.policy_loss(Sequences(token))["policy"], expected)


# The learned baseline


def test_the_learned_baseline_is_taken_off_and_knows_nothing_of_the_token_itself():
    token, reward = tokens(4), uniform(4, LENGTH, seed=5)
    model = fixed(tiny(baseline="learned").double(), token, reward)
    assert (model.values(token) == 0.5).all()  # as of a discriminator that cannot tell
    nn.init.normal_(model.value.weight)
    value, other = model.values(token), token.clone()
    other[:, 3] = (other[:, 3] + 1) % 7
    changed = (model.values(other) != value).any(0).tolist()
    assert changed == [False] * 4 + [True] * (LENGTH - 4)
    loss = model.policy_loss(Sequences(token))["policy"]
    expected = -(model.generator.log_likelihood(token) * (reward - value)).sum(1).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is None for p in model.value.parameters())


def test_the_learned_baseline_does_not_turn_the_expected_gradient():
    model, p, exact = of_two_words(baseline="learned")
    nn.init.normal_(model.value.weight)
    expected = torch.zeros_like(exact)
    for row in range(9):
        fixed(model, ALL[[row]], action_values(p)[[row]])
        expected -= p[row] * gradient(model, model.policy_loss(Sequences(ALL[[row]]))["policy"])
    torch.testing.assert_close(expected, exact)


def test_the_learned_baselines_turn_is_squared_error_to_the_verdict():
    """Its best is the mean reward given the tokens before: as least squares over all sequences find it."""
    model, p, _ = of_two_words(baseline="learned")
    model.made = lambda n: ALL
    loss = model.baseline_loss(Sequences(ALL))["squared_error"]
    assert float(loss) == pytest.approx(float((TRUE - 0.5).square().mean()))
    loss.backward()
    assert all(q.grad is None for q in (*model.generator.parameters(), *model.discriminator.parameters()))
    state = model.generator.states(ALL).detach()
    features = torch.cat([state, torch.ones_like(state[..., :1])], 2)  # (9, 2, hidden + 1)
    weight = p.sqrt()[:, None, None]
    target = (weight * TRUE[:, None, None]).expand(9, 2, 1)
    found = torch.linalg.lstsq((weight * features).flatten(0, 1), target.flatten(0, 1), driver="gelsd").solution
    with torch.no_grad():
        model.value.weight.copy_(found[:-1].T)
        model.value.bias.copy_(found[-1])
    value, mean = model.values(ALL), (p * TRUE).sum()
    torch.testing.assert_close(value[:, 0], mean.expand(9))  # before the first token
    torch.testing.assert_close(value[:, 1], action_values(p)[:, 0])  # and after it


def gradient(model: SeqGAN, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.generator.parameters()))])


ALL = torch.tensor(list(product(range(3), repeat=2)))  # the sequences of two words out of three
TRUE = torch.tensor([0.9, 0.1, 0.3, 0.2, 0.8, 0.05, 0.6, 0.4, 0.7], dtype=torch.float64)  # what each is worth


def of_two_words(**options: Any) -> tuple[SeqGAN, Tensor, Tensor]:
    """A generator of two words out of three, the probability of each sequence, and the gradient of E[worth]."""
    model = tiny(
        vocabulary=list("abc"), length=2, discriminator=lambda *_: Worth(), weight_decay=0.0, **options
    ).double()
    p = model.generator.log_likelihood(ALL).sum(1).exp()
    torch.testing.assert_close(p.sum().detach(), torch.tensor(1.0, dtype=torch.float64))
    return model, p.detach(), gradient(model, (p * TRUE).sum())


class Worth(nn.Module):
    """A discriminator whose sigmoid is what a sequence is worth."""

    def forward(self, token: Tensor) -> Tensor:
        return TRUE.logit()[3 * token[:, 0] + token[:, 1]]


def action_values(p: Tensor) -> Tensor:
    """(9, 2) the expected worth of a sequence after each of its tokens."""
    first = ((p * TRUE).view(3, 3).sum(1) / p.view(3, 3).sum(1)).repeat_interleave(3)
    return torch.stack([first, TRUE], 1)


def test_the_expected_gradient_is_that_of_the_expected_reward():
    """Every sequence's term, by its probability."""
    model, p, exact = of_two_words()
    terms = [
        gradient(fixed(model, ALL[[row]], action_values(p)[[row]]), model.policy_loss(Sequences(ALL[[row]]))["policy"])
        for row in range(9)
    ]
    torch.testing.assert_close(-sum(weight * term for weight, term in zip(p, terms, strict=True)), exact)
    assert exact.norm() > 0.01


def test_the_baseline_does_not_turn_the_expected_gradient():
    """Every pair of sequences: a row's own reward is in the mean, which leaves (n - 1) / n of the gradient."""
    model, p, exact = of_two_words(baseline="mean")
    expected = torch.zeros_like(exact)
    for a, b in product(range(9), repeat=2):
        pair = torch.tensor([a, b])
        fixed(model, ALL[pair], action_values(p)[pair])
        expected -= p[a] * p[b] * gradient(model, model.policy_loss(Sequences(ALL[pair]))["policy"])
    torch.testing.assert_close(expected, exact / 2)


def test_roll_outs_estimate_the_gradient():
    """Nothing put in its place: many roll-outs by the policy that the generator is."""
    model, p, exact = of_two_words(rollouts=20_000)
    apart(model)
    model.rollout_policy.load_state_dict(model.generator.state_dict())
    expected = torch.zeros_like(exact)
    for row in range(9):
        model.made = lambda n, row=row: ALL[[row]]
        expected -= p[row] * gradient(model, model.policy_loss(Sequences(ALL[[row]]))["policy"])
    assert (expected - exact).norm() < 0.02 * exact.norm()


def test_no_gradient_of_the_reward_reaches_another_network():
    model = apart(tiny())
    model.policy_loss(Sequences(tokens(4)))["policy"].backward()
    assert all(p.grad is None for p in (*model.discriminator.parameters(), *model.rollout_policy.parameters()))
    assert all(p.grad is not None for name, p in model.generator.named_parameters())


# The other losses


def test_the_likelihood_loss_is_the_mean_of_a_token():
    model, token = tiny().double(), tokens(4)
    expected = -np.mean(
        [
            math.log(probabilities_after(model.generator, token[row, :t].tolist())[token[row, t]])
            for row, t in product(range(4), range(LENGTH))
        ]
    )
    assert float(model.likelihood_loss(Sequences(token))["likelihood"]) == pytest.approx(expected, rel=1e-10)


def test_the_discriminator_loss_is_equation_5_and_the_decay_of_its_last_layer():
    model, token = apart(tiny(weight_decay=0.3)).double(), tokens(6)
    loss = model.discriminator_loss(Sequences(token))
    fake = model.generator.sample(noise().uniform(6, LENGTH))  # as many, and fresh
    real, fake = (model.discriminator(of).sigmoid().double() for of in (token, fake))
    torch.testing.assert_close(loss["adversarial"], -real.log().mean() - (1 - fake).log().mean())
    last = model.discriminator.output
    torch.testing.assert_close(loss["weight_decay"], 0.15 * (last.weight.square().sum() + last.bias.square().sum()))
    sum(loss.values()).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())
    assert list(apart(tiny(weight_decay=0.0)).discriminator_loss(Sequences(token))) == ["adversarial"]


def test_the_decay_is_that_of_the_authors_two_rows():
    """The gradient of their loss at the cheapest two rows of the difference w, -w/2 and w/2, is half of ours."""
    model, token = apart(tiny(weight_decay=0.2)).double(), tokens(6)
    last, fake = model.discriminator.output, model.made(6)
    w, b = (parameter.detach().clone().requires_grad_() for parameter in last.parameters())
    features = []
    last.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0].detach()))
    model.made = lambda n: fake
    sum(model.discriminator_loss(Sequences(token)).values()).backward()
    assert len(features) == 2
    weight, bias = torch.cat([-w / 2, w / 2]), torch.cat([-b / 2, b / 2])  # rows of "fake" and "real"
    weight, bias = (rows.detach().requires_grad_() for rows in (weight, bias))
    logits = torch.cat(features) @ weight.T + bias
    label = torch.tensor([1] * 6 + [0] * 6)
    half_norms = weight.square().sum() / 2 + bias.square().sum() / 2
    (nn.functional.cross_entropy(logits, label) + 0.2 * half_norms).backward()
    for rows, ours in ((weight.grad, last.weight.grad), (bias.grad[:, None], last.bias.grad[None])):
        torch.testing.assert_close(rows[0], -rows[1])  # no other rows of the same difference cost less
        torch.testing.assert_close(2 * rows[1], ours[0])


def test_a_discriminator_that_is_right_loses_less():
    model = apart(tiny(weight_decay=0.0))
    token = torch.zeros(4, LENGTH, dtype=torch.int64)
    right, wrong = (lambda token, sign=sign: sign * (8.0 - token.sum(1)) for sign in (1, -1))
    losses = []
    for score in (right, wrong):
        model.discriminator.forward = score
        model.made = lambda n: torch.full((n, LENGTH), 6)
        losses.append(float(model.discriminator_loss(Sequences(token))["adversarial"]))
    assert losses[0] < 0.01 and losses[1] > 10


# The stages


@pytest.mark.parametrize(("generator_turns", "discriminator_turns"), [(1, 3), (2, 1), (1, 0)])
def test_the_stages_come_in_order(generator_turns, discriminator_turns):
    counts = {"generator_turns": generator_turns, "discriminator_turns": discriminator_turns}
    model, turns, followed = tiny(**(SHORT | counts)), [], []

    def turn(name: str, objective: Callable, batch: Sequences, advances_step: bool = False) -> None:
        assert advances_step == (name != "discriminator")
        turns.append((name, objective.__name__))

    model.turn, model.follow = turn, lambda: followed.append(model.iteration)
    for model.iteration in range(1, 6 + 3 * (generator_turns + discriminator_turns)):
        model.training_step(Sequences(tokens(2)), 0)
    against = ("discriminator", "discriminator_loss")
    game = [("generator", "policy_loss")] * generator_turns + [against] * discriminator_turns
    assert turns == [("imitator", "likelihood_loss")] * 2 + [against] * 3 + 3 * game
    assert followed == [number for number, (name, _) in enumerate(turns, 1) if name == "generator"]


@pytest.mark.parametrize(("pretraining", "first"), [(0, "discriminator"), (2, "imitator")])
def test_a_stage_may_be_left_out(pretraining, first):
    model, turns = tiny(pretraining=pretraining, discriminator_pretraining=0 if pretraining else 2), []
    model.turn = lambda name, *_, **__: turns.append(name)
    for model.iteration in range(1, 4):
        model.training_step(Sequences(tokens(2)), 0)
    assert turns == [first] * 2 + ["generator"]


def sequences() -> OracleSequences:
    return OracleSequences(words=7, length=LENGTH, n=40, hidden=3, batch_size=8)


class Watch(Callback):
    """What a training looked like after each batch, and where to end one, between two generator steps too."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.steps: list[int] = []
        self.states: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, model: SeqGAN, *_: object) -> None:
        self.steps.append(trainer.global_step)
        self.states.append(tensors(model))
        trainer.should_stop = trainer.should_stop or model.iteration == self.stop


def trained(model: SeqGAN, stop: int, **options: Any) -> tuple[Trainer, Watch]:
    """A training up to the batch `stop`."""
    watch, ckpt_path = Watch(stop), options.pop("ckpt_path", None)
    trainer = quiet(max_steps=1000, callbacks=[watch], **options)
    trainer.fit(model, sequences(), ckpt_path=ckpt_path)
    assert model.iteration == stop
    return trainer, watch


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}


def test_the_learned_baseline_takes_a_turn_after_the_generators():
    model = tiny(baseline="learned")
    assert list(model.players()) == ["imitator", "generator", "discriminator", "baseline"]
    trainer, watch = trained(model, 8)
    who = [moved(before, after) for before, after in zip(watch.states, watch.states[1:], strict=False)]
    assert who[4] == {"generator", "rollout_policy", "value"} and {"value"} not in who
    assert sum("value" in names for names in who) == 1 and model.turns["baseline"] == 1
    assert trainer.global_step == 3


def test_who_moves_and_what_is_counted():
    model = tiny()
    trainer, watch = trained(model, 11)
    who = [moved(before, after) for before, after in zip([tensors(tiny()), *watch.states], watch.states, strict=False)]
    game = [{"generator", "rollout_policy"}, {"discriminator"}, {"discriminator"}]
    assert who == [{"generator"}] * 2 + [{"discriminator"}] * 3 + 2 * game
    assert watch.steps == [1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert trainer.global_step == 4


@pytest.mark.parametrize("decay", [0.8, 0.0, 1.0])
def test_the_rollout_policy_follows_the_generator(decay):
    model = tiny(rollout_decay=decay)
    start = tensors(model)
    assert_same(tensors(model.rollout_policy), tensors(model.generator))
    trainer, watch = trained(model, 9)
    for state in watch.states[:5]:  # it has no part in what comes before the game
        assert all(torch.equal(state[name], start[name]) for name in state if name.startswith("rollout_policy."))
    states = watch.states
    expected = {name: states[4]["generator." + name] for name in tensors(model.generator)}  # as the game begins
    for batch in (5, 8):  # the generator's turns
        for name in expected:
            new = states[batch]["generator." + name]
            kept = 0.0 if name == "embedding.weight" else decay
            expected[name] = kept * expected[name] + (1 - kept) * new
            torch.testing.assert_close(states[batch]["rollout_policy." + name], expected[name])
    assert moved(states[7], states[8]) == ({"generator", "rollout_policy"})
    policy = {id(p) for p in model.rollout_policy.parameters()}
    assert not any(p.requires_grad or p.grad is not None for p in model.rollout_policy.parameters())
    owned = {id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
    assert not policy & owned
    assert {id(p) for p in (*model.generator.parameters(), *model.discriminator.parameters())} == owned


@pytest.mark.parametrize("baseline", ["none", "mean", "learned"])
def test_micro_batches_equal_the_whole_batch(baseline):
    """In double precision, in which no token is chosen otherwise because a sum was taken in another order."""
    sgd = partial(torch.optim.SGD, lr=0.1)
    optimizers = {f"{name}_optimizer": sgd for name in ("generator", "pretraining", "discriminator", "baseline")}
    runs = []
    for count in (1, 2):
        model = tiny(**optimizers, baseline=baseline, step=Step(count, gradient_clip=5.0))
        trained(model, 9, precision="64-true")
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-9
    assert gap(runs[0], {name: value.double() for name, value in tensors(tiny(baseline=baseline)).items()}) > 0.01


def test_the_baseline_is_of_the_whole_batch():
    """Micro-batches that know of each other, and what their own means would give."""
    token, reward = tokens(4), uniform(4, LENGTH, seed=5)
    model = fixed(tiny(baseline="mean").double(), token, reward)
    expected = gradient(model, model.policy_loss(Sequences(token))["policy"])
    halves = split(Sequences(token), 2)
    found, alone = torch.zeros_like(expected), torch.zeros_like(expected)
    for index, half in enumerate(halves):
        rows = slice(2 * index, 2 * index + 2)
        fixed(model, token[rows], reward[rows])
        alone += gradient(model, model.policy_loss(half)["policy"]) / 2
        with part(index, 2, [[reward[:2]], [reward[2:]]]):
            found += gradient(model, model.policy_loss(half)["policy"]) / 2
    torch.testing.assert_close(found, expected)
    assert (alone - expected).abs().max() > 0.01


@pytest.mark.parametrize("stop", [1, 4, 7], ids=["likelihood", "discriminator", "game"])
def test_resume_equals_the_unbroken_run(stop, tmp_path):
    dropout = partial(TextDiscriminator, embedding=4, kernels=(1, 2, 3), maps=(3, 4, 5), dropout=0.25)

    def state(trainer: Trainer) -> list[Any]:
        optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        return [trainer.lightning_module.state_dict(), optimizers, trainer.global_step]

    made = {"discriminator": dropout, "baseline": "learned"}
    unbroken = state(trained(tiny(**made), 12)[0])
    trained(tiny(**made), stop)[0].save_checkpoint(tmp_path / "a.ckpt")
    resumed = trained(tiny(1, **made), 12, ckpt_path=tmp_path / "a.ckpt")[0]
    assert_same(state(resumed), unbroken)


# What it says


@pytest.mark.parametrize("networks", ["the paper's", "others"])
def test_a_checkpoint_alone_says_the_same(networks, tmp_path):
    model = tiny() if networks == "others" else SeqGAN(WORDS, LENGTH, **SHORT)
    trained(model, 7)[0].save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_model(tmp_path / "a.ckpt")
    assert_same(tensors(loaded), tensors(model))
    said = loaded.sample(10, 3)
    assert torch.equal(said, model.sample(10, 3)) and said.shape == (10, LENGTH) and said.dtype == torch.int64
    assert loaded.vocabulary == WORDS
    assert not torch.equal(said, loaded.sample(10, 4))


def test_a_sample_depends_on_its_number_alone():
    model = tiny()
    ten = model.sample(10, 5)
    assert torch.equal(model.sample(range(2, 7), 5), ten[2:7])
    assert torch.equal(model.sample([9], 5), ten[9:])
    assert len(ten.unique(dim=0)) > 5 and not ten.requires_grad


def test_nll_ends_with_the_first_padding():
    token = torch.tensor([[3, 0, 0, 4, 2], [2, 3, 4, 5, 6], [0, 0, 0, 0, 0], [5, 4, 3, 2, 0]])
    counted = [2, 5, 1, 5]
    padded, plain = tiny(vocabulary=["<pad>", "<unk>", *"abcde"]).double(), tiny().double()
    likelihood = padded.generator.log_likelihood(token).detach()
    expected = [-float(row[:count].sum()) / count for row, count in zip(likelihood, counted, strict=True)]
    torch.testing.assert_close(padded.nll(token), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(plain.nll(token), -likelihood.mean(1))
    assert not padded.nll(token).requires_grad


# The discriminator


def test_scores_are_those_of_equations_12_to_14():
    """Windows of words times kernels, the greatest response of each, and a highway, written out."""
    torch.manual_seed(6)
    network = TextDiscriminator(7, LENGTH, embedding=4, kernels=(1, 3, 5), maps=(2, 3, 2), dropout=0.5).double().eval()
    token, expected = tokens(4), []
    of = {name: value.numpy() for name, value in network.state_dict().items()}
    for sequence in token.tolist():
        x, h = of["embedding.weight"][sequence], []
        for place, width in enumerate((1, 3, 5)):
            weight, bias = of[f"detectors.{place}.weight"], of[f"detectors.{place}.bias"]
            for kernel, b in zip(weight, bias, strict=True):  # (embedding, 1, width)
                windows = [(kernel[:, 0].T * x[at : at + width]).sum() for at in range(LENGTH - width + 1)]
                h.append(max(0.0, max(windows) + b))
        h = np.array(h)
        gate = 1 / (1 + np.exp(-(of["gate.weight"] @ h + of["gate.bias"])))
        h = gate * np.maximum(of["change.weight"] @ h + of["change.bias"], 0) + (1 - gate) * h
        expected.append((of["output.weight"] @ h + of["output.bias"])[0])
    torch.testing.assert_close(network(token).detach(), torch.tensor(np.array(expected)))


def test_a_score_depends_on_every_word_and_on_their_order():
    torch.manual_seed(7)
    network = TextDiscriminator(30, 8).eval()
    token = torch.arange(8)[None]
    score = float(network(token))
    for place in range(8):
        changed = token.clone()
        changed[0, place] = 20
        assert abs(float(network(changed)) - score) > 1e-5
    assert abs(float(network(token.flip(1))) - score) > 1e-5
    bag = TextDiscriminator(30, 8, kernels=(1,), maps=(9,)).eval()
    torch.testing.assert_close(bag(token), bag(token.flip(1)))  # without wider kernels it would not


def test_kernels_wider_than_the_sequences_are_left_out():
    network = TextDiscriminator(9, 6)
    assert [detector.kernel_size[1] for detector in network.detectors] == [1, 2, 3, 4, 5, 6]
    assert network.output.in_features == 100 + 4 * 200 + 100
    assert network(tokens(3, 6)).shape == (3,)
    with pytest.raises(ValueError, match=r"no kernel of \(3, 4\) fits sequences of 2"):
        TextDiscriminator(9, 2, kernels=(3, 4), maps=(1, 1))
    with pytest.raises(ValueError, match="a number of maps for each kernel, not 3 for 2"):
        TextDiscriminator(9, 6, kernels=(3, 4), maps=(1, 1, 1))


class Dropping(LSTMGenerator):
    """A generator with dropout, which is for training alone."""

    def states(self, token: Tensor) -> Tensor:
        return nn.functional.dropout(super().states(token), 0.5, self.training)


def test_what_a_model_says_is_without_dropout():
    model = tiny(generator=partial(Dropping, embedding=3, hidden=4, std=1.0)).train()
    token = model.sample(8)
    assert model.nll(token).equal(model.nll(token)) and model.generator.training
    assert not model.generator.log_likelihood(token).equal(model.generator.log_likelihood(token))


def test_what_it_refuses():
    refusals = [
        ({"vocabulary": None}, "SeqGAN needs data of sequences"),
        ({"vocabulary": []}, "SeqGAN needs data of sequences"),
        ({"length": None}, "SeqGAN needs data of sequences"),
        ({"pretraining": -1}, "no negative numbers"),
        ({"discriminator_pretraining": -1}, "no negative numbers"),
        ({"discriminator_turns": -1}, "no negative numbers"),
        ({"generator_turns": 0}, "at least one generator turn"),
        ({"rollouts": 0}, "one roll-out"),
        ({"rollout_decay": -0.1}, r"rollout_decay \(-0.1\) is from 0 to 1"),
        ({"rollout_decay": 1.1}, r"rollout_decay \(1.1\) is from 0 to 1"),
        ({"rollout_decay": math.nan}, r"rollout_decay \(nan\) is from 0 to 1"),
        ({"baseline": "median"}, "baseline \\('median'\\)"),
        ({"reward": "oracle"}, 'reward \\(\'oracle\'\\) is "discriminator" or "constant"'),
        ({"generator": lambda *_: nn.Identity(), "baseline": "learned"}, "Identity has no `states` for baseline"),
        ({"weight_decay": -0.1}, "no negative numbers"),
        ({"discriminator": lambda *_: nn.Identity()}, "Identity has no `output` to decay: set weight_decay to 0"),
    ]
    for wrong, message in refusals:
        with pytest.raises(ValueError, match=message) as error:
            tiny(**wrong)
        assert "\n" not in str(error.value)


# The oracle


def test_the_oracles_sequences_are_the_same_everywhere():
    a = sequences()
    torch.rand(3)  # nothing hangs on the global state, nor changes it
    state = torch.get_rng_state()
    b, other = sequences(), OracleSequences(7, LENGTH, 40, oracle_seed=1, hidden=3, batch_size=8)
    for split_name, count in (("train", 40), ("val", 4)):
        token = a.reference(split_name).every.token
        assert token.shape == (count, LENGTH) and token.dtype == torch.int64 and 0 <= token.min() <= token.max() < 7
        assert torch.equal(token, b.reference(split_name).every.token)
        assert not torch.equal(token, other.reference(split_name).every.token)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(tensors(a.oracle), tensors(b.oracle))
    assert a.vocabulary == WORDS and a.length == LENGTH


def test_the_held_out_sequences_are_others():
    """20 of 500 words: two sequences that agree are the same draw."""
    data = OracleSequences(words=500, n=2500)
    train, val = (data.reference(name).every.token for name in ("train", "val"))
    assert (len(train), len(val)) == (2500, 250)
    both = {tuple(row) for row in train.tolist()}, {tuple(row) for row in val.tolist()}
    assert not both[0] & both[1] and (len(both[0]), len(both[1])) == (2500, 250)
    more = OracleSequences(words=500, n=1100).reference("train").every.token  # a longer set begins with a shorter one
    assert torch.equal(train[:1100], more)


def test_the_oracles_likelihood_of_its_sequences_is_its_entropy():
    """All 64 sequences of three words out of four: the exact entropy, and the mean over those drawn."""
    data = OracleSequences(words=4, length=3, n=20_000, hidden=4)
    nll = data.oracle.nll(data.reference("train").every.token)
    assert nll.shape == (20_000,) and not nll.requires_grad
    every = [list(sequence) for sequence in product(range(4), repeat=3)]
    log_p = np.array([sum(np.log(probabilities_after(data.oracle, s[:k])[s[k]]) for k in range(3)) for s in every])
    p = np.exp(log_p)
    assert p.sum() == pytest.approx(1)
    entropy, deviation = -(p * log_p).sum() / 3, math.sqrt((p * log_p**2).sum() - (p * log_p).sum() ** 2) / 3
    assert abs(float(nll.mean()) - entropy) < 4 * deviation / math.sqrt(20_000)
    np.testing.assert_allclose(data.oracle.nll(torch.tensor(every)), -log_p / 3, rtol=1e-4)


def test_the_oracles_likelihood_of_fresh_sequences_is_that_of_its_data():
    data = OracleSequences(words=1000, n=3000)
    drawn = data.oracle.nll(data.reference("train").every.token)
    fresh = data.oracle.nll(data.oracle.sample(uniform(3000, 20).float()))
    assert abs(drawn.mean() - fresh.mean()) < 4 * math.sqrt((drawn.var() + fresh.var()) / 3000)
    random = data.oracle.nll(torch.randint(1000, (500, 20)))
    assert random.mean() > fresh.mean() + 1  # what it did not say, it did not expect


def authors_arrays(words: int = 6, units: int = 4, seed: int = 0) -> list[np.ndarray]:
    """15 arrays in the authors' order: embedding; W, U and b of input, forget, output and candidate; output layer."""
    draw = np.random.default_rng(seed)
    gate = [(units, units), (units, units), (units,)]
    return [
        draw.normal(size=shape).astype(np.float32) for shape in [(words, units), *gate * 4, (units, words), (words,)]
    ]


def authors_nll(arrays: list[np.ndarray], sequence: list[int]) -> float:
    """Mean negative log-likelihood by the authors' equations, whose vectors are rows."""
    embedding, wi, ui, bi, wf, uf, bf, wog, uog, bog, wc, uc, bc, wo, bo = (a.astype(np.float64) for a in arrays)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    h, c, total = np.zeros(len(bi)), np.zeros(len(bi)), 0.0
    for before, token in zip([0, *sequence[:-1]], sequence, strict=True):
        x = embedding[before]
        i, f, o = sigmoid(x @ wi + h @ ui + bi), sigmoid(x @ wf + h @ uf + bf), sigmoid(x @ wog + h @ uog + bog)
        c = f * c + i * np.tanh(x @ wc + h @ uc + bc)
        h = o * np.tanh(c)
        logits = h @ wo + bo
        total -= logits[token] - np.log(np.exp(logits).sum())
    return total / len(sequence)


@pytest.mark.parametrize("names", ["without names", "numbers", "words"])
def test_the_authors_oracle(names, tmp_path):
    """Arrays in their order, whatever they are called."""
    arrays, path = authors_arrays(), tmp_path / "oracle.npz"
    if names == "without names":
        np.savez(path, *arrays)
    else:
        called = [str(k) if names == "numbers" else "foxesjumpveryquick"[k] + str(k) for k in range(15)]
        np.savez(path, **dict(zip(called, arrays, strict=True)))
    data = OracleSequences(words=6, length=LENGTH, n=40, hidden=4, parameters=str(path))
    token = tokens(5, words=6)
    expected = [authors_nll(arrays, sequence) for sequence in token.tolist()]
    np.testing.assert_allclose(data.oracle.nll(token), expected, rtol=1e-5)
    assert not any(p.requires_grad for p in data.oracle.parameters())


def test_files_without_an_oracle(tmp_path):
    def refused(path: Path, kind: type[Exception], message: str, **options: Any) -> None:
        with pytest.raises(kind, match=message) as error:
            OracleSequences(**({"words": 6, "length": LENGTH, "hidden": 4} | options), parameters=str(path))
        assert "\n" not in str(error.value) and path.name in str(error.value)

    refused(tmp_path / "none.npz", FileNotFoundError, "there is no file")
    refused(tmp_path, FileNotFoundError, "there is no file")
    arrays, path = authors_arrays(), tmp_path / "file.npz"
    np.savez(path, *arrays)
    refused(path, ValueError, r"array 0 of shape \(6, 4\), not \(5000, 4\): set words", words=5000)
    refused(path, ValueError, "set words and hidden", hidden=5)
    whole = path.read_bytes()
    for content in (b"", b"no arrays\n", whole[: len(whole) // 2], pickle.dumps([1, 2])):
        path.write_bytes(content)
        refused(path, ValueError, "is not an npz file of arrays")
    with path.open("wb") as file:
        np.save(file, arrays[0])
    refused(path, ValueError, "is not an npz file of arrays")
    np.savez(path, *[np.array(["a"])] * 15)
    refused(path, ValueError, "array 0 of <U1, not of finite numbers")
    np.savez(path, *[np.array([{}], dtype=object)] * 15)
    refused(path, ValueError, "is not an npz file of arrays")
    np.savez(path, *arrays[:14])
    refused(path, ValueError, "holds 14 arrays, an oracle has 15")
    np.savez(path, *arrays[::-1])
    refused(path, ValueError, r"array 0 of shape \(6,\)")
    np.savez(path, *[np.float32(1)] * 15)
    refused(path, ValueError, r"array 0 of shape \(\)")


def test_what_the_oracles_data_refuse():
    for wrong in ({"words": 0}, {"n": 0}, {"hidden": 0}, {"length": 1}):
        with pytest.raises(ValueError, match="OracleSequences needs words") as error:
            OracleSequences(**({"words": 6, "length": 4, "n": 8, "hidden": 3} | wrong))
        assert "\n" not in str(error.value)


# What it reaches


@pytest.mark.slow
def test_the_game_lowers_what_maximum_likelihood_left(tmp_path, monkeypatch):
    """The small oracle, by the committed setting: the game ends below its own plateau of maximum likelihood."""
    monkeypatch.chdir(tmp_path)
    start, measured = time.process_time(), {}
    measure = TextScores.measure

    def kept(score: TextScores, trainer: Any, model: SeqGAN) -> Any:
        figures, about = measure(score, trainer, model)
        measured[trainer.global_step] = figures
        return figures, about

    monkeypatch.setattr(TextScores, "measure", kept)
    config = Path(__file__).parents[2] / "configs" / "seqgan" / "oracle_small.yaml"
    fit.main([f"--config={config}", "--trainer.logger=false", "--trainer.enable_progress_bar=false"])
    seconds = time.process_time() - start
    before, plateau, after = (measured[step]["NLL_oracle"] for step in (1350, 1500, 1650))
    print(f"NLL_oracle {before:.3f}, {plateau:.3f}, then {after:.3f}; {measured[1650]}; {seconds:.0f} s")
    assert abs(before - plateau) < 0.05  # two standard errors: it is one
    assert after < plateau - 0.05
    assert measured[1650]["distinct"] > 0.99
    assert seconds <= 180  # of one core
