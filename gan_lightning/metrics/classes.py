"""What a classifier sees in fakes: which modes they cover, and whether they are of the class that was asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan_lightning.metrics.base import FeatureMetric, checked_logits, total
from gan_lightning.metrics.extractor import Features


class ModeCoverage(FeatureMetric):
    """Modes found, and how evenly: the number of classes that the classifier sees at least once among the fakes, and
    KL(seen || uniform) of their frequencies (Srivastava et al. 2017, arXiv:1705.07761, for stacked MNIST's 1,000).

    Args:
        classes: of the logits.
    """

    names = ("modes", "modes/KL")
    classifies = True
    higher_is_better = True

    def __init__(self, classes: int) -> None:
        super().__init__(dist_sync_fn=total)
        self.add_state("count", torch.zeros(classes, dtype=torch.int64), "sum")

    def update(self, seen: Features, real: bool = False, index: Tensor | None = None) -> None:
        """See :meth:`FeatureMetric.update`; real images do not enter.

        Raises:
            ValueError: no classifier, or logits that are not finite.
        """
        if not real:
            found = checked_logits(seen, "mode coverage").argmax(1)
            self.count += found.to(self.device).bincount(minlength=len(self.count))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Modes found (int64), and the divergence in nats, from 0 (even) to log(classes) (one mode)."""
        share = self.count.double() / self.count.sum()
        return (self.count > 0).sum(), torch.xlogy(share, share).sum() + math.log(len(share))


class LabelAccuracy(FeatureMetric):
    """Share of a conditional generator's images that the classifier assigns to the class asked for."""

    names = ("label_accuracy",)
    classifies = True
    conditional = True
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=total)
        self.add_state("right", torch.zeros((), dtype=torch.int64), "sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), "sum")

    def update(self, seen: Features, real: bool = False, index: Tensor | None = None) -> None:
        """See :meth:`FeatureMetric.update`; real images do not enter.

        Raises:
            ValueError: no classifier, logits that are not finite, or images that no class was asked for.
        """
        if real:
            return
        if seen.label is None:
            raise ValueError("label accuracy is for conditional models: no class was asked for")
        found = checked_logits(seen, "label accuracy").argmax(1)
        self.right += (found == seen.label.to(found.device)).sum().to(self.device)
        self.count += len(found)

    def compute(self) -> Tensor:
        """From 0 to 1, float64."""
        return self.right.double() / self.count
