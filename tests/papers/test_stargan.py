"""StarGAN: what reproductions of arXiv:1711.09020 got wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import NoisyBatches, draw, quiet, translator, within_turn
from torch import nn

from gan_lightning.batches import Attributed
from gan_lightning.models import StarGAN
from gan_lightning.networks import AttributeDiscriminator, AttributeTranslator


def batch() -> Attributed:
    return Attributed(draw(4, 1, 16, 16).tanh(), torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))


def test_the_papers_networks_at_128():
    with torch.device("meta"):
        model = StarGAN((3, 128, 128), ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"])
        image, attributes = torch.empty(2, 3, 128, 128), torch.empty(2, 5)
        assert model.generator(image, attributes).shape == image.shape
        scores, logits = model.discriminator(image)
    assert scores.shape == (2, 1, 2, 2) and logits.shape == (2, 5)
    sizes = [layer.out_channels for layer in model.discriminator.trunk if isinstance(layer, nn.Conv2d)]
    assert sizes == [64, 128, 256, 512, 1024, 2048]
    assert not any(isinstance(layer, (nn.InstanceNorm2d, nn.BatchNorm2d)) for layer in model.discriminator.modules())
    generator, discriminator = (sum(p.numel() for p in n.parameters()) for n in (model.generator, model.discriminator))
    assert generator == pytest.approx(8.43e6, rel=0.003) and discriminator == pytest.approx(44.8e6, rel=0.003)


def test_attributes_survive_the_norm():
    """With reflection every plane is constant after a convolution too, and instance norm takes it away."""
    torch.manual_seed(0)
    planes = torch.tensor([[0.0], [1.0]])[:, :, None, None].expand(-1, -1, 8, 8)
    norm = nn.InstanceNorm2d(4)
    reflected, padded = (nn.Conv2d(1, 4, 7, padding=3, padding_mode=mode) for mode in ("reflect", "zeros"))
    assert norm(reflected(planes)).diff(dim=0).abs().max() < 1e-2
    assert norm(padded(planes)).diff(dim=0).abs().max() > 0.1
    network, image = AttributeTranslator((1, 16, 16), 2, blocks=1, width=4), draw(1, 1, 16, 16)
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.padding_mode for layer in convs} == {"zeros"}
    one, other = (network(image, torch.tensor([[float(on), 0.0]])) for on in (0, 1))
    assert (one - other).abs().max() > 1e-3


def test_nothing_switches_in_evaluation():
    """Running statistics of instance norms would."""
    network, image = AttributeTranslator((1, 16, 16), 2, blocks=1, width=4), draw(2, 1, 16, 16)
    training = network.train()(image, torch.ones(2, 2))
    torch.testing.assert_close(network.eval()(image, torch.ones(2, 2)), training)


def test_losses_are_the_papers():
    model, given = translator("StarGAN"), batch()
    model.trainer = quiet()
    with within_turn(model):
        wanted = model.wanted(given)
        epsilon = model.noise.uniform(4, 1, 1, 1)
    assert all(any(torch.equal(row, other) for other in given.attributes) for row in wanted)
    fake = model.generator(given.image, wanted)
    (real_scores, real_logits), (fake_scores, fake_logits) = model.discriminator(given.image), model.discriminator(fake)

    def bce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p = logits.sigmoid()
        return -(target * p.log() + (1 - target) * (1 - p).log()).sum(1).mean()  # a sum over attributes

    with within_turn(model):
        found = model.discriminator_loss(given)
    torch.testing.assert_close(found["critic"], fake_scores.mean() - real_scores.mean())
    torch.testing.assert_close(found["attributes"], bce(real_logits, given.attributes))  # of real images only
    between = (epsilon * given.image + (1 - epsilon) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.discriminator(between)[0].sum(), between)
    torch.testing.assert_close(found["penalty"], 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean())
    with within_turn(model):
        found = model.generator_loss(given)
    torch.testing.assert_close(found["critic"], -fake_scores.mean())
    torch.testing.assert_close(found["attributes"], bce(fake_logits, wanted))  # of fakes only
    back = F.l1_loss(model.generator(fake, given.attributes), given.image)
    torch.testing.assert_close(found["reconstruction"], 10 * back)


def test_the_generator_moves_at_every_nth_batch():
    model = translator("StarGAN", n_critic=3)
    quiet(max_steps=2).fit(model, NoisyBatches("StarGAN"))
    assert model.iteration == 6


def test_an_edit_changes_what_was_asked_for_and_keeps_what_is_read():
    model, image = translator("StarGAN"), batch().image
    kept = model.classify(image)
    for on in (True, False):
        expected = kept.clone()
        expected[:, 1] = float(on)
        torch.testing.assert_close(model.translate(image, {"Right": on}), model.edit(image, expected))
    torch.testing.assert_close(model.translate(image, {}), model.edit(image, kept))
    with pytest.raises(ValueError, match="trained on Left, Right, not on Middle"):
        model.translate(image, {"Middle": True})


def test_colours_of_hair_exclude_each_other():
    """Asked for blond, black hair must go: no image of training has both."""
    names = ["Black", "Blond", "Male"]
    model = translator("StarGAN", attributes=names, exclusive=["Black", "Blond"])
    black = torch.tensor([[1.0, 0.0, 1.0]])
    assert model.asked(black, "Blond", True).tolist() == [[0, 1, 1]]
    assert model.asked(black, "Black", False).tolist() == [[0, 0, 1]]
    assert model.asked(black, "Male", False).tolist() == [[1, 0, 0]]
    image = draw(1, 1, 16, 16).tanh()
    columns = model.columns(Attributed(image, black))
    for name, expected in (("Black", [1, 0, 1]), ("Blond", [0, 1, 1]), ("Male", [1, 0, 0])):
        wanted = torch.tensor([expected]).float()
        torch.testing.assert_close(columns[f"{name} turned"], model.edit(image, wanted))
    with pytest.raises(ValueError, match="exclusive: Red is not among"):
        translator("StarGAN", exclusive=["Red"])


def test_what_it_needs():
    with pytest.raises(ValueError, match="needs data with attributes"):
        StarGAN((1, 64, 64), [])
    with pytest.raises(ValueError, match="100x100 is no multiple"):
        AttributeDiscriminator((3, 100, 100), 2)
