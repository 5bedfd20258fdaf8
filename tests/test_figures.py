"""Every figure of a log line against one computed by hand: the same steps once more, in plain torch."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Noisy, game, own_networks, plain_networks, played, quiet, sgd, tiny
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.augment import ADA
from gan_lightning.callbacks import Health
from gan_lightning.core import AdversarialModule, ImageStep, TwoPlayerGAN
from gan_lightning.noise import PartNoise
from gan_lightning.optim import LinearDecay

BATCH, RATE = 16, 0.1
ALWAYS = {"images_per_second", "images_seen", "epoch", "step"}
Figures = dict[str, float]
Objective = Callable[[Any, Tensor], tuple[dict[str, Tensor], dict[str, Tensor]]]  # terms, and what else is logged


class Kept(DummyLogger):
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Figures] = []

    def log_metrics(self, metrics: Figures, step: int) -> None:
        self.lines.append(metrics | {"step": step})


class Seen(Callback):
    """The images of every batch."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: AdversarialModule, batch: tuple, *_: Any) -> None:
        self.images.append(batch[0].clone())


def built(name: str, *options: dict[str, Any], schedule: Any = None, augment: Any = None, **step: Any) -> TwoPlayerGAN:
    """A tiny model; the one place that knows where its general settings go."""
    return tiny(name, sgd(RATE), *options, step=ImageStep(scheduler=schedule, augment=augment, **step))


def logged(
    model: AdversarialModule, batches: int, every: int = 1, data: Any = None, *callbacks: Callback
) -> tuple[list[Figures], list[Tensor]]:
    """The log lines of a fit of so many batches, and the images of these."""
    kept, seen = Kept(), Seen()
    limits = {"max_epochs": 1, "limit_train_batches": batches}
    trainer = quiet(logger=kept, callbacks=[seen, *callbacks], log_every_n_steps=every, **limits)
    trainer.fit(model, data or Noisy(n=BATCH * batches))
    return kept.lines, seen.images


# Two players


def drawn(n: int, *shape: int) -> Tensor:
    """Numbers in [0, 1) that depend on their place alone."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def known_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every turn and every micro-batch of a model draws the same numbers."""
    monkeypatch.setattr(PartNoise, "normal", lambda self, n, *shape: 4 * drawn(n, *shape) - 2)
    monkeypatch.setattr(PartNoise, "uniform", lambda self, n, *shape: drawn(n, *shape))


def of_scores(real: Tensor, fake: Tensor, boundary: float | None) -> dict[str, Tensor]:
    middle = (real.mean() + fake.mean()) / 2 if boundary is None else boundary
    return {
        "discriminator/accuracy_real": (real > middle).double().mean(),
        "discriminator/accuracy_fake": 1 - (fake > middle).double().mean(),
    }


def penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    share = drawn(len(real), 1, 1, 1)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((gradient.square().sum((1, 2, 3)).sqrt() - 1) ** 2).mean()


def normal(n: int) -> Tensor:
    """(n, 6) latents, as the patched noise draws them."""
    return 4 * drawn(n, 6) - 2


def uniform(n: int) -> Tensor:
    return 2 * drawn(n, 6) - 1


def discriminator_objective(latent: Callable, terms: Callable, boundary: float | None) -> Objective:
    def objective(nets: Any, image: Tensor) -> tuple[dict, dict]:
        fake = nets["generator"](latent(len(image))).detach()
        real_scores, fake_scores = nets["discriminator"](image), nets["discriminator"](fake)
        return terms(nets, image, fake, real_scores, fake_scores), of_scores(real_scores, fake_scores, boundary)

    return objective


def generator_objective(latent: Callable, terms: Callable) -> Objective:
    def objective(nets: Any, image: Tensor) -> tuple[dict, dict]:
        fake = nets["generator"](latent(len(image)))
        mean = fake.mean(0)
        deviation = ((fake - mean) ** 2).sum(0).div(len(fake) - 1).sqrt().mean()
        return terms(nets["discriminator"](fake)), {"generator/deviation": deviation}

    return objective


GAMES: dict[str, dict[str, Objective]] = {
    "DCGAN": {
        "discriminator": discriminator_objective(
            uniform,
            lambda nets, x, fake, r, f: {"adversarial": -(r.sigmoid().log() + (1 - f.sigmoid()).log()).mean()},
            0.0,
        ),
        "generator": generator_objective(uniform, lambda f: {"adversarial": -f.sigmoid().log().mean()}),
    },
    "LSGAN": {
        "discriminator": discriminator_objective(
            normal, lambda nets, x, fake, r, f: {"adversarial": ((r - 1) ** 2 + f**2).mean() / 2}, 0.5
        ),
        "generator": generator_objective(normal, lambda f: {"adversarial": ((f - 1) ** 2).mean() / 2}),
    },
    "WGANGP": {
        "discriminator": discriminator_objective(
            normal,
            lambda nets, x, fake, r, f: {
                "critic": (f - r).mean(),
                "penalty": 10 * penalty(nets["discriminator"], x, fake),
            },
            None,
        ),
        "generator": generator_objective(normal, lambda f: {"critic": -f.mean()}),
    },
}


def turn_by_hand(
    nets: Any, player: str, objective: Objective, parts: tuple[Tensor, ...], clip: float | None = None
) -> dict[str, float]:
    """One step of plain gradient descent, and the figures of it."""
    shown: dict[str, list[float]] = defaultdict(list)
    parameters = list(nets[player].parameters())
    gradient = [torch.zeros_like(p) for p in parameters]
    for part in parts:
        terms, others = objective(nets, part)
        loss = sum(terms.values())
        for total, g in zip(gradient, torch.autograd.grad(loss, parameters), strict=True):
            total += g / len(parts)
        for name, value in {**{f"{player}/{n}": v for n, v in terms.items()}, f"{player}/loss": loss, **others}.items():
            shown[name].append(float(value))
    norm = float(torch.cat([g.flatten() for g in gradient]).square().sum().sqrt())
    with torch.no_grad():
        for p, g in zip(parameters, gradient, strict=True):
            p -= RATE * g * (1 if clip is None or norm <= clip else clip / norm)
    return {name: sum(values) / len(values) for name, values in shown.items()} | {f"{player}/gradient_norm": norm}


def batch_by_hand(
    nets: Any, objectives: dict[str, Objective], image: Tensor, number: int, **how: Any
) -> dict[str, float]:
    n_critic, micro_batches, clip = (how.get(name) for name in ("n_critic", "micro_batches", "clip"))
    parts = image.chunk(micro_batches or 1)
    found = turn_by_hand(nets, "discriminator", objectives["discriminator"], parts, clip)
    if number % (n_critic or 1) == 0:
        found |= turn_by_hand(nets, "generator", objectives["generator"], parts, clip)
    return found


CASES = {
    "one part": ({}, {}),
    "two micro-batches": ({"micro_batches": 2}, {"micro_batches": 2}),
    "clipped": ({"gradient_clip": 0.02}, {"clip": 0.02}),
    "clipped in micro-batches": ({"gradient_clip": 0.02, "micro_batches": 2}, {"clip": 0.02, "micro_batches": 2}),
}


def copies(model: AdversarialModule, *names: str) -> nn.ModuleDict:
    return nn.ModuleDict({name: copy.deepcopy(getattr(model, name)) for name in names})


def assert_close(found: Figures, expected: Figures) -> None:
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", GAMES)
def test_losses_terms_norms_accuracies_and_deviation(name: str, case: str, known_noise: None) -> None:
    """The norm is that of the gradients before they are clipped. Four steps: what moves the weights shows, too."""
    step, how = CASES[case]
    n_critic = {"n_critic": 1} if name == "WGANGP" else {}
    model = built(name, plain_networks(), n_critic, **step)
    with torch.no_grad():
        model.discriminator.layers[-1].weight.mul_(10)  # scores on both sides of every boundary
    nets = copies(model, "generator", "discriminator")
    lines, images = logged(model, 4)
    assert len(lines) == 4 and 0 < lines[0]["discriminator/accuracy_real"] < 1
    for number, (line, image) in enumerate(zip(lines, images, strict=True), 1):
        expected = batch_by_hand(nets, GAMES[name], image, number, **how)
        assert_close(line, expected)
        rates = {f"{player}/learning_rate" for player in nets}
        assert set(line) == set(expected) | rates | ALWAYS, "a figure without a test"
        assert (line["images_seen"], line["step"]) == (BATCH * number, number)
        assert [line[rate] for rate in rates] == pytest.approx([RATE] * 2)


def test_a_line_shows_each_player_as_it_moved_last(known_noise: None) -> None:
    """A critic's turn a batch, the generator's in each second one, a line in each third."""
    model = built("WGANGP", plain_networks(), {"n_critic": 2})
    nets = copies(model, "generator", "discriminator")
    lines, images = logged(model, 9, every=3)
    assert len(lines) == 3
    expected: Figures = {}
    for number, image in enumerate(images, 1):
        expected |= batch_by_hand(nets, GAMES["WGANGP"], image, number, n_critic=2)
        if number % 3 == 0:
            line = lines[number // 3 - 1]
            assert_close(line, expected)
            assert (line["images_seen"], line["step"]) == (BATCH * number, number // 2)


# Scores that are known


class Known(nn.Module):
    """A discriminator whose scores are given; its weight makes no difference."""

    def __init__(self, scores: Iterator[list[float]]) -> None:
        super().__init__()
        self.scores, self.weight = scores, nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return torch.tensor(next(self.scores)) + 0 * self.weight * image.flatten(1).sum(1)


def with_scores(name: str, scores: list[list[float]], augment: Any = None) -> TwoPlayerGAN:
    """A model that looks at real images, at fakes, and in the generator's turn at fakes again."""
    discriminator = {"discriminator": lambda image_shape: Known(iter(scores)), "n_critic": 1}
    return built(name, plain_networks(), discriminator, augment=augment)


@pytest.mark.parametrize(
    ("name", "real", "fake"), [("DCGAN", 5 / 8, 3 / 8), ("LSGAN", 3 / 8, 5 / 8), ("WGAN", 2 / 8, 6 / 8)]
)
def test_accuracies_of_known_scores(name: str, real: float, fake: float) -> None:
    """The boundary is 0 for logits, 1/2 for least squares, and 2 for a critic of mean scores 2.5 and 1.5.

    A score on the boundary is no "real".
    """
    real_scores = [-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 2.5, 17.5]
    fake_scores = [-3.0, -1.0, 0.0, 0.25, 0.5, 1.25, 3.0, 11.0]
    assert (sum(real_scores), sum(fake_scores)) == (20, 12)
    (line,), _ = logged(with_scores(name, [real_scores, fake_scores, fake_scores]), 1, data=Noisy(n=8, batch_size=8))
    assert line["discriminator/accuracy_real"] == real
    assert line["discriminator/accuracy_fake"] == fake


def test_the_strength_of_ada() -> None:
    """p moves each second turn: up if the mean sign of the real scores exceeds the target 1/2, down if it is less.

    It moves by 16 images of the 40 that it takes from 0 to 1, stays if both are equal, and is bounded by 0 alone.
    """
    up, down = [2.0] * 8, [-3.0] * 8
    half = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, -0.25, -32.0]  # six above and two below: a mean sign of 1/2
    turns = [half, down, half, half, up, up, up, up, up, up, down, down]
    expected = [0.0, 0.0, 0.0, 0.0, 0.0, 0.4, 0.4, 0.8, 0.8, 1.2, 1.2, 0.8]
    scores = [one for real in turns for one in (real, [5.0] * 8, [5.0] * 8)]
    model = with_scores("DCGAN", scores, augment=partial(ADA, p=0.0, target=0.5, speed=40, interval=2))
    lines, _ = logged(model, 12, data=Noisy(n=96, batch_size=8))
    assert [line["augment/p"] for line in lines] == pytest.approx(expected)


# Rates and times


def test_learning_rates_under_a_schedule() -> None:
    """That of the turn of the batch, or of the next one, in groups of parameters; from 1 to 0 in 8 generator steps."""

    def groups(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        first, *others = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.4}, {"params": others, "lr": 0.2}], lr=RATE)

    options = {"generator_optimizer": groups, "n_critic": 2}
    lines, _ = logged(built("WGANGP", plain_networks(), options, schedule=partial(LinearDecay, end=8)), 9, every=3)
    for line, steps in zip(lines, (1, 2, 4), strict=True):  # taken before batches 3, 6 and 9
        left = 1 - steps / 8
        assert line["discriminator/learning_rate"] == pytest.approx(RATE * left)
        assert line["generator/learning_rate"] == pytest.approx(0.4 * left)
        assert line["generator/learning_rate_1"] == pytest.approx(0.2 * left)


class Clock(Callback):
    """A clock that stands still, but for so many seconds at the end of each batch."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.seconds = 1000.0, iter(seconds)

    def on_train_batch_end(self, *_: Any) -> None:
        self.now += next(self.seconds)


def test_images_per_second_and_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all batches since the line before."""
    monkeypatch.chdir(tmp_path)  # where the trainer's root is
    clock = Clock([1.0, 2.0, 4.0, 4.0, 16.0, 20.0])
    for name in ("perf_counter", "monotonic"):
        monkeypatch.setattr(time, name, lambda: clock.now)
    lines, _ = logged(built("DCGAN", plain_networks()), 6, 2, None, clock, Health())
    assert [line["images_per_second"] for line in lines] == pytest.approx([32 / 3, 32 / 8, 32 / 36])
    assert [line["hours"] * 3600 for line in lines] == pytest.approx([3, 11, 47])


# Games of their own


@pytest.mark.parametrize(("gamma", "rises"), [(0.7, True), (0.01, False)])
def test_began_and_its_balance(gamma: float, rises: bool, known_noise: None) -> None:
    """L is the mean absolute error of the auto-encoder; k moves by 0.05 (gamma L(x) - L(G(z)))."""
    model = built("BEGAN", own_networks("BEGAN"), {"gamma": gamma, "lambda_k": 0.05})
    model.k.fill_(0.5)
    nets, k, seen = copies(model, "generator", "discriminator"), 0.5, {}

    def error(nets: Any, image: Tensor) -> Tensor:
        return (image - nets["discriminator"](image)).abs().mean((1, 2, 3))

    def discriminator(nets: Any, image: Tensor) -> tuple[dict, dict]:
        real, fake = error(nets, image), error(nets, nets["generator"](uniform(len(image))).detach())
        seen["real"] = float(real.mean())
        return {"real": real.mean(), "fake": -k * fake.mean()}, of_scores(-real, -fake, None)

    def generator(nets: Any, image: Tensor) -> tuple[dict, dict]:
        image = nets["generator"](uniform(len(image)))
        seen["fake"] = float(error(nets, image).mean())
        return {"fake": error(nets, image).mean()}, {"generator/deviation": image.std(0).mean()}

    lines, images = logged(model, 3)
    for number, (line, image) in enumerate(zip(lines, images, strict=True), 1):
        expected = batch_by_hand(nets, {"discriminator": discriminator, "generator": generator}, image, number)
        surplus = gamma * seen["real"] - seen["fake"]
        k += 0.05 * surplus
        assert (surplus > 0) == rises
        assert_close(line, expected | {"k": k, "convergence": seen["real"] + abs(surplus)})


def test_predictability_minimization() -> None:
    """The predictors' figures are means over their turns on a batch; the encoder's loss is of several terms."""
    rate = {name: partial(torch.optim.SGD, lr=RATE) for name in ("encoder_optimizer", "predictor_optimizer")}
    weights = {"unpredictability_weight": 3.0, "variance_weight": 2.0, "reconstruction_weight": 0.5}
    model = game("PredictabilityMinimization", rate, weights, predictor_turns=3)
    parts = copies(model, "encoder", "predictors", "decoder")
    nets = {"predictors": parts["predictors"], "encoder": nn.ModuleList([parts["encoder"], parts["decoder"]])}

    def unpredictability(code: Tensor) -> Tensor:
        return 0.5 * ((parts["predictors"](code) - code) ** 2).sum() / len(code)

    def predictors(nets: Any, image: Tensor) -> tuple[dict, dict]:
        return {"unpredictability": unpredictability(parts["encoder"](image).detach())}, {}

    def encoder(nets: Any, image: Tensor) -> tuple[dict, dict]:
        code = parts["encoder"](image)
        return {
            "unpredictability": -3 * unpredictability(code),
            "variance": -2 * 0.5 * ((code - code.mean(0)) ** 2).sum() / len(code),
            "reconstruction": 0.5 * F.mse_loss(parts["decoder"](code), image),
        }, {}

    lines, images = logged(model, 3, data=played("PredictabilityMinimization"))
    for line, image in zip(lines, images, strict=True):
        turns = [turn_by_hand(nets, "predictors", predictors, (image,)) for _ in range(3)]
        expected = {name: sum(turn[name] for turn in turns) / 3 for name in turns[0]}
        expected |= turn_by_hand(nets, "encoder", encoder, (image,))
        assert_close(line, expected)
        assert set(line) == set(expected) | {f"{player}/learning_rate" for player in nets} | ALWAYS


def test_seqgan_shows_its_discriminator_and_its_rewards() -> None:
    """Two batches of imitation, one of the discriminator, one of the generator."""
    real, fake = [3.0, 1.0, 0.0, -1.0, 2.0, 0.5, -2.0, 1.0], [0.0, -1.0, 2.0, -3.0, -1.0, -0.5, 4.0, 1.0]
    known = {"discriminator": lambda *_: Known(iter([real, fake])), "weight_decay": 0.0}
    model = game("SeqGAN", known)
    model.rewards = lambda token: drawn(*token.shape)
    lines, _ = logged(model, 4, data=played("SeqGAN"))
    first = {name: next(n for n, line in enumerate(lines) if f"{name}/loss" in line) for name in model.players()}
    assert first == {"imitator": 0, "discriminator": 2, "generator": 3}
    assert (lines[2]["discriminator/accuracy_real"], lines[2]["discriminator/accuracy_fake"]) == (5 / 8, 5 / 8)
    assert lines[3]["generator/reward"] == pytest.approx(float(drawn(8, 5).mean()))


class Reward(Callback):
    """What IRGAN's generator may expect of each batch as it begins: sum_d p(d) (2 sigmoid(f(d)) - 1)."""

    def __init__(self) -> None:
        self.expected: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: AdversarialModule, batch: Any, *_: Any) -> None:
        with torch.no_grad():
            weight = pl_module.generator(batch.query).exp() * batch.candidate
            verdict = 2 * pl_module.discriminator(batch.query).sigmoid() - 1
        self.expected.append(float(((weight * verdict).sum(1) / weight.sum(1)).mean()))


@pytest.mark.parametrize("exact", [True, False])
def test_irgan_shows_the_expected_reward(exact: bool) -> None:
    """Two batches of imitation, then turns of the discriminator and of the generator."""
    reward = Reward()
    lines, _ = logged(game("IRGAN", exact=exact), 4, 1, played("IRGAN"), reward)
    assert "generator/reward" not in lines[2]
    assert lines[3]["generator/reward"] == pytest.approx(reward.expected[3], rel=1e-4)
