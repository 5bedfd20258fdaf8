"""When a model is scored while it trains, and where the figures go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.utilities.seed import isolate_rng

from gan_lightning.callbacks.trigger import passed
from gan_lightning.core import AdversarialModule


@dataclass(frozen=True)
class When:
    """When a score is taken while a model trains.

    Attributes:
        every_n_steps: at the first batch that reaches each multiple of so many generator steps
            (`trainer.global_step`); None for not by steps.
        every_n_epochs: after the last batch of each epoch whose number, from 1, is a multiple; None for not by epochs.
        at_end: of the final weights.

    Raises:
        ValueError: an interval below 1.
    """

    every_n_steps: int | None = None
    every_n_epochs: int | None = None
    at_end: bool = True

    def __post_init__(self) -> None:
        for name, every in (("every_n_steps", self.every_n_steps), ("every_n_epochs", self.every_n_epochs)):
            if every is not None and every < 1:
                raise ValueError(f"{name} of a score must be at least 1, not {every}; null turns it off")


class ScheduledScore(Callback):
    """Base of all scores, which are taken while a model trains, at the times that :class:`When` names.

    A score must stand before the callback that saves checkpoints by it, so that both see the same batch (Lightning
    moves its own kind of checkpoint callbacks to the end by itself).

    Args:
        when: when the score is taken.

    Attributes:
        scores: the latest value of each figure; kept in checkpoints.
        card: how they were made; scores with different cards must not be compared.
    """

    def __init__(self, when: When = When()) -> None:
        self.when = when
        self.scores: dict[str, float] = {}
        self.card: dict[str, Any] = {}
        self._step: int | None = None  # `trainer.global_step` when scores were last thought of

    def measure(self, trainer: Trainer, pl_module: AdversarialModule) -> tuple[dict[str, float], dict[str, Any]]:
        """The figures of held-out examples by name, the same on every process; what they depend on, for the card."""
        raise TypeError(f"{type(self).__name__} must define measure(trainer, pl_module)")

    def setup(self, trainer: Trainer, pl_module: AdversarialModule, stage: str) -> None:
        if stage == "fit":
            self.scores, self.card, self._step = {}, {}, None

    # When.

    def on_train_start(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if self._step is None:  # else the checkpoint says what was scored, and what an end within a score left out
            self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: AdversarialModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._due(trainer):
            self._score_together(trainer, pl_module, [c for c in self._fellows(trainer) if c._due(trainer)])
        self._step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if self._due_at_end(trainer):
            self._score_together(trainer, pl_module, [c for c in self._fellows(trainer) if c._due_at_end(trainer)])

    def on_fit_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        self.on_train_end(trainer, pl_module)  # which is left out where a finished run is resumed

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "scores": self.scores, "card": self.card}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step, self.scores, self.card = state_dict["step"], state_dict["scores"], state_dict["card"]

    def _due(self, trainer: Trainer) -> bool:
        if self.card.get("step") == trainer.global_step:  # with a fellow, or during a critic's extra batches
            return False
        every = self.when.every_n_epochs
        epoch = every is not None and trainer.is_last_batch and (trainer.current_epoch + 1) % every == 0
        return epoch or passed(self.when.every_n_steps, self._step, trainer.global_step)

    def _due_at_end(self, trainer: Trainer) -> bool:
        return self.when.at_end and self.card.get("step") != trainer.global_step

    def _fellows(self, trainer: Trainer) -> list[ScheduledScore]:
        """Those that are taken together with this one, itself too."""
        return [self]

    # What.

    def score(self, trainer: Trainer, pl_module: AdversarialModule) -> dict[str, float]:
        """Score the module as it is now, log it, and keep it in `scores` and `card`; every process must call."""
        self._score_together(trainer, pl_module, [self])
        return self.scores

    def _score_together(self, trainer: Trainer, pl_module: AdversarialModule, scores: Sequence[ScheduledScore]) -> None:
        for score in scores:
            with apart(pl_module):
                score.scores, about = score.measure(trainer, pl_module)
            of_run = {"model": type(pl_module).__name__, "step": trainer.global_step}
            data = trainer.datamodule
            held = {"data": data.name, "data_hash": data.reference("val").fingerprint[:12], "split": "val"}
            score.card = held | about | of_run | {"images_seen": pl_module.images_seen}
        log_scores(trainer, scores)


def log_scores(trainer: Trainer, scores: Sequence[ScheduledScore]) -> None:
    """Figures go to every logger; cards, which are words, into the CSV file and W&B's summary."""
    figures = {name: value for score in scores for name, value in score.scores.items()}
    cards = {f"{next(iter(score.scores))}/card": score.card for score in scores}
    for name, value in figures.items():
        trainer.callback_metrics[name] = torch.tensor(value, dtype=torch.float64)
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        words = {name: json.dumps(card) for name, card in cards.items()} if isinstance(logger, CSVLogger) else {}
        logger.log_metrics(figures | words, step=trainer.global_step)
        if isinstance(logger, WandbLogger):
            for name, card in cards.items():
                logger.experiment.summary[name] = card


@contextmanager
def apart(pl_module: AdversarialModule) -> Iterator[None]:
    """Leave no trace in the training: random states, gradients, buffers."""
    with isolate_rng(), torch.no_grad(), torch.autocast(pl_module.device.type, enabled=False):
        buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        pl_module.average_batch_statistics()  # else each process would have a generator of its own
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
