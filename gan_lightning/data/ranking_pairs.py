"""Queries with documents whose relevance was judged: LETOR files, or queries that are made up."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.batches import Ranked
from gan_lightning.data.base import Data
from gan_lightning.data.encodings import codec_of
from gan_lightning.data.sets import Examples, Split
from gan_lightning.data.tables import number, shown

MOST = 100_000  # features of a document: tables are dense
LARGEST = float(np.finfo(np.float32).max)
BEST = 30  # the greatest grade: gains are powers of two


class Queries(Examples):
    """A query a row, with its documents, filled up to as many as the longest list has.

    Args:
        features: (N, F) float32 of all documents, query by query.
        grades: (N,) uint8.
        counts: (Q,) documents of each query.
    """

    def __init__(self, features: np.ndarray, grades: np.ndarray, counts: np.ndarray) -> None:
        self.features, self.grades, self.counts = features, grades, counts
        self.firsts = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitems__(self, index: list[int]) -> Ranked:
        rows, place = np.asarray(index, dtype=np.int64), np.arange(self.counts.max())
        there = place < self.counts[rows, None]
        document = np.where(there, self.firsts[rows, None] + place, 0)
        query = np.where(there[..., None], self.features[document], np.float32(0))
        return Ranked(*map(torch.from_numpy, (query, np.where(there, self.grades[document], np.uint8(0)), there)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the documents, their grades and their queries."""
        digest = hashlib.sha256(f"{self.features.shape} {self.counts.tolist()}".encode())
        for table in (self.features, self.grades):
            digest.update(np.ascontiguousarray(table).data)
        return digest.hexdigest()

    def chosen(self, mask: np.ndarray) -> Queries:
        """The queries (Q,) of a mask, alone."""
        documents = np.repeat(mask, self.counts)
        return Queries(self.features[documents], self.grades[documents], self.counts[mask])


class RankingPairs(Data):
    """Documents of queries to be ranked, in the text form of LETOR (Qin and Liu 2013, arXiv:1306.2597).

    A line is a document: `grade qid:query 1:value 2:value ... # comment`. A grade above 0 says that it is relevant; one
    of -1, not judged in LETOR's semi-supervised sets, counts as not relevant, as in IRGAN's code. Values that are left
    out are 0, and those that are there come in any order. A query's documents may stand apart. A training query without
    a relevant document, or with nothing else, teaches no ranking and is left out; how many there are is said. NULL, of
    LETOR 4's NULL files, is refused: it is no number, and the set's MIN and QueryLevelNorm files have one for it.

    Without files there are 400 made-up queries to train with and 100 more, with 10 to 30 documents of 8 normal
    numbers: a fixed sum of them and of two products, with noise, makes about one document in five relevant (grade 1)
    and every other one of those highly so (grade 2).

    Args:
        path: of the training queries; None for made-up ones.
        val_path: of the queries that are held out; None for none of them where `path` is given.
        seed: of the made-up queries.
        batch_size: queries in one batch, over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        num_features: numbers that describe a document: the greatest that any training document names.

    Raises:
        ValueError: a val_path without a path; in use, a line that is not as said above, or no query to train with.
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        path: str | None = None,
        val_path: str | None = None,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__("RankingPairs" if path is None else Path(path).stem, batch_size, num_workers)
        if path is None and val_path is not None:
            raise ValueError("RankingPairs: val_path needs a path too, of queries to train with")
        self.path, self.val_path, self.seed = path, val_path, seed

    @property
    def num_features(self) -> int:  # type: ignore[override]  # known when the file has been read
        return self._train.features.shape[1]

    def load(self, split: Split) -> Queries:
        if split == "train":
            batch = self._train.__getitems__(list(range(len(self._train))))
            relevant, other = batch.relevant > 0, batch.candidate & (batch.relevant == 0)
            teaches = (relevant.any(1) & other.any(1)).numpy()
            if not teaches.any():
                raise ValueError(
                    f"{self.path}: none of its {len(teaches)} queries has a relevant document, of a grade above 0, and "
                    "another one: there is no ranking to learn"
                )
            if self.path is not None and not teaches.all():
                rank_zero_warn(
                    f"{self.path}: {np.sum(~teaches)} of its {len(teaches)} queries have no relevant document, or "
                    "nothing else, and are left out"
                )
            return self._train.chosen(teaches)
        if self.path is None:
            return made_up(self.seed, 500).chosen(np.arange(500) >= 400)
        if self.val_path is None:
            return self._train.chosen(np.zeros(len(self._train), dtype=bool))
        return letor(Path(self.val_path).expanduser(), "--data.val_path", self.num_features)

    @cached_property
    def _train(self) -> Queries:
        if self.path is None:
            return made_up(self.seed, 500).chosen(np.arange(500) < 400)
        return letor(Path(self.path).expanduser(), "--data.path")


def letor(path: Path, flag: str, features: int | None = None) -> Queries:
    """The queries of a file, in the order in which they come in it first.

    Args:
        path: of the file.
        flag: that names it on the command line.
        features: how many there are; None for the greatest number in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that is no document, by its number, or no line at all.
    """
    documents: dict[str, list[tuple[int, dict[int, float]]]] = {}
    with path.open(encoding=codec_of(path, flag, eight_bit=True)) as file:
        for line, text in enumerate(file, 1):
            words = text.split("#")[0].split()
            if not words:
                continue
            try:
                query, grade, values = document(words)
                if features is not None and max(values, default=0) > features:
                    raise ValueError(f"feature {max(values)}, but training documents have {features} of them")
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {error}") from None
            documents.setdefault(query, []).append((grade, values))
    if not documents:
        raise ValueError(f"{path} is empty: expected lines of `grade qid:query 1:value 2:value ...`")
    every = [document for query in documents.values() for document in query]
    width = features or max(max(values, default=0) for _, values in every)
    if not width:
        raise ValueError(f"{path}: no document has a feature")
    table = np.zeros((len(every), width), dtype=np.float32)
    for row, (_, values) in enumerate(every):
        table[row, [name - 1 for name in values]] = list(values.values())
    grades = np.array([grade for grade, _ in every], dtype=np.uint8)
    return Queries(table, grades, np.array([len(query) for query in documents.values()]))


def document(words: list[str]) -> tuple[str, int, dict[int, float]]:
    """The query of a line, its grade, -1 as 0, and its features by their numbers, from 1 on.

    Raises:
        ValueError: what is wrong with it.
    """
    grade = number(words[0])
    if grade is None:
        raise ValueError(f"{shown(words[:1])} is no grade; expected `grade qid:query 1:value 2:value ...`")
    if not grade.is_integer():
        raise ValueError(f"the grade {grade:g} is not whole: grades are steps of relevance, 0, 1, 2, ...; round them")
    if not -1 <= grade <= BEST:
        raise ValueError(f"the grade {grade:g} is none from 0 to {BEST}, nor -1 for a document that was not judged")
    if len(words) < 2 or not words[1].startswith("qid:"):
        if any(word.startswith("qid:") for word in words):
            raise ValueError("qid must stand right after the grade: `grade qid:query 1:value ...`")
        raise ValueError("no qid, and only documents of one query are ranked; expected `grade qid:query 1:value ...`")
    query = words[1].removeprefix("qid:")
    if not query:
        raise ValueError("the qid is empty")
    values: dict[int, float] = {}
    for word in words[2:]:
        name, colon, text = word.partition(":")
        feature = number(name)
        if feature is None or not feature.is_integer() or feature < 0:
            raise ValueError(f"{shown([word])} is no `feature:value`, with a feature numbered from 1 on")
        feature = int(feature)
        if feature == 0:
            raise ValueError("feature 0: features are numbered from 1 on")
        if feature > MOST:
            raise ValueError(f"feature {feature}: there can be features of up to {MOST:,}")
        if feature in values:
            raise ValueError(f"feature {feature} stands there twice")
        if not text:
            raise ValueError(f"feature {feature} has no value" + ("" if colon else ": expected `feature:value`"))
        if text.lower() == "null":
            raise ValueError(
                f"feature {feature} is NULL, LETOR's word for minus infinity: use the set's MIN or QueryLevelNorm files"
            )
        value = number(text)
        if value is None or abs(value) > LARGEST:
            raise ValueError(f"feature {feature} is {shown([text])}, no finite number of single precision")
        values[feature] = value
    return query, max(int(grade), 0), values


def made_up(seed: int, queries: int) -> Queries:
    """Documents whose relevance is known but for noise; see :class:`RankingPairs`."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(10, 31, (queries,), generator=generator).numpy()
    x = torch.randn((int(counts.sum()), 8), generator=generator)
    noise = torch.randn(len(x), generator=generator)
    score = x @ torch.tensor([1.0, -0.8, 0.6, -0.4, 0.2, 0.0, 0.0, 0.0]) + x[:, 5] * x[:, 6] + 0.5 * x[:, 0] * x[:, 7]
    score = score + 0.5 * noise
    grade = (score > score.quantile(0.8)).byte() + (score > score.quantile(0.9)).byte()
    return Queries(x.numpy(), grade.numpy(), counts)
