"""The drawn sets against what is known of their shapes: areas, colours, poses, and what is independent of what."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from gan_lightning import data
from gan_lightning.batches import Attributed, Captioned, Masked, Paired, Unpaired
from gan_lightning.data.base import to_unit
from gan_lightning.data.drawing import (
    KINDS,
    Layer,
    Stripes,
    as_photographed,
    ellipse,
    hue_class,
    paint,
    render,
    rgb,
    shape_mask,
    shapes,
)

EVERY = {
    data.ShapePairs: Paired,
    data.ShapeDomains: Unpaired,
    data.ShapeAttributes: Attributed,
    data.ShapeRefinement: Unpaired,
    data.ShapeIdentities: Unpaired,
    data.ShapeHoles: Masked,
    data.ShapeResolution: Paired,
    data.CaptionedShapes: Captioned,
}


def whole(kind, n: int, split: str = "train", size: int = 32):
    images = kind(n=n, size=size, batch_size=2).reference(split)
    return images.__getitems__(list(range(len(images))))


@pytest.mark.parametrize("kind", EVERY)
def test_every_set_trains_and_validates(kind):
    module = kind(n=6, size=32, batch_size=2)
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert len(batches) == 3 and all(isinstance(batch, EVERY[kind]) for batch in batches)
    assert len(module.reference("val")) == 500 and module.num_classes is None and module.name == kind.__name__
    image = batches[0].target if EVERY[kind] is Paired else batches[0][0]
    assert tuple(image.shape) == (2, *module.image_shape) and image.dtype == torch.uint8
    assert "\n" not in kind.__doc__.splitlines()[0] and kind.__name__ in data.__all__
    assert isinstance(next(iter(module.val_dataloader())), EVERY[kind])
    single = module.reference("train")[1]
    assert isinstance(single, EVERY[kind]) and single[0].ndim == 3


@pytest.mark.parametrize("kind", EVERY)
def test_an_image_depends_on_its_number_alone(kind):
    few, many = whole(kind, 4), whole(kind, 9)
    for name, one, other in zip(few._fields, few, many, strict=True):
        assert torch.equal(one, other[:4]) or name == "wrong"  # which is a caption of any other image
    held_out = whole(kind, 4, "val")
    assert not {row.numpy().tobytes() for row in many[0]} & {row.numpy().tobytes() for row in held_out[0]}
    fingerprints = [kind(n=n, size=32).reference("train").fingerprint for n in (4, 4, 9)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize("arguments", [{"n": 0}, {"size": 8}])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="^ShapePairs: n .* must be positive and size .* at least 16$"):
        data.ShapePairs(**arguments)


# Drawing.


def test_edges_are_true_to_a_quarter_of_a_pixel():
    """A rectangle's edges lie at known shares of pixels; a circle has a known area and circumference."""
    left, right, top, bottom = 4.25 / 16, 11.5 / 16, 2 / 16, 12.75 / 16
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    found = paint([Layer(corners, [255])], 16, [0])[0] / 255
    across, down = np.zeros(16), np.zeros(16)
    across[4], across[5:11], across[11] = 0.75, 1, 0.5
    down[2:12], down[12] = 1, 0.75
    assert np.abs(found[7] - across).max() < 0.26 and np.abs(found[:, 7] - down).max() < 0.26
    for radius in (0.15, 0.3, 0.45):
        cover = paint([Layer(ellipse(0.5, 0.5, radius, radius), [255])], 64, [0]) / 255
        assert abs(cover.mean() - math.pi * radius**2) < 2 * math.pi * radius * 0.125 / 64


def test_shapes_lie_where_their_factors_say():
    """Against half planes and distances, in a pixel's centre."""
    factors, size = shapes(3, 60), 64
    mask = render(factors, size).mask.numpy()
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    for row, (kind, at_x, at_y, radius, angle, _) in enumerate(zip(*factors, strict=True)):
        right, down = x - at_x, y - at_y
        corners = {"square": 4, "triangle": 3}.get(KINDS[kind])
        if corners is None:
            inside = np.hypot(right, down) - radius
        else:  # the middle of edge k lies half a step after corner k, the first of which points up before it is turned
            middles = angle - math.pi / 2 + (np.arange(corners) + 0.5) * 2 * math.pi / corners
            reach = radius * math.cos(math.pi / corners)
            inside = np.max([right * math.cos(m) + down * math.sin(m) - reach for m in middles], 0)
        clear = np.abs(inside) > 0.75 / size
        assert np.array_equal(mask[row][clear], (inside < 0)[clear])
        assert not mask[row][[0, -1]].any() and not mask[row][:, [0, -1]].any()  # all of it is within the image


def test_factors_are_uniform_and_independent():
    factors = shapes(0, 6000)
    assert np.bincount(factors.kind, minlength=3) == pytest.approx(2000, abs=4 * math.sqrt(6000 * 2 / 9))
    table = np.stack([factors.kind, factors.radius, factors.angle, factors.hue])
    assert np.abs(np.corrcoef(table) - np.eye(4)).max() < 4.5 / math.sqrt(6000)
    for values, low, high in ((factors.radius, 0.2, 0.35), (factors.hue, 0, 1), (factors.angle, 0, 2 * math.pi)):
        assert values.min() >= low and values.max() < high
        assert values.mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / math.sqrt(12 * 6000))


def test_hues_are_those_of_the_standard_library():
    import colorsys

    for hue in np.linspace(-0.2, 1.2, 57):
        assert rgb(hue) == pytest.approx([255 * level for level in colorsys.hsv_to_rgb(hue % 1, 1, 1)], abs=0.51)


def test_half_of_a_striped_polygon_is_stripes():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    found = paint([Layer(square, [0], None, Stripes([200], 0.0, 0.25))], 32, [90])[0]
    bars = np.floor((np.arange(32) + 0.5) / 4).astype(int) % 2 * 200  # eight bars and gaps of four pixels, upright
    assert np.array_equal(found, np.tile(bars, (32, 1))) or np.array_equal(found, np.tile(200 - bars, (32, 1)))


def test_the_helpers_know_every_shape():
    for size in (32, 64):
        for hues, expected in (((-0.02, 0.11), 0), ((0.55, 0.7), 1)):
            drawn = render(shapes(11, 300, hues=hues), size)
            image = to_unit(drawn.image)
            assert torch.equal(hue_class(image), torch.full((300,), expected))
            assert torch.equal(shape_mask(image), drawn.mask)


# The sets.


def test_domains_differ_in_hue_alone():
    batch = whole(data.ShapeDomains, 800)
    a, b = to_unit(batch.a), to_unit(batch.b)
    assert (hue_class(a) == 0).all() and (hue_class(b) == 1).all()
    areas = [shape_mask(image).float().mean((1, 2)) for image in (a, b)]
    spread = math.sqrt((areas[0].var() + areas[1].var()) / 800)
    assert abs(areas[0].mean() - areas[1].mean()) < 4 * spread
    assert abs(np.corrcoef(torch.stack(areas))[0, 1]) < 4 / math.sqrt(800)  # no two are a pair


def test_a_target_is_the_outlines_inside_in_the_colour_of_its_kind():
    batch = whole(data.ShapePairs, 200, size=64)
    assert batch.source.shape == batch.target.shape == (200, 3, 64, 64)
    assert torch.equal(batch.source[:, 0], batch.source[:, 2])  # white says nothing of colour
    y, x = np.mgrid[:64, :64]
    kinds = set()
    for source, target in zip(batch.source.numpy(), batch.target.numpy(), strict=True):
        assert (target[:, 0, 0] == 128).all() and (source[:, 0, 0] == 0).all()
        shape = target.max(0).astype(int) - target.min(0) > 128
        filled = ndimage.binary_fill_holes(source[0] > 128)
        assert filled[shape].mean() > 0.99  # and an outline is as wide outside the shape as inside
        assert ndimage.binary_dilation(shape, np.ones((3, 3)), 3)[filled].all()
        colour = target[:, shape].mean(1).argmax()
        centre_y, centre_x = y[shape].mean(), x[shape].mean()
        reach = np.hypot(y[shape] - centre_y, x[shape] - centre_x).max() + 0.5
        share = shape.sum() / (math.pi * reach**2)  # of the circle through its corners
        truth = np.abs(np.array([1, 2 / math.pi, 3 * math.sqrt(3) / 4 / math.pi]) - share).argmin()
        assert colour == truth
        kinds.add(int(truth))
    assert kinds == {0, 1, 2}


def test_attributes_are_what_the_images_show():
    module = data.ShapeAttributes(n=1500, batch_size=2)
    assert module.attributes == ["Warm", "Filled", "Large"]
    image, has = module.reference("train").every
    assert has.shape == (1500, 3) and has.dtype == torch.float32
    unit = to_unit(image)
    assert torch.equal(hue_class(unit) == 0, has[:, 0] == 1)
    mask = shape_mask(unit).numpy()
    solid = np.stack([ndimage.binary_fill_holes(one) for one in mask])
    share = mask.sum((1, 2)) / solid.sum((1, 2))
    assert np.array_equal(share > 0.99, has[:, 1] == 1)
    reach = [np.linalg.norm(np.argwhere(one) - np.argwhere(one).mean(0), axis=1).max() for one in solid]
    assert np.array_equal(np.array(reach) > 0.26 * 32, has[:, 2] == 1)


def test_attributes_are_independent_and_true_of_half():
    has = data.ShapeAttributes(n=4000).reference("train").every.attributes
    bound = 4 / math.sqrt(4000)
    assert (has.mean(0) - 0.5).abs().max() < bound / 2
    assert (torch.corrcoef(has.T) - torch.eye(3)).abs().max() < bound
    counts = torch.bincount((has @ torch.tensor([4.0, 2.0, 1.0])).long(), minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi squared of seven degrees of freedom, p = 0.001


def explained(images: torch.Tensor, pose: torch.Tensor, held_out: int) -> np.ndarray:
    """(factors,) share of the variance of held-out poses that least squares of the pixels explains."""
    pixels = torch.nn.functional.avg_pool2d(to_unit(images), 2).flatten(1).numpy()
    pixels = np.concatenate([pixels, np.ones((len(pixels), 1))], 1)
    known, asked = pixels[:-held_out], pixels[-held_out:]
    ridge = known.T @ known + 3 * np.eye(pixels.shape[1])
    guess = asked @ np.linalg.solve(ridge, known.T @ pose[:-held_out].numpy())
    truth = pose[-held_out:].numpy()
    return 1 - ((guess - truth) ** 2).mean(0) / truth.var(0)


@pytest.mark.parametrize(("kind", "factors"), [(data.ShapeRefinement, 3), (data.ShapeIdentities, 5)])
def test_poses_are_those_of_the_images(kind, factors):
    images = kind(n=1500, size=32).reference("train")
    batch = images.__getitems__(list(range(1500)))
    for image, pose in ((batch.a, images.pose_a), (batch.b, images.pose_b)):
        assert pose.shape == (1500, factors) and pose.dtype == torch.float32 and pose.abs().max() <= 1
        assert (explained(image, pose, 300) > 0.5).all()
        assert (explained(image, pose.flip(0), 300) < 0.1).all()  # what a wrong order would give
    assert np.abs(np.corrcoef(images.pose_a.T, images.pose_b.T) - np.eye(2 * factors)).max() < 4.5 / math.sqrt(1500)


def test_real_eyes_are_darker_softer_and_noisier():
    batch = whole(data.ShapeRefinement, 200)
    a, b = batch.a.float(), batch.b.float()
    assert batch.a.shape == (200, 1, 32, 32)
    assert b.mean() < 0.8 * a.mean()
    ground_a, ground_b = a[:, 0, 31].std(1), b[:, 0, 31].std(1)  # below the eye: grain alone, noise and light
    assert 2.7 < ground_a.mean() < 3.3 and ground_b.min() > 3 and ground_b.mean() > 1.5 * ground_a.mean()
    steps = [(image[:, :, :, 1:] - image[:, :, :, :-1]).abs().amax((1, 2, 3)).mean() for image in (a, b)]
    assert steps[1] < 0.7 * steps[0]


def test_light_comes_from_the_left_for_all_or_from_any_side():
    """The lower corners are ground, so only the light differs; their columns lie 0.5 - 2.5 / 31 from the middle."""

    def left_to_right(light: str) -> torch.Tensor:
        ground = whole(partial(data.ShapeRefinement, light=light), 200).b[:, 0, 28:].float()
        return ground[:, :, :6].mean((1, 2)) / ground[:, :, -6:].mean((1, 2))

    share = 0.6 * (0.5 - 2.5 / 31)
    greatest = (1 + share) / (1 - share)  # 1.67
    left, random = left_to_right("left"), left_to_right("random")
    assert left.mean() == pytest.approx(greatest, rel=0.01) and left.min() > 0.9 * greatest
    assert 1 / greatest < 1.1 * random.min() and random.max() < 1.1 * greatest
    assert (random > 1).float().mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("light", ["left", "random"])
def test_the_ideal_refiner_is_the_mean_of_the_photographs_of_a_pose(light: str):
    module = data.ShapeRefinement(n=3, size=32, light=light)
    _, clean = module.eyes("train", 0)
    towards = (-1, 0) if light == "left" else None
    many = as_photographed(np.repeat(clean, 2000, 0), 7, towards).reshape(3, 2000, 1, 32, 32)
    found = module.ideal("train").numpy()
    assert found.shape == (3, 1, 32, 32) and found.dtype == np.uint8
    tolerance = 1 + 4 * many.std(1) / math.sqrt(2000)
    assert (np.abs(many.mean(1) - found) < tolerance).all()


def test_random_partners_come_again_with_the_same_seed_only():
    def partners(seed: int) -> list[torch.Tensor]:
        module = data.ShapeDomains(n=40, batch_size=8)
        module.trainer = type("Run", (), {"global_rank": 0, "world_size": 1, "lightning_module": None})()
        module.trainer.lightning_module = type("Model", (), {"seed": seed, "iteration": 2})()
        return [batch.b for batch in module.train_dataloader()]

    first, again, other = partners(1), partners(1), partners(2)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))
