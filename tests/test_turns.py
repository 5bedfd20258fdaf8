"""Players that take several turns on a batch, or none: what is logged, counted, averaged and scheduled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from conftest import Noisy, assert_same, quiet, trained
from lightning.pytorch import Callback, Trainer
from torch import nn

from gan_lightning.batches import Labeled
from gan_lightning.core import AdversarialModule, Player, Step, Terms
from gan_lightning.ema import EMA
from gan_lightning.optim import LinearDecay

Plan = Callable[[int], list[tuple[str, bool]]]  # number of the batch -> players in turn, and whether they advance


class Halving(AdversarialModule):
    """Two players of one weight w each, which starts at 1: the loss w^2 / 2 at a rate of 1/2 halves it at each turn."""

    def __init__(self, plan: Plan, scheduler: Any = None, optimizer: Any = None, half_life: float = 64.0) -> None:
        super().__init__(Step())
        self.plan, self.scheduler = plan, scheduler
        self.optimizer = optimizer or (lambda params: torch.optim.SGD(params, lr=0.5))
        self.a, self.b = (nn.Linear(1, 1, bias=False) for _ in "ab")
        for network in (self.a, self.b):
            nn.init.ones_(network.weight)
        self.averages["a"] = EMA(self.a, half_life, rampup=None)

    def players(self) -> dict[str, Player]:
        return {name: Player(getattr(self, name), self.optimizer, self.scheduler) for name in "ab"}

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        for name, advances in self.plan(self.iteration):
            self.turn(name, getattr(self, f"{name}_loss"), batch, advances_step=advances)

    def a_loss(self, batch: Labeled) -> Terms:
        return self.loss(self.a)

    def b_loss(self, batch: Labeled) -> Terms:
        return self.loss(self.b)

    def loss(self, network: nn.Module) -> Terms:
        name = self.training_log.player
        self.watch(f"{name}/weight", network.weight.detach().sum().clone())
        return {"square": network.weight.square().sum() / 2}


def alternately(n: int) -> list[tuple[str, bool]]:
    """`a` moves on each batch, `b` on each second one."""
    return [("a", True)] + [("b", False)] * (n % 2)


class Lines(Callback):
    """Every log line as it was written."""

    def __init__(self) -> None:
        self.lines: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: AdversarialModule, *_: Any) -> None:
        if pl_module.logging:
            figures = pl_module.training_log.figures()
            self.lines[pl_module.iteration] = {name: float(value) for name, value in figures.items()}


def lines_of(plan: Plan, batches: int, every: int) -> dict[int, dict[str, float]]:
    log = Lines()
    quiet(max_epochs=1, callbacks=[log], log_every_n_steps=every).fit(Halving(plan), Noisy(n=16 * batches))
    return log.lines


def test_figures_of_several_turns_on_a_batch_are_their_mean():
    (line,) = lines_of(lambda n: [("a", False)] * 4 + [("b", True)], 1, 1).values()
    weights = [1.0, 0.5, 0.25, 0.125]
    assert line["a/square"] == line["a/loss"] == pytest.approx(sum(w * w / 2 for w in weights) / 4)
    assert line["a/weight"] == line["a/gradient_norm"] == pytest.approx(sum(weights) / 4)
    assert line["b/square"] == 0.5 and line["b/gradient_norm"] == 1.0


@pytest.mark.parametrize("period", [2, 3, 4, 7])
def test_a_player_that_moves_now_and_then_is_on_every_line_with_its_last_turn(period):
    """n_critic: `b` moves in every so-many-th batch, and a line is written each 5."""
    plan = lambda n: [("a", False)] + [("b", True)] * (n % period == 0)  # noqa: E731
    lines = lines_of(plan, 20, 5)
    assert list(lines) == [5, 10, 15, 20]
    for n, line in lines.items():
        assert line["a/weight"] == 0.5 ** (n - 1)  # of the line's own batch
        if (last := n // period) * period > n - 5:
            weight = 0.5 ** (last - 1)
            expected = {"b/square": weight**2 / 2, "b/loss": weight**2 / 2, "b/weight": weight}
            assert {name: line[name] for name in expected} == expected
            assert line["b/gradient_norm"] == pytest.approx(weight)
        else:  # it has not moved since the line before: an old figure is not shown as a new one
            assert [name for name in line if name.startswith("b/")] == ["b/learning_rate"]


def test_a_player_whose_rhythm_changes_is_on_the_line_too():
    """Stages: `b` moves in every batch, and then no more until after the line."""
    lines = lines_of(lambda n: [("a", True)] + [("b", False)] * (n <= 7), 10, 5)
    line = lines[10]
    assert line["b/square"] == 0.5 ** (2 * 6) / 2  # its loss is known at every turn
    assert line["b/gradient_norm"] in (0.5**5, 0.5**6)  # figures that cost time are of its last turn that was watched


def test_max_steps_is_never_overshot():
    model = Halving(lambda n: [("a", True)] * 4 + [("b", False)])
    trainer = trained(model, 6)
    assert (trainer.global_step, model.turns, model.iteration) == (6, {"a": 6, "b": 2}, 2)
    assert model.a.weight.item() == 0.5**6 and model.b.weight.item() == 0.5**2


def test_an_average_follows_every_turn_by_the_images_since_the_last():
    """Batches of 16, a half-life of 64: a first turn on a batch counts what was seen since, a further one the batch."""
    model = Halving(lambda n: [("b", True)] + [("a", False)] * (2 if n == 3 else n == 1))
    trained(model, 3)
    expected, weight = 1.0, 1.0
    for images in (16, 32, 16):  # in the first batch; in the third, two turns
        weight /= 2
        expected += (weight - expected) * (1 - 0.5 ** (images / 64))
    assert model.averages["a"].network.weight.item() == pytest.approx(expected)


def test_a_schedule_belongs_to_its_player_and_moves_with_its_turns():
    model = Halving(alternately, lambda optimizer: LinearDecay(optimizer, end=10))
    trainer = trained(model, 6)
    assert model.turns == {"a": 6, "b": 3}
    rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    assert rates == pytest.approx([0.5 * (1 - 6 / 10), 0.5 * (1 - 3 / 10)])


def test_a_resumed_run_goes_on_with_the_schedules_of_all_players(tmp_path):
    def model() -> Halving:
        return Halving(alternately, partial(LinearDecay, end=10), partial(torch.optim.SGD, lr=0.5))

    trained(model(), 5).save_checkpoint(tmp_path / "five.ckpt")
    whole, resumed = model(), model()
    trainers = trained(whole, 8), trained(resumed, 8, ckpt_path=tmp_path / "five.ckpt")
    assert resumed.turns == whole.turns == {"a": 8, "b": 4}
    assert_same(dict(resumed.named_parameters()), dict(whole.named_parameters()))
    for trainer in trainers:
        rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
        assert rates == pytest.approx([0.5 * 0.2, 0.5 * 0.6])


class Reset(Callback):
    def on_train_batch_start(self, trainer: Trainer, pl_module: AdversarialModule, *_: Any) -> None:
        if pl_module.iteration == 3:  # the fourth batch is about to begin
            pl_module.reset_optimizer("a")


def test_a_players_optimizer_can_be_reset():
    """Adam's first step is the rate itself, whatever the gradient: after the reset it takes a first step again."""

    def run(*callbacks: Callback) -> tuple[Halving, Trainer]:
        model = Halving(lambda n: [("a", True), ("b", False)], optimizer=lambda p: torch.optim.Adam(p, lr=0.1, eps=0))
        return model, trained(model, 4, callbacks=list(callbacks))

    three = Halving(lambda n: [("a", True), ("b", False)], optimizer=lambda p: torch.optim.Adam(p, lr=0.1, eps=0))
    trained(three, 3)
    (reset, trainer), (plain, _) = run(Reset()), run()
    assert three.a.weight.item() - reset.a.weight.item() == pytest.approx(0.1, rel=1e-5)
    assert abs(three.a.weight.item() - plain.a.weight.item() - 0.1) > 1e-3
    assert_same(reset.b.weight, plain.b.weight)  # the other player is left as it is
    assert [int(o.state[o.param_groups[0]["params"][0]]["step"]) for o in trainer.optimizers] == [1, 4]


def test_an_unknown_player_is_named():
    model = Halving(lambda n: [("generater", True)])
    model.generater_loss = model.a_loss
    with pytest.raises(ValueError, match="Halving has no player 'generater'"):
        trained(model, 1)
