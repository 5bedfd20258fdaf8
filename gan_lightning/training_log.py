"""What a training step leaves to be looked at: figures for the next log line, and losses to be found finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Value = Tensor | float


class TrainingLog:
    """The figures of the next log line, and whether all losses since the last look were finite.

    The line holds every player that has moved since the line before. A player's figures are of the last batch in which
    it moved: means over its turns in that batch and over their micro-batches. What no player's turn has shown (a
    learning rate, a balance between players) is on the line with its newest value.

    Losses are kept at every turn. Figures that cost time (norms, accuracies) are wanted only where :attr:`watching`
    says so: in the batch of the line, in the first batch of a player after a line, and in a batch whose successor, by
    the player's rhythm so far, comes after the line. Everything stays a tensor on its device, because to look at a
    number there is to wait for the device.

    Attributes:
        player: whose turn it is, "" between turns.
        watching: whether figures that cost time are wanted of this turn.
    """

    def __init__(self) -> None:
        self.player = ""
        self.watching = False
        self._moved: dict[str, int] = {}  # player -> iteration of its last turn
        self._losses: dict[str, list[tuple[tuple[str, ...], Tensor]]] = {}  # of that batch: names, values of the terms
        self._watched: dict[str, tuple[int, dict[str, list[Value]]]] = {}  # player -> iteration, its figures
        self._latest: dict[str, Value] = {}  # of no player
        self._unchecked: list[tuple[int, str, tuple[str, ...], Tensor]] = []  # losses since the last look

    def begin(self, player: str, iteration: int, every: int) -> None:
        """A turn begins.

        Args:
            player: whose.
            iteration: number of the batch, from 1.
            every: batches between two lines; 0 for none.
        """
        self.player = player
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
        self.player, self.watching = "", False

    def record(self, terms: dict[str, Tensor]) -> None:
        """Keep the terms of one micro-batch of this turn; `loss`, their sum, goes to the line too."""
        iteration, names = self._moved[self.player], tuple(terms)
        values = torch.stack([value.detach().float() for value in terms.values()])
        self._losses[self.player].append((names, values))
        self._unchecked.append((iteration, self.player, names, values))

    def watch(self, name: str, value: Value) -> None:
        """Keep a figure; within a turn it is one of several that are averaged, if figures are wanted at all."""
        value = value.detach() if isinstance(value, Tensor) else value
        if not self.player:
            self._latest[name] = value
        elif self.watching:
            self._watched[self.player][1].setdefault(name, []).append(value)

    def figures(self) -> dict[str, Value]:
        """What the line holds, by name."""
        found = dict(self._latest)
        for player, turns in self._losses.items():
            terms: dict[str, list[Value]] = {}
            for names, values in turns:
                for name, value in [*zip(names, values.unbind(), strict=True), ("loss", values.sum())]:
                    terms.setdefault(f"{player}/{name}", []).append(value)
            found |= {name: sum(values) / len(values) for name, values in terms.items()}
        for _, watched in self._watched.values():
            found |= {name: sum(values) / len(values) for name, values in watched.items()}
        return found

    def clear_figures(self) -> None:
        """Begin a new line."""
        self._losses.clear()
        self._watched.clear()
        self._latest.clear()

    def all_finite(self) -> bool:
        """Whether every loss since the last look was; waits for the device."""
        values = [values for *_, values in self._unchecked]
        if all(part.device.type == "cpu" for part in values):  # a few numbers: a kernel costs more than Python
            return all(math.isfinite(value) for part in values for value in part.tolist())
        return bool(torch.cat(values).isfinite().all())

    def first_not_finite(self) -> str:
        """Where it began: `player/term ... at iteration n`."""
        for iteration, player, terms, values in self._unchecked:
            for term, value in zip(terms, values.tolist(), strict=True):
                if not math.isfinite(value):
                    return f"{player}/{term} is not finite at iteration {iteration}"
        return "a loss is not finite on another process"

    def clear_losses(self) -> None:
        self._unchecked.clear()
