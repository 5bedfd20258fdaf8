"""FaceSwap: what ports of the deepfakes program got wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import draw, quiet, translator, within_turn
from torch import Tensor, nn

from gan_lightning.augment import random_warp, warp
from gan_lightning.batches import Unpaired
from gan_lightning.models import FaceSwap
from gan_lightning.noise import SampleNoise


def noise(n: int, seed: int = 0) -> SampleNoise:
    return SampleNoise(seed, range(n), torch.device("cpu"))


def ramps(n: int, size: int = 64) -> Tensor:
    """(n, 2, size, size): each pixel holds its own place, x and y in [-1, 1]."""
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y])[None].repeat(n, 1, 1, 1)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3), the similarity that takes points (k, 2) to points best: Umeyama 1991, equations 34 to 43."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / s.var(0).sum()
    return np.concatenate([scale * rotation, (mean_t - scale * rotation @ mean_s)[:, None]], 1)


def test_the_target_is_the_umeyama_similarity_of_the_moved_points():
    points = draw(7, 2).double()
    moved = points[None] + 0.2 * draw(3, 7, 2, seed=1).double()
    grid = draw(3, 4, 5, 2, seed=2).double()
    found = warp._similarity(points, moved, grid)
    for row in range(3):
        matrix = umeyama(moved[row].numpy(), points.numpy())
        back = found[row].flatten(0, 1).numpy() @ matrix[:, :2].T + matrix[:, 2]  # the similarity undoes it
        np.testing.assert_allclose(back, grid[row].flatten(0, 1).numpy(), atol=1e-9)


def test_the_target_is_not_warped():
    """Straight lines stay straight in it and are bent in the input."""
    warped, target = random_warp(ramps(6), noise(6), 0.5, 0.03)
    for image, straight in ((target, True), (warped, False)):
        bent = image.diff(n=2, dim=3).abs().amax((1, 2, 3))  # a place that changes evenly along a row has none
        assert ((bent < 1e-4) == straight).all()


def test_both_are_of_the_same_place():
    warped, target = random_warp(ramps(200), noise(200), 0.5, 0.02)
    assert (warped - target).mean((2, 3)).abs().max() < 0.05
    assert (warped - target).abs().mean() > 0.005
    still, same = random_warp(ramps(3), noise(3), 0.5, 0.0)
    torch.testing.assert_close(still, same, atol=1e-4, rtol=0)


def test_x_and_y_are_moved_independently():
    """One port used the same draws for both."""
    warped, target = random_warp(ramps(400, 32), noise(400), 0.5, 0.03)
    moves = (warped - target)[:, :, ::8, ::8]
    x, y = moves[:, 0].flatten(), moves[:, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 0.1


def test_the_whole_image_is_turned_zoomed_shifted_and_mirrored():
    """The bounds, and four in ten mirrored, read off where the target's corners come from."""
    _, target = random_warp(ramps(1000, 16), noise(1000), 0.5, 0.0)
    along = target[:, :, 0, -1] - target[:, :, 0, 0]  # from the left upper corner to the right one
    assert 0.35 < (along[:, 0] < 0).float().mean() < 0.45
    length = along.norm(dim=1) / 1.0
    assert 0.94 < length.min() < 0.96 and 1.04 < length.max() < 1.06
    angle = torch.atan2(along[:, 1], along[:, 0].abs()).rad2deg().abs()
    assert 9.5 < angle.max() < 10.1
    middle = target.mean((2, 3))
    assert 0.095 < middle.abs().max() < 0.101  # 5% of the side is 0.1 of [-1, 1]


def test_the_programs_network():
    with torch.device("meta"):
        model = FaceSwap((3, 64, 64))
        assert model.generator.encoder(torch.empty(2, 3, 64, 64)).shape == (2, 512, 8, 8)
        assert model.generator(torch.empty(2, 3, 64, 64), 1).shape == (2, 3, 64, 64)
    convs = [layer.out_channels for layer in model.generator.encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert convs == [128, 256, 512, 1024, 4 * 512]
    decoder = [layer.out_channels for layer in model.generator.decoders[0].modules() if isinstance(layer, nn.Conv2d)]
    assert decoder == [4 * 256, 4 * 128, 4 * 64, 3]
    assert list(model.players()) == ["generator"]  # no adversary unless asked for


def test_each_identity_moves_the_encoder_and_its_own_decoder():
    model = translator("FaceSwap", discriminator=None)
    model.trainer = quiet()
    given = Unpaired(draw(2, 1, 16, 16).tanh(), draw(2, 1, 16, 16, seed=1).tanh())
    with within_turn(model):
        terms = model.generator_loss(given)
    assert terms.keys() == {"a", "b"}
    terms["a"].backward(retain_graph=True)
    moved = [
        any(p.grad is not None and p.grad.any() for p in part.parameters())
        for part in (model.generator.encoder, *model.generator.decoders)
    ]
    assert moved == [True, True, False]
    with within_turn(model):
        (warped_a, target_a) = random_warp(given.a, model.noise, model.coverage, model.jitter)
    torch.testing.assert_close(terms["a"], F.l1_loss(model.generator(warped_a, 0), target_a))


def test_a_swap_is_the_other_decoder():
    model, image = translator("FaceSwap"), draw(2, 1, 16, 16).tanh()
    seen = model.middle(image)
    torch.testing.assert_close(model.swap(image, 1), model.generator(seen, 1))
    made = model.translate(image, "AtoB")
    assert torch.equal(made[:, :, :3], image[:, :, :3])  # what was not seen stays
    side = round(16 * model.coverage)
    first = (16 - side) // 2
    inside = made[:, :, first : first + side, first : first + side]
    torch.testing.assert_close(
        inside, F.interpolate(model.swap(image, 1), (side, side), mode="bilinear", antialias=True)
    )
    assert not torch.allclose(made, model.translate(image, "BtoA"))


def test_the_middle_of_an_image_is_seen():
    model = translator("FaceSwap")
    seen = model.middle(ramps(1, 33)[:, :1])
    assert seen.amax() == pytest.approx(model.coverage, abs=1e-4) and seen.amin() == pytest.approx(
        -model.coverage, abs=1e-4
    )


def test_what_it_refuses():
    with pytest.raises(ValueError, match="coverage"):
        FaceSwap((3, 64, 64), coverage=0)
    with pytest.raises(ValueError, match="multiples of 16, not 40x64"):
        FaceSwap((3, 40, 64))


def test_where_sides_differ_the_target_is_a_similarity_of_pixels():
    """Its map of places has equal steps along both sides, at right angles: no rotation shears it."""
    height, width = 32, 80
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    _, target = random_warp(torch.stack([x, y])[None].repeat(20, 1, 1, 1), noise(20), 0.5, 0.01)
    right, down = (target.diff(dim=dim)[:, :, height // 2, width // 2] for dim in (3, 2))
    assert (right.norm(dim=1) / down.norm(dim=1) - 1).abs().max() < 1e-3
    assert ((right * down).sum(1) / down.norm(dim=1) ** 2).abs().max() < 1e-3
