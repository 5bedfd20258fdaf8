"""A model's images by number, and the choice of images of a set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from gan_lightning.core import ImageGenerator
from gan_lightning.metrics.extractor import full_float32
from gan_lightning.runtime.processes import together
from gan_lightning.scoring.protocol import Protocol

CHOICE = 0  # seed of the choice of real images: that of the latents must not change what they are compared with


class Drawn(NamedTuple):
    """Images that are scored, and the classes that they were asked to be of; None where none was asked for."""

    image: Tensor  # (B, C, H, W)
    label: Tensor | None  # (B,) int64


class Samples:
    """An image generator's images by number: image i depends on the seed and on i alone."""

    ENDLESS = sys.maxsize  # as many as one likes

    def __init__(self, module: ImageGenerator, protocol: Protocol) -> None:
        self.module, self.protocol = module, protocol
        self.which = protocol.which_weights()
        module.weights(**self.which)  # an average that is not kept is refused now

    def __len__(self) -> int:
        return self.ENDLESS

    @property
    def num_classes(self) -> int | None:
        """Of a conditional model."""
        return self.module.num_classes

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Within it images are drawn with the protocol's batch statistics: the same ones on every process."""
        with ExitStack() as stack:
            with together(), full_float32():
                stack.enter_context(self.module.standing_statistics(self.protocol.standing, **self.which))
            yield

    def __getitems__(self, index: list[int]) -> Drawn:
        """Images of these numbers, with the classes that they were asked to be of."""
        how = self.protocol
        condition = self.module.condition_of(index)
        with full_float32():
            image = self.module.sample(index, how.seed, truncation=how.truncation, condition=condition, **self.which)
        return Drawn(image, condition)


def subset(held: int, n: int, seed: int) -> Tensor:
    """(n,) sorted numbers of `held` images, drawn without replacement: the first images may all be of one class."""
    if n >= held or held == Samples.ENDLESS:
        return torch.arange(n)
    return torch.randperm(held, generator=torch.Generator().manual_seed(seed))[:n].sort().values
