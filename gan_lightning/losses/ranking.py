"""What rankers learn from: pairs, rewards and sampled lists; random numbers come in as arguments."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pairwise_logistic(better: Tensor, worse: Tensor) -> Tensor:
    """-log sigmoid(better - worse) for each pair of scores, of any shape; BPR, Rendle et al. 2009, arXiv:1205.2618."""
    return F.softplus(worse - better)


def ranking_reward(score: Tensor) -> Tensor:
    """2 (sigmoid(score) - 1/2), in (-1, 1), of scores of any shape: the reward of arXiv:1705.10513's code."""
    return 2.0 * (torch.sigmoid(score) - 0.5)


def importance_mixture(probability: Tensor, positive: Tensor, share: float) -> Tensor:
    """(1 - share) p + share / |positives| on the positives: what a generator's lists are drawn from.

    Section 2 of arXiv:1705.10513 as its code has it. A query without positives keeps p.

    Args:
        probability: (B, D), each row sums to 1.
        positive: (B, D) bool.
        share: of the positives, in [0, 1).
    """
    count = positive.sum(1, keepdim=True)
    uniform = positive / count.clamp(min=1)
    return torch.where(count > 0, (1.0 - share) * probability + share * uniform, probability)


def policy_gradient(log_probability: Tensor, reward: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """-E weight reward log p of what was drawn (B, S), whose gradient is REINFORCE's; arXiv:1705.10513, equation 5.

    Args:
        log_probability: of each draw, with its graph.
        reward: of each draw.
        weight: p / p_n of each draw, where it was drawn from p_n.
    """
    return -(torch.as_tensor(weight * reward).detach() * log_probability).mean()
