"""AC-GAN (arXiv:1610.09585): what reproductions lose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from conftest import SHAPE, plain_networks, quiet, tiny, within_turn

from gan_lightning import networks
from gan_lightning.batches import Labeled


def terms(player: str, **options: float) -> tuple[dict, Labeled, Labeled, torch.nn.Module]:
    model = tiny("ACGAN", plain_networks("ACGAN"), **options)
    model.trainer = quiet()
    image = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    batch = Labeled(image, torch.arange(8) % 2)
    with within_turn(model):
        fake = model.fake_like(batch)
    with within_turn(model):
        found = getattr(model, f"{player}_loss")(batch)
    return found, batch, fake, model.discriminator


def test_discriminator_names_the_class_of_real_images_and_of_fakes():
    found, real, fake, network = terms("discriminator")
    (real_score, real_class), (fake_score, fake_class) = network(real.image), network(fake.image)
    source = -F.logsigmoid(real_score).mean() - F.logsigmoid(-fake_score).mean()
    torch.testing.assert_close(found["source"], source)
    picked = real_class.log_softmax(1)[torch.arange(8), real.label]
    torch.testing.assert_close(found["class_real"], -picked.mean())
    picked = fake_class.log_softmax(1)[torch.arange(8), fake.label]  # the label asked for, not the real batch's
    torch.testing.assert_close(found["class_fake"], -picked.mean())
    assert not torch.equal(fake.label, real.label)


def test_generator_wants_its_class_to_be_recognised():
    """L_C has the same sign for both players; its weight is an argument."""
    found, _, fake, network = terms("generator", class_weight=0.3)
    score, logits = network(fake.image)
    torch.testing.assert_close(found["source"], F.binary_cross_entropy_with_logits(score, torch.ones(8)))
    torch.testing.assert_close(found["class"], 0.3 * F.cross_entropy(logits, fake.label))


def test_discriminator_does_not_see_the_label():
    """It is one network with two heads: both losses move its trunk."""
    network = networks.AuxiliaryDiscriminator((1, 32, 32), 10, width=4)
    trunk = network.layers[0].weight
    score, logits = network(torch.randn(4, 1, 32, 32))
    for value in (score.sum(), logits.square().sum()):
        (gradient,) = torch.autograd.grad(value, trunk, retain_graph=True)
        assert gradient.abs().max() > 0


def test_discriminator_has_the_papers_layers_for_32_px():
    with torch.device("meta"):
        network = networks.AuxiliaryDiscriminator((3, 32, 32), 10)
    convs = [m for m in network.layers if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convs] == [16, 32, 64, 128, 256, 512]
    assert [c.stride[0] for c in convs] == [2, 1, 2, 1, 2, 1] and all(c.kernel_size == (3, 3) for c in convs)
    assert sum(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in network.layers) == 6
    assert not isinstance(network.layers[1], torch.nn.BatchNorm2d)  # none on the first layer
