"""Scores of a translator while it trains: how close to what is wanted, and how like the other domain."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from gan_lightning import metrics
from gan_lightning.callbacks.sample_grid import columns_of
from gan_lightning.callbacks.scheduled import ScheduledScore, When, apart, log_scores
from gan_lightning.callbacks.scores import Score
from gan_lightning.core.translator import Translator
from gan_lightning.metrics import Extractor, Features, PairScores, Reference
from gan_lightning.metrics.extractor import full_float32
from gan_lightning.scoring import Ask, Protocol, check_ask, extractor_named, from_first, keeper, place, together


class TranslationScores(Score):
    """Compares a :class:`Translator`'s images of the validation set, whose first `n` samples it translates.

    For each of the model's `pairs`, `<pair>/l1`, `<pair>/psnr`, `<pair>/ssim` and `<pair>/features-<extractor>` (see
    :class:`metrics.PairScores`; without `<pair>/` for the pair ""); for each of its `domains`, the Fréchet distance
    `fid/<domain>-<extractor>` of the images made to the real ones, both of the validation set. Without an extractor
    there are `l1`, `psnr` and `ssim` alone.

    Logged as by every :class:`Score`, and like one it stands before the callback that saves checkpoints by it, and
    leaves no trace in the training. Batches are the same ones however many processes share them, and each begins with
    a random state of its own: a model that draws noise in evaluation draws the same at every step and on any number of
    processes.

    Args:
        extractor: makes the features; "data" for the one that the data names, or none where its weights cannot be had;
            None for none.
        n: samples; None for the whole validation set.
        batch_size: of samples looked at at once; it moves figures by rounding errors only, but of a model that draws
            noise or, as StarGAN does, takes what it asks for from the rest of the batch.
        when: when the scores are taken.

    Raises:
        ValueError: at construction, numbers that make no score; in `setup`, another model than a translator, data
            without a module of this package, no or fewer than `n` validation samples, fewer than 2 for a Fréchet
            distance, or a second callback of this kind; in training, images that are not finite.
    """

    kind = metrics.FID  # of the domains

    def __init__(
        self,
        extractor: Extractor | Literal["data"] | None = "data",
        n: int | None = None,
        batch_size: int = 16,
        when: When = When(),
    ) -> None:
        own = extractor if isinstance(extractor, Extractor) else None
        protocol = Protocol(split="val", batch_size=batch_size)
        super().__init__(own, protocol, when)
        if isinstance(extractor, str) and extractor != "data":
            raise ValueError(
                f'an extractor, "data" for the one that the data names, or null for none: not {extractor!r}'
            )
        if n is not None and n < 1:
            raise ValueError(f"TranslationScores needs at least 1 sample, not n={n}; null takes all")
        self.n, self.named = n, extractor == "data"

    def setup(self, trainer: Trainer, pl_module: Translator, stage: str) -> None:
        if stage != "fit":
            return
        data, model = trainer.datamodule, type(pl_module).__name__
        if not isinstance(pl_module, Translator):
            raise ValueError(f"TranslationScores scores translators, and {model} is none: leave it out")
        if not hasattr(data, "reference"):
            raise ValueError("TranslationScores needs a data module of gan_lightning: train without it")
        if any(isinstance(c, TranslationScores) and c is not self for c in trainer.callbacks):
            raise ValueError("two TranslationScores would log figures of the same names: leave one out")
        if self.named:
            self.extractor = self._named_by_data(trainer)
        self.count = self._count(trainer)
        if pl_module.domains and self.extractor is not None:
            if self.count < 2:
                raise ValueError(f"a Fréchet distance needs at least 2 validation samples of {data.name}, not 1")
            ask = Ask(self.kind, self.metric, Protocol(n_fake=self.count))
            check_ask(ask, self.extractor, range(self.count), range(self.count), data.name)
        if not self._compares(pl_module):
            rank_zero_warn(f"there is nothing that TranslationScores can say of {model} without an extractor")
        ScheduledScore.setup(self, trainer, pl_module, stage)

    @property
    def state_key(self) -> str:
        return self._generate_state_key(extractor=self.given and self.given.name, named=self.named, n=self.n)

    def metric(self, extractor: Extractor, real: Reference | None) -> metrics.FID:
        return metrics.FID(extractor.feature_dim)

    def _named_by_data(self, trainer: Trainer) -> Extractor | None:
        """The extractor that the data names; None where any process lacks its weights."""
        name, found, why = trainer.datamodule.extractor, None, "another process lacks them"
        try:
            found = extractor_named(name)
        except FileNotFoundError as error:
            why = str(error)
        if trainer.strategy.reduce_boolean_decision(found is not None, all=True):
            return found
        rank_zero_warn(f"TranslationScores leaves features out: the weights of {name} cannot be had ({why})")
        return None

    def _count(self, trainer: Trainer) -> int:
        """How many samples are translated.

        Raises:
            ValueError: there are not so many.
        """
        held, name = len(trainer.datamodule.reference(self.protocol.split)), trainer.datamodule.name
        if held < (self.n or 1):
            raise ValueError(f"TranslationScores asks for {self.n or 'some'} validation samples, {name} has {held}")
        return self.n or held

    def _compares(self, pl_module: Translator) -> bool:
        return bool(pl_module.pairs or (pl_module.domains and self.extractor is not None))

    def _fellows(self, trainer: Trainer) -> list[Score]:
        return [self]

    def _score_together(self, trainer: Trainer, pl_module: Translator, scores: list[Score]) -> None:
        if not self._compares(pl_module):
            return
        if self.extractor is not None:
            self.extractor.to(pl_module.device)
        with apart(pl_module), full_float32():
            self.scores = self._measured(trainer, pl_module)
        about = {} if self.extractor is None else {"hash": self.extractor.hash[:12], "resizer": self.extractor.resizer}
        self.card = {
            "data": trainer.datamodule.name,
            "split": self.protocol.split,
            "n": self.count,
            "batch_size": self.protocol.batch_size,
            "extractor": "none" if self.extractor is None else self.extractor.name,
            **about,
            "model": type(pl_module).__name__,
            "step": trainer.global_step,
            "images_seen": pl_module.images_seen,
        }
        log_scores(trainer, [self])

    def _measured(self, trainer: Trainer, pl_module: Translator) -> dict[str, float]:
        """The figures by name, the same on every process."""
        kept = keeper(pl_module.device)
        pairs = {name: PairScores().to(kept) for name in pl_module.pairs}
        domains = {} if self.extractor is None else dict.fromkeys(pl_module.domains)
        domains = {name: self.metric(self.extractor, None).to(kept) for name in domains}
        batches = torch.arange(self.count).split(self.protocol.batch_size)
        rank, world = place()
        for first in range(0, len(batches), world):
            with together():
                if first + rank < len(batches):
                    self._show(trainer, pl_module, batches[first + rank].tolist(), pairs, domains)
        figures: dict[str, Tensor] = {}
        suffix = "" if self.extractor is None else f"-{self.extractor.name}"
        for pair, metric in pairs.items():
            for figure, value in metric.compute().items():
                name = f"{pair}/{figure}" if pair else figure
                figures[name + suffix if figure == "features" else name] = value
        for domain, metric in domains.items():
            figures[(f"fid/{domain}" if domain else "fid") + suffix] = metric.compute()
        return from_first({name: float(value) for name, value in figures.items()})

    def _show(
        self,
        trainer: Trainer,
        pl_module: Translator,
        index: list[int],
        pairs: dict[str, PairScores],
        domains: dict[str, metrics.FID],
    ) -> None:
        """One batch: what the model makes of the samples of these numbers, to all metrics."""
        torch.manual_seed(index[0])
        columns = columns_of(trainer, pl_module, index, self.protocol.split)
        seen: dict[str, Features] = {}

        def look(column: str) -> Features:
            if column not in seen:
                seen[column] = self.extractor(columns[column])
            return seen[column]

        for pair, metric in pairs.items():
            both = pl_module.pairs[pair]
            features = None if self.extractor is None else tuple(look(column).pooled for column in both)
            metric.update(*(columns[column] for column in both), features)
        for domain, metric in domains.items():
            for column, real in zip(pl_module.domains[domain], (False, True), strict=True):
                metric.update(look(column), real)
