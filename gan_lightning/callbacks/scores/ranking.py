"""Scores of a ranker: how high it ranks what is relevant to held-out queries."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from gan_lightning.batches import Ranked
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When, held_out
from gan_lightning.core import Ranker
from gan_lightning.metrics import ranking_figures
from gan_lightning.runtime.processes import from_first, together


class RankingScores(ScheduledScore):
    """P@k and NDCG@k for k = 3, 5 and 10, MAP and MRR: means over the validation queries with a relevant item.

    If queries are users, the ranker ranks only the items that a user did not choose in training (see the data's
    validation batches), and the figures of two other rankings are given:

    - `NDCG@10/popularity`: every user gets the same ranking, by the number of training users who chose an item.
    - `NDCG@10/truth`, only for made-up choices: the ranking by the scores from which the choices were drawn.

    Every process computes all figures, and the figures of the first process count.

    Args:
        when: when the scores are taken.
        batch_size: queries that are ranked at a time.

    Raises:
        ValueError: at construction, a batch_size below 1; in `check`, a model that is no :class:`Ranker`, data without
            queries, or no validation query with a relevant item.
    """

    def __init__(self, when: When = When(), batch_size: int = 256) -> None:
        super().__init__(when)
        if batch_size < 1:
            raise ValueError(f"RankingScores's batch_size must be at least 1, not {batch_size}")
        self.batch_size = batch_size

    def check(self, module: Ranker, data: Any) -> None:
        super().check(module, data)
        if not isinstance(module, Ranker):
            raise ValueError(f"RankingScores scores rankers, and {type(module).__name__} is none: leave it out")
        if not isinstance(data.reference("train").__getitems__([0]), Ranked):
            raise ValueError("RankingScores needs data with queries, such as ImplicitFeedback or RankingPairs")
        if not any((batch.relevant > 0).any() for batch in data.reference("val").parts(self.batch_size)):
            raise ValueError(
                f"{data.name} holds out nothing that is relevant: hold out more, or leave RankingScores out"
            )

    def compute(self, module: Ranker, data: LightningDataModule) -> Measured:
        rankers = {"": module.rank}
        if data.items:
            chosen = sum((batch.relevant > 0).sum(0) for batch in data.reference("train").parts(self.batch_size))
            rankers["/popularity"] = lambda batch: chosen.float().expand_as(batch.relevant)
            if (truth := data.truth) is not None:
                rankers["/truth"] = lambda batch: truth[batch.query.cpu()]
        found: dict[str, list[dict[str, Tensor]]] = {name: [] for name in rankers}
        for batch in data.reference("val").parts(self.batch_size):
            with together():
                on_device = Ranked(*(field.to(module.device) for field in batch))
                for name, ranker in rankers.items():
                    scores = ranker(on_device).cpu()
                    found[name].append(ranking_figures(scores, batch.relevant, batch.candidate))
        figures = {}
        for name, parts in found.items():
            for figure in parts[0] if not name else ["NDCG@10"]:
                figures[figure + name] = float(torch.cat([part[figure] for part in parts]).mean())
        return from_first(figures), held_out(data) | {"n": sum(len(part["MRR"]) for part in found[""])}
