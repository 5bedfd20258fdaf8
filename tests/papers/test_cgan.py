"""CGAN (arXiv:1411.1784): what reproductions lose."""

from __future__ import annotations

import pytest
import torch
from conftest import SHAPE, plain_networks, quiet, tiny, within_turn

from gan_lightning import networks
from gan_lightning.batches import Labeled
from gan_lightning.models import ACGAN, CGAN, SAGAN, SNGAN, BigGAN


@pytest.mark.parametrize("name", ["CGAN", "SAGAN", "BigGAN"])
def test_fakes_come_with_the_labels_that_they_were_made_for(name):
    """Not with the real batch's: those are all of class 0 here. Drawn uniformly over the classes."""
    model, seen = tiny(name, plain_networks(name), num_classes=5), []
    model.generator.register_forward_hook(lambda module, inputs, output: seen.append(("G", inputs[1])))
    model.discriminator.register_forward_hook(lambda module, inputs, output: seen.append(("D", inputs[1])))
    model.trainer = quiet()
    batch = Labeled(torch.zeros(1000, *SHAPE), torch.zeros(1000, dtype=torch.int64))
    for loss in (model.discriminator_loss, model.generator_loss):
        seen.clear()
        with within_turn(model):
            loss(batch)
        (made,) = (label for player, label in seen if player == "G")
        judged = [label for player, label in seen if player == "D"]
        assert torch.equal(judged[-1], made)
        assert len(judged) == 1 or torch.equal(judged[0], batch.label)
        assert (made.bincount(minlength=5) - 200).abs().max() < 60  # five standard deviations


def test_the_papers_networks_are_the_default():
    with torch.device("meta"):
        model = CGAN((1, 28, 28), 10)
    generator, discriminator = model.generator, model.discriminator
    assert generator.latent_dim == 100
    assert (generator.noise[0].out_features, generator.label[0].out_features) == (200, 1000)
    assert generator.joint[0].in_features == 1200 == generator.joint[0].out_features
    pieces = [
        (layer[i].linear.in_features, layer[i].linear.out_features, layer[i].pieces)
        for layer, i in ((discriminator.image, 1), (discriminator.label, 0), (discriminator.joint, 0))
    ]
    assert pieces == [(784, 240 * 5, 5), (10, 50 * 5, 5), (290, 240 * 4, 4)]
    assert all(m.p == 0.5 for m in model.modules() if isinstance(m, torch.nn.Dropout))


@pytest.mark.parametrize("kind", [CGAN, ACGAN])
def test_data_without_classes_are_refused_in_one_line(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs data with classes") as error:
        kind((1, 28, 28), None)
    assert "\n" not in str(error.value)


def test_projection_needs_classes_and_without_it_they_are_ignored():
    parts = {"generator": networks.MLPGenerator, "discriminator": networks.MLPDiscriminator}
    with pytest.raises(ValueError, match="SNGAN needs data with classes"):
        SNGAN((1, 28, 28), None, conditioning="projection", **parts)
    assert SNGAN((1, 28, 28), 10, **parts).num_classes is None
    assert SNGAN((1, 28, 28), 10, conditioning="projection", **parts).num_classes == 10


@pytest.mark.parametrize("kind", [SAGAN, BigGAN])
def test_data_without_classes_train_unconditionally(kind):
    model = kind((1, 28, 28), None, generator=networks.MLPGenerator, discriminator=networks.MLPDiscriminator)
    assert model.sample(3).shape == (3, 1, 28, 28) and model.condition_of(range(3)) is None
