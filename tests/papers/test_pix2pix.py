"""Pix2Pix: what reproductions of arXiv:1611.07004 got wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import NoisyBatches, draw, translator
from torch import nn

from gan_lightning.batches import Paired
from gan_lightning.models import Pix2Pix
from gan_lightning.networks import PatchDiscriminator, UNetGenerator
from gan_lightning.networks.layers import instance_norm
from gan_lightning.networks.unet import NoisyDropout


@pytest.mark.parametrize(("layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_a_score_sees_a_patch_of_the_papers_size(layers, field):
    """By the gradient of one score; norms, which see the whole image, are taken out."""
    network = PatchDiscriminator((1, 128, 128), layers=layers, width=2)
    for place, layer in enumerate(network.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            network.layers[place] = nn.Identity()
    image = torch.rand(1, 1, 128, 128, requires_grad=True)
    scores = network(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    rows, columns = (image.grad[0, 0].abs().sum(dim).nonzero().flatten() for dim in (1, 0))
    assert (len(rows), len(columns)) == (field, field)


def test_the_papers_networks_at_256():
    """C64-C128-C256-C512-C512-C512-C512-C512 and CD512-CD512-CD512-C512-C256-C128-C64; no norm at either end."""
    with torch.device("meta"):
        model = Pix2Pix((3, 256, 256))
        assert model.generator(torch.empty(1, 3, 256, 256)).shape == (1, 3, 256, 256)
        assert model.score(torch.empty(1, 3, 256, 256), torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    down = [layer for block in model.generator.down for layer in block if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in down] == [64, 128, 256, 512, 512, 512, 512, 512]
    up = [layer for block in model.generator.up for layer in block if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in up] == [512, 512, 512, 512, 256, 128, 64]
    normed = [any(isinstance(layer, nn.InstanceNorm2d) for layer in block) for block in model.generator.down]
    assert normed == [False, True, True, True, True, True, True, False]
    dropped = [any(isinstance(layer, NoisyDropout) for layer in block) for block in model.generator.up]
    assert dropped == [True, True, True, False, False, False, False]
    judged = [layer for layer in model.discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.stride[0]) for layer in judged] == [(6, 2), (64, 2), (128, 2), (256, 1), (512, 1)]
    assert isinstance(model.discriminator.layers[1], nn.LeakyReLU)  # no norm on the first layer
    weights = sum(p.numel() for p in model.generator.parameters())
    assert weights == pytest.approx(54.4e6, rel=0.001)  # as the authors' code prints


def test_the_norm_is_batch_norm_at_a_batch_of_one():
    image, reference = draw(1, 5, 4, 6), nn.BatchNorm2d(5)
    torch.testing.assert_close(instance_norm(5)(image), reference.train()(image))
    many = draw(3, 5, 4, 6)
    one_by_one = torch.cat([reference.train()(one) for one in many.split(1)])
    torch.testing.assert_close(instance_norm(5).eval()(many), one_by_one)  # in evaluation, in any batch


def test_dropout_stays_at_test_time_and_a_picture_keeps_its_draws():
    model = translator("Pix2Pix", generator=lambda shape: UNetGenerator(shape, width=4)).eval()
    image = draw(1, 1, 16, 16).tanh()
    assert not torch.equal(model.generator(image), model.generator(image))
    assert torch.equal(model.translate(image), model.translate(image))


def test_losses_are_the_papers():
    model = translator("Pix2Pix", generator=lambda shape: UNetGenerator(shape, width=4, dropout=0.0))
    batch = Paired(draw(2, 1, 16, 16).tanh(), draw(2, 1, 16, 16, seed=1).tanh())
    fake = model.generator(batch.source)
    real_scores, fake_scores = (model.discriminator(torch.cat([batch.source, x], 1)) for x in (batch.target, fake))
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real_scores), torch.zeros_like(real_scores)
    found = model.discriminator_loss(batch)
    torch.testing.assert_close(found["adversarial"], (bce(real_scores, ones) + bce(fake_scores, zeros)) / 2)
    found = model.generator_loss(batch)
    torch.testing.assert_close(found["adversarial"], bce(fake_scores, ones))
    torch.testing.assert_close(found["l1"], 100 * F.l1_loss(fake, batch.target))


def test_the_discriminator_sees_the_source():
    """A pair of the wrong source is another pair."""
    model = translator("Pix2Pix")
    batch = NoisyBatches("Pix2Pix").reference("val").__getitems__([0, 1])
    source, target = (field.float() / 127.5 - 1 for field in batch)
    assert not torch.allclose(model.score(source, target), model.score(source.flip(0), target))


def test_sides_that_do_not_halve_are_refused():
    with pytest.raises(ValueError, match="48x40 is no multiple of 16"):
        UNetGenerator((3, 48, 40), halvings=4)
    with pytest.raises(ValueError, match="at least 2 halvings, not 1, of 48x42"):
        UNetGenerator((3, 48, 42))
    assert UNetGenerator((3, 48, 40), width=2).multiple == 8
    assert UNetGenerator((3, 48, 40), halvings=3, width=2)(torch.rand(1, 3, 48, 40)).shape == (1, 3, 48, 40)
