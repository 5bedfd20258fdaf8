"""The exponential moving average of a generator: what is sampled from and scored."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from gan_lightning import schedules
from gan_lightning.schedules import Scheduled

Place = tuple[dict[str, Any], dict[str, Any], str]  # in a module of the copy and of the live network, and the name


def power_of(sigma_rel: float) -> float:
    """The exponent of the power function whose standard deviation is this share of training's length.

    Karras et al. 2024, arXiv:2312.02696, equation 126 and algorithm 2.

    Raises:
        ValueError: no such average: the share must be below that of a plain mean of all weights, 1 / sqrt(12).
    """
    if not 0 < sigma_rel < 12**-0.5:
        raise ValueError(f"sigma_rel is the width of an average, a share of training in (0, 0.288], not {sigma_rel}")
    t = sigma_rel**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())


class EMA(nn.Module):
    """A frozen copy of a network that follows it slowly (Karras et al. 2018, arXiv:1710.10196, section 4.1).

    After `images` more training images the copy keeps the share beta = 0.5 ** (images / half_life) of itself, with
    half_life = min(`half_life`, `rampup` * images seen so far), as in Karras et al. 2020 (arXiv:2006.06676): in images,
    not steps, so that the batch size does not change it; the ramp-up lets early, bad weights be forgotten. Parameters
    are averaged, buffers are copied. The copy is always in evaluation mode and is part of the module's state_dict; the
    live network is only referred to.

    In power-function form (Karras et al. 2024, arXiv:2312.02696, section 3.1) it keeps beta = (1 - images / t) **
    (gamma + 1) after t images seen: the average's width grows with the training, and its beginning is forgotten.

    Args:
        live: the network to follow.
        half_life: in images, or builds its schedule; 0 makes the copy equal the live network.
        rampup: share of the images seen that the half-life may reach; None for no ramp-up.
        every: update once in so many calls.
        start: calls after which averaging begins; until then the copy equals the live network.
        statistics: average the running means and variances of batch norm like parameters; else they are copied too.
        sigma_rel: makes it of power-function form, of this width in shares of the training so far; `half_life` and
            `rampup` then have no meaning.

    Raises:
        ValueError: see :func:`power_of`.
    """

    def __init__(
        self,
        live: nn.Module,
        half_life: Scheduled = 10_000.0,
        rampup: float | None = 0.05,
        every: int = 1,
        start: int = 0,
        statistics: bool = False,
        sigma_rel: float | None = None,
    ) -> None:
        super().__init__()
        self._live = (live,)  # in a tuple: not a submodule, hence neither saved nor moved nor optimised twice
        self.network = copy.deepcopy(live).eval().requires_grad_(False)
        self.half_life, self.rampup, self.every = schedules.of(half_life), rampup, every
        self.power = None if sigma_rel is None else power_of(sigma_rel)
        self.start, self.statistics = start, statistics
        self.calls = 0
        self.images = 0  # seen at the last call
        self.waiting = 0  # images of the calls since the last update

    @property
    def live(self) -> nn.Module:
        """The network that is followed."""
        return self._live[0]

    def beta(self, images: int, images_seen: int) -> float:
        """The share of itself that the copy keeps in an update by so many images, when `images_seen` were seen."""
        if self.power is not None:
            return (1.0 - min(images / images_seen, 1.0)) ** (self.power + 1.0)
        half_life = self.half_life.at(images_seen - images)
        if self.rampup is not None:
            half_life = min(half_life, self.rampup * images_seen)
        return 0.5 ** (images / half_life) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, images_seen: int, shown: int = 0, only_moved: bool = False) -> None:
        """Follow the live network by the images since the last call.

        Args:
            images_seen: the total of training images so far.
            shown: images of the batch that the live network has just moved on, which count again when it moves on one
                batch several times.
            only_moved: leave the average of parameters without a gradient as it is: they rest, such as those of a part
                whose training is over, and an average that went on would become their last values.
        """
        self.calls += 1
        self.waiting += max(images_seen - self.images, shown)
        self.images = images_seen
        if self.calls % self.every:
            return
        weight = 1.0 - self.beta(self.waiting, images_seen) if self.calls > self.start else 1.0
        self.waiting = 0
        parameters, buffers = self._places
        if only_moved and weight < 1.0:
            parameters = [place for place in parameters if place[1][place[2]].grad is not None]
        if parameters:
            copies = [copied[name] for copied, _, name in parameters]
            torch._foreach_lerp_(copies, [live[name] for _, live, name in parameters], weight)
        for copied, live, name in buffers:
            averaged = self.statistics and name in ("running_mean", "running_var")
            copied[name].lerp_(live[name], weight) if averaged else copied[name].copy_(live[name])

    @cached_property
    def _places(self) -> tuple[list[Place], list[Place]]:
        """Where parameters and buffers stand: to walk through two networks takes longer than to average small ones."""
        found: tuple[list[Place], list[Place]] = [], []
        seen = set()  # two modules may share a parameter
        for copied, live in zip(self.network.modules(), self.live.modules(), strict=True):
            held: tuple[Any, Any] = (copied._parameters, live._parameters), (copied._buffers, live._buffers)
            for places, (own, followed) in zip(found, held, strict=True):
                names = [name for name, one in own.items() if one is not None and id(one) not in seen]
                seen |= {id(own[name]) for name in names}
                places += [(own, followed, name) for name in names]
        return found

    def train(self, mode: bool = True) -> EMA:
        """Stay in evaluation mode: the copy is never trained."""
        return super().train(False)

    def get_extra_state(self) -> dict[str, int]:
        return {"images": self.images, "calls": self.calls, "waiting": self.waiting}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.images, self.calls, self.waiting = state["images"], state["calls"], state["waiting"]
