"""What a training step leaves to be looked at: figures for the next log line, and losses to be found finite."""

from __future__ import annotations

import torch
from torch import Tensor


class Ledger:
    """Keeps everything as tensors on their device: looking at a number there is a wait for the device."""

    def __init__(self) -> None:
        self.figures: dict[str, Tensor | float] = {}  # what the next log line holds
        self._losses: list[tuple[int, str, tuple[str, ...], Tensor]] = []  # since the last look

    def note(self, iteration: int, player: str, terms: dict[str, Tensor], share: float, figure: bool) -> None:
        """Enter a part's terms; with `figure` their means over parts, and their sum, go to the log line.

        Args:
            share: of the batch that the part is; parts add up.
        """
        values = torch.stack([value.detach().float() for value in terms.values()])
        self._losses.append((iteration, player, tuple(terms), values.isfinite()))
        if figure:
            for term, value in {**dict(zip(terms, values, strict=True)), "loss": values.sum()}.items():
                name = f"{player}/{term}"
                self.figures[name] = self.figures.get(name, 0.0) + share * value

    def all_finite(self) -> bool:
        """Whether every loss since the last look was; waits for the device."""
        return not self._losses or bool(torch.cat([finite for *_, finite in self._losses]).all())

    def first_not_finite(self) -> str:
        """Where it began: `player/term ... at iteration n`."""
        for iteration, player, terms, finite in self._losses:
            for term, good in zip(terms, finite.tolist(), strict=True):
                if not good:
                    return f"{player}/{term} is not finite at iteration {iteration}"
        return "a loss is not finite on another process"

    def clear_losses(self) -> None:
        self._losses.clear()
