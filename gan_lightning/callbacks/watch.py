"""How large the gradients of each layer are, in W&B."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from gan_lightning.callbacks import tracking
from gan_lightning.runtime.sharding import FSDP2Strategy


class Watch(Callback):
    """Hands W&B histograms of the gradients of every parameter that moves, by `wandb.watch`.

    Args:
        every_n_turns: a parameter's histogram is of every so many backward passes.

    Raises:
        ValueError: at construction, a number below 1; in `setup`, a run that W&B does not track.
    """

    def __init__(self, every_n_turns: int = 100) -> None:
        if every_n_turns < 1:
            raise ValueError(f"Watch's every_n_turns must be at least 1, not {every_n_turns}")
        self.every_n_turns = every_n_turns

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not trainer.fast_dev_run and not tracking.wandb_loggers(trainer):
            raise ValueError("Watch hands gradients to W&B, which does not track this run: leave Watch out")
        if isinstance(trainer.strategy, FSDP2Strategy):
            raise ValueError("--trainer.strategy fsdp2: Watch is not told of the gradients of shards, leave Watch out")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            for logger in tracking.wandb_loggers(trainer):
                logger.experiment.watch(pl_module, log="gradients", log_freq=self.every_n_turns)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            for logger in tracking.wandb_loggers(trainer):
                logger.experiment.unwatch(pl_module)
