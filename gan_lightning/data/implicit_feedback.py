"""What users chose: ratings from a file, or drawn from tastes that are known."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from gan_lightning.batches import Ranked
from gan_lightning.data.base import Data
from gan_lightning.data.ratings import ratings
from gan_lightning.data.sets import Examples, Split
from gan_lightning.noise import hashes, key

HELD_OUT = {"all": (1, 2), "validation": (1, 1), "test": (2, 2)}  # the first and the last part of "val"


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
        names: of all users, and of all items.
        known: choices that are no candidates any more.
    """

    def __init__(self, choices: Choices, names: tuple[list[str], list[str]], known: Choices | None = None) -> None:
        self.choices, self.names, self.known = choices, names, known
        self.users = np.unique(choices.user)

    def __len__(self) -> int:
        return len(self.users)

    def __getitems__(self, index: list[int]) -> Ranked:
        users = self.users[np.asarray(index, dtype=np.int64)]
        items = len(self.names[1])
        relevant = self.choices.rows(users, items)
        known = np.zeros_like(relevant) if self.known is None else self.known.rows(users, items)
        return Ranked(*map(torch.from_numpy, (users, relevant.astype(np.uint8), ~known)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names and the choices: the same numbers for other users are another set."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        for choices in (self.choices, self.known or Choices(np.empty(0, np.int64), np.empty(0, np.int64))):
            for column in choices:
                digest.update(f"{len(column)} ".encode())
                digest.update(np.ascontiguousarray(column, dtype="<i8").data)
        return digest.hexdigest()


class ImplicitFeedback(Data):
    """Items that users chose: the ones that they rated high. Without a file, choices of made-up users.

    A file has lines of user, item, rating and, if known, time, parted by tabs, commas, semicolons or `::`: MovieLens'
    `u.data`, `ratings.dat` and `ratings.csv`, and others of the kind. A first line in which no field is a number, a
    date or a mark such as NULL is a header, and columns are then found by name, in any order and among others:
    userId, user, uid, visitor ...; itemId, movieId, item, book_id, product ...; rating, score, stars ...; timestamp,
    time, date ...; case, spaces, hyphens and underscores do not matter, an index that pandas wrote is left out, and
    other names are given by the arguments. Where there is a header and no rating, every line is a choice. Without a
    header the columns are in the order above. Quotes are as in csv; where semicolons part, numbers may have a decimal
    comma. Times are numbers, or dates as 2019-04-01 or 2019-04-01T12:30:00Z, all of one kind.

    Users and items are named by what the file calls them and sorted, numbers by value and before other names: the
    order of the lines does not matter. Of lines for the same pair the one of the latest time counts, of equal times or
    without any the last one; how many there are is said.

    The made-up users have vectors of 8 normal numbers, the items too, and a popularity: the true score of an item is
    2 u . v / sqrt(8) + N(0, 1). Each user chooses 10 to 50 items, or `fewest` to `most`, one after the other, in
    proportion to exp(score), none twice. `truth` holds the scores: no ranker can be better than they are, on average.

    Args:
        path: of the file; None for the made-up users.
        threshold: ratings from this one on are choices; others are left out.
        holdout: share of each user's choices that are "val", rounded down: the latest where the file has times, else
            any, by a hash of the names, which decides between equal times too. Whoever chose a single item keeps it
            for training.
        held_out: which of those are "val": "all"; or "validation", the first half of each user's, to choose a model by,
            and "test", the rest, to report, where those of "validation" are no candidates. No half is for training.
        seed: of the made-up users, and of that hash.
        num_users, num_items, fewest, most: of the made-up choices.
        user_column, item_column, rating_column, time_column: the file's names of columns that have other names than
            the usual ones; "" for no ratings or times.
        batch_size: users in one batch, over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        users, items: their names.
        truth: (users, items) float32, the true scores of the made-up users; None with a file.

    Raises:
        ValueError: a holdout that is not in [0, 1), another held_out, made-up users who cannot choose so many items,
            names of columns without a path; in use, columns that cannot be told apart, a line that is not as said
            above, or no choice at all.
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        path: str | None = None,
        threshold: float = 4.0,
        holdout: float = 0.2,
        held_out: Literal["all", "validation", "test"] = "all",
        seed: int = 0,
        user_column: str | None = None,
        item_column: str | None = None,
        rating_column: str | None = None,
        time_column: str | None = None,
        num_users: int = 500,
        num_items: int = 1000,
        fewest: int = 10,
        most: int = 50,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__("ImplicitFeedback" if path is None else Path(path).stem, batch_size, num_workers)
        if not 0 <= holdout < 1:
            raise ValueError(f"ImplicitFeedback: holdout must lie in [0, 1), not {holdout}")
        if held_out not in HELD_OUT:
            raise ValueError(f'ImplicitFeedback: held_out is "all", "validation" or "test", not {held_out!r}')
        if num_users < 1 or not 1 <= fewest <= most <= num_items:
            raise ValueError(
                f"ImplicitFeedback: {num_users} users choose {fewest} to {most} of {num_items} items: set num_users, "
                "fewest, most and num_items so that they can"
            )
        self.path, self.threshold, self.holdout, self.seed = path, threshold, holdout, seed
        self.held_out, self.sizes = held_out, (num_users, num_items, fewest, most)
        self.columns = {"user": user_column, "item": item_column, "rating": rating_column, "time": time_column}
        if path is None and any(name is not None for name in self.columns.values()):
            raise ValueError("ImplicitFeedback: names of columns need --data.path, the file that has them")

    @property
    def users(self) -> list[str]:  # type: ignore[override]  # known when the file has been read
        return self._table[1]

    @property
    def items(self) -> list[str]:  # type: ignore[override]
        return self._table[2]

    @property
    def truth(self) -> Tensor | None:
        return self._table[3]

    def load(self, split: Split) -> Users:
        every, names, part = self._table[0], (self.users, self.items), self._parts
        if split == "train":
            return Users(every.where(part == 0), names)
        first, last = HELD_OUT[self.held_out]
        return Users(every.where((part >= first) & (part <= last)), names, every.where(part < first))

    @cached_property
    def _table(self) -> tuple[Choices, list[str], list[str], Tensor | None]:
        """All choices, the names of users and items, and the truth."""
        if self.path is None:
            truth, choices = made_up(self.seed, *self.sizes)
            users, items = ([str(number) for number in range(n)] for n in truth.shape)
            return choices, users, items, truth
        path = Path(self.path).expanduser()
        known_users: dict[str, int] = {}
        known_items: dict[str, int] = {}
        columns: tuple[Any, ...] = array("q"), array("q"), array("d"), array("d")
        for line in ratings(path, self.columns):
            numbers = (
                known_users.setdefault(line.user, len(known_users)),
                known_items.setdefault(line.item, len(known_items)),
            )
            found = (*numbers, *line[2:])
            for column, value in zip(columns, found, strict=True):
                column.append(value)
        user, item, rating, time = map(np.array, columns)
        user, item, rating, time = (
            column[latest(path, user, item, rating, time)] for column in (user, item, rating, time)
        )
        chosen = rating >= self.threshold
        if not chosen.any():
            raise ValueError(f"{path} has no rating of at least {self.threshold:g}: lower --data.threshold")
        user, users = in_order(user[chosen], list(known_users))
        item, items = in_order(item[chosen], list(known_items))
        any_order = hashes(key(self.seed), hashes(0, digests(users))[user] ^ digests(items)[item])
        order = np.lexsort((any_order, time[chosen], user))
        return Choices(user[order], item[order]), users, items, None

    @cached_property
    def _parts(self) -> np.ndarray:
        """(n,) 0 for training, 1 and 2 for the two halves of each user's last choices."""
        user = self._table[0].user
        first, count = np.unique(user, return_index=True, return_counts=True)[1:]
        place = np.arange(len(user)) - np.repeat(first, count)
        kept = np.maximum(count - np.floor(self.holdout * count).astype(np.int64), 1)
        middle = kept + (count - kept) // 2
        return np.sum([(place >= np.repeat(start, count)).astype(np.int64) for start in (kept, middle)], 0)


def latest(path: Path, user: np.ndarray, item: np.ndarray, rating: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Which lines (n,) count, of those for the same user and item: the latest one, else the last; says how many."""
    order = np.lexsort((np.arange(len(user)), time, item, user))
    new = np.ones(len(user), dtype=bool)
    new[1:] = (np.diff(user[order]) != 0) | (np.diff(item[order]) != 0)
    if not new.all():
        pair, rated = np.cumsum(new) - 1, rating[order]
        firsts = np.flatnonzero(new)
        others = int((np.maximum.reduceat(rated, firsts) != np.minimum.reduceat(rated, firsts)).sum())
        rank_zero_warn(
            f"{path}: {len(user) - pair[-1] - 1} lines repeat a user and an item, and {others} of these pairs have "
            f"different ratings; {'the last line' if np.isnan(time).all() else 'the line of the latest time'} counts"
        )
    return order[np.append(new[1:], True)]


def in_order(number: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Numbers (n,) of names as those of the names that are used, sorted: whole numbers by value, then other names."""

    def place(name: str) -> tuple:
        digits = name.lstrip("0")
        return (0, len(digits), digits, name) if name.isascii() and name.isdigit() else (1, 0, "", name)

    used = np.unique(number).tolist()
    used.sort(key=lambda n: place(names[n]))
    new = np.empty(len(names), dtype=np.int64)
    new[used] = np.arange(len(used))
    return new[number], [names[n] for n in used]


def digests(names: list[str]) -> np.ndarray:
    """(n,) uint64, a hash of each name."""
    return np.frombuffer(b"".join(hashlib.blake2b(n.encode(), digest_size=8).digest() for n in names), dtype="<u8")


def made_up(seed: int, users: int, items: int, fewest: int, most: int, rank: int = 8) -> tuple[Tensor, Choices]:
    """True scores (users, items), and choices drawn by them; see :class:`ImplicitFeedback`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    truth = 2.0 * normal(users, rank) @ normal(rank, items) / math.sqrt(rank) + normal(items)
    count = torch.randint(fewest, most + 1, (users,), generator=generator).numpy()
    # The order of scores with Gumbel noise is that of draws without replacement.
    gumbel = -torch.rand(users, items, generator=generator).clamp(min=1e-30).log().neg().log()
    order = (truth + gumbel).argsort(dim=1, descending=True).numpy()
    # The first choices are the likeliest ones, and which are held out must not depend on that.
    choices = zip(order, count, strict=True)
    chosen = [row[:n][np.argsort(hashes(key(seed, user), row[:n]))] for user, (row, n) in enumerate(choices)]
    return truth, Choices(np.repeat(np.arange(users), count), np.concatenate(chosen))
