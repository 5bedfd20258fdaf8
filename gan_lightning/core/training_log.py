"""What a training step leaves to be looked at: the figures of log lines, and losses to be found finite."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from gan_lightning.core.step import Terms, total
from gan_lightning.runtime.processes import means

Value = Tensor | float
UNCHECKED = 2000  # turns without a look at their losses


class TrainingLog:
    """The figures of the next log line, and whether all losses since the last look were finite.

    The line holds every player that has moved since the line before. A player's figures are of the last batch in which
    it moved: means over its turns in that batch and over their micro-batches. What no player's turn has shown (a
    learning rate, a balance between players) is on the line with its newest value.

    Losses are kept at every turn. Figures that cost time (norms, accuracies) are wanted only where :attr:`watching`
    says so: in the batch of the line, in the first batch of a player after a line, and in a batch whose successor, by
    the player's rhythm so far, comes after the line. A lazy regulariser's turn, which comes once in many batches, has
    terms and figures apart: the newest stay for the line, and the player's `loss` is without them. Everything stays a
    tensor on its device, because to look at a number there is to wait for the device.

    Attributes:
        player: whose turn it is, "" between turns.
        watching: whether figures that cost time are wanted of this turn.
    """

    def __init__(self) -> None:
        self.player = ""
        self.watching = False
        self._moved: dict[str, int] = {}  # player -> iteration of its last turn
        self._losses: dict[str, list[Terms]] = {}  # of that batch
        self._watched: dict[str, tuple[int, dict[str, list[Value]]]] = {}  # player -> iteration, its figures
        self._latest: dict[str, Value] = {}  # of no player
        self._apart: dict[str, list[Value]] | None = None  # terms and figures of a turn that is apart
        self._clock = (0.0, 0)  # time and images seen at the last line
        self._told_of_rest = False  # of learning rates that have ended at zero
        self._unchecked: list[tuple[int, str, Terms]] = []  # losses since the last look

    def begin(self, player: str, iteration: int, every: int, apart: bool = False) -> None:
        """A turn begins.

        Args:
            player: whose.
            iteration: number of the batch, from 1.
            every: batches between two lines; 0 for none.
            apart: whether it is a lazy regulariser's.
        """
        self.player, self._iteration = player, iteration
        if apart:
            self._apart, self.watching = {}, True
            return
        before = self._moved.get(player, 0)
        if before != iteration:
            self._moved[player] = iteration
            self._losses[player] = []
            left = -iteration % every if every else -1  # batches until the line
            if every and (iteration - before > left or player not in self._watched):
                self._watched[player] = (iteration, {})
        self.watching = player in self._watched and self._watched[player][0] == iteration

    def end(self) -> None:
        """The turn is over."""
        self._latest |= {name: sum(values) / len(values) for name, values in (self._apart or {}).items()}
        self.player, self.watching, self._apart = "", False, None

    def record(self, terms: Terms) -> None:
        """Keep the terms of one micro-batch of this turn; `loss`, their sum, goes to the line too."""
        found = {name: value.detach() for name, value in terms.items()}
        self._unchecked.append((self._iteration, self.player, found))
        if self._apart is None:
            self._losses[self.player].append(found)
        else:
            for name, value in found.items():
                self._apart.setdefault(f"{self.player}/{name}", []).append(value.float())

    def watch(self, name: str, value: Value) -> None:
        """Keep a figure; within a turn it is one of several that are averaged, if figures are wanted at all."""
        value = value.detach() if isinstance(value, Tensor) else value
        if not self.player:
            self._latest[name] = value
        elif self._apart is not None and self.watching:  # not in a rehearsal
            self._apart.setdefault(name, []).append(value)
        elif self.watching:
            self._watched[self.player][1].setdefault(name, []).append(value)

    def figures(self) -> dict[str, Value]:
        """What the line holds, by name."""
        found = dict(self._latest)
        for player, turns in self._losses.items():
            terms: dict[str, list[Value]] = {}
            for turn in turns:
                values = {name: value.float() for name, value in turn.items()}
                for name, value in [*values.items(), ("loss", total(values))]:
                    terms.setdefault(f"{player}/{name}", []).append(value)
            found |= {name: sum(values) / len(values) for name, values in terms.items()}
        for _, watched in self._watched.values():
            found |= {name: sum(values) / len(values) for name, values in watched.items()}
        return found

    def watch_rates(self, optimizers: dict[str, torch.optim.Optimizer], step: int) -> None:
        """Watch the learning rate of every player's next turn, and tell once of a schedule that has ended at zero.

        Args:
            optimizers: by player.
            step: generator steps so far.
        """
        for name, optimizer in optimizers.items():
            for number, group in enumerate(optimizer.param_groups):
                self.watch(f"{name}/learning_rate" + (f"_{number}" if number else ""), float(group["lr"]))
            over = all(group["lr"] == 0 < group.get("initial_lr", 0) for group in optimizer.param_groups)
            if over and step > 0:
                self.tell_of_rest(f"the learning rate of {name} is 0 at generator step {step}")

    def tell_of_end(self, schedules: Iterable[Any], last: int) -> bool:
        """Whether schedules of learning rates all end at zero before the run's last generator step, and say so."""
        ends = [schedule.end for schedule in schedules if getattr(schedule, "end", None) is not None]
        if not ends or not -1 != last > max(ends):
            return False
        self.tell_of_rest(f"the schedule of the learning rates ends at generator step {max(ends)}, the run at {last}")
        return True

    def tell_of_rest(self, what: str) -> None:
        """Warn, once in a run, of steps in which nothing is learned."""
        if not self._told_of_rest:
            rank_zero_warn(
                f"{what}: with a rate of 0 nothing is learned; give a schedule that ends later, or stop there"
            )
        self._told_of_rest = True

    @property
    def begun(self) -> bool:
        """Whether a batch of this fit has begun."""
        return self._clock[0] > 0

    def start_clock(self, images_seen: int) -> None:
        """A batch begins: if it is the first of a fit, time is taken from now on."""
        if not self.begun:
            self._clock = (time.perf_counter(), images_seen)

    def begin_fit(self) -> None:
        """Forget what an earlier fit has left, such as a loss that was not finite; the clock stands still."""
        self._clock = (0.0, 0)
        for left in (self._unchecked, self._losses, self._watched, self._latest, self._moved):
            left.clear()

    def write(self, trainer: Trainer, images_seen: int) -> None:
        """Write the line to every logger and to `trainer.callback_metrics`; every process must call.

        Figures are means over processes. Not by `self.log`, which reduces and copies each figure by itself, and would
        show those of earlier lines again.
        """
        now, (before, images) = time.perf_counter(), self._clock
        self._clock = (now, images_seen)
        figures = means(self.figures())
        figures |= {"images_per_second": (images_seen - images) / (now - before), "images_seen": float(images_seen)}
        for known in (trainer.callback_metrics, trainer.logged_metrics):
            known.update({name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()})
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(figures | {"epoch": trainer.current_epoch}, step=trainer.global_step)
        self._losses.clear()
        self._watched.clear()
        self._latest.clear()

    @property
    def many_unchecked(self) -> bool:
        """Whether so many losses wait for a look that they fill memory; of a run without log lines and saves."""
        return len(self._unchecked) >= UNCHECKED

    def all_finite(self) -> bool:
        """Whether every loss since the last look was; waits for the device."""
        values = [value for *_, terms in self._unchecked for value in terms.values()]
        if all(value.device.type == "cpu" for value in values):  # a few numbers: a kernel costs more than Python
            return all(math.isfinite(value.item()) for value in values)
        return bool(torch.stack([value.float() for value in values]).isfinite().all())

    def first_not_finite(self) -> str:
        """Where it began: `player/term ... at iteration n`."""
        for iteration, player, terms in self._unchecked:
            for term, value in terms.items():
                if not math.isfinite(value.item()):
                    return f"{player}/{term} is not finite at iteration {iteration}"
        return "a loss is not finite on another process"

    def clear_losses(self) -> None:
        self._unchecked.clear()
