"""Batch norm and dropout of a part of a batch, against torch's on the whole batch."""

from __future__ import annotations

import pytest
import torch
from conftest import draw, tiny, trained
from torch import Tensor, nn

from gan_lightning import batches
from gan_lightning.core import batch_norm
from gan_lightning.networks.layers import Dropout, Dropout2d
from gan_lightning.noise import PartNoise, drawn_by_layers
from gan_lightning.runtime import processes

CPU = torch.device("cpu")


def of_first_process(layer: nn.Module, mine: Tensor, theirs: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What the layer makes of the rows of the first of two processes; the second's statistics by their definition."""

    def with_theirs(every: Tensor) -> Tensor:
        rows = theirs.transpose(0, 1).flatten(1)
        others = torch.stack([((rows - rows.mean(1, keepdim=True)) ** 2).mean(1), rows.mean(1)])
        assert not every[1].any()  # the second's place is left to it
        return every + torch.stack([torch.zeros_like(others), others])

    monkeypatch.setattr(batch_norm, "place", lambda: (0, 2))
    monkeypatch.setattr(batch_norm.Summed, "apply", with_theirs)
    with batches.part(0, 1, None):
        return layer(mine)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5, 5)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_are_those_of_all_rows(shape, momentum, monkeypatch):
    """Running statistics too, without bias, as of the whole batch on one process."""
    rows = 4.0 + 2.0 * draw(*shape).double()
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    expected, layer = (kind(3, momentum=momentum).double() for _ in range(2))
    for norm in (expected, layer):
        nn.init.constant_(norm.weight, 1.5)
        nn.init.constant_(norm.bias, 0.5)
    half = len(rows) // 2
    before = layer.weight
    batch_norm.WholeBatchNorm().apply(nn.Sequential(layer))
    assert layer.weight is before and isinstance(layer, kind)
    for _ in range(2):  # a second batch, for the running statistics
        whole = expected(rows)
        mine = of_first_process(layer, rows[:half], rows[half:], monkeypatch)
        assert torch.allclose(mine, whole[:half], rtol=1e-12)
    for name, value in expected.state_dict().items():
        assert torch.allclose(layer.state_dict()[name].double(), value.double(), rtol=1e-12), name


def test_outside_of_a_turn_a_process_is_alone(monkeypatch):
    """What one process computes by itself, such as a grid of samples, must not wait for the others."""
    layer, rows = nn.BatchNorm2d(3), draw(4, 3, 5, 5)
    expected = nn.BatchNorm2d(3)(rows)
    batch_norm.WholeBatchNorm().apply(nn.Sequential(layer))
    monkeypatch.setattr(batch_norm, "place", lambda: (0, 2))
    assert torch.equal(layer(rows), expected)
    batch_norm.WholeBatchNorm().revert(nn.Sequential(layer))
    assert type(layer) is nn.BatchNorm2d


@pytest.mark.parametrize(("layer", "shape"), [(Dropout(0.3), (12, 500)), (Dropout2d(0.3), (12, 200, 3, 3))])
def test_dropout_of_parts_is_that_of_the_whole(layer, shape):
    def dropped(x: Tensor, part: int, parts: int) -> Tensor:
        with drawn_by_layers(PartNoise(7, part, parts, CPU)):
            return layer(x)

    x = 1.0 + draw(*shape).abs()
    whole = dropped(x, 0, 1)
    assert torch.equal(torch.cat([dropped(rows, part, 4) for part, rows in enumerate(x.chunk(4))]), whole)
    kept = whole != 0
    assert torch.allclose(whole[kept], x[kept] / 0.7)
    choices = kept.flatten(2)[:, :, 0] if len(shape) == 4 else kept
    assert len({tuple(row.tolist()) for row in choices}) == 12
    assert abs(choices.float().mean() - 0.7) < 4 * (0.3 * 0.7 / choices.numel()) ** 0.5
    if len(shape) == 4:  # whole channels
        assert (kept.flatten(2) == choices[:, :, None]).all()
    assert torch.equal(layer.eval()(x), x)
    layer.train()


@pytest.mark.parametrize("world", [2, 3, 5, 6, 7])
def test_the_mean_of_equal_statistics_is_that_statistic(world, monkeypatch):
    """Else a second save would move what the first one has made equal."""
    model = nn.Sequential(nn.BatchNorm1d(1000))
    model[0].running_mean.copy_(draw(1000))
    model[0].running_var.copy_(draw(1000).exp())
    before = [buffer.clone() for buffer in model.buffers()]
    monkeypatch.setattr(processes, "grouped", lambda: True)
    monkeypatch.setattr(processes, "meeting_place", lambda device: device)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda shared: shared.copy_(sum([shared] * world)))
    processes.average_batch_statistics(model)
    assert all(torch.equal(now, then) for now, then in zip(model.buffers(), before, strict=True))


@pytest.mark.parametrize("strategy", ["auto", "ddp"])
def test_one_process_keeps_common_batch_norm(strategy):
    """Also where the model, or the trainer, asks for statistics over all processes."""
    model = tiny("BigGAN")
    kinds = [type(layer) for layer in model.modules()]
    trained(model, 1, sync_batchnorm=True, strategy=strategy)
    assert model.sync_batchnorm and [type(layer) for layer in model.modules()] == kinds
