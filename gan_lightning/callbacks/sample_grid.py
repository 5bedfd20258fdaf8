"""The same latents' images over training, as pictures in the run's folder and in W&B."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from gan_lightning.callbacks.trigger import passed


def scatter(points: Tensor, pixels: int = 256) -> Tensor:
    """Points (n, 2) in [-1, 1]^2 as a picture (1, pixels, pixels), black on white."""
    column, row = ((points.clamp(-1, 1) + 1) / 2 * (pixels - 1)).round().long().unbind(1)
    picture = torch.ones(1, pixels, pixels)
    picture[0, pixels - 1 - row, column] = 0.0
    return picture


def picture(images: Tensor, columns: int) -> Tensor:
    """Images (n, c, h, w) in [-1, 1] as one picture (3 or 1, height, width) in [0, 1]; points as a scatter plot."""
    images = images.float().cpu()
    if images.shape[2:] == (1, 1):
        return scatter(images.flatten(1)[:, :2])
    return make_grid(images.clamp(-1, 1), nrow=columns, normalize=True, value_range=(-1, 1), padding=2)


class SampleGrid(Callback):
    """Draws a square grid of the generator's average, with latents that stay the same; a class a column where it can.

    Args:
        every_n_steps: generator steps between two grids; a last one is drawn at the end. None: only that.
        rows: of the grid, as many columns.
        folder: where `step-<n>.png` and `samples.png`, the newest, are written; the trainer's root by default.
    """

    def __init__(self, every_n_steps: int | None = 500, rows: int = 8, folder: str | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, not {every_n_steps}; null turns it off")
        self.every_n_steps, self.rows, self.folder = every_n_steps, rows, folder
        self.path: Path | None = None  # of the newest grid
        self._step = 0  # `trainer.global_step` after the last batch

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        before, self._step = self._step, trainer.global_step
        if passed(self.every_n_steps, before, self._step):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        points = tuple(pl_module.image_shape[1:]) == (1, 1)
        classes = getattr(pl_module, "num_classes", None) or 0
        columns = classes if 1 < classes <= 2 * self.rows else self.rows  # samples are of each class in turn
        image = picture(pl_module.sample(2_000 if points else self.rows * columns), columns)
        folder = Path(self.folder or trainer.default_root_dir)
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        save_image(image, folder / "samples" / f"step-{trainer.global_step:06d}.png")
        self.path = folder / "samples.png"
        save_image(image, self.path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("samples", [image], step=None)
