"""What trackers are handed beside figures: pictures, films, words, tables and the model.

W&B takes all of them, TensorBoard pictures and words. Another logger takes figures alone and is left out. Each function
is called by the first process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from gan_lightning.runtime.checkpoint_io import link


def wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def _tensorboards(trainer: Trainer) -> Iterator[Any]:
    """The SummaryWriter of each of TensorBoard's loggers."""
    return (logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))


def _bytes(picture: Tensor) -> Image:
    """A picture as Pillow's, since versions of W&B take the numbers of a tensor in different ways."""
    return to_pil_image((255 * picture + 0.5).clamp(0, 255).to(torch.uint8))  # as `save_image` rounds


def log_picture(trainer: Trainer, name: str, picture: Tensor, caption: str) -> None:
    """A picture (1, 3 or 4, height, width) in [0, 1]; TensorBoard shows it without the caption."""
    for logger in wandb_loggers(trainer):
        logger.log_image(name, [_bytes(picture)], trainer.global_step, caption=[caption])
    for writer in _tensorboards(trainer):
        writer.add_image(name, picture, trainer.global_step)


def log_film(trainer: Trainer, name: str, film: Path, caption: str) -> None:
    """A GIF file."""
    for logger in wandb_loggers(trainer):
        logger.log_video(name, [str(film)], trainer.global_step, caption=[caption], format=["gif"])


def log_lines(trainer: Trainer, name: str, lines: Sequence[str]) -> None:
    """Lines of text, such as sentences."""
    for logger in wandb_loggers(trainer):
        logger.log_text(name, ["sentence"], [[line] for line in lines], step=trainer.global_step)
    for writer in _tensorboards(trainer):
        writer.add_text(name, "\n\n".join(lines), trainer.global_step)


def log_table(trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table of values; a tensor (1, 3 or 4, height, width) in [0, 1] is shown as a picture."""
    for logger in wandb_loggers(trainer):
        import wandb  # which makes temporary folders: where it is not used, a kill would leave them behind

        shown = [[wandb.Image(_bytes(cell)) if isinstance(cell, Tensor) else cell for cell in row] for row in rows]
        logger.log_table(name, list(columns), shown, step=trainer.global_step)


def log_cards(trainer: Trainer, cards: Mapping[str, dict[str, Any]]) -> None:
    """How scores were made, by name: for W&B's summary, and as JSON for TensorBoard."""
    for logger in wandb_loggers(trainer):
        for name, card in cards.items():
            logger.experiment.summary[name] = card
    for writer in _tensorboards(trainer):
        for name, card in cards.items():
            writer.add_text(name, json.dumps(card), trainer.global_step)


def alert(trainer: Trainer, title: str, text: str) -> None:
    """An alarm: W&B sends it as its user has asked for, `metrics.csv` has it in the column `health`."""
    for logger in wandb_loggers(trainer):
        logger.experiment.alert(title=title, text=text)
    for writer in _tensorboards(trainer):
        writer.add_text("health", text, trainer.global_step)
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.log_metrics({"health": text}, step=trainer.global_step)


def log_model(trainer: Trainer, checkpoint: Path, aliases: Sequence[str], about: Mapping[str, Any]) -> None:
    """A checkpoint as W&B's artifact `model-<id of the run>`, type "model", whose file is `model.ckpt`.

    The file is kept beside the run's record by a hard link, so that `wandb sync` of an offline run finds it as it was.

    Args:
        trainer: whose loggers are handed it.
        checkpoint: the file.
        aliases: such as "best".
        about: plain values that the artifact's page shows.
    """
    for logger in wandb_loggers(trainer):
        import wandb

        run = logger.experiment
        if getattr(run, "disabled", False):  # it could not begin
            continue
        kept = Path(run.dir).absolute().with_name("model.ckpt")  # `wandb sync` may be called from elsewhere
        link(checkpoint, kept)
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"model-{run.id}")  # W&B takes no other letters
        artifact = wandb.Artifact(name, "model", metadata=dict(about))
        artifact.add_file(str(kept), policy="immutable", skip_cache=True)  # no copies of a large file
        run.log_artifact(artifact, aliases=list(aliases))
