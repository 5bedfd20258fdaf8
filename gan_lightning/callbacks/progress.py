"""One progress bar for the whole training, in generator steps."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class GANProgressBar(ProgressBar):
    """Steps done, each player's loss and images per second, refreshed with every log line.

    Lightning's own bar starts anew each epoch and counts batches; a GAN is trained in generator steps, over epochs
    that may last seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._enabled and trainer.is_global_zero:
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._bar = tqdm(
                total=total,
                initial=trainer.global_step,
                unit="step",
                file=sys.stdout,
                dynamic_ncols=True,
                mininterval=0.5,
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        if self._bar is None:
            return
        self._bar.update(trainer.global_step - self._bar.n)
        if pl_module.logging:
            losses = {
                name.removesuffix("/loss"): f"{float(value):.3g}"
                for name, value in pl_module.training_log.figures().items()
                if name.endswith("/loss")
            }
            rate = trainer.callback_metrics.get("images_per_second")
            self._bar.set_postfix(
                losses | ({"images/s": f"{float(rate):.0f}"} if rate is not None else {}), refresh=False
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
