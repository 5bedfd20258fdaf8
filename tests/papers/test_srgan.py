"""SRGAN: what reproductions of arXiv:1609.04802 got wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import NoisyBatches, draw, quiet, translator
from torch import nn

from gan_lightning.batches import Paired
from gan_lightning.loading import load_model
from gan_lightning.metrics import CIFARResNet56, grid_peak
from gan_lightning.networks import (
    LocalDiscriminator,
    RandomFeatures,
    ResNet56Features,
    SRDiscriminator,
    SRResNet,
    VGG19Features,
)
from gan_lightning.networks.features import ResNet56
from gan_lightning.networks.srgan import icnr_init


def test_the_papers_networks_at_96():
    with torch.device("meta"):
        generator, discriminator = SRResNet((3, 96, 96)), SRDiscriminator((3, 96, 96))
        assert generator(torch.empty(2, 3, 24, 24)).shape == (2, 3, 96, 96)
        assert discriminator(torch.empty(2, 3, 96, 96)).shape == (2,)
    convs = [layer for layer in generator.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size[0] for layer in convs] == [9] + [3] * (2 * 16 + 1 + 2) + [9]
    assert sum(isinstance(layer, nn.PixelShuffle) for layer in generator.modules()) == 2
    judged = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in judged] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [layer.stride[0] for layer in judged] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in discriminator.modules()) == 7  # none on the first
    flat = next(layer for layer in discriminator.modules() if isinstance(layer, nn.Linear))
    assert (flat.in_features, flat.out_features) == (512 * 6 * 6, 1024)


def test_every_size_is_enlarged():
    for scale in (2, 4, 8):
        network = SRResNet((1, 16, 16), scale=scale, blocks=1, width=4)
        assert network(torch.rand(1, 1, 5, 7)).shape == (1, 1, 5 * scale, 7 * scale)
    with pytest.raises(ValueError, match="power of two, not 3"):
        SRResNet((1, 16, 16), scale=3)


def test_icnr_is_nearest_upsampling_after_one_convolution():
    shuffled = nn.Conv2d(3, 4 * 5, 3, padding=1)
    single = nn.Conv2d(3, 5, 3, padding=1)
    with torch.no_grad():
        single.weight.copy_(shuffled.weight[::4])
        single.bias.copy_(shuffled.bias[::4])
    icnr_init(shuffled)
    x = draw(2, 3, 6, 7)
    torch.testing.assert_close(F.pixel_shuffle(shuffled(x), 2), F.interpolate(single(x), scale_factor=2))


@pytest.mark.parametrize(
    ("remedy", "clean"),
    [({}, False), ({"icnr": True}, True), ({"upsampling": "nearest"}, True), ({"upsampling": "bilinear"}, True)],
    ids=str,
)
def test_an_untrained_network_draws_a_grid_unless_told_otherwise(remedy: dict, clean: bool):
    """On a constant image, away from its border, and on a smooth one."""
    torch.manual_seed(0)
    network = SRResNet((3, 64, 64), blocks=2, width=16, **remedy).eval()
    inner = network(torch.full((1, 3, 32, 32), 0.3))[:, :, 40:-40, 40:-40]
    smooth = network(F.interpolate(draw(2, 3, 4, 4), (16, 16), mode="bicubic"))
    if clean:
        assert inner.flatten(2).std(2).max() < 1e-5 and grid_peak(smooth) < 1
    else:
        assert grid_peak(inner) > 10 and grid_peak(smooth) > 10


def test_a_network_that_learns_the_difference_begins_as_the_bicubic_enlargement():
    network, image = SRResNet((1, 20, 28), blocks=1, width=4, bicubic=True), draw(2, 1, 5, 7)
    torch.testing.assert_close(network(image), F.interpolate(image, (20, 28), mode="bicubic"))
    F.mse_loss(network(image), torch.zeros(2, 1, 20, 28)).backward()
    assert network.tail[-1].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("build", "bound", "scores"),
    [(partial(SRDiscriminator, units=16), 1.15, (16,)), (LocalDiscriminator, 1.5, (16, 1, 16, 16))],
)
def test_the_gradient_of_strides_is_greater_at_some_places_of_a_grid_and_that_of_means_is_not(build, bound, scores):
    """SRGAN's discriminator, and SimGAN's, which halves images as well."""
    for downsampling, uneven in (("stride", True), ("pool", False)):
        for seed in range(2):
            torch.manual_seed(seed)
            network = build((1, 64, 64), width=8, downsampling=downsampling)
            image = draw(16, 1, 64, 64).requires_grad_()
            network(image).sum().backward()
            energy = image.grad.square().mean((0, 1))[8:-8, 8:-8]
            places = torch.stack([energy[i::2, j::2].mean() for i in range(2) for j in range(2)])
            assert (places.max() / places.min() > bound) == uneven
    assert network(image).shape == scores
    with pytest.raises(ValueError, match='"stride" or "pool", not \'max\''):
        build((1, 64, 64), downsampling="max")


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_enlarging_has_no_shuffle_to_initialise(mode):
    network = SRResNet((1, 16, 16), blocks=1, width=4, upsampling=mode)
    assert network(torch.rand(1, 1, 5, 7)).shape == (1, 1, 20, 28)
    assert not any(isinstance(layer, nn.PixelShuffle) for layer in network.modules())
    with pytest.raises(ValueError, match=f"icnr initialises the filters of shuffles, and upsampling '{mode}' has none"):
        SRResNet((1, 16, 16), upsampling=mode, icnr=True)
    with pytest.raises(ValueError, match="not 'resize'"):
        SRResNet((1, 16, 16), upsampling="resize")  # type: ignore[arg-type]


def test_a_drawn_grid_is_found_and_its_strength_is_the_closed_forms():
    """White noise of variance s^2 has s^2 sum(w^2) in each bin; a line a (-1)^x adds a^2 sum(w)^2 to the last one."""
    noise = 0.1 * draw(8, 3, 64, 64)
    assert abs(grid_peak(noise)) < 0.7
    amplitude, window = 0.05, torch.hann_window(64)
    line = amplitude * (-1.0) ** torch.arange(64)
    ratio = 1 + amplitude**2 * window.sum() ** 2 / (0.1**2 * window.square().sum())
    expected = float(10 * ratio.log10())  # 10.7
    for drawn in (line.expand(64, 64), line[:, None].expand(64, 64)):
        assert grid_peak(noise + drawn) == pytest.approx(expected, abs=0.5)
    every_fourth = (torch.arange(64) % 4 == 0).float()
    assert grid_peak(noise + 0.1 * every_fourth) > 5 > abs(grid_peak(noise + 0.1 * every_fourth, period=2) - 5)
    third = 0.1 * (torch.arange(64) % 3 == 0).float()
    assert abs(grid_peak(noise + third)) < 1 < grid_peak(noise + third, period=3)
    assert grid_peak(torch.zeros(1, 1, 64, 64)) == pytest.approx(0)
    with pytest.raises(ValueError, match="images of at least 32 pixels"):
        grid_peak(torch.zeros(1, 1, 31, 64))


def test_losses_are_the_papers():
    model = translator("SRGAN")
    given = Paired(draw(3, 1, 4, 4).tanh(), draw(3, 1, 16, 16, seed=1).tanh())
    model.trainer = quiet()
    model._features = [RandomFeatures(channels=1, width=4)]
    fake = model.generator(given.source)
    torch.testing.assert_close(model.pixel_loss(given)["pixels"], F.mse_loss(fake, given.target))
    found, score = model.generator_loss(given), model.discriminator(fake)
    torch.testing.assert_close(found["adversarial"], 1e-3 * -score.sigmoid().log().mean())
    phi = RandomFeatures(channels=1, width=4)
    torch.testing.assert_close(found["content"], F.mse_loss(phi(fake), phi(given.target)) / 12.75**2)


def test_pretraining_comes_first_and_without_the_discriminator():
    model = translator("SRGAN", pretraining=3)
    before = [p.detach().clone() for p in model.discriminator.parameters()]
    quiet(max_steps=3).fit(model, NoisyBatches("SRGAN"))
    assert all(torch.equal(p, old) for p, old in zip(model.discriminator.parameters(), before, strict=True))
    model = translator("SRGAN", pretraining=3)
    quiet(max_steps=4).fit(model, NoisyBatches("SRGAN"))
    assert not all(torch.equal(p, old) for p, old in zip(model.discriminator.parameters(), before, strict=True))


def test_features_are_in_no_checkpoint_and_not_needed_to_enlarge(tmp_path: Path):
    weights = tmp_path / "vgg19.pth"
    torch.save(torchvision.models.vgg19(weights=None).state_dict(), weights)
    model = translator("SRGAN", pretraining=1, features=partial(VGG19Features, weights=str(weights)))
    trainer = quiet(max_steps=2)
    trainer.fit(model, NoisyBatches("SRGAN"))
    trainer.save_checkpoint(tmp_path / "sr.ckpt")
    weights.unlink()
    loaded = load_model(tmp_path / "sr.ckpt")
    assert not any("features" in name for name in loaded.state_dict())
    source = draw(1, 1, 4, 4).tanh()
    assert torch.equal(loaded.translate(source), model.translate(source))


def test_vgg_is_torchvisions(tmp_path: Path):
    """phi_5,4: the same numbers as torchvision's network up to its last convolution's ReLU, on its own scale."""
    torch.manual_seed(0)
    theirs = torchvision.models.vgg19(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "vgg19.pth")
    ours = VGG19Features(weights=str(tmp_path / "vgg19.pth"))
    image = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = theirs.features[:36]((image - mean) / std)
    torch.testing.assert_close(ours(image * 2 - 1), expected)
    assert expected.shape == (2, 512, 2, 2) and not any(p.requires_grad for p in ours.parameters())
    grey = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(ours(grey), ours(grey.expand(-1, 3, -1, -1)))


def test_vgg_that_is_not_there_is_a_line(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.pth"):
        VGG19Features(weights=str(tmp_path / "none.pth"))
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold the weights of torchvision's VGG-19"):
        VGG19Features(weights=str(tmp_path / "other.pth"))


def test_resnets_map_leads_to_the_classifiers_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The stages that follow, applied to the map, give what the extractor says, whose classes are tested."""
    torch.manual_seed(0)
    network = ResNet56().eval()
    (tmp_path / "weights").mkdir()
    torch.save(network.state_dict(), tmp_path / "weights" / "cifar10_resnet56-4bfd9763.th")
    monkeypatch.setenv("GAN_LIGHTNING_DATA", str(tmp_path))
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    pooled = CIFARResNet56()(image).pooled
    for stage, shape in ((1, (2, 16, 32, 32)), (2, (2, 32, 16, 16)), (3, (2, 64, 8, 8))):
        phi = ResNet56Features(stage=stage).train()
        found = phi(image.float() / 127.5 - 1)
        assert found.shape == shape and not found.requires_grad and not phi.network.training
        for rest in (network.layer2, network.layer3)[stage - 1 :]:
            found = rest(found)
        torch.testing.assert_close(found.mean((2, 3)), pooled, rtol=1e-4, atol=1e-4)


def test_resnet_that_is_not_there_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.th"):
        ResNet56Features(path=str(tmp_path / "none.th"))
    monkeypatch.delenv("GAN_LIGHTNING_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="ResNet56Features needs its weights"):
        ResNet56Features()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.th")
    with pytest.raises(ValueError, match="does not hold the weights of CIFAR-10's ResNet-56"):
        ResNet56Features(path=str(tmp_path / "other.th"))
    with pytest.raises(ValueError, match="stages 1, 2 and 3, not 4"):
        ResNet56Features(stage=4)


def test_scales_of_random_features_count_alike():
    phi, image = RandomFeatures(width=8), draw(2, 3, 16, 16)
    found, first = phi(image), F.leaky_relu(phi.convs[0](image), 0.2)
    assert found.shape == (2, 8 * 256 + 16 * 64 + 32 * 16)
    torch.testing.assert_close(found[:, : 8 * 256].square().sum(1) / found.shape[1], first.square().mean((1, 2, 3)) / 3)


def test_random_features_prefer_sharp_images_to_blurred_ones():
    image = F.interpolate(draw(4, 3, 8, 8).sign(), scale_factor=4.0)
    blurred = F.avg_pool2d(image, 5, 1, 2)
    noisy = image + (blurred - image).square().mean().sqrt() * draw(4, 3, 32, 32, seed=3)  # the same error of pixels
    phi = RandomFeatures()
    assert phi(image).shape[0] == 4
    flat = phi(torch.zeros_like(image))
    assert (phi(image) - flat).square().sum() > (phi(blurred) - flat).square().sum()
    assert torch.equal(RandomFeatures(seed=3)(noisy), RandomFeatures(seed=3)(noisy))
