"""When a model is scored while it trains, and where the figures go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.seed import isolate_rng

from gan_lightning.callbacks import tracking
from gan_lightning.callbacks.trigger import passed
from gan_lightning.core import AdversarialModule
from gan_lightning.runtime.sharding import Whole
from gan_lightning.scoring import subject

Measured = tuple[dict[str, float], dict[str, Any]]  # the figures by name, and their card


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
    """Base of all scores. It measures a model on data; while a model trains, at the times that :class:`When` names.

    A subclass defines :meth:`compute`, and extends :meth:`check` by what it cannot score.

    A score stands before the callback that saves checkpoints by it, so that both see the same batch (Lightning moves
    its own checkpoint callbacks, and :class:`Checkpoint`, to the end).

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
        self._step: int | None = None  # `trainer.global_step` at the last look at whether a score is due

    # What is measured.

    def measure(self, module: AdversarialModule, data: LightningDataModule) -> Measured:
        """The figures of a model on data. The model stays as it is, and needs no Trainer; every process must call.

        Args:
            module: the model.
            data: a data module of this package.

        Returns:
            the figures by name, the same on every process; and their card, without the fields that say what was scored
            (:func:`scoring.subject`).

        Raises:
            ValueError: see :meth:`check`; or the model makes what cannot be scored, such as NaN.
        """
        self.check(module, data)
        with apart(module):
            return self.compute_together([self], module, data)[0]

    def check(self, module: AdversarialModule, data: Any) -> None:
        """Refuse a model or data that this score cannot measure, before anything is computed.

        Raises:
            ValueError: `data` is no data module of this package; subclasses add their own reasons.
        """
        name = type(self).__name__
        if not hasattr(data, "reference"):
            raise ValueError(f"{name} needs a data module of gan_lightning: leave {name} out")

    def compute(self, module: AdversarialModule, data: LightningDataModule) -> Measured:
        """What :meth:`measure` returns, of a model and data that have been checked."""
        raise TypeError(f"{type(self).__name__} must define compute(module, data)")

    def compute_together(
        self, scores: Sequence[Any], module: AdversarialModule, data: LightningDataModule, progress: bool = False
    ) -> list[Measured]:
        """What :meth:`compute` returns, of each of the scores that :meth:`sharing` named; `progress` shows a bar."""
        return [score.compute(module, data) for score in scores]

    def sharing(self, trainer: Trainer) -> list[Any]:
        """The scores of a run that are computed together with this one where they are due; itself too."""
        return [self]

    @property
    def title(self) -> str:
        """What its figures are called; a run has one score of a title."""
        return type(self).__name__

    # When.

    def setup(self, trainer: Trainer, pl_module: AdversarialModule, stage: str) -> None:
        """Refuse before training what cannot be scored.

        Raises:
            ValueError: see :meth:`check`; or an earlier score of the run has the same figures.
        """
        if stage != "fit":
            return
        self.check(pl_module, trainer.datamodule)
        if any(other.title == self.title for other in self._earlier(trainer)):
            raise ValueError(
                f"two scores would be called {self.title}, and figures of different protocols do not belong in one "
                "column: leave one out"
            )
        self.scores, self.card, self._step = {}, {}, None

    def _earlier(self, trainer: Trainer) -> list[ScheduledScore]:
        """The scores of the run that have been set up before this one."""
        everyone = [callback for callback in trainer.callbacks if isinstance(callback, ScheduledScore)]
        return everyone[: everyone.index(self)]

    def on_train_start(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if self._step is None:  # else the checkpoint says what was scored, and what an end within a score left out
            self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: AdversarialModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._due(trainer):
            self._score(trainer, pl_module, [score for score in self.sharing(trainer) if score._due(trainer)])
        self._step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if self._due_at_end(trainer):
            self._score(trainer, pl_module, [score for score in self.sharing(trainer) if score._due_at_end(trainer)])

    def on_fit_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        """Of a finished run that goes on: Lightning leaves out `on_train_end`, and has moved the model to the CPU."""
        if self._due_at_end(trainer):
            before = pl_module.device  # sharded models are left where they are
            pl_module.to(trainer.strategy.root_device)
            try:
                self.on_train_end(trainer, pl_module)
            finally:
                pl_module.to(before)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "scores": self.scores, "card": self.card}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step, self.scores, self.card = state_dict["step"], state_dict["scores"], state_dict["card"]

    def _due(self, trainer: Trainer) -> bool:
        if self.card.get("step") == trainer.global_step:  # taken with another one, or during a critic's extra batches
            return False
        every = self.when.every_n_epochs
        epoch = every is not None and trainer.is_last_batch and (trainer.current_epoch + 1) % every == 0
        return epoch or passed(self.when.every_n_steps, self._step, trainer.global_step)

    def _due_at_end(self, trainer: Trainer) -> bool:
        return self.when.at_end and self.card.get("step") != trainer.global_step

    def _score(self, trainer: Trainer, pl_module: AdversarialModule, scores: Sequence[ScheduledScore]) -> None:
        progress = trainer.is_global_zero and trainer.progress_bar_callback is not None
        with apart(pl_module):
            found = self.compute_together(scores, pl_module, trainer.datamodule, progress)
        for score, (figures, card) in zip(scores, found, strict=True):
            score.scores, score.card = figures, card | subject(pl_module, trainer.global_step)
        log_scores(trainer, scores)


def held_out(data: Any) -> dict[str, Any]:
    """The card's fields on the data, for a score of the validation set."""
    return {"data": data.name, "data_hash": data.reference("val").fingerprint[:12], "split": "val"}


def log_scores(trainer: Trainer, scores: Sequence[ScheduledScore]) -> None:
    """Hand figures to every logger; cards, which are words, to the CSV file and to trackers that take words.

    The card of `IS-digits` and `IS-digits/std` is `IS-digits/card`.
    """
    figures = {name: value for score in scores for name, value in score.scores.items()}
    cards = {f"{name.partition('/')[0]}/card": score.card for score in scores for name in score.scores}
    for name, value in figures.items():
        trainer.callback_metrics[name] = torch.tensor(value, dtype=torch.float64)
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        words = {name: json.dumps(card) for name, card in cards.items()} if isinstance(logger, CSVLogger) else {}
        logger.log_metrics(figures | words, step=trainer.global_step)
    tracking.log_cards(trainer, cards)


@contextmanager
def apart(pl_module: AdversarialModule) -> Iterator[None]:
    """Within it a model can be used without a trace in its training: random states, gradients, buffers."""
    with isolate_rng(), torch.no_grad(), torch.autocast(pl_module.device.type, enabled=False):
        buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        pl_module.average_batch_statistics()  # else each process would have a generator of its own
        try:
            with Whole([pl_module]):
                yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
