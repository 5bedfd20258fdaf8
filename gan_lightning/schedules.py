"""Values that change with the training images seen: a rate, a moment's decay, a penalty's weight, a half-life.

Functions of a number of images, not of steps taken: a run that is resumed, or that has another batch size, has the
values that it would have had. Papers that use them count the images that each player has seen.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable


class Schedule(ABC):
    """A number for each number of images seen."""

    @abstractmethod
    def at(self, images: float) -> float:
        """The value when so many images have been seen before."""


class Constant(Schedule):
    """One value throughout."""

    def __init__(self, value: float) -> None:
        self.value = value

    def at(self, images: float) -> float:
        return self.value


class _Between(Schedule):
    """From one value to another within some images, the first before them and the other after them.

    Args:
        start, end: the two values; `end` is the floor of a schedule that falls.
        images: at which `end` is reached.
        after: images at which it begins to leave `start`, at the end of the warm-up at the earliest.
        warmup: images of a linear rise from 0 to `start` before that.

    Raises:
        ValueError: a negative number of images, or none left between the two values.
    """

    def __init__(self, start: float, end: float, images: float, after: float = 0.0, warmup: float = 0.0) -> None:
        name = type(self).__name__
        if warmup < 0 or after < 0:
            raise ValueError(f"{name}: after ({after:g}) and warmup ({warmup:g}) must not be negative")
        if images <= max(after, warmup):
            raise ValueError(f"{name}: images ({images:g}) must be more than after ({after:g}) and warmup ({warmup:g})")
        self.start, self.end, self.images, self.warmup = start, end, images, warmup
        self.after = max(after, warmup)

    def at(self, images: float) -> float:
        if images < self.warmup:
            return self.start * images / self.warmup
        share = min(1.0, max(0.0, (images - self.after) / (self.images - self.after)))
        return self.start + (self.end - self.start) * self._way(share)

    @abstractmethod
    def _way(self, share: float) -> float:
        """The share of the way from `start` to `end` after a share of the images."""


class Linear(_Between):
    """On a straight line: see `_Between`."""

    def _way(self, share: float) -> float:
        return share


class Cosine(_Between):
    """On half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5 without restarts): see `_Between`."""

    def _way(self, share: float) -> float:
        return 0.5 * (1.0 - math.cos(math.pi * share))


class EDM2Rate(Schedule):
    """A linear rise, then the inverse square root of the images (Karras et al. 2024, arXiv:2312.02696, equation 67).

    value * min(images / warmup, 1) / sqrt(max(images / constant, 1)).

    Args:
        value: the peak.
        constant: images until which it stays at the peak; 0 for no decay.
        warmup: images of the rise; 0 for none.

    Raises:
        ValueError: a negative number of images.
    """

    def __init__(self, value: float, constant: float, warmup: float = 0.0) -> None:
        if constant < 0 or warmup < 0:
            raise ValueError(f"EDM2Rate: constant ({constant:g}) and warmup ({warmup:g}) must not be negative")
        self.value, self.constant, self.warmup = value, constant, warmup

    def at(self, images: float) -> float:
        value = self.value
        if self.constant > 0:
            value /= math.sqrt(max(images / self.constant, 1.0))
        if self.warmup > 0:
            value *= min(images / self.warmup, 1.0)
        return value


Scheduled = float | Callable[[], Schedule]  # what an argument may be that can change: a number, or builds a schedule


def of(value: Scheduled) -> Schedule:
    """The schedule of an argument."""
    return value() if callable(value) else Constant(float(value))
