"""What users chose: ratings from a file, or drawn from tastes that are known."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import Ranked
from gan_lightning.data.base import Data
from gan_lightning.data.sets import Examples, Split
from gan_lightning.noise import hashes, key


class Choices(NamedTuple):
    """Who chose what, sorted by user, and each user's choices from the first to the last."""

    user: np.ndarray  # (n,) int64
    item: np.ndarray  # (n,) int64

    def where(self, mask: np.ndarray) -> Choices:
        return Choices(self.user[mask], self.item[mask])

    def rows(self, users: np.ndarray, items: int) -> np.ndarray:
        """(B, items) bool: what each of these users chose."""
        chosen = np.zeros((len(users), items), dtype=bool)
        first, last = np.searchsorted(self.user, users), np.searchsorted(self.user, users, side="right")
        for row, (a, b) in enumerate(zip(first, last, strict=True)):
            chosen[row, self.item[a:b]] = True
        return chosen


class Users(Examples):
    """A user a row: what the user chose, of all items that were not `known` before.

    Rows are made when they are asked for; what is kept has the size of the choices.

    Args:
        choices: of the rows: users without any are left out.
        items: how many there are.
        known: choices that are no candidates any more.
    """

    def __init__(self, choices: Choices, items: int, known: Choices | None = None) -> None:
        self.choices, self.items, self.known = choices, items, known
        self.users = np.unique(choices.user)

    def __len__(self) -> int:
        return len(self.users)

    def __getitems__(self, index: list[int]) -> Ranked:
        users = self.users[np.asarray(index, dtype=np.int64)]
        relevant = self.choices.rows(users, self.items)
        known = np.zeros_like(relevant) if self.known is None else self.known.rows(users, self.items)
        return Ranked(*map(torch.from_numpy, (users, relevant.astype(np.uint8), ~known)))


class ImplicitFeedback(Data):
    """Items that users chose: the ones that they rated high. Without a file, choices of made-up users.

    A file has lines of user, item, rating and, if known, time, separated by tabs, commas, semicolons or `::`, with a
    header or without (MovieLens' `u.data`, `ratings.dat` and `ratings.csv`). Users and items are named by what the file
    calls them, in the order in which they come in it. A line for a pair that came before replaces it.

    The made-up users have vectors of 8 normal numbers, the items too, and a popularity: the true score of an item is
    2 u . v / sqrt(8) + N(0, 1). Each of 500 users chooses 10 to 50 of 1,000 items, one after the other, in proportion
    to exp(score), none twice. `truth` holds the scores: no ranker can be better than they are, on average.

    Args:
        path: of the file; None for the made-up users.
        threshold: ratings from this one on are choices; others are left out.
        holdout: share of each user's choices that are "val", rounded down: the latest where the file has times, else
            any. Whoever chose a single item keeps it for training.
        seed: of the made-up users, and of what is held out where there are no times.
        batch_size: users in one batch, over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        users, items: their names.
        truth: (users, items) float32, the true scores of the made-up users; None with a file.

    Raises:
        ValueError: a holdout that is not in [0, 1); in use, a line that is not as said above, or no choice at all.
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        path: str | None = None,
        threshold: float = 4.0,
        holdout: float = 0.2,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__("ImplicitFeedback" if path is None else Path(path).stem, batch_size, num_workers)
        if not 0 <= holdout < 1:
            raise ValueError(f"ImplicitFeedback: holdout must lie in [0, 1), not {holdout}")
        self.path, self.threshold, self.holdout, self.seed = path, threshold, holdout, seed

    @property
    def users(self) -> list[str]:
        return self._table[1]

    @property
    def items(self) -> list[str]:
        return self._table[2]

    @property
    def truth(self) -> Tensor | None:
        return self._table[3]

    def load(self, split: Split) -> Users:
        every, held = self._table[0], self._held_out
        train = every.where(~held)
        if split == "train":
            return Users(train, len(self.items))
        return Users(every.where(held), len(self.items), train)

    @cached_property
    def _table(self) -> tuple[Choices, list[str], list[str], Tensor | None]:
        """All choices, the names of users and items, and the truth."""
        if self.path is None:
            truth, choices = made_up(self.seed)
            return choices, *([str(number) for number in range(n)] for n in truth.shape), truth
        latest: dict[tuple[str, str], float] = {}
        for line in ratings(Path(self.path).expanduser()):
            latest.pop(line[:2], None)
            if line.rating >= self.threshold:
                latest[line[:2]] = line.time
        if not latest:
            raise ValueError(f"{self.path} has no rating of at least {self.threshold:g}: lower --data.threshold")
        users, items = ({name: n for n, name in enumerate(dict.fromkeys(names))} for names in zip(*latest, strict=True))
        user, item = (np.array([number[pair[part]] for pair in latest]) for part, number in enumerate((users, items)))
        time = np.array(list(latest.values()))
        if np.isnan(time).any():
            time = hashes(key(self.seed), np.arange(len(time)))
        order = np.lexsort((time, user))
        return Choices(user[order], item[order]), list(users), list(items), None

    @cached_property
    def _held_out(self) -> np.ndarray:
        """(n,) bool: of each user's choices the last ones."""
        user = self._table[0].user
        first, count = np.unique(user, return_index=True, return_counts=True)[1:]
        place = np.arange(len(user)) - np.repeat(first, count)
        kept = np.maximum(count - np.floor(self.holdout * count).astype(np.int64), 1)
        return place >= np.repeat(kept, count)


class Rating(NamedTuple):
    """A line of a file."""

    user: str
    item: str
    rating: float
    time: float  # NaN where there is none


def ratings(path: Path) -> Iterator[Rating]:
    """The lines of a file of ratings.

    Raises:
        ValueError: a line that is none, by its number.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # MovieLens has Latin-1 too
        head = file.readline()
        file.seek(0)
        separator = next((mark for mark in ("::", "\t", ",", ";") if mark in head), None)
        if separator is None:
            raise ValueError(f"{path}, line 1: no tab, comma, semicolon or :: between user, item, rating and time")
        split = separator == "::"
        quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
        lines = (
            (line.strip().split("::") for line in file)
            if split
            else csv.reader(file, delimiter=separator, quoting=quoting)
        )
        for number, fields in enumerate(_readable(lines, path), 1):
            if not any(fields):
                continue
            try:
                if len(fields) not in (3, 4):
                    raise ValueError(f"{len(fields)} fields")
                figures = [float(field) for field in fields[2:]]
                if not all(map(math.isfinite, figures)):
                    raise ValueError("a number that is not finite")
            except ValueError as error:
                if number == 1 and len(fields) in (3, 4):  # a header
                    continue
                raise ValueError(
                    f"{path}, line {number}: expected user, item, rating and perhaps time, two numbers: {error}"
                ) from error
            yield Rating(fields[0].strip(), fields[1].strip(), figures[0], figures[1] if figures[1:] else math.nan)


def _readable(lines: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from lines
    except csv.Error as error:
        raise ValueError(f"{path} is not a table of users, items and ratings: {error}") from error


def made_up(seed: int, users: int = 500, items: int = 1000, rank: int = 8) -> tuple[Tensor, Choices]:
    """True scores (users, items), and choices drawn by them; see :class:`ImplicitFeedback`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    truth = 2.0 * normal(users, rank) @ normal(rank, items) / math.sqrt(rank) + normal(items)
    count = torch.randint(10, 51, (users,), generator=generator).numpy()
    # The order of scores with Gumbel noise is that of draws without replacement.
    gumbel = -torch.rand(users, items, generator=generator).clamp(min=1e-30).log().neg().log()
    order = (truth + gumbel).argsort(dim=1, descending=True).numpy()
    # The first choices are the likeliest ones, and which are held out must not depend on that.
    choices = zip(order, count, strict=True)
    chosen = [row[:n][np.argsort(hashes(key(seed, user), row[:n]))] for user, (row, n) in enumerate(choices)]
    return truth, Choices(np.repeat(np.arange(users), count), np.concatenate(chosen))
