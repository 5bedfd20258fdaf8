"""Pictures, the alarm, and the progress bar."""

from __future__ import annotations

import itertools
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Noisy, NoisyBatches, game, plain_networks, played, sgd, tiny, translator
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from PIL import Image

from gan_lightning.callbacks import GANProgressBar, Health, SampleGrid
from gan_lightning.callbacks.sample_grid import picture, scatter
from gan_lightning.data import Digits, Gaussians
from gan_lightning.models import GAN
from gan_lightning.networks import MLPDiscriminator, MLPGenerator
from gan_lightning.noise import SampleNoise
from gan_lightning.runtime import runs


def small(image_shape: tuple[int, int, int] = (1, 8, 8)) -> GAN:
    return GAN(
        image_shape,
        generator=lambda s: MLPGenerator(s, latent_dim=4, width=8, depth=1),
        discriminator=lambda s: MLPDiscriminator(s, width=8, depth=1),
    )


def trainer(folder: Path, *callbacks: object, **options: object) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    bar = any(isinstance(callback, GANProgressBar) for callback in callbacks)
    return Trainer(
        accelerator="cpu",
        max_epochs=-1,
        default_root_dir=folder,
        enable_progress_bar=bar,
        callbacks=list(callbacks),
        **{**quiet, **options},
    )


def test_a_grid_shows_each_image_where_it_belongs() -> None:
    images = torch.linspace(-1, 1, 4).view(4, 1, 1, 1).expand(4, 1, 6, 6)
    grid = picture(images, columns=2)
    assert grid.shape == (3, 2 * 8 + 2, 2 * 8 + 2)
    corners = [float(grid[0, y, x]) for y in (5, 13) for x in (5, 13)]
    assert corners == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-6)


def test_points_become_a_scatter_plot_with_y_upwards() -> None:
    plot = scatter(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), pixels=11)
    assert plot[0, 10, 0] == 0 and plot[0, 0, 10] == 0 and plot.sum() == 11 * 11 - 2


def test_grids_are_drawn_on_time(tmp_path: Path) -> None:
    grid = SampleGrid(every_n_steps=2, rows=2)
    trainer(tmp_path, grid, max_steps=5).fit(small(), Digits(size=8, batch_size=16))
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "step-000002.png",
        "step-000004.png",
        "step-000005.png",
    ]
    assert Image.open(grid.path).size == (2 * 10 + 2, 2 * 10 + 2)
    assert grid.path.read_bytes() == (tmp_path / "samples" / "step-000005.png").read_bytes()


def drawn(folder: Path, model: LightningModule, data: LightningDataModule, kind: str = "png") -> list[bytes]:
    """The grids of 3 steps in which no player moves."""
    trainer(folder, SampleGrid(every_n_steps=1, rows=2), max_steps=3).fit(model, data)
    return [(folder / "samples" / f"step-{step:06d}.{kind}").read_bytes() for step in (1, 2, 3)]


def test_every_grid_is_of_the_same_latents(tmp_path: Path) -> None:
    """A generator that stays as it is draws the same grid each time; its images differ from one another."""
    model = tiny("GAN", plain_networks(), sgd(0.0))
    first, *others = drawn(tmp_path, model, Noisy())
    assert others == [first] * 2
    shown = np.asarray(Image.open(tmp_path / "samples.png"))
    images = [shown[y : y + 16, x : x + 16] for y in (2, 20) for x in (2, 20)]
    assert all((a != b).any() for a, b in itertools.combinations(images, 2))
    with torch.no_grad():
        again = (model.generator(model.latent(SampleNoise(0, range(4), torch.device("cpu")), 4)) + 1) / 2 * 255
    assert np.abs(np.stack(images)[..., 0] - again.squeeze(1).numpy()).max() <= 1


def test_every_text_is_of_the_same_latents(tmp_path: Path) -> None:
    still = {
        f"{name}_optimizer": partial(torch.optim.SGD, lr=0.0) for name in ("pretraining", "generator", "discriminator")
    }
    first, *others = drawn(tmp_path, game("SeqGAN", still), played("SeqGAN"), "txt")
    assert others == [first] * 2 and len(set(first.splitlines())) > 1


def test_every_translation_is_of_the_same_pictures_and_noise(tmp_path: Path) -> None:
    model = translator("Pix2Pix", sgd(0.0))
    model.columns = lambda batch: {"input": batch.source, "output": torch.rand_like(batch.source)}
    first, *others = drawn(tmp_path, model, NoisyBatches("Pix2Pix"))
    assert others == [first] * 2


def test_points_are_drawn_too(tmp_path: Path) -> None:
    grid = SampleGrid()
    trainer(tmp_path, grid, max_steps=1).fit(small((2, 1, 1)), Gaussians(n=512, batch_size=32))
    assert Image.open(grid.path).size == (256, 256)


def test_a_collapsed_generator_rings_the_alarm_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = small()
    with torch.no_grad():
        for weight in model.generator.parameters():
            weight.zero_()
    for parameter in model.generator.parameters():
        parameter.register_hook(torch.zeros_like)  # it never recovers
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, Health(patience=3), max_steps=8, log_every_n_steps=1).fit(
            model, Digits(size=8, batch_size=16)
        )
    rung = [record.message for record in caplog.records if "collapsed" in record.message]
    assert len(rung) == 1 and "at step 3" in rung[0]


def test_a_healthy_generator_rings_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, Health(), max_steps=8, log_every_n_steps=1).fit(small(), Digits(size=8, batch_size=16))
    assert not [record for record in caplog.records if "collapsed" in record.message]


def test_the_bar_counts_generator_steps_and_shows_both_losses(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = small()
    model.n_critic = 2
    trainer(tmp_path, GANProgressBar(), max_steps=4, log_every_n_steps=2).fit(model, Digits(size=8, batch_size=16))
    last = capsys.readouterr().out.split("\r")[-1]
    assert "4/4" in last
    for shown in ("discriminator=", "generator=", "images/s="):
        assert shown in last


def test_runs_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    made = {runs.new_folder(str(tmp_path), "GAN-Digits") for _ in range(3)}
    assert len(made) == 3 and all(path.is_dir() and path.parent == tmp_path / "GAN-Digits" for path in made)


@pytest.mark.parametrize(("variable", "offline"), [("", True), ("0123456789", False)])
def test_wandb_is_online_where_there_is_a_key(
    variable: str, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", variable)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert runs._logged_in() is not offline


def test_wandb_without_an_answer_goes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged in, and the server cannot be reached: no prompt, no crash, the run is kept for `wandb sync`."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    def unreachable(self: WandbLogger) -> None:
        if not self._offline:
            raise wandb.errors.CommError("no route to host")

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(WandbLogger, "experiment", property(unreachable))
    _, tracker = runs.loggers(tmp_path, "GAN-Digits", {})
    assert tracker._offline
