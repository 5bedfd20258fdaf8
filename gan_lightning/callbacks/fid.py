"""Scores a generator while it trains: the Fréchet distance of its images to the training set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from gan_lightning.callbacks.trigger import passed
from gan_lightning.core import TwoPlayerGAN
from gan_lightning.metrics import DigitFeatures, FrechetDistance, Gaussian


class FID(Callback):
    """Fréchet distance (Heusel et al. 2017, arXiv:1706.08500) of generated images to the training split, over features.

    Logged as `FID-<extractor's name>`, to the loggers and to `trainer.callback_metrics`, the same value on every
    process. It must stand before the callback that saves checkpoints by that score, so that both see the same batch
    (Lightning moves its own kind of checkpoint callbacks to the end by itself).

    Exactly `n_real` and `n_fake` images count, on any number of processes: batches are the same ones however many
    processes share them, nothing is padded, and fake i depends on `seed` and i alone. Features are float32 with
    autocast off, statistics float64. A run with this callback trains bit for bit as one without it.

    Args:
        extractor: images (B, C, H, W), uint8 or float in [-1, 1], to features (B, feature_dim); with the attributes
            `name`, `feature_dim`, `hash` and `resizer`. It belongs to the callback: no checkpoint holds it. By default
            :class:`DigitFeatures`, which knows nothing but digits.
        n_fake: generated images.
        n_real: training images, drawn without replacement; None for all of them.
        every_n_steps: score when `trainer.global_step` passes a multiple of it; None for not while training.
        at_end: score the final weights.
        ema: score the average of the generator's weights, not the live ones.
        batch_size: of images scored at once; it moves the value by rounding errors only.
        seed: of the latents, and of the choice of real images.

    Attributes:
        scores: the latest value of each score.
        cards: for each score, how it was made; scores with different cards must not be compared.

    Raises:
        ValueError: at construction, numbers that make no score; in `setup`, a run without a data module, data that is
            not images, or fewer real images than asked for; in training, images or features that are not finite.
    """

    def __init__(
        self,
        extractor: nn.Module | None = None,
        n_fake: int = 2_000,
        n_real: int | None = None,
        every_n_steps: int | None = None,
        at_end: bool = True,
        ema: bool = True,
        batch_size: int = 250,
        seed: int = 0,
    ) -> None:
        if n_fake < 2 or (n_real is not None and n_real < 2):
            raise ValueError(f"FID needs at least 2 images of each kind, not n_real={n_real} and n_fake={n_fake}")
        if batch_size < 1 or (every_n_steps is not None and every_n_steps < 1):
            raise ValueError(
                f"FID's batch_size ({batch_size}) and every_n_steps ({every_n_steps}) must be positive; "
                "leave every_n_steps out to score at the end only"
            )
        self.extractor = (DigitFeatures() if extractor is None else extractor).eval().requires_grad_(False)
        self.n_fake, self.n_real = n_fake, n_real
        self.every_n_steps, self.at_end = every_n_steps, at_end
        self.ema, self.batch_size, self.seed = ema, batch_size, seed
        self.scores: dict[str, float] = {}
        self.cards: dict[str, dict[str, Any]] = {}
        self._real: Gaussian | None = None  # of this run's training split
        self._step = 0  # `trainer.global_step` after the last batch

    @property
    def key(self) -> str:
        """The name that the score is logged under."""
        return f"FID-{self.extractor.name}"

    def setup(self, trainer: Trainer, pl_module: TwoPlayerGAN, stage: str) -> None:
        if stage != "fit":
            return
        data = trainer.datamodule
        if data is None:
            raise ValueError(f"{self.key} takes its real images from a data module: train with one, or without FID")
        if tuple(data.image_shape[1:]) == (1, 1):
            raise ValueError(f"{self.key} scores images, and {data.name} has points: train without FID")
        held = len(data.reference("train"))
        if held < (self.n_real or 2):
            raise ValueError(f"{self.key} asks for n_real={self.n_real or 2}, {data.name} trains on {held} images")
        fewest = min(self.n_fake, self.n_real or held)
        if fewest <= self.extractor.feature_dim:
            rank_zero_warn(
                f"{self.key} of {fewest} images: with no more images than features ({self.extractor.feature_dim}) the "
                "covariance lacks full rank, which dominates the score; compare it with scores of as many images only"
            )
        self._real = None
        self.scores, self.cards = {}, {}

    def on_train_start(self, trainer: Trainer, pl_module: TwoPlayerGAN) -> None:
        self._step = trainer.global_step  # a resumed run does not repeat the score that its checkpoint has

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: TwoPlayerGAN, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._step = self._step, trainer.global_step
        if passed(self.every_n_steps, before, self._step):
            self.score(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: TwoPlayerGAN) -> None:
        if self.at_end and self.cards.get(self.key, {}).get("step") != trainer.global_step:
            self.score(trainer, pl_module)

    def score(self, trainer: Trainer, pl_module: TwoPlayerGAN) -> float:
        """Score the module as it is now, log it, and keep it in `scores` and `cards`; every process must call."""
        # Metal has no float64: there the sums are the processor's.
        keeper = torch.device("cpu") if pl_module.device.type == "mps" else pl_module.device
        distance = FrechetDistance(self.extractor.feature_dim, self._real).to(keeper)
        with self._apart(pl_module):
            if self._real is None:
                for images in self._real_images(trainer):
                    distance.update(self.extractor(images.to(pl_module.device)), real=True)
                self._real = distance.statistics(real=True)
            for first, n in self._shares(self.n_fake, trainer):
                images = pl_module.sample(n, seed=self.seed, first=first, live=not self.ema)
                distance.update(self.extractor(images), real=False)
            value = trainer.strategy.broadcast(distance.compute().item())
        self.scores[self.key] = value
        self.cards[self.key] = self._card(trainer, pl_module)
        trainer.callback_metrics[self.key] = torch.tensor(value, dtype=torch.float64)
        for logger in trainer.loggers:
            logger.log_metrics({self.key: value}, step=trainer.global_step)
        return value

    def _card(self, trainer: Trainer, pl_module: TwoPlayerGAN) -> dict[str, Any]:
        return {
            "data": trainer.datamodule.name,
            "split": "train",
            "n_real": self._real.n,
            "n_fake": self.n_fake,
            "extractor": self.extractor.name,
            "hash": self.extractor.hash[:8],
            "resizer": self.extractor.resizer,
            "weights": "ema" if self.ema else "live",
            "precision": "float32",
            "seed": self.seed,
            "step": trainer.global_step,
            "images_seen": pl_module.images_seen,
        }

    @contextmanager
    def _apart(self, pl_module: TwoPlayerGAN) -> Iterator[None]:
        """Leave no trace in the training: random states, gradients, buffers."""
        self.extractor.to(pl_module.device)
        with isolate_rng(), torch.no_grad(), torch.autocast(pl_module.device.type, enabled=False):
            buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
            pl_module.average_batch_statistics()  # else each process would have a generator of its own
            try:
                yield
            finally:
                for buffer, before in buffers:
                    buffer.copy_(before)

    def _real_images(self, trainer: Trainer) -> Iterator[Tensor]:
        """This process's batches of the real images, uint8."""
        data = trainer.datamodule.reference("train")
        rows = torch.arange(len(data))
        if self.n_real is not None:  # not the first ones: a set may be sorted by class
            rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))[: self.n_real]
        for first, n in self._shares(len(rows), trainer):
            yield data.__getitems__(rows[first : first + n].tolist()).image

    def _shares(self, n: int, trainer: Trainer) -> Iterator[tuple[int, int]]:
        """(first, count) of this process's batches among n images: every world_size-th of those that one would do."""
        for first in range(trainer.global_rank * self.batch_size, n, trainer.world_size * self.batch_size):
            yield first, min(self.batch_size, n - first)
