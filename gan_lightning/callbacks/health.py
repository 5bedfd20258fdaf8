"""An alarm for a generator that draws one picture only, and what a run has cost: hours, on which machine."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from gan_lightning import batches
from gan_lightning.callbacks import tracking
from gan_lightning.runtime.machine import machine

log = logging.getLogger(__name__)


class Health(Callback):
    """Warns when the fakes of a batch hardly differ from one another: in the log, in `metrics.csv` and in W&B.

    The deviation over a batch, averaged over pixels, is compared with the real batch's; `patience` log lines in a row
    below `share` of it ring the alarm, once until it has recovered.

    It logs the run's hours, and writes `machine.json` to the trainer's root: what the run's newest part is computed on.
    """

    def __init__(self, share: float = 0.02, patience: int = 3) -> None:
        self.share, self.patience = share, patience
        self._low = 0  # log lines in a row
        self._hours = 0.0  # of earlier parts of the run
        self._start = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:
            found = machine(pl_module.device.type == "cuda") | {"processes": trainer.world_size}
            root = Path(trainer.default_root_dir)
            root.mkdir(parents=True, exist_ok=True)
            (root / "machine.json").write_text(json.dumps(found))

    @property
    def hours(self) -> float:
        """Since the run began, pauses between its parts left out."""
        return self._hours + (time.monotonic() - self._start) / 3600

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: tuple, batch_idx: int
    ) -> None:
        if not pl_module.logging:
            return
        pl_module.watch("hours", self.hours)
        fake = pl_module.training_log.figures().get("generator/deviation")
        if fake is None or batches.size(batch) < 2:
            return
        low = float(fake) < self.share * float(batch[0].float().std(0).mean())
        self._low = self._low + 1 if low else 0
        if self._low == self.patience:
            text = (
                f"the generator has collapsed: at step {trainer.global_step} the fakes of a batch deviate by "
                f"{float(fake):.2g} only"
            )
            log.warning(text)
            if trainer.is_global_zero:
                tracking.alert(trainer, "collapse", text)

    def state_dict(self) -> dict[str, float]:
        return {"hours": self.hours}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._hours = state_dict["hours"]
