"""Rankers: networks that score all items for a user, or all documents of a query."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class RankingSizes(NamedTuple):
    """What a ranker must know of the data; None for what they do not have."""

    users: int | None = None
    items: int | None = None
    features: int | None = None  # of a document


RankingNetwork = Callable[[RankingSizes], nn.Module]  # builds a ranker for data of these sizes


class MatrixFactorisation(nn.Module):
    """Scores (B, items) of users (B,): u . v + b, as in IRGAN's code (arXiv:1705.10513, section 4.2).

    Args:
        sizes: with users and items.
        dim: of the vectors u and v.
        bias: give each item its b, which begins at 0.
        init: vectors begin uniform within +-init.

    Raises:
        ValueError: data without users and items.
    """

    def __init__(self, sizes: RankingSizes, *, dim: int = 5, bias: bool = True, init: float = 0.05) -> None:
        super().__init__()
        if not sizes.users or not sizes.items:
            raise ValueError("MatrixFactorisation needs data with users and items: score documents with MLPScorer")
        self.user = nn.Parameter(torch.empty(sizes.users, dim).uniform_(-init, init))
        self.item = nn.Parameter(torch.empty(sizes.items, dim).uniform_(-init, init))
        self.bias = nn.Parameter(torch.zeros(sizes.items)) if bias else None

    def forward(self, query: Tensor) -> Tensor:
        score = self.user[query] @ self.item.T
        return score if self.bias is None else score + self.bias


class LinearScorer(nn.Module):
    """Scores (B, D) of documents (B, D, features): a weighted sum.

    Args:
        sizes: with features.

    Raises:
        ValueError: data without features.
    """

    def __init__(self, sizes: RankingSizes) -> None:
        super().__init__()
        self.layer = nn.Linear(features_of(sizes, type(self).__name__), 1)

    def forward(self, query: Tensor) -> Tensor:
        return self.layer(query).squeeze(-1)


class MLPScorer(nn.Module):
    """Scores (B, D) of documents (B, D, features): tanh units and a weighted sum, as in IRGAN's code for web search.

    Args:
        sizes: with features.
        hidden: units; None for as many as there are features.

    Raises:
        ValueError: data without features.
    """

    def __init__(self, sizes: RankingSizes, *, hidden: int | None = None) -> None:
        super().__init__()
        features = features_of(sizes, type(self).__name__)
        hidden = hidden or features
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, query: Tensor) -> Tensor:
        return self.layers(query).squeeze(-1)


def features_of(sizes: RankingSizes, network: str) -> int:
    """How many numbers describe a document.

    Raises:
        ValueError: there are no documents.
    """
    if not sizes.features:
        raise ValueError(f"{network} needs data with documents: score a user's items with MatrixFactorisation")
    return sizes.features
