"""How far a discriminator knows its training images by heart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from gan_lightning.batches import Labeled
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When, held_out
from gan_lightning.core import AdversarialModule, TwoPlayerGAN
from gan_lightning.core.sampling import evaluating
from gan_lightning.metrics.base import gathered
from gan_lightning.noise import SampleNoise
from gan_lightning.runtime.processes import place, together

PART = 64  # images that the discriminator sees at once: one that compares them sees the same ones on any machine
GROUP = 8  # minibatch deviation takes whole groups, of 4 or 8 images


class Overfitting(ScheduledScore):
    """The discriminator's scores of training images against those of held-out ones (arXiv:2006.06676, equation 1).

    r_v = (E[D_train] - E[D_validation]) / (E[D_train] - E[D_generated]) is 0 where held-out images score as training
    images do, and 1 where they score as generated ones: the discriminator knows the former by heart; NaN where it says
    the same of all. The figures: `overfitting/r_v`, and the three means `overfitting/train`, `overfitting/validation`
    and `overfitting/generated`. Networks are in evaluation mode and nothing is augmented; the generator's weights are
    the trained ones, which the discriminator plays against. Deviation: the paper's means are of consecutive batches of
    training, augmented.

    Args:
        when: when the scores are taken.
        n: images of each kind, the first ones; all where there are fewer. Of more than 8, a multiple of 8 is taken.

    Raises:
        ValueError: at construction, n below 1; in `check`, a model without a discriminator of images, or data without
            validation images.
    """

    def __init__(self, when: When = When(), n: int = 512) -> None:
        super().__init__(when)
        if n < 1:
            raise ValueError(f"Overfitting's n must be at least 1, and is {n}")
        self.n = n

    def check(self, module: AdversarialModule, data: Any) -> None:
        super().check(module, data)
        if not isinstance(module, TwoPlayerGAN):
            raise ValueError(
                f"Overfitting needs a discriminator of images, which {type(module).__name__} has not: leave it out"
            )
        if not len(data.reference("val")):
            raise ValueError(f"Overfitting needs validation images, and {data.name} has none: hold some back")

    def compute(self, module: TwoPlayerGAN, data: LightningDataModule) -> Measured:
        train, val = data.training_set(), data.reference("val")
        there = {"train": len(train), "validation": len(val), "generated": self.n}
        counts = {name: min(self.n, count) for name, count in there.items()}
        counts = {name: count - count % GROUP if count > GROUP else count for name, count in counts.items()}

        def real(examples: Any, rows: list[int]) -> Labeled:
            image, label = data.on_after_batch_transfer(examples.__getitems__(rows), 0)
            return Labeled(image.to(module.device, module.dtype), label.to(module.device))

        def generated(rows: list[int]) -> Labeled:
            condition = module.condition_of(rows)
            image = module.sample(rows, live=True, condition=condition).to(module.dtype)
            return Labeled(image, image.new_zeros(len(rows), dtype=torch.int64) if condition is None else condition)

        made = {"train": lambda rows: real(train, rows), "validation": lambda rows: real(val, rows)}
        made["generated"] = generated
        before = module.augment, module.noise
        module.augment = None
        try:
            with evaluating(module):
                means = {name: mean_score(module, made[name], count) for name, count in counts.items()}
        finally:
            module.augment, module.noise = before
        apart = means["train"] - means["generated"]  # 0 of a discriminator that says the same of all images
        figures = {"r_v": (means["train"] - means["validation"]) / apart if apart else math.nan} | means
        card = held_out(data) | {f"n_{name}": count for name, count in counts.items()} | {"weights": "live"}
        return {f"overfitting/{name}": value for name, value in figures.items()}, card


def mean_score(module: TwoPlayerGAN, made: Callable[[list[int]], Labeled], count: int) -> float:
    """The discriminator's mean score of the first `count` images that `made` makes, shared by all processes."""
    rank, world = place()
    scores = [torch.empty(0, device=module.device)]
    with together():
        for rows in torch.arange(count).split(PART)[rank::world]:
            module.noise = SampleNoise(0, rows.tolist(), module.device)  # of a model that draws for its scores
            out = module.discriminate(made(rows.tolist()))
            found = out[0] if isinstance(out, tuple) else out  # of several outputs the first are scores
            scores.append(found.float().flatten(1).mean(1) if found.ndim > 1 else found.float())
    return float(gathered(torch.cat(scores)).double().mean())
