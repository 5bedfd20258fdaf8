"""The discriminator's scores of training images against those of held-out ones (arXiv:2006.06676, equation 1)."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from conftest import (
    GANS,
    SHAPE,
    Noisy,
    NoisyBatches,
    adam,
    assert_same,
    own_networks,
    plain_networks,
    tensors,
    tiny,
    trained,
    translator,
)
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import Tensor, nn

from gan_lightning.augment import DiffAugment
from gan_lightning.callbacks import Overfitting, When
from gan_lightning.callbacks.scores import overfitting
from gan_lightning.core import ImageStep
from gan_lightning.data import ImageFolder
from gan_lightning.models import DCGAN


class Brightness(nn.Module):
    """Scores an image by its mean, and any image by 100 while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(len(image))
        return 100.0 + 0 * image.sum() if self.training else self.scale * image.mean((1, 2, 3))


class Constant(nn.Module):
    latent_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(-0.5))

    def forward(self, z: Tensor) -> Tensor:
        return self.value.expand(len(z), *SHAPE)


def bright() -> DCGAN:
    step = ImageStep(augment=DiffAugment)  # which would change the brightness
    return DCGAN(SHAPE, lambda shape: Constant(), lambda shape: Brightness(), step=step)


def test_r_v_is_the_papers_of_the_first_images(monkeypatch):
    monkeypatch.setattr(overfitting, "PART", 7)
    data, model = Noisy(), bright()
    with torch.no_grad():
        model.generator.value.fill_(0.25)  # the trained weights, and not their average
    figures, card = Overfitting(n=27).measure(model, data)  # 24, a multiple of 8
    means = {}
    for split, name in (("train", "train"), ("val", "validation")):
        image = data.reference(split).image[:24].double() / 127.5 - 1
        means[name] = float(image.mean())
    expected = means | {"generated": 0.25}
    expected["r_v"] = (means["train"] - means["validation"]) / (means["train"] - 0.25)
    assert figures == {f"overfitting/{name}": pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert model.discriminator.seen == [7, 7, 7, 3, 7, 1, 7, 7, 7, 3]  # there are 8 held-out images
    assert model.discriminator.training and model.augment is not None
    assert (card["n_train"], card["n_validation"], card["n_generated"]) == (24, 8, 24)


def test_a_discriminator_that_says_the_same_of_all_ends_no_run():
    """Dead units, or a critic clipped to a constant: the figure is for sick discriminators."""
    model = bright()
    torch.nn.init.zeros_(model.discriminator.scale)
    figures, _ = Overfitting(n=8).measure(model, Noisy())
    assert math.isnan(figures.pop("overfitting/r_v")) and set(figures.values()) == {0.0}


def test_processes_share_the_images(monkeypatch):
    """What two processes score together is what one scores."""
    monkeypatch.setattr(overfitting, "PART", 3)
    model, data = bright(), Noisy()
    alone, _ = Overfitting(n=20).measure(model, data)
    parts: list[list[Tensor]] = []
    for rank in (0, 1):
        parts.append([])
        monkeypatch.setattr(overfitting, "place", lambda rank=rank: (rank, 2))
        monkeypatch.setattr(overfitting, "gathered", lambda scores: parts[-1].append(scores) or scores)
        Overfitting(n=20).measure(model, data)
    names = "train", "validation", "generated"
    for name, *both in zip(names, *parts, strict=True):
        assert all(0 < len(part) < 20 for part in both)
        assert float(torch.cat(both).double().mean()) == pytest.approx(alone[f"overfitting/{name}"], rel=1e-6)


@pytest.mark.parametrize("name", GANS)
def test_every_gan_has_scores(name):
    model = tiny(name)
    before = {key: value.clone() for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    figures, _ = Overfitting(n=19).measure(model, Noisy())
    assert len(figures) == 4 and all(isinstance(value, float) for value in figures.values())
    for mean in ("train", "validation", "generated"):
        assert abs(figures[f"overfitting/{mean}"]) < float("inf")
    assert_same({key: model.state_dict()[key] for key in before}, before)


def test_it_leaves_no_trace_and_is_in_the_metrics(tmp_path):
    weights = []
    for callbacks in ([], [Overfitting(When(every_n_steps=2), n=8)]):
        model = tiny("DCGAN", own_networks("DCGAN"), adam(), step=ImageStep(augment=DiffAugment))
        logger = CSVLogger(tmp_path, name="", version=str(len(callbacks)))
        trained(model, 5, callbacks=callbacks, logger=logger)
        weights.append(tensors(model))
    assert_same(*weights)
    rows = list(csv.DictReader((tmp_path / "1" / "metrics.csv").open()))
    taken = [(int(row["step"]), float(row["overfitting/r_v"])) for row in rows if row.get("overfitting/r_v")]
    assert [step for step, _ in taken] == [2, 4, 5]


def test_what_cannot_be_scored_is_a_clear_error(monkeypatch):
    with pytest.raises(ValueError, match="n must be at least 1"):
        Overfitting(n=0)
    with pytest.raises(ValueError, match="needs a discriminator of images"):
        Overfitting().measure(translator("Pix2Pix"), NoisyBatches("Pix2Pix"))
    data = Noisy()
    empty = data.reference("val").__class__(data.reference("val").image[:0], data.reference("val").label[:0])
    monkeypatch.setitem(data._sets, "val", empty)
    with pytest.raises(ValueError, match="needs validation images"):
        Overfitting().measure(tiny("DCGAN", plain_networks()), data)


def test_a_folder_trains_on_as_many_images_as_are_asked_for(tmp_path: Path):
    for number in range(40):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")

    def folder(n_train: int | None) -> ImageFolder:
        return ImageFolder(str(tmp_path), 8, val_fraction=0.2, n_train=n_train, batch_size=2)

    every, few, fewer = (folder(n) for n in (None, 10, 4))
    names = [[path.name for path in one.training_set().paths] for one in (every, few, fewer)]
    assert [len(one) for one in names] == [len(every.reference("train")), 10, 4]
    assert set(names[2]) < set(names[1]) < set(names[0])
    assert names[0] == [path.name for path in few.reference("train").paths]  # scores compare with all
    assert few.reference("val").paths == every.reference("val").paths
    with pytest.raises(ValueError, match="fewer than n_train 100"):
        folder(100).setup("fit")
    with pytest.raises(ValueError, match="at least 1, or null"):
        folder(0)
