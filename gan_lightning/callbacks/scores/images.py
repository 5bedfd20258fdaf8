"""Scores of a generator of images. The scores that are due at one step share one pass of one extractor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer

from gan_lightning import metrics
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When
from gan_lightning.core import ImageGenerator
from gan_lightning.metrics import Extractor, Reference
from gan_lightning.metrics.base import FeatureMetric
from gan_lightning.scoring import (
    Protocol,
    Samples,
    ScoreRequest,
    card_of,
    check_request,
    extractor_named,
    figure_name,
    scores_of,
)


class Score(ScheduledScore):
    """Base of the scores of an :class:`ImageGenerator`. Several scores share one pass of one extractor.

    A figure is called `<name>-<extractor>`, or `<name>` alone with Inception. It goes to the loggers and to
    `trainer.callback_metrics`, with the same value on every process. A run with scores trains bit for bit as one
    without.

    Args:
        extractor: computes the features; None for the extractor that the data names. No checkpoint holds it. Scores
            share a pass if they have the same extractor and, but for the numbers of images, the same protocol.
        protocol: which images are compared.
        when: when the score is taken.

    Raises:
        ValueError: at construction, numbers that make no score; in `check`, data that is not images or is of no data
            module of this package, fewer real images than the protocol names, or an extractor or a file of statistics
            that cannot give the score; in `setup`, another score of the same name; in `measure` and in training, images
            or features that are not finite.
        FileNotFoundError: in `check`, the extractor has no weights.
    """

    kind: type[FeatureMetric]

    def __init__(
        self, extractor: Extractor | None = None, protocol: Protocol = Protocol(), when: When = When()
    ) -> None:
        super().__init__(when)
        self.given, self.extractor, self.protocol = extractor, extractor, protocol

    def metric(self, extractor: Extractor, real: Reference | None) -> FeatureMetric:
        """The metric of one pass; `real` holds the statistics of the real images, None where the metric needs none."""
        raise TypeError(f"{type(self).__name__} must define metric(extractor, real)")

    @property
    def request(self) -> ScoreRequest:
        """This score, as :func:`scoring.scores_of` takes it."""
        return ScoreRequest(self.kind, self.metric, self.protocol, self.fewest, self.fitting)

    @property
    def fewest(self) -> int:
        """The least number of real and of fake images."""
        return 2

    def fitting(self, n: int) -> str:
        """The argument, as a flag says it, with which n images suffice; empty where there is none."""
        return ""

    def check(self, module: ImageGenerator, data: Any) -> None:
        """Refuse what cannot be scored, and choose the extractor; see the class for the errors."""
        super().check(module, data)
        name = type(self).__name__
        if data.image_shape is None or not isinstance(module, ImageGenerator):
            raise ValueError(f"{name} scores images, and {type(module).__name__} makes none: leave {name} out")
        if tuple(data.image_shape[1:]) == (1, 1):
            raise ValueError(f"{name} scores images, and {data.name} has points: leave {name} out")
        if self.given is not None:
            self.extractor = self.given
        elif type(self.extractor).__name__ != data.extractor.rpartition(".")[2]:
            self.extractor = extractor_named(data.extractor)
        self.extractor.require(data.image_shape[0])
        check_request(self.request, self.extractor, Samples(module, self.protocol), self._reals(data), data.name)

    def compute_together(
        self, scores: Sequence[Score], module: ImageGenerator, data: LightningDataModule, progress: bool = False
    ) -> list[Measured]:
        device = torch.device("cpu") if self.protocol.device == "cpu" else module.device
        return scores_of(
            [score.request for score in scores],
            self.extractor.to(device),
            Samples(module, self.protocol),
            next((reals for score in scores if (reals := score._reals(data)) is not None), None),
            data.name,
            card_of(module, self.protocol),
            device,
            progress,
        )

    def sharing(self, trainer: Trainer) -> list[Score]:
        """The scores with this one's extractor and protocol, but for the numbers of images."""

        def shared(score: Score) -> tuple:
            return id(score.extractor), replace(score.protocol, n_fake=2, n_real=None)

        return [c for c in trainer.callbacks if isinstance(c, Score) and shared(c) == shared(self)]

    @property
    def title(self) -> str:
        return figure_name(self.kind.names[0], self.extractor)

    def setup(self, trainer: Trainer, pl_module: ImageGenerator, stage: str) -> None:
        if stage != "fit":
            return
        earlier = [score for score in self._earlier(trainer) if isinstance(score, Score)]
        if self.given is None:
            self.extractor = next((score.extractor for score in earlier if score.given is None), None)
        super().setup(trainer, pl_module, stage)
        same = (score.extractor for score in earlier if _same(score.extractor, self.extractor))
        self.extractor = next(same, self.extractor)  # one copy of the network

    @property
    def state_key(self) -> str:
        return self._generate_state_key(extractor=self.given and self.given.name, protocol=self.protocol)

    def _reals(self, data: Any) -> Any:
        if self.kind.needs is None or self.protocol.stats is not None:
            return None
        return data.reference(self.protocol.split)


def _same(one: Extractor, other: Extractor) -> bool:
    """Whether two extractors see the same."""

    def identity(extractor: Extractor) -> tuple:
        return type(extractor), extractor.name, extractor.hash, extractor.resizer

    return identity(one) == identity(other)


class FID(Score):
    """Fréchet distance (Heusel et al. 2017, arXiv:1706.08500) of generated to real images: see :class:`metrics.FID`."""

    kind = metrics.FID

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.FID:
        return metrics.FID(extractor.feature_dim, real.gaussian)


class InceptionScore(Score):
    """Inception score (Salimans et al. 2016, arXiv:1606.03498) of generated images; :class:`metrics.InceptionScore`.

    Args:
        splits: parts of the images; the score is the mean over the parts.
    """

    kind = metrics.InceptionScore

    def __init__(
        self,
        extractor: Extractor | None = None,
        protocol: Protocol = Protocol(),
        when: When = When(),
        splits: int = 10,
    ) -> None:
        super().__init__(extractor, protocol, when)
        self.splits = splits
        metrics.InceptionScore(1, max(protocol.n_fake, 2 * splits), splits)  # says what is wrong with them

    @property
    def fewest(self) -> int:
        return 2 * self.splits

    def fitting(self, n: int) -> str:
        return f"splits {n // 2}"

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.InceptionScore:
        return metrics.InceptionScore(extractor.num_classes, self.protocol.n_fake, self.splits)


class KID(Score):
    """Kernel distance (Bińkowski et al. 2018, arXiv:1801.01401) of generated to real images: see :class:`metrics.KID`.

    Args:
        subsets: number of random subsets; the score is the mean over them.
        subset_size: real images, and fake images, in a subset.
    """

    kind = metrics.KID

    def __init__(
        self,
        extractor: Extractor | None = None,
        protocol: Protocol = Protocol(),
        when: When = When(),
        subsets: int = 100,
        subset_size: int = 1000,
    ) -> None:
        super().__init__(extractor, protocol, when)
        self.subsets, self.subset_size = subsets, subset_size
        metrics.KID(1, None, subsets, subset_size)  # says what is wrong with them

    @property
    def fewest(self) -> int:
        return self.subset_size

    def fitting(self, n: int) -> str:
        return f"subset_size {n}"

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.KID:
        return metrics.KID(extractor.feature_dim, real.features, self.subsets, self.subset_size)


class PRDC(Score):
    """Precision, recall, density and coverage (arXiv:1904.06991, 2002.09797): see :class:`metrics.PRDC`.

    Args:
        k: the radius of an image's neighbourhood is the distance to its k-th nearest neighbour.
    """

    kind = metrics.PRDC

    def __init__(
        self,
        extractor: Extractor | None = None,
        protocol: Protocol = Protocol(),
        when: When = When(),
        k: int = 5,
    ) -> None:
        super().__init__(extractor, protocol, when)
        self.k = k
        metrics.PRDC(1, None, k)  # says what is wrong with it

    @property
    def fewest(self) -> int:
        return self.k + 1

    def fitting(self, n: int) -> str:
        return f"k {n - 1}"

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.PRDC:
        return metrics.PRDC(extractor.feature_dim, real.features, self.k)


class MemorisationDistance(Score):
    """Distance to the nearest training image (arXiv:2106.03062): see :class:`metrics.MemorisationDistance`."""

    kind = metrics.MemorisationDistance

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.MemorisationDistance:
        return metrics.MemorisationDistance(extractor.feature_dim, real.features)


class ModeCoverage(Score):
    """Classes found among generated images, and KL to uniform: see :class:`metrics.ModeCoverage`."""

    kind = metrics.ModeCoverage

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.ModeCoverage:
        return metrics.ModeCoverage(extractor.num_classes)


class LabelAccuracy(Score):
    """Share of a conditional model's images that the classifier assigns to the class asked for."""

    kind = metrics.LabelAccuracy

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.LabelAccuracy:
        return metrics.LabelAccuracy()
