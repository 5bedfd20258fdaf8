"""Optimizers and learning-rate schedules whose arguments a config file can hold."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class PaperAdam(torch.optim.Adam):
    """Adam with beta1 and beta2 by name, as papers give them (Kingma and Ba 2015, arXiv:1412.6980).

    The same algorithm as torch.optim.Adam. Two numbers instead of a tuple let a default be written as
    `lambda params: optim.PaperAdam(params, lr=2e-4, beta1=0.5)`, which the command line can read and override.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


class LinearDecay(torch.optim.lr_scheduler.LRScheduler):
    """Constant until generator step `start`, then linear to zero at step `end`.

    Raises:
        ValueError: `end` is not after `start`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, end: int, start: int = 0) -> None:
        if end <= start:
            raise ValueError(f"LinearDecay: end ({end}) must come after start ({start})")
        self.start, self.end = start, end
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        share_left = (self.end - self.last_epoch) / (self.end - self.start)  # torch counts steps in `last_epoch`
        return [lr * min(1.0, max(0.0, share_left)) for lr in self.base_lrs]
