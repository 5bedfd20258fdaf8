"""How well rankings put what is relevant first, of all queries at once: torchmetrics takes one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CUTOFFS = (3, 5, 10)


def ranking_figures(
    scores: Tensor, relevant: Tensor, candidate: Tensor | None = None, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, Tensor]:
    """Precision, NDCG, average precision and reciprocal rank of each query.

    NDCG has the gain 2^grade - 1 and the discount log2(rank + 1) (Burges et al. 2005); the other figures ask only
    whether a grade is above 0. Of equal scores the earlier column comes first. A query in which nothing is relevant
    has no figures.

    Args:
        scores: (N, D) float, the greatest first.
        relevant: (N, D) grades, 0 for what is not relevant.
        candidate: (N, D) bool, what is ranked at all; None for everything. What is not ranked is not relevant either.
        cutoffs: ranks k of P@k and NDCG@k.

    Returns:
        "P@k" and "NDCG@k" for each k, "MAP", "MRR": (n,) float64 each, n the queries in which something is relevant.
    """
    candidate = torch.ones_like(relevant, dtype=torch.bool) if candidate is None else candidate
    grade = relevant * candidate
    counts = (grade > 0).any(1)
    grade, candidate = grade[counts].double(), candidate[counts]
    score = torch.where(candidate, scores[counts].double(), -torch.inf)
    order = score.sort(dim=1, descending=True, stable=True).indices
    gain = torch.exp2(grade.gather(1, order)) - 1.0
    ideal = (torch.exp2(grade) - 1.0).sort(dim=1, descending=True).values
    hit = (gain > 0).double()
    rank = torch.arange(1, grade.shape[1] + 1, dtype=torch.float64, device=grade.device)
    discount = 1.0 / torch.log2(rank + 1.0)
    figures = {}
    for k in cutoffs:
        figures[f"P@{k}"] = hit[:, :k].sum(1) / k
    for k in cutoffs:
        figures[f"NDCG@{k}"] = (gain * discount)[:, :k].sum(1) / (ideal * discount)[:, :k].sum(1)
    figures["MAP"] = (hit * hit.cumsum(1) / rank).sum(1) / hit.sum(1)
    figures["MRR"] = (hit / rank).amax(1)
    return figures
