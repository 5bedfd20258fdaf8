"""When networks grow, and what changes with them: functions of the images seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gan_lightning.core.module import AdversarialModule
from gan_lightning.core.step import ImageStep
from gan_lightning.schedules import Schedule

Number = TypeVar("Number", int, float)
Other = TypeVar("Other", float, None)


@dataclass(frozen=True)
class Growth:
    """A level for each number of images seen (Karras et al. 2018, arXiv:1710.10196, section 2 and appendix A.1).

    Each level is trained for `stabilise` images, then the next one fades in over `fade` images, up to the last one.
    Networks of growing models have a list `sides`, the shorter side of the images of each level, in pixels.

    Attributes:
        start: side that training begins with: the first level of at least so many pixels; null for the last one, which
            is training without growth.
        stabilise: images for which a level is trained before the next one begins.
        fade: images over which a level fades in.
        batch_size: the whole batch by side, each from this side on, such as {4: 128, 32: 64}; null, and below the
            least side, for the data's.
        rate: factor on both players' learning rates by side, likewise; null, and below the least side, for 1.

    Raises:
        ValueError: phases without images.
    """

    start: int | None = 4
    stabilise: int = 600_000
    fade: int = 600_000
    batch_size: dict[int, int] | None = None
    rate: dict[int, float] | None = None

    def __post_init__(self) -> None:
        if min(self.stabilise, self.fade) < 0 or self.stabilise + self.fade == 0:
            raise ValueError(
                f"growth: stabilise ({self.stabilise}) and fade ({self.fade}) are numbers of images, not both 0; "
                "start: null trains without growth"
            )

    def level(self, images: float, sides: Sequence[int]) -> float:
        """The level after so many images: 1.3 is the second one, and 30% of the way into the third."""
        last = len(sides) - 1
        if self.start is None:
            return float(last)
        first = next((level for level, side in enumerate(sides) if side >= self.start), last)
        phase, within = divmod(images, self.stabilise + self.fade)
        faded = max(0.0, (within - self.stabilise) / self.fade) if self.fade else 0.0
        return float(min(first + phase + faded, last))

    def side(self, images: float, sides: Sequence[int]) -> int:
        """The shorter side of the images that are trained on: a fading level's own."""
        return sides[math.ceil(self.level(images, sides))]

    def batch_size_after(self, images: float, sides: Sequence[int]) -> int | None:
        """The whole batch after so many images; None for the data's."""
        return _from_side(self.batch_size or {}, self.side(images, sides), None)

    def step_of(self, step: ImageStep, sides: Sequence[int]) -> ImageStep:
        """A step whose learning rates follow the sides too.

        Raises:
            ValueError: it has a schedule in steps already.
        """
        if not self.rate:
            return step
        if step.scheduler is not None:
            raise ValueError("growth.rate and step.scheduler both change the learning rate: set one of them to null")
        return replace(step, learning_rate=lambda: _RateBySide(self, sides, step.learning_rate))

    def check(self, model: AdversarialModule) -> None:
        """Refuse batches that processes and micro-batches cannot share, before the first of them comes.

        Raises:
            ValueError: naming one.
        """
        parts = model.trainer.world_size * model.step.micro_batches
        for side, size in (self.batch_size or {}).items():
            if size < 1 or size % parts:
                raise ValueError(
                    f"growth.batch_size: {size} images from {side} px on cannot be shared by {parts} processes and "
                    "micro-batches: choose a multiple"
                )

    def grow(self, model: AdversarialModule, *networks: Any) -> None:
        """Bring networks to the level of this batch; as a fade begins and as it ends all optimizers begin anew.

        The networks hold the level of the batch before: a resumed run does the same as an unbroken one.
        """
        before, level = networks[0].reached, self.level(model.clock, networks[0].sides)
        for network in networks:
            network.grow(level)
        if (math.floor(level), math.ceil(level)) != (math.floor(before), math.ceil(before)):
            for name in model.players():
                model.reset_optimizer(name)
        model.watch("growth/level", level)


class _RateBySide(Schedule):
    """The factor of a growth's `rate`, times another schedule's."""

    def __init__(self, growth: Growth, sides: Sequence[int], times: Callable[[], Schedule] | None) -> None:
        self.growth, self.sides, self.times = growth, sides, times() if times is not None else None

    def at(self, images: float) -> float:
        factor = _from_side(self.growth.rate or {}, self.growth.side(images, self.sides), 1.0)
        return factor if self.times is None else factor * self.times.at(images)


def _from_side(values: dict[int, Number], side: int, otherwise: Other) -> Number | Other:
    """The value of the greatest side that is reached."""
    reached = [least for least in values if least <= side]
    return values[max(reached)] if reached else otherwise
