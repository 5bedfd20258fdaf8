"""Every model that turns an image into another keeps one contract; each paper's pitfalls are in `papers/`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from conftest import (
    SHAPE,
    TRANSLATORS,
    WITH_BATCH_NORM,
    NoisyBatches,
    assert_same,
    gap,
    sgd,
    tensors,
    trained,
    translator,
)
from lightning.pytorch import Trainer
from torch import Tensor

from gan_lightning import models, networks
from gan_lightning.batches import Paired, Unpaired
from gan_lightning.core import Step
from gan_lightning.core.image_pools import HistoryBuffer, ImagePool
from gan_lightning.core.translator import Translator
from gan_lightning.data.base import to_unit
from gan_lightning.loading import load_model

every_translator = pytest.mark.parametrize("name", TRANSLATORS)
STAGES = 8  # generator steps that go through every stage of every model


def after(name: str, steps: int, model: Translator | None = None, **options: Any) -> Trainer:
    options = {"log_every_n_steps": 1} | options
    return trained(model or translator(name), steps, NoisyBatches(name), **options)


def validation(name: str) -> tuple:
    batch = NoisyBatches(name).reference("val").__getitems__(list(range(4)))
    return type(batch)(*(to_unit(field) if field.dtype == torch.uint8 else field for field in batch))


@every_translator
def test_contract(name, tmp_path):
    """What was logged, what comes out, and that a checkpoint gives it all back."""
    model = translator(name)
    before = {player: tensors(spec.network) for player, spec in model.players().items()}
    trainer = after(name, STAGES, model)
    assert trainer.global_step == STAGES
    for player, spec in model.players().items():
        assert gap(tensors(spec.network), before[player]) > 0, player

    figures = {figure: float(value) for figure, value in trainer.callback_metrics.items()}
    expected = {f"{player}/{figure}" for player in model.players() for figure in ("loss", "gradient_norm")}
    assert figures.keys() >= expected | {"images_per_second", "images_seen"}
    assert all(math.isfinite(value) for value in figures.values())

    batch = validation(name)
    columns = model.columns(batch)
    compared = {column for two in (*model.pairs.values(), *model.domains.values()) for column in two}
    assert compared and compared <= columns.keys()
    for image in columns.values():
        assert image.shape == (4, *SHAPE) and image.dtype == torch.float32
        assert image.isfinite().all() and image.abs().max() <= 1
    assert model.training  # as it was

    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt")  # from the file alone
    assert type(loaded) is type(model)
    assert_same(tensors(loaded), tensors(model))
    assert_same(loaded.columns(batch), columns)


@pytest.mark.parametrize("name", [name for name in TRANSLATORS if name not in WITH_BATCH_NORM])
def test_micro_batches_equal_the_whole_batch(name):
    still = {"generator": partial(networks.UNetGenerator, width=4, dropout=0.0)} if name == "Pix2Pix" else {}
    runs = []
    for count in (1, 2):
        model = translator(name, still, sgd(1e-3), step=Step(micro_batches=count))
        # In float32 the sign of an L1 loss's gradient, at differences near zero, would be the rounding's.
        after(name, STAGES, model, precision="64-true")
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-9


@every_translator
def test_looking_leaves_no_trace(name):
    model = translator(name)
    after(name, 2, model)
    before, random = tensors(model), torch.random.get_rng_state()
    model.columns(validation(name))
    assert_same(tensors(model), before)
    assert torch.equal(torch.random.get_rng_state(), random)


@every_translator
def test_a_picture_does_not_depend_on_its_neighbours(name):
    """Nor on how often it is translated: the same file gives the same picture everywhere."""
    model = translator(name)
    after(name, 2, model)
    source = validation(name)[0]
    if name == "StarGAN":
        together, alone = model.translate(source, {"Left": True}), model.translate(source[2:3], {"Left": True})
    else:
        together, alone = model.translate(source), model.translate(source[2:3])
    torch.testing.assert_close(together[2:3], alone)
    assert together.shape[2:] == tuple(model.scale * side for side in source.shape[2:])


@pytest.mark.parametrize("name", [name for name in TRANSLATORS if getattr(models, name).directions])
def test_an_unknown_direction_is_a_line(name):
    model = translator(name)
    with pytest.raises(ValueError, match=f"direction 'BtoC': {name} knows AtoB and BtoA"):
        model.translate(validation(name)[0], "BtoC")


@pytest.mark.parametrize("name", [name for name in TRANSLATORS if name not in ("ContextEncoder", "FaceSwap")])
def test_other_sizes(name):
    """What calls itself of any size takes every multiple of `multiple`."""
    model = translator(name)
    assert model.any_size
    source = torch.rand(1, 1, 2 * model.multiple, 3 * model.multiple) * 2 - 1
    if max(source.shape) < 16:
        source = source.repeat(1, 1, 8, 8)
    made = model.translate(source, {}) if name == "StarGAN" else model.translate(source)
    assert made.shape[2:] == tuple(model.scale * side for side in source.shape[2:])


# Pools of earlier fakes


def numbered(n: int, first: int = 0) -> Tensor:
    return torch.arange(first, first + n).float()[:, None, None, None].expand(n, 1, 2, 2)


def test_image_pool_is_the_papers():
    """Against the rule written out for one image at a time, with the same coins."""
    pool, kept, seen = ImagePool(5, (1, 2, 2)), [], []
    for step in range(20):
        choices = torch.Generator().manual_seed(step)
        coins, places = torch.rand(3, generator=choices), torch.randint(5, (3,), generator=choices)
        expected = []
        for number, coin, place in zip(range(3 * step, 3 * step + 3), coins, places, strict=True):
            if len(kept) < 5:
                kept.append(number)
                expected.append(number)
            elif coin > 0.5:
                expected.append(kept[place])
                kept[place] = number
            else:
                expected.append(number)
        shown = pool.exchange(numbered(3, 3 * step).clone().requires_grad_(), step)
        assert not shown.requires_grad
        assert shown[:, 0, 0, 0].tolist() == expected
        seen += [number < 3 * step for number in expected[:1]]
    assert pool.images[:, 0, 0, 0].tolist() == kept
    assert 4 <= sum(seen) <= 16  # about half are from before


def test_no_pool_shows_the_fakes_themselves():
    fake = numbered(3)
    for empty in (ImagePool(0, (1, 2, 2)), HistoryBuffer(0, (1, 2, 2))):
        assert torch.equal(empty.exchange(fake, 0), fake)


def test_history_shows_half_of_before_and_keeps_half_of_now():
    history = HistoryBuffer(8, (1, 2, 2))
    for first in (0, 6):
        shown = history.exchange(numbered(6, first), 0)
        assert torch.equal(shown, numbered(6, first))  # not full yet
    assert history.images[:, 0, 0, 0].tolist() == list(range(8))
    shown = history.exchange(numbered(6, 100), 1)[:, 0, 0, 0]
    assert shown[:3].tolist() == [100, 101, 102] and (shown[3:] < 8).all() and len(set(shown[3:].tolist())) == 3
    inside = history.images[:, 0, 0, 0].tolist()
    assert {100, 101, 102} <= set(inside) and len(set(inside)) == 8


def test_pools_are_in_the_checkpoint_one_for_each_domain():
    model = translator("CycleGAN")
    after("CycleGAN", 3, model)
    a, b = (model.state_dict()[f"pools.{domain}.images"] for domain in (0, 1))
    assert int(model.pools[0].count) == 12 and not torch.equal(a, b) and a.abs().sum() > 0
    batch = validation("CycleGAN")
    assert isinstance(batch, Unpaired) and not isinstance(batch, Paired)
