"""Optimizers and learning-rate schedules whose arguments a config file can hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CosineDecay", "LinearDecay", "PaperAdam", "followed", "lazy"]

FUSED = ("cpu", "cuda")  # devices on which torch's fused Adam takes every floating-point type


class PaperAdam(torch.optim.Adam):
    """Adam with beta1 and beta2 by name, as papers give them (Kingma and Ba 2015, arXiv:1412.6980).

    The same algorithm as torch.optim.Adam, which is the paper's Algorithm 1: epsilon is added to the square root of the
    bias-corrected second moment. Two numbers instead of a tuple let a default be written as
    `lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5)`, which the command line can read and override.

    Args:
        params: what to optimise, as in torch.optim.Adam.
        lr: the step size, the paper's alpha.
        beta1, beta2: decay rates of the two moments, in [0, 1).
        eps: the paper's epsilon.
        weight_decay: factor of an L2 penalty, which is added to the gradient.
        fused: one kernel for all parameters in place of torch's loop over them. None takes it where all parameters of
            a group are floating-point numbers on CPU or CUDA, and leaves the choice to torch elsewhere.

    Raises:
        ValueError: an argument is out of its range, or there are no parameters.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)  # torch's constructor adds all groups by this method
        group = self.param_groups[-1]
        if group["fused"] is None and all(p.device.type in FUSED and p.is_floating_point() for p in group["params"]):
            group["fused"] = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that any form has left, and keep this optimizer's own form."""
        groups = [dict(group) for group in state_dict["param_groups"]]
        for saved, own in zip(groups, self.param_groups, strict=False):  # torch refuses another number of groups
            saved["fused"] = own["fused"]
        super().load_state_dict({**state_dict, "param_groups": groups})


def lazy(build: Callable[[Any], torch.optim.Optimizer], interval: int) -> Callable[[Any], torch.optim.Optimizer]:
    """An optimizer for a player that also takes one step of regularisation in `interval` ones of its game.

    With c = interval / (interval + 1) the rate is multiplied by c and Adam's betas are raised to it, so that all these
    steps together move as far as the game's alone (Karras et al. 2020, arXiv:1912.04958, appendix B).

    Args:
        build: the optimizer as it would be without regularisation.
        interval: steps of the game for one of regularisation.
    """

    def scaled(parameters: Any) -> torch.optim.Optimizer:
        optimizer, c = build(parameters), interval / (interval + 1)
        for settings in (optimizer.defaults, *optimizer.param_groups):
            settings["lr"] *= c
            settings["lazy"] = c  # for schedules of beta2
            if "betas" in settings:
                settings["betas"] = tuple(beta**c for beta in settings["betas"])
        return optimizer

    return scaled


def followed(
    build: Callable[[Any], torch.optim.Optimizer], then: Callable[[], None]
) -> Callable[[Any], torch.optim.Optimizer]:
    """An optimizer with a call after each of its steps, before averages follow: what keeps weights within bounds.

    Args:
        build: the optimizer as it would be without.
        then: the call; there is none where a float16 scaler skips the step.
    """

    def hooked(parameters: Any) -> torch.optim.Optimizer:
        optimizer = build(parameters)
        optimizer.register_step_post_hook(lambda *_: then())
        return optimizer

    return hooked


class Decay(torch.optim.lr_scheduler.LRScheduler, ABC):
    """Base of schedules in steps of their player: linear warm-up, the full rate, and a decay that ends at zero.

    Step t of the first `warmup` ones has the share (t + 1) / warmup of the rate, so that the first one moves already.

    Args:
        optimizer: whose rates they are.
        end: the first step with a rate of zero, which it keeps.
        start: the step that the decay begins with; 0 for the one after the warm-up.
        warmup: steps of warm-up; 0 for none.

    Raises:
        ValueError: the three do not come in the order warmup, start, end, or one is negative.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, end: int, start: int = 0, warmup: int = 0) -> None:
        name = type(self).__name__
        if warmup < 0 or start < 0:
            raise ValueError(f"{name}: start ({start}) and warmup ({warmup}) must not be negative")
        if 0 < start < warmup:
            raise ValueError(f"{name}: start ({start}) must not come before the end of the warm-up ({warmup})")
        if end <= max(start, warmup):
            after = f"start ({start})" if start >= warmup else f"the end of the warm-up ({warmup})"
            raise ValueError(f"{name}: end ({end}) must come after {after}")
        self.start, self.end, self.warmup = start, end, warmup
        super().__init__(optimizer)

    @abstractmethod
    def left(self, progress: float) -> float:
        """The share of the rate that is left when this share of the decay, from 0 to 1, is over."""

    def get_lr(self) -> list[float | Tensor]:
        step, start = self.last_epoch, max(self.start, self.warmup)  # torch counts steps in `last_epoch`
        if step < self.warmup:
            share = (step + 1) / self.warmup
        else:
            share = self.left(min(1.0, max(0.0, (step - start) / (self.end - start))))
        return [lr * share for lr in self.base_lrs]


class LinearDecay(Decay):
    """Linear warm-up, the full rate until generator step `start`, then linear to zero at `end`: see `Decay`."""

    def left(self, progress: float) -> float:
        return 1.0 - progress


class CosineDecay(Decay):
    """Linear warm-up, the full rate until generator step `start`, then half a cosine to zero at `end`: see `Decay`.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), equation 5 without restarts and with a least rate of zero.
    """

    def left(self, progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))
