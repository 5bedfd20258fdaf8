"""The step: what one turn does and leaves alone, in every precision, and what a resumed run remembers."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from conftest import (
    SHAPE,
    Noisy,
    SaveAt,
    adam,
    assert_same,
    both,
    draw,
    gap,
    plain_networks,
    quiet,
    sgd,
    tensors,
    tiny,
    trained,
    within_turn,
)
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import lr_scheduler

from gan_lightning import fit, losses, optim
from gan_lightning.batches import Labeled, gather_batch, split
from gan_lightning.core import AdversarialModule, ImageStep, Step, Terms, TwoPlayerGAN
from gan_lightning.data import Digits
from gan_lightning.ema import EMA
from gan_lightning.loading import load_model
from gan_lightning.models import DCGAN
from gan_lightning.noise import PartNoise, SampleNoise, key
from gan_lightning.runtime.errors import NotFiniteError
from gan_lightning.runtime.strategy import PlayersStrategy

CPU = torch.device("cpu")


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def players_of(model: AdversarialModule) -> dict[str, nn.Module]:
    return {name: player.network for name, player in model.players().items()}


@contextmanager
def each_turn(model: AdversarialModule, before: Any = None, after: Any = None) -> Iterator[None]:
    """Call `before(name, objective, batch)` and `after(name, what before returned)` around each of a model's turns."""
    turn = model.turn

    def watched(name: str, objective: Any, batch: tuple, advances_step: bool = False) -> None:
        seen = before(name, objective, batch) if before else None
        turn(name, objective, batch, advances_step)
        if after:
            after(name, seen)

    model.turn = watched
    try:
        yield
    finally:
        del model.turn


def half_precision(init_scale: float = 2.0**8, growth_interval: int = 2000) -> dict[str, Any]:
    """float16 with a real scaler on the CPU: the flag `precision="16-mixed"` would silently be bfloat16 there."""
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=growth_interval)
    return {"plugins": [MixedPrecision("16-mixed", device="cpu", scaler=scaler)]}


PRECISIONS = {"float32": dict, "bfloat16": lambda: {"precision": "bf16-mixed"}, "float16": half_precision}


# Counting


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("n_critic", [1, 5])
def test_bar_10_max_steps_counts_generator_steps(n_critic, micro_batches):
    model = tiny("WGANGP", plain_networks(), n_critic=n_critic, step=ImageStep(micro_batches=micro_batches))
    turns = []
    with each_turn(model, after=lambda name, _: turns.append(name)):
        trainer = trained(model, 10)
    assert trainer.global_step == 10 == turns.count("generator")
    assert turns.count("discriminator") == 10 * n_critic == model.iteration
    assert model.images_seen == 16 * model.iteration
    assert turns[: n_critic + 1] == ["discriminator"] * n_critic + ["generator"]


def test_n_critic_must_be_positive():
    with pytest.raises(ValueError, match="n_critic must be at least 1, not 0"):
        tiny("DCGAN", n_critic=0)


# Whose weights move


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_the_moving_player_moves(precision):
    model, moved = tiny("DCGAN", adam()), []
    networks = players_of(model)

    def changed(name: str, before: dict) -> None:
        moved.append((name, [n for n, net in networks.items() if gap(weights(net), before[n]) > 0]))

    with each_turn(model, lambda *_: {n: weights(net) for n, net in networks.items()}, changed):
        trained(model, 2, **PRECISIONS[precision]())
    assert moved == 2 * [("discriminator", ["discriminator"]), ("generator", ["generator"])]


def test_other_players_are_frozen_in_a_turn_and_restored_after_it():
    model = tiny("DCGAN")
    model.discriminator.layers[0].weight.requires_grad_(False)  # a user's own freezing survives
    flags = lambda net: [p.requires_grad for p in net.parameters()]  # noqa: E731
    original, seen = model.generator_loss, []

    def generator_loss(batch: Labeled) -> Terms:
        seen.append((any(flags(model.discriminator)), all(flags(model.generator))))
        return original(batch)

    model.generator_loss = generator_loss
    trained(model, 1)
    assert seen == [(False, True)]
    assert flags(model.discriminator) == [False] + [True] * (len(flags(model.discriminator)) - 1)


def test_players_are_restored_after_an_exception():
    model = tiny("DCGAN")

    def broken(batch: Labeled) -> Terms:
        raise RuntimeError("the objective fails")

    model.generator_loss = broken
    with pytest.raises(RuntimeError, match="the objective fails"):
        trained(model, 1)
    assert all(p.requires_grad for p in [*model.generator.parameters(), *model.discriminator.parameters()])


def test_players_and_losses_must_be_defined():
    with pytest.raises(TypeError, match="AdversarialModule must define players"):
        AdversarialModule(Step()).players()
    parts = {player: network(SHAPE) for player, network in plain_networks().items()}
    parts |= sgd() | {"n_critic": 1, "step": ImageStep()}
    nothing = TwoPlayerGAN(SHAPE, **parts)
    for loss in ("discriminator_loss", "generator_loss"):
        with pytest.raises(TypeError, match=f"must define {loss}"):
            getattr(nothing, loss)(None)


# Micro-batches


EQUAL = {
    "WGANGP": {"n_critic": 2},
    "DCGAN": {},
    "RelativisticGAN": {"loss": losses.relativistic_average},
    "RaLSGAN": {"loss": losses.relativistic_average_least_squares},
    "RaHinge": {"loss": losses.relativistic_average_hinge},
}


def in_micro_batches(case: str, count: int, optimizer: dict[str, Any], precision: str) -> dict[str, Tensor]:
    name = case if case in ("WGANGP", "DCGAN") else "RelativisticGAN"
    model = tiny(name, plain_networks(), EQUAL[case], optimizer, step=ImageStep(micro_batches=count))
    trained(model, 5, Noisy(floating=True), precision=precision)
    return tensors(model)


@pytest.mark.parametrize("case", EQUAL)
def test_micro_batches_equal_the_whole_batch(case):
    """Averages over the batch included. Adam in double precision: it magnifies the rounding of a gradient of 0."""
    expected = in_micro_batches(case, 1, sgd(), "32-true")
    assert gap(in_micro_batches(case, 2, sgd(), "32-true"), expected) <= 1e-6
    expected = in_micro_batches(case, 1, adam(), "64-true")
    assert gap(in_micro_batches(case, 4, adam(), "64-true"), expected) <= 1e-9


def test_micro_batches_with_adam_in_single_precision():
    expected = in_micro_batches("WGANGP", 1, adam(), "32-true")
    assert gap(in_micro_batches("WGANGP", 2, adam(), "32-true"), expected) <= 1e-6


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_micro_batches_in_half_precision(precision):
    runs = []
    for count in (1, 2):
        model = tiny("RelativisticGAN", plain_networks(), sgd(), step=ImageStep(micro_batches=count))
        start = tensors(model)
        trained(model, 3, **PRECISIONS[precision]())
        runs.append({name: value - start[name] for name, value in tensors(model).items()})
    assert gap(runs[1], runs[0]) < 0.05


def test_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="a batch of 16 cannot be cut into 3 equal micro-batches"):
        trained(tiny("DCGAN", step=ImageStep(micro_batches=3)), 1)


def test_split_keeps_the_order():
    batch = Labeled(torch.arange(6.0).reshape(6, 1, 1, 1), torch.arange(6))
    parts = split(batch, 3)
    assert [type(part) for part in parts] == [Labeled] * 3
    assert [part.label.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


def test_whole_is_the_batch_itself_without_parts():
    rows = torch.randn(3)
    assert gather_batch(rows) is rows


@pytest.mark.parametrize("name", ["RelativisticGAN", "DCGAN"])
def test_a_dry_run_leaves_no_trace(name):
    """The pass that shows the micro-batches to each other must not count for batch statistics or logged figures."""
    model = tiny(name, step=ImageStep(micro_batches=2))
    norms = [m for m in model.discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    passes, dry_run = [], model._dry_run

    def watched(objective: Any, parts: list) -> Any:
        before = tensors(model)
        result = dry_run(objective, parts)
        assert_same(tensors(model), before)
        passes.append(result is not None)
        return result

    model._dry_run = watched
    trained(model, 1)
    relativistic = name == "RelativisticGAN"
    assert passes == [relativistic] * 2  # nothing to show for a loss that is a mean over samples
    # Two micro-batches; real and fake in the discriminator's turn, in the generator's fake, and real if relativistic.
    assert norms and all(norm.num_batches_tracked == 2 * (4 if relativistic else 3) for norm in norms)


def test_figures_of_a_part_of_one_row_are_finite():
    model = tiny("DCGAN", plain_networks(), step=ImageStep(micro_batches=2))
    trainer = trained(model, 1, Noisy(batch_size=2), log_every_n_steps=1)
    assert all(value.isfinite() for value in trainer.callback_metrics.values())


def test_logged_terms_are_means_over_micro_batches():
    figures = []
    for count in (1, 4):
        model = tiny("WGANGP", plain_networks(), sgd(), n_critic=1, step=ImageStep(micro_batches=count))
        trainer = trained(model, 2, log_every_n_steps=1)
        figures.append({name: value.item() for name, value in trainer.callback_metrics.items() if "/" in name})
    for name in figures[0]:
        if name.endswith(("critic", "penalty", "loss", "norm")):
            assert figures[1][name] == pytest.approx(figures[0][name], rel=1e-4, abs=1e-6), name


# Clipping and precision


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("clip", [1.0, 0.01])
def test_bar_18_gradients_are_clipped_after_unscaling(clip, precision):
    """What the optimizer sees has the norm asked for."""
    norms = []
    model = tiny("WGANGP", plain_networks(), sgd(), n_critic=1, step=ImageStep(gradient_clip=clip))

    class Look(Callback):
        def on_train_start(self, trainer: Trainer, model: AdversarialModule) -> None:
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(lambda optimizer, *_: norms.append(norm_of(optimizer)))

    trainer = trained(model, 3, callbacks=[Look()], log_every_n_steps=1, **PRECISIONS[precision]())
    assert len(norms) == 6 and all(norm <= clip * (1 + 1e-6) for norm in norms)
    too_long = norms[::2] if clip == 1 else norms  # the generator's are shorter than 1 by themselves
    assert all(norm >= 0.99 * clip for norm in too_long)
    assert trainer.callback_metrics["discriminator/gradient_norm"] > 5 * clip  # logged as it was before


def norm_of(optimizer: torch.optim.Optimizer) -> float:
    return float(nn.utils.get_total_norm([p.grad for group in optimizer.param_groups for p in group["params"]]))


@pytest.mark.parametrize("fused", [None, True, False])
def test_a_fused_step_leaves_unscaling_to_what_clips_and_measures(fused):
    """float16 with a scale of 256 logs the norms of float32, and clips by them: Adam's own step does not tell."""
    clip, figures, norms = 1e-3, [], []

    class Look(Callback):
        def on_train_start(self, trainer: Trainer, model: AdversarialModule) -> None:
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(lambda optimizer, *_: norms.append(norm_of(optimizer)))

    for precision in ("float32", "float16"):
        still = both(partial(optim.PaperAdam, lr=1e-9, beta1=0.5, fused=fused))
        model = tiny("WGANGP", plain_networks(), still, n_critic=1, step=ImageStep(gradient_clip=clip))
        trainer = trained(model, 3, callbacks=[Look()], log_every_n_steps=1, **PRECISIONS[precision]())
        figures.append([float(trainer.callback_metrics[f"{name}/gradient_norm"]) for name in model.players()])
    assert figures[1] == pytest.approx(figures[0], rel=0.02) and min(figures[0]) > 10 * clip
    assert len(norms) == 12 and norms == pytest.approx([clip] * 12, rel=0.01)


def test_small_gradients_are_not_clipped():
    runs = []
    for clip in (None, 1e6):
        model = tiny("DCGAN", plain_networks(), step=ImageStep(gradient_clip=clip))
        trained(model, 2)
        runs.append(tensors(model))
    assert_same(*runs)


def test_bar_17_float16_applies_the_true_gradient_while_the_scale_grows():
    lr, ratios = 0.01, []
    model = tiny("WGANGP", plain_networks(), sgd(lr), n_critic=2)
    networks = players_of(model)

    def true_gradient(name: str, objective: Any, batch: Labeled) -> tuple[dict, list[Tensor]]:
        parameters = list(networks[name].parameters())
        following = model._turn_in_batch + 1
        with within_turn(model, following), torch.autocast("cpu", enabled=False):
            gradient = torch.autograd.grad(sum(objective(batch).values()), parameters)
        return weights(networks[name]), gradient

    def compare(name: str, before: tuple[dict, list[Tensor]]) -> None:
        old, gradient = before
        applied = torch.cat([((old[n] - p) / lr).detach().flatten() for n, p in networks[name].named_parameters()])
        true = torch.cat([g.flatten() for g in gradient])
        ratios.append(float(applied @ true / (true @ true)))

    plugins = half_precision(init_scale=2.0, growth_interval=1)
    with each_turn(model, true_gradient, compare):
        trained(model, 4, **plugins)
    assert plugins["plugins"][0].scaler.get_scale() == 2.0 ** (1 + 12)
    assert ratios == pytest.approx([1.0] * 12, abs=1e-3)


def test_bar_17_float16_overflow_of_one_player_skips_that_player_only():
    model = tiny("DCGAN", plain_networks(), adam())
    original, moved, networks = model.generator_loss, [], players_of(model)

    def generator_loss(batch: Labeled) -> Terms:
        factor = math.inf if model.iteration == 3 else 1.0
        return {name: factor * term for name, term in original(batch).items()}

    def changed(name: str, before: dict) -> None:
        moved.append(gap(weights(networks[name]), before) > 0)

    model.generator_loss = generator_loss
    plugins = half_precision()
    with each_turn(model, lambda name, *_: weights(networks[name]), changed):
        trainer = trained(model, 20, **plugins)
    assert [i for i, m in enumerate(moved) if not m] == [5]  # the generator's third turn
    assert all(value.isfinite().all() for value in tensors(model).values())
    assert plugins["plugins"][0].scaler.get_scale() == 2.0**7
    assert trainer.global_step == 20


def test_float16_with_nothing_but_overflows_stops():
    """A scaler skips every step for ever: sixteen halvings from 4 leave no scale worth the name."""
    model = tiny("DCGAN", plain_networks(), adam())
    original = model.discriminator_loss
    model.discriminator_loss = lambda batch: {name: math.nan * term for name, term in original(batch).items()}
    with pytest.raises(NotFiniteError, match="every step overflows float16"):
        trained(model, 40, **half_precision(init_scale=4.0, growth_interval=1000))


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_images_come_in_the_models_own_precision(precision, dtype):
    model = tiny("DCGAN")
    seen = set()

    def note(name: str, objective: Any, batch: Labeled) -> None:
        seen.add(batch.image.dtype)

    with each_turn(model, note):
        trained(model, 1, precision=precision)
    assert seen == {dtype} and model.generator.layers[0].weight.dtype is dtype


PENALISED = ("WGANGP", "R3GAN", "StyleGAN", "StyleGAN2")
COMPILED = [
    pytest.param(name, True, marks=[] if name == "WGANGP" else pytest.mark.slow, id=f"{name}-compiled")
    for name in PENALISED
]


@pytest.mark.parametrize(("name", "compile"), [*(pytest.param(name, False, id=name) for name in PENALISED), *COMPILED])
def test_bar_19_penalty_gradient_is_exact_under_bfloat16(name, compile, monkeypatch):
    """WGAN-GP's, and R1 as three models compute it: a float32 island's backward pass is not under autocast either."""
    plain_compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: plain_compile(self, backend="aot_eager"))
    gradients, options = [], {"WGANGP": {"n_critic": 1}, "StyleGAN2": {"r1_interval": 1}}.get(name, {})
    for precision, compiled in (("32-true", False), ("bf16-mixed", compile)):
        model = tiny(name, plain_networks(name), sgd(0.0), options, step=ImageStep(compile=compiled))
        losses_of = getattr(model, "r1_penalty", model.discriminator_loss)  # which is a turn of its own of StyleGAN2

        def penalty_alone(batch: Labeled, model: Any = model, losses_of: Any = losses_of) -> Terms:
            if name == "WGANGP":  # at given fakes: a generator's are of bfloat16
                given = torch.rand(batch.image.shape, generator=torch.Generator().manual_seed(1))
                epsilon = model.noise.uniform(16, 1, 1, 1)
                terms = {"r1": losses.gradient_penalty(model.discriminator, batch.image, given, epsilon)}
            else:
                terms = losses_of(batch)
            assert terms["r1"].requires_grad
            return {"r1": terms["r1"]}

        model.discriminator_loss = penalty_alone
        trained(model, 1, precision=precision)
        gradients.append({n: p.grad for n, p in model.discriminator.named_parameters() if p.grad is not None})
    assert gradients[0] and gap(gradients[1], gradients[0]) <= 1e-5


def test_compiled_networks_train_alike_and_keep_their_names(monkeypatch):
    plain_compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: plain_compile(self, backend="aot_eager"))
    runs = []
    for compiled in (False, True):
        model = tiny("WGANGP", plain_networks(), sgd(), n_critic=1, step=ImageStep(compile=compiled))
        trained(model, 3)
        runs.append(tensors(model))
    assert gap(*runs) <= 1e-6


# Losses that are not finite


@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_the_run(player, bad):
    model = tiny("WGANGP", plain_networks(), n_critic=1)
    original, before = getattr(model, f"{player}_loss"), {}

    def spoilt(batch: Labeled) -> Terms:
        if model.iteration == 3:
            before.update(weights(players_of(model)[player]))
            return original(batch) | {"extra": torch.tensor(bad)}
        return original(batch) | {"extra": torch.tensor(0.0)}

    setattr(model, f"{player}_loss", spoilt)
    with pytest.raises(NotFiniteError, match=f"{player}/extra is not finite at iteration 3 .generator step 2") as error:
        trained(model, 10)
    assert "\n" not in str(error.value)
    assert_same(weights(players_of(model)[player]), before)  # the step was not taken


def test_on_an_accelerator_losses_are_looked_at_later():
    """A look costs a wait there; the check before a log line or a checkpoint still names the first bad term."""
    model = tiny("DCGAN")
    model.trainer = quiet()
    finite, infinite = torch.tensor(1.0), torch.tensor(math.inf)
    log = model.training_log
    log.begin("discriminator", 4, 50)
    log.record({"a": finite, "b": finite})
    model.check_finite()
    log.begin("generator", 5, 50)
    log.record({"a": finite, "b": infinite})
    log.begin("discriminator", 6, 50)
    log.record({"a": infinite})
    with pytest.raises(NotFiniteError, match="generator/b is not finite at iteration 5"):
        model.check_finite()
    assert not log.many_unchecked
    for _ in range(2000):
        log.record({"a": finite})
    assert log.many_unchecked, "without log lines and saves somebody has to look"
    trained(model, 1)  # another fit knows nothing of it


# Schedules


class Settings(Callback):
    """The learning rates of both players at the end of each batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.rates.append([group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups])


def test_schedules_step_once_for_each_generator_step_and_resume(tmp_path):
    def model() -> TwoPlayerGAN:
        return tiny("DCGAN", n_critic=2, step=ImageStep(scheduler=partial(optim.LinearDecay, end=10, start=2)))

    whole_run, first, second = Settings(), Settings(), Settings()
    trained(model(), 6, callbacks=[whole_run])
    trained(model(), 3, callbacks=[first]).save_checkpoint(tmp_path / "a.ckpt")
    trained(model(), 6, callbacks=[second], ckpt_path=tmp_path / "a.ckpt")
    shares = [1, 1, 1, 1, 1, 7 / 8, 7 / 8, 6 / 8, 6 / 8, 5 / 8, 5 / 8, 4 / 8]  # two batches to a generator step
    assert whole_run.rates == [pytest.approx([2e-4 * share] * 2) for share in shares]
    assert first.rates + second.rates == whole_run.rates


def rates_of(schedule: Any, steps: int) -> list[float]:
    """The learning rates of so many steps under a schedule of an optimizer whose own rate is 0.3."""
    optimizer, rates = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3), []
    scheduler = schedule(optimizer)
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


DECAYS = {  # ours, and torch's decay over so many steps, which goes on after its end in another way
    "linear": (optim.LinearDecay, lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)),
    "cosine": (optim.CosineDecay, lr_scheduler.CosineAnnealingLR),
}


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize(("start", "warmup"), [(0, 0), (7, 0), (0, 4), (4, 4), (7, 4), (1, 1)])
def test_decays_are_torchs_in_sequence(kind, start, warmup):
    """Warm-up, constant and decay one after the other, and nothing after the end."""
    ours, theirs = DECAYS[kind]
    end, begin = 20, max(start, warmup)

    def sequence(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        parts = [theirs(optimizer, end - begin)]
        if begin > warmup:
            parts.insert(0, lr_scheduler.ConstantLR(optimizer, 1.0))
        if warmup:
            parts.insert(0, lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1))
        ends = [step for step in dict.fromkeys([warmup, begin]) if step]
        return lr_scheduler.SequentialLR(optimizer, parts, ends) if ends else parts[0]

    rates = rates_of(partial(ours, end=end, start=start, warmup=warmup), end + 3)
    assert rates[: end + 1] == pytest.approx(rates_of(sequence, end + 1), rel=1e-6, abs=1e-9)
    assert rates[0] > 0 and rates[end:] == [0.0] * 3


@pytest.mark.parametrize("kind", [optim.LinearDecay, optim.CosineDecay])
def test_decays_resume(kind, tmp_path):
    def model() -> TwoPlayerGAN:
        return tiny("DCGAN", step=ImageStep(scheduler=partial(kind, end=10, start=5, warmup=4)))

    whole_run, first, second = Settings(), Settings(), Settings()
    trained(model(), 7, callbacks=[whole_run])
    trained(model(), 3, callbacks=[first]).save_checkpoint(tmp_path / "a.ckpt")  # in the middle of the warm-up
    trained(model(), 7, callbacks=[second], ckpt_path=tmp_path / "a.ckpt")
    assert first.rates + second.rates == whole_run.rates
    assert len({rates[0] for rates in whole_run.rates}) == 5, "up, constant and down"


def test_decays_are_set_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        "--model.generator=MLPGenerator",
        "--model.generator.width=4",
        "--model.discriminator=MLPDiscriminator",
        "--model.discriminator.width=4",
    ]
    schedule = ["--model.step.scheduler", "CosineDecay", "--model.step.scheduler.end", "100"]
    schedule += ["--model.step.scheduler.warmup", "10"]
    options = ["--data.size=8", "--trainer.logger=false", "--trainer.max_steps=3", "--trainer.accelerator=cpu"]
    fit.main(["--model=DCGAN", *small, *schedule, *options])
    (path,) = tmp_path.glob("runs/*/*/last.ckpt")
    saved = torch.load(path, weights_only=True)
    assert [state["_last_lr"] for state in saved["lr_schedulers"]] == [[pytest.approx(2e-4 * 4 / 10)]] * 2
    loaded = load_model(path)  # the schedule is among its arguments
    assert rates_of(loaded.players()["generator"].scheduler, 3) == pytest.approx([0.03, 0.06, 0.09])


@pytest.mark.parametrize("kind", [optim.LinearDecay, optim.CosineDecay])
def test_decays_refuse_an_order_that_makes_no_sense(kind):
    for numbers, message in [
        ({"end": 5, "start": 5}, r"end \(5\) must come after start \(5\)"),
        ({"end": 4, "start": 5, "warmup": 2}, r"end \(4\) must come after start \(5\)"),
        ({"end": 10, "warmup": 10}, r"end \(10\) must come after the end of the warm-up \(10\)"),
        ({"end": 10, "start": 3, "warmup": 4}, r"start \(3\) must not come before the end of the warm-up \(4\)"),
        ({"end": 10, "start": -1}, r"start \(-1\) and warmup \(0\) must not be negative"),
        ({"end": 10, "warmup": -2}, r"start \(0\) and warmup \(-2\) must not be negative"),
    ]:
        with pytest.raises(ValueError, match=f"{kind.__name__}: {message}"):
            rates_of(partial(kind, **numbers), 1)


# The average of the generator


@pytest.mark.parametrize(("every", "statistics"), [(1, False), (2, False), (4, False), (2, True)])
def test_bar_20_ema_equals_one_written_by_hand(every, statistics):
    """Bit for bit; batch statistics are copied, or averaged too; no average of the discriminator; live weights stay."""
    half_life, rampup = 100.0, 0.3
    step = ImageStep(ema_every=every, ema_half_life=half_life, ema_rampup=rampup, ema_statistics=statistics)
    model = tiny("DCGAN", adam(), n_critic=2, step=step)
    by_hand, last, live = tensors(model.generator), [0], {}
    averaged = set(weights(model.generator))
    if statistics:
        norms = {n for n, m in model.generator.named_modules() if isinstance(m, nn.BatchNorm2d)}
        averaged |= {f"{name}.running_{moment}" for name in norms for moment in ("mean", "var")}

    def follow(name: str, _: Any) -> None:
        if name != "generator":
            return
        follow.calls += 1
        live.update(tensors(model.generator))
        if follow.calls % every == 0:
            images = 16 * 2 * follow.calls
            beta = 0.5 ** ((images - last[0]) / min(half_life, rampup * images))
            for tensor_name, value in live.items():
                mine = by_hand[tensor_name]
                by_hand[tensor_name] = mine.lerp(value, 1 - beta) if tensor_name in averaged else value
            last[0] = images

    follow.calls = 0
    with each_turn(model, after=follow):
        trained(model, 9)
    assert_same(tensors(model.ema.network), by_hand)
    assert_same(tensors(model.generator), live)  # live weights are live at the end
    assert gap(weights(model.ema.network), weights(model.generator)) > 1e-4
    assert not any("ema" in name and "discriminator" in name for name in model.state_dict())
    saved = {
        n.removeprefix("averages.generator.network."): v
        for n, v in model.state_dict().items()
        if n.startswith("averages.generator.network.")
    }
    assert_same(saved, by_hand)
    assert torch.equal(model.sample(2, live=True), model.generate(model.latent(SampleNoise(0, range(2), CPU), 2), True))
    assert not torch.equal(model.sample(2), model.sample(2, live=True))


def test_ema_of_a_constant_halves_its_distance_in_one_half_life():
    live = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(live.weight)
    ema = EMA(live, half_life=100.0, rampup=None)
    nn.init.ones_(live.weight)
    distances = []
    for images in (50, 100, 200, 300):
        ema.update(images)
        distances.append(1 - ema.network.weight.item())
    assert distances == pytest.approx([0.5**0.5, 0.5, 0.25, 0.125], rel=1e-5)


def test_ema_ramps_up_and_can_be_off():
    live = nn.Linear(1, 1)
    ema = EMA(live, half_life=1000.0, rampup=0.05)
    assert ema.beta(64, 64) == pytest.approx(0.5 ** (1 / 0.05))  # the start is forgotten at once
    assert ema.beta(64, 100_000) == pytest.approx(0.5 ** (64 / 1000))
    off = EMA(live, half_life=0.0)
    nn.init.ones_(live.weight)
    off.update(64)
    assert torch.equal(off.network.weight, live.weight)


def test_ema_of_batch_statistics_is_the_closed_form_and_other_buffers_are_copied():
    """sum_k x_k (1 - beta_k) prod_(j > k) beta_j, of means and variances; of counts and spectral vectors the newest."""
    torch.manual_seed(0)
    live = nn.Sequential(spectral_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4))
    emas = [EMA(live, half_life=100.0, rampup=None, statistics=on) for on in (True, False)]
    seen, images = [tensors(live)], [0, 40, 100, 250]
    for total in images[1:]:
        live(draw(16, 3, seed=total))
        seen.append(tensors(live))
        for ema in emas:
            ema.update(total)
    betas = [0.0] + [0.5 ** ((b - a) / 100) for a, b in zip(images, images[1:], strict=False)]
    averaged, copied = (tensors(ema.network) for ema in emas)
    assert_same(copied, tensors(live))  # whose weights have not moved
    for name, value in averaged.items():
        if name in ("1.running_mean", "1.running_var"):
            shares = [(1 - betas[k]) * math.prod(betas[k + 1 :]) for k in range(4)]
            torch.testing.assert_close(value, sum(s * x[name] for s, x in zip(shares, seen, strict=True)))
            assert not torch.allclose(value, seen[-1][name], rtol=1e-3)
        else:
            assert torch.equal(value, seen[-1][name]), name
    assert averaged["1.num_batches_tracked"] == 3
    assert {name.rpartition(".")[2] for name in averaged} >= {"_u", "_v"}
    assert not torch.equal(seen[-1]["0.parametrizations.weight.0._u"], seen[0]["0.parametrizations.weight.0._u"])


def test_ema_is_frozen_and_always_in_evaluation_mode():
    model = tiny("DCGAN").train()
    assert model.generator.training and not any(m.training for m in model.ema.modules())
    assert not any(p.requires_grad for p in model.ema.parameters())
    assert not set(model.ema.parameters()) & {p for net in players_of(model).values() for p in net.parameters()}
    model.sample(2, live=True)
    assert model.generator.training  # sampling leaves the mode as it was


# Strategies


@pytest.mark.parametrize("options", [{"static_graph": True}, {"find_unused_parameters": False}])
def test_strategies_that_cannot_train_players_in_turns_are_refused(options):
    model = tiny("DCGAN")
    model.trainer = quiet(devices=2, strategy=DDPStrategy(**options))
    with pytest.raises(ValueError, match="find_unused_parameters=True and static_graph=False") as error:
        model.setup("fit")
    assert "\n" not in str(error.value)


def test_several_devices_need_no_flag():
    model = tiny("DCGAN")
    model.trainer = quiet(devices=2)
    model.setup("fit")
    assert isinstance(model.trainer.strategy, PlayersStrategy)
    assert model.trainer.strategy._ddp_kwargs["find_unused_parameters"] is True


def test_another_strategy_that_is_asked_for_stays():
    for asked in ("ddp_find_unused_parameters_true", DDPStrategy(bucket_cap_mb=5)):
        model = tiny("DCGAN")
        model.trainer = quiet(devices=2, strategy=asked)
        model.setup("fit")
        assert type(model.trainer.strategy) is DDPStrategy
        assert model.trainer.strategy._ddp_kwargs["find_unused_parameters"] is True


# Random numbers


def test_key_tells_positions_and_signs_apart():
    keys = {key(*parts) for parts in [(), (0,), (1,), (-1,), (0, 1), (1, 0), (0, 0), (2**63,), (1, 2, 3), (3, 2, 1)]}
    assert len(keys) == 10 and all(0 <= k < 2**63 for k in keys)
    assert len({key(seed, step) for seed in range(100) for step in range(100)}) == 10_000


def test_parts_of_noise_are_rows_of_the_whole():
    for kind in ("normal", "uniform"):
        expected = getattr(PartNoise(5, 0, 1, CPU), kind)(12, 3)
        parts = [getattr(PartNoise(5, part, 4, CPU), kind)(3, 3) for part in range(4)]
        assert torch.equal(torch.cat(parts), expected)
    expected = PartNoise(5, 0, 1, CPU).integers(10, 12)
    assert torch.equal(torch.cat([PartNoise(5, part, 2, CPU).integers(10, 6) for part in range(2)]), expected)
    assert expected.dtype == torch.int64 and expected.min() >= 0 and expected.max() < 10


def test_sample_noise_depends_on_the_row_alone():
    one_batch = SampleNoise(3, range(6), CPU).normal(6, 4)
    two = [SampleNoise(3, range(0, 2), CPU).normal(2, 4), SampleNoise(3, range(2, 6), CPU).normal(4, 4)]
    assert torch.equal(one_batch, torch.cat(two))
    assert not torch.equal(one_batch, SampleNoise(4, range(6), CPU).normal(6, 4))
    assert len({tuple(row.tolist()) for row in one_batch}) == 6
    with pytest.raises(ValueError, match="this noise is for 6 samples, 5 were asked for"):
        SampleNoise(3, range(6), CPU).normal(5, 4)


def test_latents_depend_on_seed_iteration_and_turn():
    def latents(seed: int) -> dict[tuple[int, str], tuple]:
        seed_everything(seed)
        model, drawn = tiny("DCGAN"), {}
        latent = model.latent

        def recorded(noise: Any, n: int) -> Tensor:
            z = latent(noise, n)
            drawn[model.iteration, model.training_log.player] = tuple(z.flatten().tolist())
            torch.randn(model.iteration)  # what others draw from the global stream changes nothing
            return z

        model.latent = recorded
        trained(model, 3)
        return drawn

    first, again, other = latents(1), latents(1), latents(2)
    assert first == again and len(first) == 6
    assert len(set(first.values()) | set(other.values())) == 12


# Resume


def state_of(trainer: Trainer) -> dict[str, Any]:
    """All that a run consists of."""
    model = trainer.lightning_module
    return {
        "model": {name: value for name, value in model.state_dict().items()},
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "counters": [trainer.global_step, model.iteration, model.images_seen, model.seed],
    }


def scheduled(name: str = "DCGAN", step: ImageStep = ImageStep(), **more: Any) -> TwoPlayerGAN:
    return tiny(name, adam(), step=replace(step, scheduler=partial(optim.LinearDecay, end=50)), **more)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bar_08_resume_is_exact(num_workers, tmp_path):
    """In the middle of an epoch, at its last batch and after its end; order, flips, dropout and latents included."""

    def data() -> Noisy:
        return Noisy(flip=True, num_workers=num_workers)

    seed_everything(7)
    unbroken = state_of(trained(scheduled("GAN"), 15, data(), callbacks=[SaveAt(tmp_path, [6, 8], epoch_end=8)]))
    assert unbroken["counters"] == [15, 15, 240, 7]
    for name in ("batch6", "batch8", "epoch"):
        seed_everything(8)  # the checkpoint's seed holds, not the new process's
        resumed = trained(scheduled("GAN", seed=1), 15, data(), ckpt_path=tmp_path / f"{name}.ckpt")
        assert_same(state_of(resumed), unbroken, name)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_bar_08_resume_is_exact_in_every_precision(precision, tmp_path):
    """Nothing is rounded to float32 on the way."""
    unbroken = state_of(trained(tiny("DCGAN", adam()), 4, precision=precision, callbacks=[SaveAt(tmp_path, [2])]))
    resumed = trained(tiny("DCGAN", adam(), seed=1), 4, precision=precision, ckpt_path=tmp_path / "batch2.ckpt")
    assert_same(state_of(resumed), unbroken)


def test_resume_after_stopping_is_exact_with_a_critic_and_batch_norm(tmp_path):
    """Stop by `max_steps`, in the middle of an epoch; then again; the digits as data."""

    def data() -> Digits:
        return Digits(size=16, batch_size=250)  # 6 batches an epoch

    def model(seed: int = 0) -> TwoPlayerGAN:
        return scheduled("WGAN", n_critic=2, seed=seed, step=ImageStep(micro_batches=2, ema_every=2))

    unbroken = state_of(trained(model(), 8, data()))
    trained(model(), 2, data()).save_checkpoint(tmp_path / "a.ckpt")
    second = trained(model(1), 6, data(), ckpt_path=tmp_path / "a.ckpt")
    second.save_checkpoint(tmp_path / "b.ckpt")
    assert_same(state_of(trained(model(2), 8, data(), ckpt_path=tmp_path / "b.ckpt")), unbroken)


def test_checkpoint_of_other_players_is_refused(tmp_path):
    trained(tiny("DCGAN"), 1).save_checkpoint(tmp_path / "a.ckpt")

    class Renamed(DCGAN):
        def players(self) -> dict:
            generator, discriminator = (super(Renamed, self).players()[n] for n in ("generator", "discriminator"))
            return {"discriminator": discriminator, "generator": generator}

    model = Renamed(SHAPE, **plain_networks())
    with pytest.raises(ValueError, match="the checkpoint's players are .'generator', 'discriminator'."):
        trained(model, 2, ckpt_path=tmp_path / "a.ckpt")


class Evaluated(DCGAN):
    """Looks at itself in the middle of training, with random numbers of the global stream."""

    def validation_step(self, batch: Labeled, batch_idx: int) -> None:
        torch.randn(17)
        self.sample(3, seed=batch_idx)
        self.sample(3, live=True)
        self.discriminator.eval()(batch.image)
        self.discriminator.train()


def test_bar_09_evaluation_changes_nothing():
    states = []
    for batches in (0, 1.0):
        torch.manual_seed(0)
        model = Evaluated(SHAPE, **plain_networks(), **adam())
        states.append(state_of(trained(model, 22, Noisy(n=160), limit_val_batches=batches, val_check_interval=5)))
    assert_same(*states)


def test_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    """But for hyperparameters, which `gan_lightning.loading` makes plain: it loads where nothing is trusted."""
    trained(scheduled(), 2).save_checkpoint(tmp_path / "a.ckpt")
    read = f"import torch; print(torch.load({str(tmp_path / 'a.ckpt')!r}, weights_only=True)['gan_lightning'])"
    found = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "'players': ['generator', 'discriminator']" in found.stdout and "'iteration': 2" in found.stdout


# Samples


def test_sample_is_a_function_of_seed_and_number():
    model = tiny("DCGAN").train()
    images = model.sample(6)
    assert images.shape == (6, *SHAPE) and images.dtype == torch.float32 and images.abs().max() <= 1
    assert not images.requires_grad
    torch.testing.assert_close(torch.cat([model.sample(2), model.sample(range(2, 6))]), images)
    assert not torch.equal(model.sample(6, seed=1), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.sample(2).dtype == torch.float32
        torch.testing.assert_close(model.sample(2), images[:2])


# Standing statistics


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)}


def moments_by_hand(network: nn.Module, inputs: list[tuple[Tensor, ...]]) -> dict[str, list[Tensor]]:
    """Mean and unbiased variance of what each batch norm sees, itself in training mode, averaged over the batches."""
    network, seen = copy.deepcopy(network).eval(), {}
    for name, layer in norms_of(network).items():
        layer.train()
        seen[name] = []
        layer.register_forward_pre_hook(
            lambda _, given, name=name: seen[name].append(given[0].transpose(0, 1).flatten(1))
        )
    with torch.no_grad():
        for given in inputs:
            network(*given)
    return {
        n: [torch.stack([m(x) for x in rows]).mean(0) for m in (lambda x: x.mean(1), lambda x: x.var(1))]
        for n, rows in seen.items()
    }


@pytest.mark.parametrize("live", [False, True], ids=["averaged", "live"])
@pytest.mark.parametrize("name", ["DCGAN", "SNGAN", "BigGAN"])
def test_standing_statistics_are_averages_of_batches(name, live):
    """Of latents that differ from batch to batch, and of the classes in turn."""
    model = tiny(name, adam())
    trained(model, 2)
    network, given = model.generator if live else model.ema.network, []
    before, modes = tensors(model), [layer.training for layer in model.modules()]
    momenta = [norm.momentum for norm in norms_of(network).values()]
    watch = network.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    with model.standing_statistics(3, size=5, live=live):
        watch.remove()
        expected = moments_by_hand(network, given)
        assert expected and expected.keys() == norms_of(network).keys()
        for layer, norm in norms_of(network).items():
            torch.testing.assert_close([norm.running_mean, norm.running_var], expected[layer], rtol=1e-4, atol=1e-6)
        together = model.sample(4, live=live)
        torch.testing.assert_close(model.sample([3], live=live), together[3:])  # no batch statistics any more
    assert not torch.allclose(model.sample(4, live=live), together, atol=1e-3)
    with model.standing_statistics(1, size=5, live=live):
        pass  # nothing is drawn, which would set the modes by itself
    assert_same(tensors(model), before)
    assert [norm.momentum for norm in norms_of(network).values()] == momenta
    assert [layer.training for layer in model.modules()] == modes
    assert len(given) == 3 and not torch.equal(given[0][0], given[1][0])
    if model.num_classes:
        assert torch.cat([label for _, label in given]).tolist() == [i % 2 for i in range(15)]


def test_standing_statistics_of_no_batches_change_nothing_and_end_with_an_error():
    model = tiny("DCGAN")
    trained(model, 2)
    before, images = tensors(model), model.sample(3)
    with model.standing_statistics(0):
        assert_same(tensors(model), before)
        assert torch.equal(model.sample(3), images)
    with pytest.raises(KeyError), model.standing_statistics(2):
        raise KeyError("whatever happens within")
    assert_same(tensors(model), before)
    assert torch.equal(model.sample(3), images)
    assert {norm.momentum for norm in norms_of(model).values()} == {0.1}


def test_deep_copy_of_a_model_still_follows_itself():
    """The average refers to its live network; a copied model's average must refer to the copied network."""
    model = copy.deepcopy(tiny("DCGAN", step=ImageStep(ema_half_life=0.0)))
    nn.init.ones_(model.generator.layers[0].weight)
    model.ema.update(1)
    assert torch.equal(model.ema.network.layers[0].weight, model.generator.layers[0].weight)
