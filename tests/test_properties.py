"""What holds for any input of a kind: inputs are drawn by hypothesis, always the same ones."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shapes_alone
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_networks import ALWAYS_CONDITIONAL, DISCRIMINATORS, GENERATORS
from torch import Tensor, nn

from gan_lightning import losses, networks, optim
from gan_lightning.benchmark import seconds_of
from gan_lightning.cli.samples import label_of
from gan_lightning.core.sampling import slerp
from gan_lightning.data.decoding import MODES, read_image, read_pixels
from gan_lightning.data.pictures import Pictures, resized
from gan_lightning.networks.layers import pyramid
from gan_lightning.noise import PartNoise, SampleNoise, drawn_by, hashes, truncated_normal
from gan_lightning.runtime.sizes import largest_crop, middle, sides_of, size_flag, size_of
from gan_lightning.schedules import Cosine, EDM2Rate, Linear, Schedule

settings.register_profile(
    "few",
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),  # to explain a failure takes minutes
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("few")

SIDE = st.integers(1, 72)
SIDES = st.tuples(SIDE, SIDE) | st.sampled_from([4, 8, 16, 20, 28, 32, 48, 64]).map(lambda side: (side, side))
SEED = st.integers(0, 2**63 - 1)


# Networks.

# Without the two that read a number of their weights as they are built, of which there are none here.
SCORERS: dict[str, Callable[..., nn.Module]] = {
    **{name: build for name, build in DISCRIMINATORS.items() if not name.startswith(("Improved", "SemiSupervised"))},
    "BEGANDiscriminator": lambda shape: networks.BEGANDiscriminator(shape, hidden=4, width=4),
    "PatchDiscriminator": lambda shape: networks.PatchDiscriminator(shape, width=4),
    "LocalDiscriminator": lambda shape: networks.LocalDiscriminator(shape, width=4),
    "LocalDiscriminator, pool": lambda shape: networks.LocalDiscriminator(shape, width=4, downsampling="pool"),
    "SRDiscriminator": lambda shape: networks.SRDiscriminator(shape, width=4, units=4),
    "ProGANDiscriminator": lambda shape: networks.ProGANDiscriminator(shape, base=256, widest=8),
    "R3GANDiscriminator": lambda shape: networks.R3GANDiscriminator(shape, width=4, blocks=1, group=2),
    "R3GAN2Discriminator": lambda shape: networks.R3GAN2Discriminator(shape, width=4, blocks=1, group=2),
    "StyleGAN2Discriminator": lambda shape: networks.StyleGAN2Discriminator(shape, base=256, widest=8),
}
MAKERS: dict[str, Callable[..., nn.Module]] = {
    **GENERATORS,
    "BEGANGenerator": lambda shape: networks.BEGANGenerator(shape, latent_dim=4, width=4),
    "ProGANGenerator": lambda shape: networks.ProGANGenerator(shape, latent_dim=4, base=256, widest=8),
    "R3GANGenerator": lambda shape: networks.R3GANGenerator(shape, latent_dim=4, width=4, blocks=1, group=2),
    "R3GAN2Generator": lambda shape: networks.R3GAN2Generator(shape, latent_dim=4, width=4, blocks=1, group=2),
    "StyleGANGenerator": lambda shape: networks.StyleGANGenerator(
        shape, latent_dim=4, style_dim=4, base=256, widest=8, mapping_layers=1
    ),
    "StyleGAN2Generator": lambda shape: networks.StyleGAN2Generator(
        shape, latent_dim=4, style_dim=4, base=256, widest=8, mapping_layers=1
    ),
}
TRANSLATORS: dict[str, Callable[..., nn.Module]] = {
    "UNetGenerator": lambda shape: networks.UNetGenerator(shape, width=4),
    "ResNetTranslator": lambda shape: networks.ResNetTranslator(shape, width=4, blocks=1),
    "ResNetTranslator, bilinear": lambda shape: networks.ResNetTranslator(
        shape, width=4, blocks=1, upsampling="bilinear"
    ),
    "AttributeTranslator": lambda shape: networks.AttributeTranslator(shape, 2, width=4, blocks=1),
    "Refiner": lambda shape: networks.Refiner(shape, width=4, blocks=1),
    "Refiner, coordinates": lambda shape: networks.Refiner(shape, width=4, blocks=1, coordinates=True),
}


def built(name: str, build: Callable[..., nn.Module], shape: tuple[int, int, int]) -> nn.Module | None:
    """A network for images of a shape; None where it refuses them, in a line that names the network and the sides."""
    try:
        return build(shape)
    except ValueError as error:
        message = str(error)
        assert "\n" not in message and name.split(",")[0] in message, message
        assert all(str(side) in message for side in shape[1:]), message
        return None


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=5)
@given(SIDES, st.sampled_from([1, 3]))
def test_a_generator_makes_images_of_any_sides_or_says_why_not(name, sides, channels):
    shape = channels, *sides
    with shapes_alone():
        network = built(name, MAKERS[name], shape)
        if network is not None:
            label = [torch.zeros(3, dtype=torch.int64)] if name in ALWAYS_CONDITIONAL else []
            assert network(torch.zeros(3, network.latent_dim), *label).shape == (3, *shape)


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=5)
@given(SIDES, st.sampled_from([1, 3]))
def test_a_discriminator_scores_images_of_any_sides_or_says_why_not(name, sides, channels):
    shape = channels, *sides
    with shapes_alone():
        network = built(name, SCORERS[name], shape)
        if network is not None:
            label = [torch.zeros(4, dtype=torch.int64)] if name == "ConditionalMaxoutDiscriminator" else []
            score = network(torch.zeros(4, *shape), *label)
            first = score[0] if isinstance(score, tuple) else score
            assert len(first) == 4 and first.numel() > 0


@pytest.mark.parametrize("name", TRANSLATORS)
@settings(max_examples=5)
@given(SIDES, st.sampled_from([1, 3]))
def test_a_translator_keeps_any_sides_or_says_why_not(name, sides, channels):
    shape = channels, *sides
    with shapes_alone():
        network = built(name, TRANSLATORS[name], shape)
        if network is not None:
            attributes = [torch.zeros(2, 2)] if name == "AttributeTranslator" else []
            assert network(torch.zeros(2, *shape), *attributes).shape == (2, *shape)


@settings(max_examples=200)
@given(st.integers(1, 600), st.integers(1, 600))
def test_a_pyramid_ends_at_the_sides_and_what_it_proposes_is_true(height, width):
    try:
        doublings, first_height, first_width = pyramid("Net", (3, height, width))
    except ValueError as error:
        nearest = [int(side) for side in re.search(r"nearest: (\d+), (\d+)", str(error)).groups()]
        short, long = sorted((height, width))
        for side in nearest:  # in place of the side that does not fit
            pyramid("Net", (3, short, side) if "beside" in str(error) else (3, side, side))
    else:
        assert (first_height * 2**doublings, first_width * 2**doublings) == (height, width)
        assert doublings >= 1 and 4 <= min(first_height, first_width) <= 7


# Sizes, crops and pictures.


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_size_can_be_said_and_read(height, width):
    sides = height, width
    assert sides_of(size_of(sides)) == sides
    assert sides_of(size_flag(f"{height},{width}")) == sides == sides_of(size_flag(f" [{height}, {width}] "))


@settings(max_examples=200)
@given(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), st.tuples(SIDE, SIDE), st.none() | st.integers(1, 500))
def test_a_crop_lies_within_the_picture_and_has_the_proportions(own, sides, short):
    crop = largest_crop(*own, sides, short)
    assert all(1 <= side <= most for side, most in zip(crop, own, strict=True))
    scale = min(own[0] / sides[0], own[1] / sides[1], math.inf if short is None else short / min(sides))
    assert all(abs(side - max(1, scale * want)) <= 0.5 + 1e-6 * side for side, want in zip(crop, sides, strict=True))
    for have, want, part in zip(own, crop, middle(own, crop), strict=True):
        assert part.stop - part.start == want and 0 <= (have - part.stop) - part.start <= 1


@given(SIDE, SIDE, SIDE, SIDE, st.integers(1, 9), st.sampled_from([np.uint8, np.uint16]), SEED)
def test_resizing_gives_the_size_and_keeps_what_is_flat(height, width, to_height, to_width, channels, kind, seed):
    most = np.iinfo(kind).max
    image = np.random.default_rng(seed).integers(0, most + 1, (height, width, channels), dtype=kind)
    found = resized(image, to_height, to_width)
    assert found.shape == (to_height, to_width, channels) and found.dtype == kind
    flat = np.broadcast_to(image[:1, :1], image.shape).copy()
    assert np.array_equal(resized(flat, to_height, to_width), np.broadcast_to(image[:1, :1], found.shape))
    if to_height <= height and to_width <= width:  # means of areas
        assert (found >= image.min((0, 1))).all() and (found <= image.max((0, 1))).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24), st.none() | st.integers(1, 40))
def test_every_frame_of_any_picture_has_the_size(height, width, to_height, to_width, crop):
    sides = to_height, to_width
    for frame in ("whole", "middle", "own"):
        framed = Pictures([], (3, *sides), frame, crop).framed(np.zeros((height, width, 3), np.uint8), sides)
        if frame == "own":  # its own scale, of which the middle is taken
            assert framed.shape[0] >= to_height and framed.shape[1] >= to_width
            assert framed[middle(framed.shape[:2], sides)].shape == (*sides, 3)
        else:
            assert framed.shape == (*sides, 3)


FORMATS = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "BMP": ["1", "L", "P", "RGB"],
    "WEBP": ["L", "RGB", "RGBA"],
    "GIF": ["L", "P"],
}
FILES = [(kind, mode) for kind, modes in FORMATS.items() for mode in modes]


def file_of(kind: str, mode: str, height: int, width: int, turn: int, seed: int) -> bytes:
    """An image file with random pixels, and how it is to be turned."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        image = Image.fromarray(levels).quantize(16)
    else:
        image = Image.fromarray(levels).convert(mode)
    if turn > 1:
        image.getexif()[0x0112] = turn
    content = io.BytesIO()
    image.save(content, kind, **({"exif": image.getexif()} if turn > 1 and kind in ("PNG", "JPEG", "WEBP") else {}))
    return content.getvalue()


@settings(max_examples=60)
@given(st.sampled_from(FILES), SIDE, SIDE, st.integers(1, 8), SEED, st.sampled_from([1, 3, 4]), SIDE, SIDE)
def test_any_picture_becomes_the_size_and_the_channels_asked_for(
    tmp_path_factory, file, height, width, turn, seed, channels, to_height, to_width
):
    """Both readers see the same pixels, which are those of Pillow's own conversion where nothing is transparent."""
    kind, mode = file
    path: Path = tmp_path_factory.getbasetemp() / f"picture.{kind.lower()}"
    turn = turn if kind in ("PNG", "JPEG", "WEBP") else 1
    path.write_bytes(file_of(kind, mode, height, width, turn, seed))
    found = read_pixels(path, channels)
    upright = (width, height) if turn > 4 else (height, width)
    assert found.shape == (*upright, channels)
    assert found.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    assert np.array_equal(read_pixels(path, channels, fast=True), found)
    if turn == 1 and mode not in ("I;16", "LA", "RGBA"):
        with Image.open(path) as image:
            theirs = np.asarray(image.convert(MODES[channels]))
        assert np.array_equal(found, theirs.reshape(found.shape))
    size = [to_height, to_width]
    fitted = read_image(path, size, channels)
    assert fitted.shape == (channels, *size) and fitted.dtype == found.dtype


@given(SIDE, SIDE, SEED)
def test_opencv_and_pillow_agree_where_sides_shrink_by_whole_numbers(height, width, seed):
    """Means of areas, by another library: Pillow's box filter, which rounds otherwise at a half."""
    image = np.random.default_rng(seed).integers(0, 256, (3 * height, 3 * width, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
    assert np.abs(resized(image, height, width).astype(int) - theirs).max() <= 1


# Noise.


@given(SEED, st.lists(st.integers(0, 2**40), min_size=1, max_size=6), st.integers(0, 6), st.data())
def test_a_sample_depends_on_the_seed_and_its_number_alone(seed, numbers, cut, data):
    cpu, shape = torch.device("cpu"), data.draw(st.sampled_from([(), (3,), (2, 5)]))
    parts = [part for part in (numbers[:cut], numbers[cut:]) if part]

    def drawn(part: list[int]) -> list[Tensor]:
        noise = SampleNoise(seed, part, cpu)
        return [noise.normal(len(part), *shape), noise.uniform(len(part), *shape), noise.integers(7, len(part), *shape)]

    for whole, *split in zip(drawn(numbers), *map(drawn, parts), strict=True):
        assert torch.equal(whole, torch.cat(split)) and whole.shape == (len(numbers), *shape)
    alone = drawn([numbers[-1]])
    assert all(torch.equal(one[0], whole[-1]) for one, whole in zip(alone, drawn(numbers), strict=True))


@given(SEED, st.integers(1, 5), st.integers(1, 5))
def test_parts_of_a_batch_draw_what_the_whole_draws(seed, parts, n):
    cpu = torch.device("cpu")
    whole = PartNoise(seed, 0, 1, cpu).normal(parts * n, 3)
    assert torch.equal(whole, torch.cat([PartNoise(seed, part, parts, cpu).normal(n, 3) for part in range(parts)]))


def split_mix(seed: int, count: int) -> int:
    """SplitMix64 as its authors write it, a step at a time, in whole numbers of any size."""
    state = (seed + count * 0x9E3779B97F4A7C15) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


@given(SEED, st.lists(st.integers(0, 2**62), min_size=1, max_size=5))
def test_hashes_are_split_mix(seed, index):
    assert hashes(seed, index).tolist() == [split_mix(seed, count) for count in index]


@given(
    st.lists(st.sampled_from([0.0, 0.0, 1e-6, 0.3, 1.0, 1e6]), min_size=1, max_size=9),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=9),
)
def test_nothing_without_mass_is_drawn(mass, uniform):
    assume(any(mass))
    found = drawn_by(torch.tensor([mass]), torch.tensor([uniform]))
    assert found.shape == (1, len(uniform)) and all(mass[column] > 0 for column in found[0].tolist())


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=9), st.floats(0.01, 4))
def test_truncation_keeps_the_order_and_the_limit(numbers, limit):
    z = torch.tensor(numbers, dtype=torch.float64).sort().values
    found = truncated_normal(z, limit)
    assert (found.diff() >= 0).all() and (found.abs() <= limit).all()
    assert torch.allclose(truncated_normal(-z, limit), -found, atol=1e-6)


@given(SEED, st.floats(0, 1))
def test_a_way_between_latents_keeps_their_length_and_has_their_ends(seed, share):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.nn.functional.normalize(torch.randn(2, 4, 5, generator=generator, dtype=torch.float64), dim=-1)
    between = slerp(a, b, share)
    assert torch.allclose(between.norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(between, slerp(b, a, 1 - share))
    assert torch.allclose(slerp(a, b, 0.0), a) and torch.allclose(slerp(a, b, 1.0), b)


# Schedules.

VALUE = st.floats(-10, 10)
IMAGES = st.floats(0, 1e9)


@settings(max_examples=100)
@given(st.sampled_from([Linear, Cosine]), VALUE, VALUE, IMAGES, IMAGES, st.floats(1, 1e9), st.lists(st.floats(0, 4e9)))
def test_a_schedule_leads_from_its_start_to_its_end_and_never_turns(kind, start, end, after, warmup, more, at):
    schedule: Schedule = kind(start, end, max(after, warmup) + more, after, warmup)
    leaves = max(after, warmup)
    assert schedule.at(0) == (0 if warmup else start) and schedule.at(leaves) == pytest.approx(start)
    assert schedule.at(leaves + more) == pytest.approx(end) == schedule.at(10 * (leaves + more))
    values = [schedule.at(images) for images in sorted(at) if images >= leaves]
    steps = np.diff(values) * np.sign(end - start)
    assert (steps >= -1e-9).all() and all(min(start, end) - 1e-9 <= v <= max(start, end) + 1e-9 for v in values)
    rise = [schedule.at(images) for images in sorted(at) if images < warmup]
    assert (np.diff(rise) * np.sign(start) >= 0).all() and all(abs(v) <= abs(start) for v in rise)


@given(st.floats(1e-6, 10), st.floats(0, 1e6), st.floats(0, 1e6), st.lists(st.floats(0, 1e7)))
def test_the_rate_of_edm2_rises_and_then_falls(value, constant, warmup, at):
    schedule = EDM2Rate(value, constant, warmup)
    values = [schedule.at(images) for images in sorted(at)]
    peak = max(range(len(values)), key=values.__getitem__, default=0)
    assert all(0 <= v <= value for v in values)
    assert (np.diff(values[: peak + 1]) >= -1e-12).all() and (np.diff(values[peak:]) <= 1e-12).all()


@given(
    st.sampled_from([optim.LinearDecay, optim.CosineDecay]),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(1, 8),
    st.data(),
)
def test_a_decay_that_goes_on_from_a_file_has_the_rates_that_it_would_have_had(kind, warmup, start, more, data):
    start = start + warmup if start else 0
    end = max(start, warmup) + more

    def decay() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
        return optimizer, kind(optimizer, end, start, warmup)

    def rates(optimizer, schedule, steps: int) -> list[float]:
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    whole = rates(*decay(), end + 2)
    cut = data.draw(st.integers(0, end))
    first = decay()
    before = rates(*first, cut)
    again = decay()
    again[0].load_state_dict(first[0].state_dict())
    again[1].load_state_dict(first[1].state_dict())
    assert before + rates(*again, end + 2 - cut) == whole
    assert all(0 <= rate <= 0.5 for rate in whole) and whole[end:] == [0, 0]
    flat = max(start, warmup)
    assert whole[flat] == 0.5 and (np.diff(whole[:flat]) >= 0).all() and (np.diff(whole[flat:]) <= 0).all()


# Losses.

SCORES = st.lists(st.floats(-30, 30), min_size=1, max_size=8)


@settings(max_examples=60)
@given(SCORES, SCORES, VALUE)
def test_symmetries_of_the_losses(first, second, shift):
    """Of scores alone; real and fake batches may differ in size where scores are not compared in pairs."""
    real, fake = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)

    def same(one: Tensor, other: Tensor | float) -> bool:
        return float(one) == pytest.approx(float(other), abs=1e-8)  # torch's softplus is linear from 20 on

    for loss in (losses.logistic_discriminator, losses.hinge_discriminator):  # who is real is a matter of sign
        assert same(loss(real, fake), loss(-fake, -real)) and loss(real, fake) >= 0
    assert same(losses.wasserstein_discriminator(real, fake), -losses.wasserstein_discriminator(fake, real))
    assert same(
        losses.wasserstein_discriminator(real + shift, fake + shift), losses.wasserstein_discriminator(real, fake)
    )
    assert same(
        losses.least_squares_discriminator(real, fake, 0.2, 0.9),
        losses.least_squares_discriminator(fake, real, 0.9, 0.2),
    )
    # log sigmoid(s) = s + log sigmoid(-s): the two forms of the generator's loss differ by the mean score.
    assert same(losses.non_saturating_generator(fake), losses.minimax_generator(fake) * -1 - fake.mean())
    assert same(losses.hinge_generator(fake), losses.wasserstein_generator(fake))
    for loss in (
        losses.relativistic_average,
        losses.relativistic_average_hinge,
        losses.relativistic_average_least_squares,
    ):
        assert same(loss(real + shift, fake + shift), loss(real, fake)) and same(loss(-fake, -real), loss(real, fake))
        assert same(loss(real.flip(0), fake.sort().values), loss(real, fake))
    better = real[: len(fake)]
    worse = fake[: len(better)]
    assert same(losses.relativistic(better, worse) - losses.relativistic(worse, better), (worse - better).mean())
    assert same(losses.relativistic(better + shift, worse + shift), losses.relativistic(better, worse))


@given(SEED, st.integers(2, 6), st.integers(2, 6))
def test_symmetries_of_penalties_and_distances(seed, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, columns, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64)).Q
    penalty = losses.off_diagonal_penalty
    assert torch.isclose(penalty([a @ turn]), penalty([a])) and torch.isclose(
        penalty([a, b]), penalty([a]) + penalty([b])
    )
    assert penalty([turn]) < 1e-20 and penalty([a * 0]) == 0
    assert (
        torch.equal(losses.absolute_error(a, b), losses.absolute_error(b, a)) and not losses.absolute_error(a, a).any()
    )
    matching = losses.feature_matching
    assert torch.isclose(matching(a, b), matching(b, a)) and torch.isclose(matching(a.flip(0), b), matching(a, b))
    assert torch.isclose(matching(a @ turn, b @ turn), matching(a, b))


# Words on the command line.


@given(st.integers(1, 10**6), st.sampled_from(["s", "m", "h"]))
def test_a_budget_is_a_number_with_a_unit(number, unit):
    assert seconds_of(f"{number}{unit}") == number * {"s": 1, "m": 60, "h": 3600}[unit]


@settings(max_examples=200)
@given(st.text("0123456789smhd+. -\n", max_size=5))
def test_nothing_else_is_a_budget(text):
    if not re.fullmatch(r"[1-9][0-9]*[smh]", text):
        with pytest.raises(ValueError):
            seconds_of(text)


@settings(max_examples=100)
@given(
    st.lists(st.text("ab0123-, ", min_size=1, max_size=3), min_size=1, max_size=6, unique=True),
    st.data(),
)
def test_a_class_is_found_by_its_name_and_else_by_its_number(names, data):
    for number, name in enumerate(names):
        assert label_of(name, names, len(names)) == number
        assert str(number) in names or label_of(str(number), names, len(names)) == number
    word = data.draw(st.text("ab0123-, \n", max_size=3))
    if word not in names and not (word.isascii() and word.isdecimal() and int(word) < len(names)):
        with pytest.raises(ValueError) as raised:
            label_of(word, names, len(names))
        assert "\n" not in str(raised.value)
