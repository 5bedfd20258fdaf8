"""What units look for: guided gradients against those that are computed by hand, and the sheet of `evaluate`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHAPE, draw, text_to_image, tiny
from PIL import Image
from test_latents import cells, refused
from test_sample import kept
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_lightning import networks
from gan_lightning.cli.discriminators import discriminator_of
from gan_lightning.data import Digits
from gan_lightning.data.base import to_unit
from gan_lightning.evaluate import main
from gan_lightning.loading import load_model
from gan_lightning.metrics import Guided, Strongest, guided_gradients, probe_features, responses, spread, to_uint8

KERNEL = torch.tensor([[1.0, -1.0, 2.0], [0.5, 3.0, -4.0], [-1.0, 1.0, 1.0]])
IMAGE = torch.tensor(
    [
        [0.1, 0.2, 0.3, 0.0],
        [0.4, 9.0, 0.5, 0.0],
        [0.6, -0.7, 0.8, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
)


class ByFunctions(nn.Module):
    """A network whose activations are functions, as residual discriminators have them."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.leaky_relu(self.first(x), negative_slope=0.2))


def two_layers(rectifier: str) -> nn.Module:
    """A 1x1 convolution of weight 2, and a 3x3 one of two units: the kernel, and its negative."""
    first, second = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        first.weight.fill_(2.0)
        second.weight.copy_(torch.stack([KERNEL, -KERNEL])[:, None])
    if rectifier == "functions":
        return ByFunctions(first, second)
    layer = {
        "ReLU": nn.ReLU,
        "ReLU in place": partial(nn.ReLU, inplace=True),
        "LeakyReLU": partial(nn.LeakyReLU, 0.2),
        "LeakyReLU in place": partial(nn.LeakyReLU, 0.2, inplace=True),
    }[rectifier]
    return nn.Sequential(first, layer(), second, layer())


@pytest.mark.parametrize("rectifier", ["ReLU", "ReLU in place", "LeakyReLU", "LeakyReLU in place", "functions"])
def test_guided_gradients_are_those_by_hand(rectifier: str) -> None:
    """The first unit responds most around the 9, where 3 x 2 x 9 is; its weights there, doubled, pass back where they
    are positive and the image is: not at the -0.7, nor by -1, -4 and -1."""
    network, image = two_layers(rectifier), torch.stack([IMAGE, 3 * IMAGE])[:, None]
    expected = torch.zeros(4, 4)
    expected[:3, :3] = torch.tensor([[2.0, 0.0, 4.0], [1.0, 6.0, 0.0], [0.0, 0.0, 2.0]])
    found = guided_gradients(network, 0, image)
    torch.testing.assert_close(found, expected.expand(2, 1, 4, 4))
    # The second unit responds most to the left of the 9: 4 x 2 x 9, and less by what else it sees there.
    expected = torch.zeros(4, 4)
    expected[0, 1], expected[1, 1] = 0.0, 8.0  # -2 and 4, doubled
    expected[0, 0], expected[2, 0] = 2.0, 0.0  # of 1 above, -1 below; 1 to the lower right is of the -0.7
    torch.testing.assert_close(guided_gradients(network, 1, image), expected.expand(2, 1, 4, 4))
    greatest = torch.tensor([51.8, 67.8] if rectifier.startswith("ReLU") else [51.52, 68.08])  # -0.7, or a fifth of it
    torch.testing.assert_close(responses(network, image), torch.stack([greatest, 3 * greatest]))


def test_guided_gradients_leave_no_trace() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(3, 4, 3, padding=1)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 1),
    )
    image = draw(5, 2, 4, 4)
    network.train()(image)  # running statistics, and a step of the power iteration
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [layer.training for layer in network.modules()]

    def plain() -> Tensor:
        x = image.clone().requires_grad_()
        h = network[1](network[0](x))
        return torch.autograd.grad(F.leaky_relu(h, 0.2).sum(), x)[0]

    ordinary = plain()
    found = guided_gradients(network, 2, image)
    assert responses(network, image).shape == (5, 4)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [layer.training for layer in network.modules()] == modes and not network[1].training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())
    assert torch.equal(plain(), ordinary)
    # In evaluation mode, step by step: from the unit's greatest response back.
    with torch.no_grad():
        norm, weight = network[1], network.eval()[3].weight
        a = network[1](network[0](image))
        b = network[3](F.leaky_relu(a, 0.2))
        for row in range(5):
            place = b[row, 2].clamp(min=0).argmax()
            back = F.one_hot(place, 16).view(4, 4) * (b[row, 2] > 0)
            signal = torch.zeros_like(b[row : row + 1])
            signal[0, 2] = back
            signal = F.conv_transpose2d(signal, weight, padding=1).clamp(min=0) * (a[row] > 0)
            signal = signal * (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None]
            signal = F.conv_transpose2d(signal, network[0].weight, padding=1)
            torch.testing.assert_close(found[row], signal[0])


def test_every_rectifier_is_guided() -> None:
    x = torch.tensor([-2.0, -1.0, 1.0, 2.0])
    back = torch.tensor([1.0, -1.0, 3.0, -1.0])
    for rectify in (F.relu, torch.relu, Tensor.relu, partial(F.leaky_relu, negative_slope=0.2), F.elu, nn.ReLU()):
        at = x.clone().requires_grad_()
        with Guided():
            y = rectify(at)
        assert torch.autograd.grad(y, at, back)[0].tolist() == [0, 0, 3, 0]
        at = x.clone().requires_grad_()
        assert torch.autograd.grad(rectify(at), at, back)[0].tolist()[2:] == [3, -1], "as ever again"


def test_the_strongest_are_by_their_means_and_their_images_in_order() -> None:
    response = torch.tensor([[1.0, 0.0, 5.0], [3.0, 0.0, 1.0], [2.0, 1.0, 9.0]])  # means 2, 1/3, 5
    units, images = Strongest.of(response, 2, 2)
    assert units.tolist() == [2, 0] and images.tolist() == [[2, 0], [1, 2]]
    assert [part.shape for part in Strongest.of(response, 8, 8)] == [(3,), (3, 3)]


def test_the_spread_of_energy_has_its_closed_forms() -> None:
    one, even, half = torch.zeros(2, 4, 4), torch.full((2, 4, 4), -0.1), torch.zeros(2, 4, 4)
    one[1, 2, 3], half[:, :2] = 5.0, 3.0
    two = torch.zeros(2, 4, 4)
    two[0, 0, 0], two[1, 1, 1] = 1.0, 2.0  # energies 1 and 4
    gradient = torch.stack([one, even, half, two, torch.zeros(2, 4, 4)])
    expected = torch.tensor([1 / 16, 1, 1 / 2, 25 / (16 * 17), 0])
    torch.testing.assert_close(spread(gradient), expected)
    torch.testing.assert_close(spread(1e-15 * gradient), expected)


# The command.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_evaluate_draws_what_units_look_for(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = kept(tiny("DCGAN"), folder / "run" / "last.ckpt", SHAPE, 3)
    flags = ["--data", "Digits", "--data.size", "16", "--metrics", "units", "--json", str(folder / "scores.json")]
    main([path, *flags, "--batch_size", "50"])
    sheet = folder / "run" / "sheets" / "units.png"
    assert f"units: {sheet}" in capsys.readouterr().out
    discriminator, data = load_model(path).discriminator.eval(), Digits(size=16).reference("val")
    image = to_unit(data.__getitems__(list(range(len(data)))).image)
    with torch.no_grad():
        response = discriminator.layers[:5](image).amax((2, 3))  # the last map: 8 units of 4x4
    order = response.mean(0).argsort(descending=True)
    table, spreads = cells(sheet, 16, 17).view(8, 2, 17, -1), []
    for row, unit in enumerate(order.tolist()):
        shown = response[:, unit].argsort(descending=True)[:8]
        assert torch.equal(table[row, 0, :8], to_uint8(image[shown]).flatten(1))
        gradient = guided_gradients(discriminator, unit, image[shown])
        scaled = gradient / gradient.abs().amax((1, 2, 3), keepdim=True)
        assert (table[row, 1, :8].float() - to_uint8(scaled).flatten(1).float()).abs().max() <= 1
        spreads.append(spread(gradient))
    assert not table[:, :, 8].any()
    assert not torch.equal(table[:, 1, :8], table[:, 1, 9:])
    found = json.loads((folder / "scores.json").read_text())
    assert found["units_spread"]["value"] == pytest.approx(torch.cat(spreads).mean().item(), rel=1e-4)
    assert 1 / 256 <= found["units_spread/untrained"]["value"] <= 1
    card = found["units_spread"]["card"]
    assert (card["split"], card["n_test"], card["seed"]) == ("val", 297, 0) and "8 units" in card["features"]
    first = np.array(Image.open(sheet))
    main([path, *flags])
    assert np.array_equal(first, np.array(Image.open(sheet))), "fresh weights are of the seed"
    main([path, *flags, "--seed", "1"])
    other = np.array(Image.open(sheet))
    assert np.array_equal(first[:, :146], other[:, :146]) and not np.array_equal(first, other)


def test_a_discriminator_of_classes_sees_the_labels(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """The third class alone opens the units."""
    own = {"generator": networks.DCGANGenerator, "discriminator": networks.DCGANDiscriminator}
    model = tiny("CGAN", {name: partial(kind, width=4) for name, kind in own.items()}, num_classes=10)
    path = kept(model, folder / "classes" / "last.ckpt", SHAPE, 1)
    content = torch.load(path, weights_only=True)
    weight = content["state_dict"]["discriminator.layers.0.weight"]
    weight[:, 1:] = -1e3
    weight[:, 1 + 3] = 1e3
    torch.save(content, path)
    flags = [path, "--data", "Digits", "--data.size", "16", "--metrics"]
    main([*flags, "units"])
    data = Digits(size=16).reference("val").__getitems__(list(range(297)))
    thirds = {tuple(image.flatten().tolist()) for image in data.image[data.label == 3]}
    shown = cells(folder / "classes" / "sheets" / "units.png", 16, 17)[0, :8]
    assert all(tuple(image.tolist()) in thirds for image in shown)
    said = refused(main, [*flags, "linear_probe"], capsys)  # features that know the class tell nothing
    assert "linear_probe: CGAN's discriminator takes more than images" in said


def test_units_are_of_discriminators_of_images(folder: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--data", "Digits", "--data.size", "16", "--metrics", "units"]
    dense = {"discriminator": partial(networks.MLPDiscriminator, width=8)}
    cases = {
        "needs convolutions (Conv2d) whose maps are at least 4x4, and MLPDiscriminator has none": tiny("DCGAN", dense),
        "units needs a discriminator of images, and BigBiGAN's takes z too": tiny("BigBiGAN"),
        "images of its 2 classes, and Digits has 10": tiny("R3GAN"),
    }
    for number, (said, model) in enumerate(cases.items()):
        path = kept(model, folder / f"{number}.ckpt", SHAPE, 1)
        assert said in refused(main, [path, *flags], capsys)
    with pytest.raises(ValueError, match="and StackGAN has no single one"):
        discriminator_of(text_to_image(), "units")
    real = ["--real", str(folder), "--metrics", "units"]
    assert "units takes a checkpoint, and --data" in refused(main, [path, *real], capsys)


def test_units_of_a_pyramid_are_of_whole_images(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = kept(tiny("LAPGAN", conditional=False), folder / "pyramid" / "last.ckpt", SHAPE, 1)
    main([path, "--data", "Digits", "--data.size", "16", "--metrics", "units"])
    assert "units_spread" in capsys.readouterr().out
    assert (folder / "pyramid" / "sheets" / "units.png").is_file()


def test_a_reference_batch_is_no_part_of_the_features() -> None:
    discriminator, images = tiny("ImprovedGAN").discriminator, draw(3, *SHAPE)
    features = probe_features(discriminator, images)
    assert len(features) == 3 and not torch.equal(features[0], features[2])
    torch.testing.assert_close(probe_features(discriminator, images[2:]), features[2:])
