"""CycleGAN: what reproductions of arXiv:1703.10593 got wrong. Its pools are in test_translators.py."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from conftest import NoisyBatches, assert_same, draw, quiet, sgd, tensors, translator
from torch import nn

from gan_lightning.batches import Unpaired, UnpairedWithFakes
from gan_lightning.core import Step
from gan_lightning.models import CycleGAN


@pytest.mark.parametrize(("size", "blocks"), [(256, 9), (128, 6)])
def test_the_papers_networks(size, blocks):
    with torch.device("meta"):
        model = CycleGAN((3, size, size))
        to_b, to_a = model.generator
        assert to_b(torch.empty(1, 3, size, size)).shape == (1, 3, size, size)
    assert to_a is not to_b and len(model.discriminator) == 2
    convs = [layer for layer in to_b.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convs) == 2 + 2 + 2 * blocks
    assert all(layer.padding_mode == "reflect" for layer in convs if layer.stride == (1, 1))  # not zeros
    norms = [layer for layer in model.modules() if isinstance(layer, nn.InstanceNorm2d)]
    assert norms and not any(layer.affine or layer.track_running_stats for layer in norms)
    weights = sum(p.numel() for p in to_b.parameters())
    assert weights == pytest.approx({256: 11.37e6, 128: 7.83e6}[size], rel=0.005)  # as the authors' code prints


def test_losses_are_the_papers():
    model = translator("CycleGAN")
    (to_b, to_a), (judge_a, judge_b) = model.generator, model.discriminator
    a, b = draw(2, 1, 16, 16).tanh(), draw(2, 1, 16, 16, seed=1).tanh()
    found = model.generator_loss(Unpaired(a, b))
    fake_b, fake_a = to_b(a), to_a(b)
    expected = {
        "adversarial_a": (judge_a(fake_a) - 1).square().mean(),
        "adversarial_b": (judge_b(fake_b) - 1).square().mean(),
        "cycle_a": 10 * F.l1_loss(to_a(fake_b), a),
        "cycle_b": 10 * F.l1_loss(to_b(fake_a), b),
        "identity_a": 5 * F.l1_loss(to_a(a), a),
        "identity_b": 5 * F.l1_loss(to_b(b), b),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    found = model.discriminator_loss(UnpairedWithFakes(a, b, fake_a.detach(), fake_b.detach()))
    for name, judge, real, fake in (("a", judge_a, a, fake_a), ("b", judge_b, b, fake_b)):
        torch.testing.assert_close(found[name], ((judge(real) - 1).square().mean() + judge(fake).square().mean()) / 2)
    assert (
        not {"identity_a", "identity_b"}
        & translator("CycleGAN", identity_weight=0.0).generator_loss(Unpaired(a, b)).keys()
    )


def test_discriminators_see_fakes_made_before_the_generators_moved():
    model = translator("CycleGAN", sgd(0.1), pool=0)
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    seen: list[UnpairedWithFakes] = []
    loss = model.discriminator_loss

    def recorded(batch: UnpairedWithFakes) -> dict:
        seen.append(batch)
        return loss(batch)

    model.discriminator_loss = recorded
    quiet(max_steps=1).fit(model, NoisyBatches("CycleGAN"))
    first = translator("CycleGAN")
    assert_same(tensors(first.generator), before)
    to_b, to_a = first.generator
    (batch,) = seen
    torch.testing.assert_close(batch.fake_b, to_b(batch.a))
    torch.testing.assert_close(batch.fake_a, to_a(batch.b))
    assert not torch.allclose(batch.fake_b, model.generator[0](batch.a))
    assert not batch.fake_a.requires_grad  # a pool that keeps graphs grows until memory ends


def test_directions():
    model = translator("CycleGAN")
    image = draw(1, 1, 16, 16).tanh()
    assert torch.equal(model.translate(image), model.translate(image, "AtoB"))
    torch.testing.assert_close(model.translate(image, "BtoA"), model.generator[1](image))
    assert not torch.allclose(model.translate(image, "AtoB"), model.translate(image, "BtoA"))


def test_one_player_each_and_a_linear_decay():
    """Both generators move in one turn, and schedules count it once."""
    halves = Step(scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5))
    model = translator("CycleGAN", sgd(1.0), step=halves)
    trainer = quiet(max_steps=3)
    trainer.fit(model, NoisyBatches("CycleGAN"))
    assert list(model.players()) == ["generator", "discriminator"]
    assert [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers] == [0.125, 0.125]
