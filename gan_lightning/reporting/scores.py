"""Scores of several runs in columns: one for each score and each way that it was made."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

from gan_lightning.reporting.folder import RunFolder, Scored
from gan_lightning.scoring import differences

Column = tuple[str, dict[str, Any], list[Scored | None]]  # a score's name, how it was made, the newest of each run


def columns(runs: Sequence[RunFolder]) -> list[Column]:
    """The newest scores of runs: a column for each score and each way that it was made, never two ways in one."""
    found: list[Column] = []
    for name in dict.fromkeys(name for run in runs for name in run.scores):
        own: list[Column] = []
        for number, run in enumerate(runs):
            if name not in run.scores:
                continue
            newest = run.scores[name][-1]
            fitting = (c for c in own if c[1] and newest.card and not differences(c[1], newest.card))
            column = next(fitting, None)
            if column is None:
                own.append(column := (name, newest.card, [None] * len(runs)))
            column[2][number] = newest
        found += own
    return found


def signs_of(made: Sequence[Column]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """A letter for each column, and by their letters the cards: scores of one pass share one."""
    signs: list[str] = []
    cards: dict[str, dict[str, Any]] = {}
    for name, card, _ in made:
        taken = {sign for sign, (other, *_) in zip(signs, made, strict=False) if other == name}  # made in another way
        free = {sign: shared for sign, shared in cards.items() if sign not in taken and bool(shared) == bool(card)}
        alike = (sign for sign, shared in free.items() if all(shared.get(key, card[key]) == card[key] for key in card))
        sign = next(alike, None) or ascii_lowercase[len(cards) % 26] * (len(cards) // 26 + 1)
        cards[sign] = cards.get(sign, {}) | card
        signs.append(sign)
    return signs, cards
