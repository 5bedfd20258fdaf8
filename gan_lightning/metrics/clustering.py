"""How well clusters without names match classes."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def matched_accuracy(cluster: Tensor, label: Tensor) -> float:
    """Share of samples whose cluster is their class, under the best one-to-one naming of clusters by classes.

    The naming is found by the Hungarian method (Kuhn 1955).

    Args:
        cluster, label: (n,) int64, from 0.
    """
    from scipy.optimize import linear_sum_assignment

    size = int(max(cluster.max(), label.max())) + 1
    together = np.zeros((size, size), dtype=np.int64)
    np.add.at(together, (cluster.cpu().numpy(), label.cpu().numpy()), 1)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(label))
