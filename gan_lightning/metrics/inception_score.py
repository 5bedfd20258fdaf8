"""The Inception score, Salimans et al. 2016, arXiv:1606.03498."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lightning.metrics.base import FeatureMetric, checked_logits, total
from gan_lightning.metrics.extractor import Features


class InceptionScore(FeatureMetric):
    """exp(E KL(p(y|x) || p(y))) of fake images, with any classifier: mean and deviation over splits of the set.

    A score by another classifier than Inception is no Inception score, and carries the classifier's name. Its bias
    depends on the number of images in a split, so compare scores of equal `n` and `splits` only.

    Which split an image belongs to follows from its number: that of one process that has seen all images, shuffled as
    torch-fidelity does. Holds no more than the sums of each split, in float64.

    Args:
        classes: of the logits.
        n: fake images that will be shown, exactly.
        splits: parts of n, whose scores are averaged; the deviation is that of the parts (not of a sample of them).
        seed: of the shuffling, by NumPy's RandomState; None to cut the images into splits in their own order.

    Raises:
        ValueError: fewer than two images for a split.
    """

    names = ("IS", "IS/std")
    classifies = True
    higher_is_better = True

    def __init__(self, classes: int, n: int, splits: int = 10, seed: int | None = 2020) -> None:
        super().__init__(dist_sync_fn=total)
        if splits < 1 or n < 2 * splits:
            raise ValueError(f"IS with {splits} splits needs at least {2 * max(splits, 1)} images, not {n}")
        self.n, self.splits, self.seed = n, splits, seed
        order = np.arange(n) if seed is None else np.random.RandomState(seed).permutation(n)
        split = np.empty(n, np.int64)
        for part in range(splits):
            split[order[part * n // splits : (part + 1) * n // splits]] = part
        self._split = torch.from_numpy(split)
        self._shown = 0  # by this process
        self.add_state("count", torch.zeros(splits, dtype=torch.float64), "sum")
        self.add_state("probabilities", torch.zeros(splits, classes, dtype=torch.float64), "sum")
        self.add_state("negentropy", torch.zeros(splits, dtype=torch.float64), "sum")

    @property
    def settings(self) -> dict[str, Any]:
        return {"is_splits": self.splits, "is_shuffle_seed": self.seed}

    def update(self, seen: Features, real: bool = False, index: Tensor | None = None) -> None:
        """See :meth:`FeatureMetric.update`; real images do not enter.

        Raises:
            ValueError: no classifier, logits that are not finite, or more images than n.
        """
        if real:
            return
        logits = checked_logits(seen, "IS").to(self.device).double()
        if index is None:
            index = torch.arange(self._shown, self._shown + len(logits))
        if len(index) and int(index.max()) >= self.n:
            raise ValueError(f"IS was to see {self.n} images, and is shown number {int(index.max())} (from 0)")
        self._shown += len(logits)
        log_p = logits.log_softmax(1)
        p = log_p.exp()
        split = self._split[index.cpu()].to(self.device)
        self.count.index_add_(0, split, torch.ones_like(p[:, 0]))
        self.probabilities.index_add_(0, split, p)
        self.negentropy.index_add_(0, split, (p * log_p).sum(1))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the splits, float64, the same on every process (each must call).

        Raises:
            ValueError: not all n images were shown.
        """
        if int(self.count.sum()) != self.n:
            raise ValueError(f"IS was to see {self.n} images, and saw {int(self.count.sum())}")
        marginal = self.probabilities / self.count[:, None]
        divergence = self.negentropy / self.count - torch.xlogy(marginal, marginal).sum(1)
        scores = divergence.exp()
        return scores.mean(), scores.std(correction=0)

    def reset(self) -> None:
        super().reset()
        self._shown = 0
