"""What a model makes of the same inputs over training, in the run's folder and in W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid, save_image

from gan_lightning.callbacks import tracking
from gan_lightning.callbacks.scores.base import apart
from gan_lightning.callbacks.trigger import passed
from gan_lightning.core import Columns, ImageGenerator, SequenceGenerator, TextToImage, Translator
from gan_lightning.metrics import visible
from gan_lightning.text import sentence

PICTURED = 1000  # samples that a model makes a picture of
TABLED = 32  # samples of the table at the end


def scatter(points: Tensor, pixels: int = 256) -> Tensor:
    """Points (n, 2) in [-1, 1]^2 as a picture (1, pixels, pixels), black on white."""
    column, row = ((points.clamp(-1, 1) + 1) / 2 * (pixels - 1)).round().long().unbind(1)
    picture = torch.ones(1, pixels, pixels)
    picture[0, pixels - 1 - row, column] = 0.0
    return picture


def picture(images: Tensor, columns: int) -> Tensor:
    """Images (n, c, h, w) in [-1, 1] as one picture (1, 3 or 4, height, width) in [0, 1]; points as a scatter plot."""
    images = images.float().cpu()
    if images.shape[2:] == (1, 1):
        return scatter(images.flatten(1)[:, :2])
    return make_grid(visible(images).clamp(-1, 1), nrow=columns, normalize=True, value_range=(-1, 1), padding=2)


def columns_of(data: Any, pl_module: Translator, index: list[int], split: str = "val") -> Columns:
    """What a translator makes of the samples of these numbers."""
    return pl_module.columns(brought(data, pl_module, index, split))


def brought(data: Any, pl_module: LightningModule, index: list[int], split: str) -> tuple:
    """The batch of the samples of these numbers, brought to the model as Lightning's loaders do."""
    batch = data.reference(split).__getitems__(index)
    batch = type(batch)(*(field.to(pl_module.device) for field in batch))
    return data.on_after_batch_transfer(batch, 0)


def side_by_side(columns: Columns) -> Tensor:
    """(n * columns, C, H, W), sample by sample, of columns (n, c, h, w): grown to the greatest of them, unsmoothed."""
    shapes = [image.shape[1:] for image in columns.values()]
    channels, *size = (max(sides) for sides in zip(*shapes, strict=True))
    grown = [F.interpolate(image.float().cpu(), size, mode="nearest") for image in columns.values()]
    return torch.stack([image.expand(-1, channels, -1, -1) for image in grown], 1).flatten(0, 1)


class SampleGrid(Callback):
    """Shows what the generator makes, of inputs that stay the same, while it trains; it leaves no trace in training.

    A GAN's pictures are a square grid by the generator's average, with a class in each column where it can. A
    :class:`Translator`'s grid has a row for each of the first validation samples (training samples where there are none
    for validation), and a column for each of the model's `columns`. A model that says how its validation samples look
    (`picture(batch)`) is shown so. A model of sequences (`vocabulary`) writes sentences to text files. Any other model
    shows nothing. Images of 2 channels, or more than 4, show each channel in grey, side by side. W&B and TensorBoard
    are handed each grid, and W&B a table of samples at the end.

    Args:
        every_n_steps: generator steps between two grids; a last one is drawn at the end. None: only that.
        rows: of the grid, as many columns where there are no samples to translate; of sentences three times as many.
        folder: where `step-<n>.png` and `samples.png` (or `.txt`), the newest, are written; the trainer's root by
            default.

    Raises:
        ValueError: in `setup`, a model that is shown samples without a data module of this package.
    """

    def __init__(self, every_n_steps: int | None = 500, rows: int = 8, folder: str | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, not {every_n_steps}; null turns it off")
        self.every_n_steps, self.rows, self.folder = every_n_steps, rows, folder
        self.path: Path | None = None  # of the newest grid
        self._step = 0  # `trainer.global_step` after the last batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        shown = isinstance(pl_module, Translator) or hasattr(pl_module, "picture")
        if shown and not hasattr(trainer.datamodule, "reference"):
            raise ValueError("SampleGrid needs a data module of gan_lightning, for what it shows: train without it")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # a checkpoint's step is known now
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        before, self._step = self._step, trainer.global_step
        if passed(self.every_n_steps, before, self._step):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)
        with apart(pl_module):
            if trainer.is_global_zero and tracking.wandb_loggers(trainer):
                self._tabulate(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with apart(pl_module):  # every process takes part in what puts their batch statistics together
            shown = self._shown(trainer, pl_module) if trainer.is_global_zero else None
        if shown is None:
            return
        folder = Path(self.folder or trainer.default_root_dir)
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        kind = "txt" if isinstance(shown, str) else "png"
        self.path = folder / f"samples.{kind}"
        for path in (folder / "samples" / f"step-{trainer.global_step:06d}.{kind}", self.path):
            if isinstance(shown, str):
                path.write_text(shown, encoding="utf-8")
            else:
                save_image(shown, path)
        if isinstance(shown, str):
            tracking.log_lines(trainer, "samples", shown.splitlines())
        else:
            name = type(pl_module).__name__
            caption = f"{name}, step {trainer.global_step}, {pl_module.images_seen} images"
            tracking.log_picture(trainer, "samples", shown, caption)

    def _tabulate(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand W&B a table of samples: number, class or prompt, picture; of a translator, what `columns` shows."""
        if isinstance(pl_module, Translator):
            split, index = self._first(trainer, self.rows)
            torch.manual_seed(0)
            pictures = columns_of(trainer.datamodule, pl_module, index, split)
            words = {}
        elif isinstance(pl_module, ImageGenerator) and tuple(pl_module.image_shape[1:]) != (1, 1):
            index = list(range(TABLED))
            pictures, asked = {"picture": pl_module.sample(TABLED)}, pl_module.asked_of(index)
            word = "prompt" if isinstance(pl_module, TextToImage) else "class"
            words = {} if asked is None else {word: asked}
        else:
            return
        shown = {name: [picture(image[None], 1) for image in images] for name, images in pictures.items()}
        columns = {"number": index, **words, **shown}
        tracking.log_table(trainer, "samples/table", list(columns), list(zip(*columns.values(), strict=True)))

    def _shown(self, trainer: Trainer, pl_module: LightningModule) -> Tensor | str | None:
        """A picture (1, 3 or 4, height, width) in [0, 1], or lines of text; None for nothing."""
        if isinstance(pl_module, Translator):
            split, index = self._first(trainer, self.rows)
            torch.manual_seed(0)  # of a model that draws noise in evaluation too
            columns = columns_of(trainer.datamodule, pl_module, index, split)
            return picture(side_by_side(columns), len(columns))
        if hasattr(pl_module, "picture"):
            split, index = self._first(trainer, PICTURED)
            shown = pl_module.picture(brought(trainer.datamodule, pl_module, index, split))
            return visible(shown.float().cpu()[None])[0]
        if isinstance(pl_module, SequenceGenerator):
            sentences = (sentence(row, pl_module.vocabulary) for row in pl_module.sample(3 * self.rows).tolist())
            return "".join(f"{line}\n" for line in sentences)
        return self._samples(pl_module) if isinstance(pl_module, ImageGenerator) else None

    def _samples(self, pl_module: ImageGenerator) -> Tensor:
        points = tuple(pl_module.image_shape[1:]) == (1, 1)
        classes = pl_module.num_classes or 0
        columns = classes if 1 < classes <= 2 * self.rows else self.rows  # samples are of each class in turn
        return picture(pl_module.sample(2_000 if points else self.rows * columns), columns)

    def _first(self, trainer: Trainer, most: int) -> tuple[str, list[int]]:
        """The split that is shown, and the numbers of its first samples."""
        split = "val" if len(trainer.datamodule.reference("val")) else "train"
        return split, list(range(min(most, len(trainer.datamodule.reference(split)))))
