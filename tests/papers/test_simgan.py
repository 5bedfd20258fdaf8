"""SimGAN: what reproductions of arXiv:1612.07828 got wrong. Its history is in test_translators.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import NoisyBatches, draw, quiet, translator
from torch import nn

from gan_lightning.batches import Unpaired
from gan_lightning.models import SimGAN
from gan_lightning.networks import LocalDiscriminator, Refiner


def batch() -> Unpaired:
    return Unpaired(draw(3, 1, 16, 16).tanh(), draw(3, 1, 16, 16, seed=1).tanh())


def test_the_papers_networks():
    with torch.device("meta"):
        model = SimGAN((1, 36, 56), history=512)
        assert model.generator(torch.empty(2, 1, 36, 56)).shape == (2, 1, 36, 56)
        assert model.discriminator(torch.empty(2, 1, 36, 56)).shape == (2, 1, 9, 14)
    convs = [layer for layer in model.generator.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convs] == [64] * 9 + [1]
    judged = [layer for layer in model.discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in judged] == [96, 64, 32, 32, 1]
    norms = (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)
    assert not any(isinstance(layer, norms) for layer in model.modules())


def test_the_place_of_a_pixel_is_known_where_it_is_asked_for():
    """One grey, refined: with coordinates the left differs from the right and the top from the bottom."""
    flat = torch.full((2, 1, 24, 40), 0.3)
    for coordinates in (False, True):
        refined = Refiner((1, 16, 16), width=4, blocks=1, coordinates=coordinates)(flat)
        inner = refined[..., 4:-4, 4:-4]  # farther than it sees from the image's edge
        assert refined.shape == flat.shape and torch.equal(refined[0], refined[1])
        assert [bool(inner.diff(dim=dim).abs().max() > 1e-4) for dim in (2, 3)] == [coordinates] * 2
    known = Refiner((1, 16, 16), width=4, blocks=1, coordinates=True)
    given = []
    known.layers.register_forward_pre_hook(lambda layers, args: given.append(args[0]))
    known(flat)
    assert given[0].shape == (2, 3, 24, 40) and torch.equal(given[0][:, :1], flat)
    down, right = given[0][1, 1:]  # middles of 24 and 40 equal parts of -1 .. 1
    torch.testing.assert_close(down, (torch.arange(24) * 2 - 23).div(24)[:, None].expand(24, 40))
    torch.testing.assert_close(right, (torch.arange(40) * 2 - 39).div(40).expand(24, 40))


def test_noise_hides_what_is_fine_in_training_alone():
    image, network = draw(64, 1, 16, 16).tanh(), LocalDiscriminator((1, 16, 16), width=4, noise=0.3)
    given = []
    network.layers.register_forward_pre_hook(lambda layers, args: given.append(args[0]))
    assert not torch.equal(network(image), network(image))
    assert (given[0] - image).std().item() == pytest.approx(0.3, rel=0.05)
    torch.testing.assert_close(network.eval()(image), network.layers(image), rtol=0, atol=0)


def test_losses_are_cross_entropies_of_patches_summed():
    """Two logits, of which the second is ours and the first 0, and the sums of the paper written out."""
    model, given = translator("SimGAN", regularization=0.7), batch()

    def cross_entropy(scores: torch.Tensor, real: int) -> torch.Tensor:
        logits = torch.cat([torch.zeros_like(scores), scores], 1)
        target = torch.full((len(scores), *scores.shape[2:]), real)
        return F.cross_entropy(logits, target, reduction="sum") / len(scores)

    refined = model.generator(given.a)
    found = model.generator_loss(given)
    torch.testing.assert_close(found["realism"], cross_entropy(model.discriminator(refined), 1))
    change = 0.7 * F.l1_loss(refined, given.a, reduction="sum") / 3
    torch.testing.assert_close(found["regularization"], change)
    torch.testing.assert_close(model.regularization_loss(given)["regularization"], change)
    found = model.discriminator_loss(given._replace(a=refined.detach()))["adversarial"]
    expected = cross_entropy(model.discriminator(given.b), 1) + cross_entropy(model.discriminator(refined), 0)
    torch.testing.assert_close(found, expected)


def test_the_stages_come_in_the_papers_order():
    model, turns = translator("SimGAN", refiner_warmup=3, discriminator_warmup=2), []

    def turn(name: str, objective, batch, advances_step: bool = False) -> None:
        turns.append(objective.__name__)

    model.turn = turn
    for model.iteration in range(1, 12):
        model.training_step(batch(), 0)
    alternation = ["generator_loss", "generator_loss", "discriminator_loss"]
    assert turns == ["regularization_loss"] * 3 + ["discriminator_loss"] * 2 + 2 * alternation


def test_the_history_is_in_the_checkpoint():
    model = translator("SimGAN")
    quiet(max_steps=6).fit(model, NoisyBatches("SimGAN"))
    assert model.state_dict()["history.count"] == 12 and model.state_dict()["history.images"].abs().sum() > 0


def test_what_it_refuses():
    with pytest.raises(ValueError, match="at least one turn of each"):
        SimGAN((1, 16, 16), refiner_turns=0)
