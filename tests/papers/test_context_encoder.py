"""ContextEncoder: what reproductions of arXiv:1604.07379 got wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import draw, translator
from torch import nn

from gan_lightning.batches import Masked
from gan_lightning.models import ContextEncoder


def batch() -> Masked:
    hole = torch.zeros(3, 1, 16, 16, dtype=torch.bool)
    hole[:, :, 5:11, 4:12] = True
    return Masked(draw(3, 1, 16, 16).tanh(), hole)


def test_the_papers_network_at_128():
    with torch.device("meta"):
        model = ContextEncoder((3, 128, 128))
        image, hole = torch.empty(2, 3, 128, 128), torch.empty(2, 1, 128, 128, dtype=torch.bool)
        assert model.generator(image, hole).shape == image.shape
    convs = [layer.out_channels for layer in model.generator.modules() if isinstance(layer, nn.Conv2d)]
    assert convs == [64, 64, 128, 256, 512, 4000]
    ups = [layer.out_channels for layer in model.generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert ups == [512, 256, 128, 64, 64, 3]


def test_the_network_never_sees_what_is_hidden():
    model, given = translator("ContextEncoder"), batch()
    other = given._replace(image=torch.where(given.hole, -given.image, given.image))
    torch.testing.assert_close(model.predict(given), model.predict(other))


def test_reconstruction_is_the_papers():
    """Squared error of the hole, ten times that of a band of known pixels around it; nothing beyond."""
    model, given = translator("ContextEncoder", overlap=2), batch()
    predicted = draw(3, 1, 16, 16, seed=5).tanh().requires_grad_()
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[5:11, 4:12] = True
    wide = torch.zeros_like(inside)
    wide[3:13, 2:14] = True
    square = (predicted - given.image).square()[:, 0]
    expected = (square[:, inside].sum() + 10 * square[:, wide & ~inside].sum()) / (3 * wide.sum())
    found = model.reconstruction(given, predicted)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert torch.equal((predicted.grad[:, 0] != 0).any(0), wide)


def test_losses_are_the_papers():
    model, given = translator("ContextEncoder"), batch()
    predicted = model.predict(given)
    filled = torch.where(given.hole, predicted, given.image)
    bce = F.binary_cross_entropy_with_logits
    found = model.generator_loss(given)
    fake = model.discriminator(filled)
    torch.testing.assert_close(found["adversarial"], 0.001 * bce(fake, torch.ones_like(fake)))
    torch.testing.assert_close(found["reconstruction"], 0.999 * model.reconstruction(given, predicted))
    real = model.discriminator(given.image)
    found = model.discriminator_loss(given)["adversarial"]
    torch.testing.assert_close(found, bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake)))


def test_known_pixels_stay():
    model, given = translator("ContextEncoder"), batch()
    made = model.fill(given.image, given.hole)
    assert torch.equal(made[~given.hole], given.image[~given.hole])
    assert not torch.equal(made[given.hole], given.image[given.hole])
    middle = model.translate(given.image)
    changed = (middle != given.image)[:, 0].any(0)
    assert changed[4:12, 4:12].all() and changed.sum() == 64


def test_what_it_refuses():
    with pytest.raises(ValueError, match="shorter side is 4: .* not 48x48"):
        ContextEncoder((3, 48, 48))
    with pytest.raises(ValueError, match="reconstruction_weight"):
        ContextEncoder((3, 64, 64), reconstruction_weight=2.0)
