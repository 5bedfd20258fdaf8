"""The step's own cost: how many calls of Python a training step makes around its tensors."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from conftest import trained
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from gan_lightning.data import Gaussians
from gan_lightning.models import GAN
from gan_lightning.networks import MaxoutDiscriminator, MLPGenerator

STEPS = 50  # a log line by Trainer's default, so that one line is among them
CEILING = 2_350  # calls a step: it was 24,948 before seeds and parameters were found once, and is 2,226


class CallCounter(Callback):
    """Counts the calls of Python and C functions in the second STEPS batches, from one batch's start to another's."""

    def __init__(self) -> None:
        self.batches = self.calls = 0

    def count(self, frame: Any, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")

    def on_train_batch_start(self, *_: Any) -> None:
        self.batches += 1
        if self.batches == STEPS + 1:  # the first ones warm up
            sys.setprofile(self.count)
        elif self.batches == 2 * STEPS + 1:
            sys.setprofile(None)


def test_bar_25_a_step_makes_few_calls(tmp_path: Path) -> None:
    model = GAN(
        image_shape=(2, 1, 1),
        generator=partial(MLPGenerator, latent_dim=2, width=8),
        discriminator=partial(MaxoutDiscriminator, units=8, pieces=2),
    )
    counter = CallCounter()
    data = Gaussians(n=64 * (2 * STEPS + 1), batch_size=64)  # one epoch
    try:
        trained(model, 2 * STEPS + 1, data, logger=CSVLogger(tmp_path), log_every_n_steps=STEPS, callbacks=[counter])
    finally:
        sys.setprofile(None)
    assert counter.batches == 2 * STEPS + 1
    assert 100 < counter.calls / STEPS <= CEILING
