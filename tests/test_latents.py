"""Latents that are moved, mixed, found and named: `sample`, `project` and `directions` against what is done by hand."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SHAPE, tiny
from PIL import Image
from sklearn.decomposition import PCA
from test_sample import kept, pixels
from torch import Tensor, nn

from gan_lightning import directions as directions_command
from gan_lightning import models, networks, project, sample
from gan_lightning.cli import pictures
from gan_lightning.core import ImageGenerator
from gan_lightning.latents import Latents, LatentSpace, directions, distance_to
from gan_lightning.latents import project as find
from gan_lightning.latents.projection import RATE, correlation, rate_at
from gan_lightning.loading import load_model
from gan_lightning.metrics import to_uint8
from gan_lightning.noise import SampleNoise

SIDE = SHAPE[1]


def noisy(model: models.StyleGAN2) -> models.StyleGAN2:
    """The model, whose layers add noise that can be seen, with a mean of w and images within their bounds."""
    for network in (model.generator, model.ema.network):
        for name, value in network.state_dict().items():
            if name.endswith("strength"):
                value.fill_(0.5)
            if name.endswith("to_image.weight"):
                value.mul_(0.15)
        network.mapping.w_average.copy_(torch.linspace(-0.5, 0.5, len(network.mapping.w_average)))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def style(folder: Path) -> str:
    return kept(noisy(tiny("StyleGAN2")), folder / "style.ckpt", SHAPE, 1)


@pytest.fixture(scope="module")
def classes(folder: Path) -> str:
    return kept(noisy(tiny("StyleGAN2", conditional=True)), folder / "classes.ckpt", SHAPE, 1)


@pytest.fixture(scope="module")
def growing(folder: Path) -> str:
    """In the middle of a fade."""
    return kept(noisy(tiny("StyleGAN")), folder / "growing.ckpt", SHAPE, 3)


@pytest.fixture(scope="module")
def plain(folder: Path) -> str:
    return kept(strong(tiny("DCGAN")), folder / "plain.ckpt", SHAPE, 1)


@pytest.fixture(scope="module")
def labelled(folder: Path) -> str:
    return kept(tiny("CGAN"), folder / "labelled.ckpt", SHAPE, 1)


def strong(model: ImageGenerator) -> ImageGenerator:
    """The model, whose images have contrast."""
    for network in (model.generator, model.ema.network):
        for layer in network.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.5)
        model.ema.network.load_state_dict(model.generator.state_dict())
    return model


def double(path: str) -> ImageGenerator:
    return load_model(path).double()


def by_hand(module: ImageGenerator, ws: Tensor, noise: str = "const") -> Tensor:
    """(n, pixels) uint8 of styles."""
    with torch.no_grad():
        return to_uint8(module.ema.network.eval().synthesis(ws, noise).float()).flatten(1)


def w_of(module: ImageGenerator, numbers: list[int] | range, seed: int = 0) -> Tensor:
    """(n, width) of the first latents."""
    z = module.latent(SampleNoise(seed, numbers, module.device), len(numbers)).double()
    with torch.no_grad():
        return module.ema.network.mapping(z)


def cells(path: Path, rows: int, columns: int) -> Tensor:
    """(rows, columns, pixels) of a sheet of grey pictures, 2 pixels apart."""
    sheet = torch.from_numpy(np.array(Image.open(path).convert("L")))
    step = SIDE + 2
    assert sheet.shape == (step * rows + 2, step * columns + 2)
    return torch.stack(
        [
            torch.stack([sheet[step * r + 2 :, step * c + 2 :][:SIDE, :SIDE].flatten() for c in range(columns)])
            for r in range(rows)
        ]
    )


def refused(main: object, flags: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that bad flags are answered with."""
    with pytest.raises(SystemExit) as exit_:
        main(flags)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and len(message.splitlines()) == 1
    return message


# Points, noise, truncation.


def test_noise_is_of_each_image_or_of_all_or_none(style: str, tmp_path: Path) -> None:
    module = double(style)
    w = w_of(module, [3, 3])
    Latents(w).save(tmp_path / "twice.pt", LatentSpace(module))
    drawn = {}
    for name, flags in {
        "default": [],
        "const": ["--noise", "const"],
        "const, seed 1": ["--noise", "const", "--seed", "1"],
        "random": ["--noise", "random"],
        "random, seed 1": ["--noise", "random", "--seed", "1"],
        "none": ["--noise", "none"],
    }.items():
        main = [style, "--latents", str(tmp_path / "twice.pt"), "--out", str(tmp_path / name), *flags]
        sample.main(main)
        drawn[name] = pixels(tmp_path / name)
    for name in ("default", "const, seed 1"):
        assert torch.equal(drawn["const"], drawn[name])
    for name in ("const", "none"):
        assert torch.equal(drawn[name], by_hand(module, w[:, None].expand(-1, 6, -1), name))
        assert torch.equal(drawn[name][0], drawn[name][1]), "of one latent, whatever its number"
    assert not torch.equal(drawn["random"][0], drawn["random"][1])
    assert not torch.equal(drawn["random"], drawn["random, seed 1"])
    assert not torch.equal(drawn["const"], drawn["none"])


def test_points_are_what_samples_are_of(style: str, growing: str, plain: str, labelled: str) -> None:
    """By way of points a model draws what `sample` draws."""
    for path in (style, growing, plain, labelled):
        module, numbers = double(path), range(3, 6)
        space = LatentSpace(module, truncation=0.6)
        condition = module.condition_of(numbers)
        points = space.points(module.latents(numbers, 2), condition)
        made = space.draw(points, condition, numbers, 2)
        assert points.shape == (3, *space.shape)
        torch.testing.assert_close(made, module.sample(numbers, 2, truncation=0.6, condition=condition))


def test_latents_of_a_file_are_drawn(style: str, plain: str, tmp_path: Path) -> None:
    module = double(style)
    w = w_of(module, range(4))
    torch.save({"w": w}, tmp_path / "w.pt")  # one for all layers
    sample.main([style, "--n", "4", "--noise", "const", "--truncation", "0.5", "--out", str(tmp_path / "numbers")])
    latents = ["--latents", str(tmp_path / "w.pt")]
    sample.main([style, *latents, "--truncation", "0.5", "--batch_size", "3", "--out", str(tmp_path / "file")])
    assert torch.equal(pixels(tmp_path / "numbers"), pixels(tmp_path / "file"))
    mean = module.ema.network.mapping.w_average
    assert torch.equal(pixels(tmp_path / "file"), by_hand(module, (mean + 0.5 * (w - mean))[:, None].expand(-1, 6, -1)))
    module = double(plain)
    Latents(module.latents(range(4))).save(tmp_path / "z.pt", LatentSpace(module))
    sample.main([plain, "--n", "4", "--out", str(tmp_path / "plain")])
    sample.main([plain, "--latents", str(tmp_path / "z.pt"), "--out", str(tmp_path / "z")])
    assert torch.equal(pixels(tmp_path / "plain"), pixels(tmp_path / "z"))


# Mixing.


def test_a_table_of_styles(style: str, tmp_path: Path) -> None:
    """Its margins are plain samples, its cells the row's styles up to the crossover and the column's from there on."""
    flags = ["--n", "5", "--noise", "const", "--out", str(tmp_path), "--mix", "0,3", "4,1,2"]
    sample.main([style, *flags, "--crossover", "2"])
    module = double(style)
    plain, table = pixels(tmp_path), cells(tmp_path / "sheets" / "mix.png", 3, 4)
    assert not table[0, 0].any()
    assert torch.equal(table[0, 1:], plain[[4, 1, 2]]) and torch.equal(table[1:, 0], plain[[0, 3]])
    w = w_of(module, range(5))
    for i, row in enumerate([0, 3]):
        for j, column in enumerate([4, 1, 2]):
            ws = torch.stack([w[row]] * 2 + [w[column]] * 4)[None]
            assert torch.equal(table[1 + i, 1 + j], by_hand(module, ws)[0]), (row, column)
    sample.main([style, *flags])
    ws = torch.stack([w[0]] * 3 + [w[4]] * 3)[None]
    assert torch.equal(cells(tmp_path / "sheets" / "mix.png", 3, 4)[1, 1], by_hand(module, ws)[0]), "half of them"


def test_a_table_has_the_noise_and_class_of_samples(classes: str, tmp_path: Path) -> None:
    flags = ["--n", "4", "--label", "1", "--truncation", "0.7", "--out", str(tmp_path)]
    sample.main([classes, *flags, "--mix", "1", "3,2"])
    plain, table = pixels(tmp_path), cells(tmp_path / "sheets" / "mix.png", 2, 3)
    assert torch.equal(table[0, 1:], plain[[3, 2]]) and torch.equal(table[1, 0], plain[1])


# Walks.


def frames_of(path: Path) -> list[Tensor]:
    film = Image.open(path)
    found = []
    for frame in range(film.n_frames):
        film.seek(frame)
        found.append(torch.from_numpy(np.array(film.convert("L"))).float())
    return found


def test_a_walk_is_in_w_and_closed(style: str, tmp_path: Path) -> None:
    film = tmp_path / "deeper" / "walk.gif"
    flags = [style, "--n", "1", "--noise", "const", "--out", str(tmp_path / "out")]
    sample.main([*flags, "--walk", str(film), "--seconds", "0.24"])
    module = double(style)
    a, b, c = w_of(module, range(3))
    expected = by_hand(module, torch.stack([a, (a + b) / 2, b, (b + c) / 2, c, (c + a) / 2])[:, None].expand(-1, 6, -1))
    for frame, image in zip(frames_of(film), expected, strict=True):
        assert torch.equal(frame.flatten(), image.float())
    sample.main([*flags, "--walk", str(film), "--seconds", "3"])
    frames = frames_of(film)
    from_first = torch.tensor([(frame - frames[0]).abs().mean() for frame in frames])
    assert from_first[-1] < 0.1 * from_first.max()


def test_a_walk_from_latent_to_latent_of_a_file(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, film = double(plain), tmp_path / "walk.gif"
    Latents(module.latents(range(2))).save(tmp_path / "z.pt", LatentSpace(module))
    flags = [plain, "--latents", str(tmp_path / "z.pt"), "--out", str(tmp_path / "out"), "--walk", str(film)]
    sample.main([*flags, "--seconds", "0.08"])
    for frame, image in zip(frames_of(film), pixels(tmp_path / "out"), strict=True):
        assert torch.equal(frame.flatten(), image.float())
    Latents(module.latents(range(1))).save(tmp_path / "z.pt", LatentSpace(module))
    assert "z.pt holds one" in refused(sample.main, flags, capsys)


def test_a_film_may_be_mp4(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "walk.mp4"
    flags = [plain, "--n", "4", "--grid", "--out", str(tmp_path), "--walk", str(film)]
    sample.main([*flags, "--seconds", "0.4"])
    shown = cv2.VideoCapture(str(film))
    frames = []
    while (read := shown.read())[0]:
        frames.append(read[1])
    assert len(frames) == 10 and shown.get(cv2.CAP_PROP_FPS) == 25
    grid = np.array(Image.open(tmp_path / "sheets" / "grid.png").convert("RGB"))
    assert frames[0].shape == grid.shape
    assert np.abs(frames[0].astype(float) - grid).mean() < 0.1 * np.abs(grid - grid.mean()).mean(), "lossy"
    odd = [Image.new("RGB", (21, 17), (250, 30, 30))] * 3
    pictures.save_film(iter(odd), tmp_path / "odd.mp4")
    frame = cv2.VideoCapture(str(tmp_path / "odd.mp4")).read()[1]
    assert frame.shape == (18, 22, 3) and frame[8, 8, 2] > 200 > frame[8, 8, 0], "red, in OpenCV's order"
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda self: False, raising=False)
    assert "OpenCV cannot encode mp4 here: give a .gif" in refused(sample.main, flags, capsys)


# Directions.


def assert_directions(found: Tensor, expected: np.ndarray, samples: Tensor) -> None:
    """The first of those expected, up to signs, each a standard deviation of the samples long."""
    unit = found / found.norm(dim=1, keepdim=True)
    cosine = (unit * torch.from_numpy(np.ascontiguousarray(expected))[: len(unit)]).sum(1)
    torch.testing.assert_close(cosine.abs(), torch.ones_like(cosine), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), (samples @ unit.T).std(0, unbiased=False))
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_closed_form_of_styles_is_that_of_all_their_layers(style: str) -> None:
    module = double(style)
    network, space = module.ema.network, LatentSpace(module)
    layers = [layer for name, layer in network.synthesis.named_modules() if name.endswith("affine")]
    assert len(layers) == 8
    weights = np.concatenate([(layer.weight * layer.scale).detach().numpy() for layer in layers])
    assert_directions(directions(space), np.linalg.svd(weights)[2], space.distribution())


def test_a_style_generator_that_grows_has_all_of_it(growing: str, tmp_path: Path) -> None:
    module = double(growing)
    network, space = module.ema.network, LatentSpace(module, noise="const")
    assert network.synthesis.in_use()[1] and space.has_styles and len(space.noise_buffers()) == 6
    layers = network.synthesis.styled
    weights = np.concatenate([(layer.style.weight * layer.style.scale).detach().numpy() for layer in layers])
    assert_directions(directions(space), np.linalg.svd(weights)[2], space.distribution())
    sample.main([growing, "--n", "2", "--noise", "const", "--mix", "0", "1", "--out", str(tmp_path)])
    assert torch.equal(cells(tmp_path / "sheets" / "mix.png", 2, 2)[1, 0], pixels(tmp_path)[0])
    found = find(space, distance_to(module.sample([3])), 20, optimize_noise=True)
    assert found.after < found.before and len(found.layers) == 6


def test_the_closed_form_of_z_is_that_of_its_first_layer(plain: str, labelled: str) -> None:
    for path in (plain, labelled):
        module = double(path)
        space = LatentSpace(module)
        of_z = {
            plain: lambda network: next(m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)).weight,
            labelled: lambda network: first_of_z(network),
        }[path](module.ema.network)
        matrix = of_z.detach().flatten(1).T.numpy()
        assert matrix.shape[1] == space.shape[0]
        assert_directions(directions(space), np.linalg.svd(matrix)[2], space.distribution())


def first_of_z(network: nn.Module) -> Tensor:
    """(latent_dim, outputs) the weights of the only linear layer of so many inputs."""
    (layer,) = (m for m in network.modules() if isinstance(m, nn.Linear) and m.in_features == network.latent_dim)
    return layer.weight.T


class Normed(nn.Module):
    """A latent that is scaled to length 1 first, or bent, before a linear layer."""

    latent_dim = 6

    def __init__(self, bend: bool) -> None:
        super().__init__()
        self.bend, self.layer = bend, nn.Linear(6, 64)

    def forward(self, z: Tensor) -> Tensor:
        z = z.cos() if self.bend else z / (z.norm(dim=1, keepdim=True) + 1e-8)
        return self.layer(z).view(-1, 1, 8, 8)


def test_a_latent_that_is_normalised_has_a_closed_form_and_one_that_is_bent_has_none() -> None:
    model = tiny("GAN")
    model.averages["generator"].network = Normed(bend=False)
    space = LatentSpace(model)
    weight = model.ema.network.layer.weight.detach().double().numpy()
    assert_directions(directions(space), np.linalg.svd(weight)[2], space.distribution().double())
    model.averages["generator"].network = Normed(bend=True)
    with pytest.raises(ValueError, match="no layer of Normed is linear in z"):
        directions(LatentSpace(model))


def test_pca_is_that_of_sklearn(style: str, classes: str) -> None:
    for path in (style, classes):
        space = LatentSpace(double(path))
        samples = space.distribution()
        theirs = PCA().fit(samples.numpy())
        found = directions(space, "pca")
        assert_directions(found, theirs.components_, samples)
        variance = theirs.explained_variance_ * (len(samples) - 1) / len(samples)
        torch.testing.assert_close(found.norm(dim=1), torch.from_numpy(variance).sqrt())


def test_samples_move_along_a_direction(style: str, plain: str, tmp_path: Path) -> None:
    for path, method in ((style, "pca"), (style, "closed_form"), (plain, "closed_form")):
        flags = [path, "--n", "3", "--truncation", "0.6"] + (["--noise", "const"] if path == style else [])
        move = ["--direction", "1", "--directions", method]
        out = tmp_path / f"{Path(path).stem}-{method}"
        sample.main([*flags, "--out", str(out / "plain")])
        sample.main([*flags, *move, "--strength", "0", "--out", str(out / "zero")])
        sample.main([*flags, *move, "--strength", "-2", "--out", str(out / "moved")])
        assert torch.equal(pixels(out / "plain"), pixels(out / "zero"))
        module = double(path)
        along = -2 * directions(LatentSpace(module), method)[1]
        if path == style:
            mean, w = module.ema.network.mapping.w_average, w_of(module, range(3))
            expected = by_hand(module, (mean + 0.6 * (w - mean) + along)[:, None].expand(-1, 6, -1))
        else:
            z = module.truncate(module.latents(range(3)), 0.6) + along
            expected = to_uint8(module.generate(z)).flatten(1)
        assert torch.equal(pixels(out / "moved"), expected)
        assert not torch.equal(pixels(out / "moved"), pixels(out / "plain"))


def test_a_sheet_of_directions(style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of its cells is what `sample` draws."""
    sheet = tmp_path / "a" / "sheet.png"
    flags = ["--k", "2", "--columns", "3", "--strength", "1.5", "--number", "2", "--out", str(sheet)]
    directions_command.main([style, *flags])
    said = capsys.readouterr().out
    assert "rows: directions 0 to 1 (closed_form); columns: strengths -1.5, 0, 1.5" in said
    directions_command.main([style, *flags, "--directions", "pca", "--average", "generator"])
    *_, command = capsys.readouterr().out.splitlines()
    moved = [style, "--direction", "0", "--strength", "1.5", "--directions", "pca", "--average", "generator"]
    assert shlex.split(command)[3:] == moved
    directions_command.main([style, *flags])
    found = cells(sheet, 2, 3)
    for row in range(2):
        for column, strength in enumerate(["-1.5", "0", "1.5"]):
            out = tmp_path / f"{row}{column}"
            move = ["--direction", str(row), "--strength", strength]
            sample.main([style, "--n", "3", *move, "--out", str(out)])
            assert torch.equal(found[row, column], pixels(out)[2])


# Projection.


@pytest.mark.parametrize("own_styles", [False, True])
def test_the_latents_of_its_own_image_are_found(style: str, own_styles: bool) -> None:
    module = load_model(style)
    space = LatentSpace(module, noise="const")
    w = space.points(module.latents([8]))
    target, told = space.draw(w, None, [0]), []
    found = find(space, distance_to(target), 250, own_styles, report=lambda step, distance: told.append(distance))
    assert found.after < (0.1 if own_styles else 1e-4) * found.before and len(told) == 250
    assert own_styles or (found.points - w).norm() < 1e-2 * w.norm()
    assert found.points.shape == (1, 6, 6) and (found.points[:, :1] == found.points).all() != own_styles
    made = space.draw(found.points, None, [0])
    assert (made - target).square().mean() < 0.05 * (target - target.mean()).square().mean()


def test_the_latents_of_its_own_image_are_found_in_z(plain: str) -> None:
    module = load_model(plain)
    space = LatentSpace(module)
    target = module.sample([777])
    found = find(space, distance_to(target), 300)
    assert found.after < 0.1 * found.before
    made = module.generate(found.points)
    assert (made - target).square().mean() < 0.02 * (target - target.mean()).square().mean()
    assert found.points.abs().max() <= 1, "within the cube of uniform latents"


def test_noise_that_is_looked_for_is_white_and_kept(style: str) -> None:
    module = load_model(style)
    space = LatentSpace(module, noise="const")
    target = module.sample([3], 1)
    alone, both = (find(space, distance_to(target), 100, optimize_noise=noise) for noise in (False, True))
    assert both.after < 0.5 * alone.after and not alone.layers
    assert len(both.layers) == 5 and all(float(correlation(noise)) < 1e-4 for noise in both.layers.values())
    for value in both.layers.values():
        assert abs(float(value.mean())) < 1e-5 and float(value.square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_the_regularisation_and_the_rate_by_hand() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1.0
    assert float(correlation(board)) == 2.0, "each neighbour is the opposite; halved it is zero"
    assert float(correlation(torch.ones(1, 16, 16))) == 4.0, "two scales of two correlations of 1"
    stripes = (torch.arange(8) % 2 * 2.0 - 1.0).expand(8, 8)
    assert float(correlation(stripes)) == 2.0
    white = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert float(correlation(white)) < 0.01
    shares = {0.0: 0.0, 0.025: 0.5, 0.05: 1.0, 0.75: 1.0, 0.875: 0.5, 1.0: 0.0}
    for share, part in shares.items():
        assert rate_at(share) == pytest.approx(part * RATE, abs=1e-12)


def test_a_picture_is_projected_and_drawn_again(
    style: str, plain: str, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(photo)
    for path, flags, names in [
        (style, [], {"w"}),
        (style, ["--live"], {"w"}),
        (style, ["--space", "w+", "--optimize_noise"], {"w", "noise"}),
        (plain, ["--space", "z"], {"z"}),
        (labelled, ["--label", "1"], {"z", "label"}),
    ]:
        out = tmp_path / f"{Path(path).stem} {len(flags)}"
        asked = [path, "--image", str(photo), "--steps", "20", "--out", str(out), *flags]
        project.main(asked)
        said = capsys.readouterr().out
        *_, command = said.splitlines()
        assert "20 steps" in said and "grey levels" in said and f"latents: {out}/latents.pt" in said
        content = torch.load(out / "latents.pt", weights_only=True)
        assert {name.split(".")[0] for name in content} == names
        picture, made = cells(out / "comparison.png", 1, 2)[0]
        expected = np.asarray(Image.open(photo).convert("L").crop((5, 0, 35, 30)).resize((SIDE, SIDE), Image.BICUBIC))
        assert (picture.view(SIDE, SIDE).float() - torch.tensor(expected)).abs().max() <= 1
        words = shlex.split(command)[3:]
        assert words == [path, "--latents", str(out / "latents.pt"), *(flags if flags == ["--live"] else [])]
        sample.main([*words, "--out", str(out / "again")])
        (again,) = pixels(out / "again")
        assert (again.float() - made.float()).abs().max() <= 1, "float32, and float64 rounded once"
    capsys.readouterr()
    before = (out / "latents.pt").read_bytes()
    assert "is there: give another --out, or --overwrite to replace it" in refused(project.main, asked, capsys)
    assert (out / "latents.pt").read_bytes() == before
    project.main([*asked, "--overwrite", "--steps", "1"])
    assert (out / "latents.pt").read_bytes() != before


def test_the_distance_is_zero_at_the_picture_alone_and_sees_what_vgg_does(tmp_path: Path) -> None:
    target = 2 * torch.rand(1, 1, 32, 16) - 1
    torch.manual_seed(0)
    weights = {}
    for name, value in vgg_shapes().items():
        weights[name] = nn.init.kaiming_normal_(torch.empty(value)) if len(value) > 1 else torch.zeros(value)
    torch.save(weights, tmp_path / "vgg.pth")
    for vgg in (None, str(tmp_path / "vgg.pth")):
        distance = distance_to(target, vgg)
        assert float(distance(target)) == 0
        assert float(distance(target.roll(1, 3))) > 0.1
    seen = networks.VGG19Features(weights=str(tmp_path / "vgg.pth"))
    other = target.flip(2)
    by_features = (seen(other) - seen(target)).square().mean() / seen(target).square().mean()
    torch.testing.assert_close(distance(other), by_features + (other - target).square().mean())
    with pytest.raises(ValueError, match="from 16x16 on"):
        distance_to(target[..., :8], vgg)
    large = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 8), scale_factor=128)  # 512x1024
    assert float(distance_to(large)(large)) == 0


def vgg_shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of VGG-19's convolutions by torchvision's names."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        state = vgg19().state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if name.startswith("features.")}


# What is wrong.


def test_flags_of_styles_are_of_models_with_styles(
    style: str, plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (style, plain):
        with pytest.raises(SystemExit):
            sample.main([path, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        for flag in ("--mix 0,1 2,3", "--crossover STYLE", "--noise {random,const,none}"):
            assert (flag in said) == (path == style)
    assert "'--mix': DCGAN does not take it" in refused(sample.main, [plain, "--mix", "0", "1"], capsys)


def test_bad_input_is_one_line(
    style: str, classes: str, plain: str, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def file(name: str, content: object) -> list[str]:
        torch.save(content, tmp_path / name)
        return ["--latents", str(tmp_path / name)]

    w, photo, torn = torch.zeros(2, 6, 6), tmp_path / "photo.png", tmp_path / "torn.png"
    Image.new("RGB", (16, 16)).save(photo)
    torn.write_bytes(photo.read_bytes()[:40])
    points = kept(tiny("WGAN", image_shape=(2, 1, 1), **perceptrons()), tmp_path / "points.ckpt", (2, 1, 1), 1)
    find_, out = partial(lambda path, *flags: [path, "--image", str(photo), *flags]), ["--out", str(tmp_path / "out")]
    for main, flags, message in [
        (sample.main, [style, "--mix", "0,x", "1"], "--mix: write numbers of samples, such as 0,1,2, not '0,x'"),
        (sample.main, [style, "--mix", "-1", "1"], "--mix"),
        (sample.main, [style, "--mix", "0", "1", "--crossover", "6"], "--crossover must be from 1 to 5, not 6"),
        (sample.main, [style, "--mix", "0", "1", "--crossover", "0"], "--crossover must be from 1 to 5, not 0"),
        (sample.main, [style, "--crossover", "2"], "--crossover is of --mix: give that too"),
        (sample.main, [classes, "--labels", "0,1", "--mix", "0", "1"], "--mix is of one class: give --label"),
        (sample.main, [style, "--strength", "2"], "--strength is of --direction: give that too"),
        (sample.main, [style, "--directions", "pca"], "--directions is of --direction: give that too"),
        (sample.main, [style, "--direction", "0", "--strength", "nan"], "--strength must be a finite number, not nan"),
        (sample.main, [style, "--direction", "6"], "--direction 6: there are the directions 0 to 5"),
        (sample.main, [plain, "--direction", "-1"], "--direction -1: there are the directions 0 to 5"),
        (sample.main, [plain, "--direction", "0", "--directions", "pca"], "pca is of w, which DCGANGenerator does not"),
        (sample.main, [style, "--noise", "some"], "invalid choice: 'some'"),
        (sample.main, [style, "--truncation", "0", "--noise", "const"], "truncation must be positive, not 0.0"),
        (sample.main, [style, "--latents", "none.pt"], "--latents none.pt: there is no such file"),
        (sample.main, [style, "--latents", str(torn)], "torn.png is truncated or corrupt"),
        (sample.main, [style, *file("list.pt", [w])], "list.pt is no file of latents"),
        (sample.main, [style, *file("text.pt", {"w": "w"})], "text.pt is no file of latents"),
        (sample.main, [style, *file("z.pt", {"z": w})], "z.pt holds z, and StyleGAN2 needs w: it is of another model"),
        (sample.main, [plain, *file("w.pt", {"w": w})], "w.pt holds w, and DCGAN needs z: it is of another model"),
        (
            sample.main,
            [style, *file("7.pt", {"w": w[:, :, :5]})],
            "of shape (2, 6, 5), and StyleGAN2 needs (n, 6, 6)",
        ),
        (sample.main, [style, *file("0.pt", {"w": w[:0]})], "w of shape (0, 6, 6)"),
        (sample.main, [style, *file("nan.pt", {"w": w * torch.nan})], "nan.pt holds numbers that are not finite"),
        (sample.main, [style, *file("n.pt", {"w": w, "noise.a": w})], "n.pt holds noise of other layers"),
        (
            sample.main,
            [labelled, *file("l.pt", {"z": w[0], "label": torch.full((6,), 2)})],
            "labels that CGAN does not",
        ),
        (
            sample.main,
            [labelled, *file("two.pt", {"z": w[:, 0], "label": torch.arange(2)}), "--walk", "a.gif"],
            "--walk is of one class, and",
        ),
        (
            sample.main,
            [labelled, "--labels", "0,1", "--walk", "a.gif", "--interpolate", "slerp"],
            "--interpolate is of a walk from latent to latent",
        ),
        (sample.main, [style, *file("ok.pt", {"w": w}), "--n", "3"], "--n is of latents by number"),
        (sample.main, [style, *file("ok.pt", {"w": w}), "--mix", "2", "0"], "ok.pt holds the latents 0 to 1"),
        (sample.main, [classes, *file("ok.pt", {"w": w}), "--label", "0"], "--label is of latents by number"),
        (project.main, [style], "required: --image"),
        (project.main, [style, "--image", "none.png"], "--image none.png: there is no such file"),
        (project.main, [style, "--image", str(torn)], "torn.png cannot be read"),
        (project.main, find_(style, "--space", "z"), "--space z: latents of StyleGAN2 are looked for in w or w+"),
        (project.main, find_(plain, "--space", "w+"), "--space w+: latents of DCGAN are looked for in z"),
        (project.main, find_(plain, "--optimize_noise"), "--optimize_noise: no layer of DCGAN has noise of its own"),
        (project.main, find_(plain, "--label", "0"), "--label: DCGAN has no classes"),
        (project.main, find_(labelled), "CGAN makes images of classes: give the picture's, --label CLASS"),
        (project.main, find_(labelled, "--label", "5"), "label 5: the classes are 0 to 1"),
        (project.main, find_(style, "--steps", "0"), "--steps must be at least 1, not 0"),
        (project.main, find_(style, "--vgg", "none.pth"), "there is no file none.pth"),
        (project.main, find_(style, "--average", "fast"), "StyleGAN2 has no average 'fast'"),
        (project.main, find_(style, "--max_pixels", "9"), "16x16 pixels, more than max_pixels (9)"),
        (project.main, find_(points), "WGAN was trained on points of shape (2, 1, 1), not on images"),
        (project.main, [*find_(style), "--out", str(photo)], "photo.png is a file, not a folder"),
        (project.main, find_(style, "--stesp", "3"), "unknown argument '--stesp', did you mean '--steps'"),
        (directions_command.main, [plain, "--directions", "pca"], "pca is of w"),
        (directions_command.main, [style, "--k", "0"], "--k must be at least 1, not 0"),
        (directions_command.main, [style, "--strength", "-1"], "it must be a number above 0, not '-1'"),
        (directions_command.main, [style, "--label", "0"], "--label: StyleGAN2 has no classes"),
        (directions_command.main, [points], "WGAN was trained on points"),
        (directions_command.main, [style, "--out", "a.gif"], "--out a.gif: give a file that ends in .png"),
        (directions_command.main, ["none.ckpt"], "none.ckpt"),
    ]:
        more = out if main is not directions_command.main and "--out" not in flags else []
        assert message in refused(main, [*flags, *more], capsys), flags
    assert not (tmp_path / "out").exists()


def perceptrons() -> dict[str, object]:
    return {
        "generator": partial(networks.MLPGenerator, latent_dim=2, width=4),
        "discriminator": partial(networks.MLPDiscriminator, width=4),
    }
