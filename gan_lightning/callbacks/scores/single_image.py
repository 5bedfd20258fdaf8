"""Scores of a model of one picture: the likeness of its samples' patches, how they differ, and what z* gives back."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from gan_lightning import metrics
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When
from gan_lightning.core import Manipulator
from gan_lightning.metrics import PatchFeatures, RandomPatches
from gan_lightning.runtime.processes import from_first, together


class SingleImageScores(ScheduledScore):
    """Scores of a :class:`Manipulator`, such as SinGAN, from its first `n` samples and the picture it was trained on.

    The figures:

    - `SIFID-<features>`: the mean over samples of the Fréchet distance between the features of a sample's patches and
      of the picture's. With Inception's features it would be the paper's SIFID; with others it is not, and the name
      says which they are.
    - `diversity`: see :func:`metrics.diversity`; the paper reports 0.5 for whole pyramids and 0.35 from scale 1 on.
    - `reconstruction/<scale>`: the root mean squared error of what z* gives at each trained scale, in [-1, 1].

    Every process computes all figures, and those of the first process count.

    Args:
        features: describe the patches; None for filters that were never trained, :class:`metrics.RandomPatches`.
        n: samples.
        batch_size: samples that are drawn at a time.
        when: when the scores are taken.

    Raises:
        ValueError: at construction, fewer than 2 samples, or a batch_size below 1; in `check`, a model of more than
            one picture, data without images, or images of other than 1 or 3 channels.
    """

    def __init__(
        self, features: PatchFeatures | None = None, n: int = 50, batch_size: int = 10, when: When = When()
    ) -> None:
        super().__init__(when)
        if n < 2 or batch_size < 1:
            raise ValueError(f"SingleImageScores: n ({n}) must be at least 2, batch_size ({batch_size}) at least 1")
        self.features, self.n, self.batch_size = features or RandomPatches(), n, batch_size

    def check(self, module: Manipulator, data: Any) -> None:
        super().check(module, data)
        if not isinstance(module, Manipulator):
            raise ValueError(
                f"SingleImageScores scores models of one picture, and {type(module).__name__} is none: leave it out"
            )
        if data.image_shape is None or data.image_shape[0] not in (1, 3):
            raise ValueError("SingleImageScores needs a picture of 1 or 3 channels: leave it out")

    def compute(self, module: Manipulator, data: LightningDataModule) -> Measured:
        features, device = self.features.to(module.device), module.device
        examples = data.reference("train")
        picture = data.on_after_batch_transfer(examples.__getitems__([0]), 0).image.float().to(device)
        samples, distances, real = [], [], features(picture)[0]
        for first in range(0, self.n, self.batch_size):
            with together():
                made = module.sample(range(first, min(first + self.batch_size, self.n)))
                distances += [metrics.patch_distance(fake, real) for fake in features(made)]
                samples.append(made.cpu())
        figures = {f"SIFID-{features.name}": sum(distances) / self.n}
        figures["diversity"] = metrics.diversity(torch.cat(samples), picture[0].cpu())
        for scale, error in enumerate(module.reconstruction_errors(picture)):
            figures[f"reconstruction/{scale}"] = error
        about = {"data": data.name, "data_hash": examples.fingerprint[:12], "split": "train", "n_fake": self.n}
        seen = {"extractor": features.name, "hash": features.hash[:12], "resizer": "none", "seed": 0}
        return from_first(figures), about | seen
