"""What the discriminator sees: each augmentation against closed forms, torch's own operations and a loop by hand."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Noisy, assert_same, draw, gap, in_two_processes, plain_networks, quiet, sgd, tensors, tiny, trained
from torch import Tensor

from gan_lightning.augment import ADA, Augment, DiffAugment, wavelets
from gan_lightning.core import ImageStep
from gan_lightning.data import Digits
from gan_lightning.noise import Noise, PartNoise, SampleNoise
from gan_lightning.schedules import Linear

CPU = torch.device("cpu")
BLITTING = ("xflip", "rotate90", "xint")
GEOMETRY = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
ALL = (*BLITTING, *GEOMETRY, *COLOR, "imgfilter", "noise", "cutout")


def ada(*names: str, p: float = 1.0, **strengths: float | list[float]) -> ADA:
    """Of these transformations alone."""
    return ADA(p, target=None, **{**dict.fromkeys(ALL, 0.0), **dict.fromkeys(names, 1.0), **strengths})


PARTS = {
    "color": partial(DiffAugment, translation=False, cutout=False),
    "translation": partial(DiffAugment, color=False, cutout=False),
    "cutout": partial(DiffAugment, color=False, translation=False),
    "DiffAugment": DiffAugment,
    "blitting": partial(ada, *BLITTING),
    "geometry": partial(ada, *GEOMETRY),
    "ada color": partial(ada, *COLOR),
    "imgfilter": partial(ada, "imgfilter"),
    "noise": partial(ada, "noise"),
    "ada cutout": partial(ada, "cutout"),
    "ADA": partial(ada, *ALL, p=0.7),
}
every_part = pytest.mark.parametrize("part", PARTS)


def noise(seed: int = 0, part: int = 0, parts: int = 1) -> Noise:
    return PartNoise(seed, part, parts, CPU)


class Given(Noise):
    """Hands out what a test wants, in the order of the draws: for each, one value a row."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def _rows(self, draw, n: int, shape: tuple[int, ...]) -> Tensor:
        return torch.full((n, *shape), float(self.values.pop(0)))

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        return self._rows(None, n, shape).long()


# All of them


@every_part
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 3, 4)], ids=str)
def test_gradients(part, shape):
    augment = PARTS[part]()
    image = draw(2, *shape).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, noise(1)), image)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, noise(1)), image)


@every_part
def test_each_sample_has_a_draw_of_its_own_and_the_key_decides(part):
    augment = PARTS[part]()
    image = draw(1, 3, 16, 16).expand(64, 3, 16, 16)
    seen = augment(image, noise())
    assert torch.equal(seen, augment(image, noise()))
    assert not torch.equal(seen, augment(image, noise(1)))
    assert len(seen.flatten(1).unique(dim=0)) > (12 if part == "translation" else 30)


@every_part
def test_a_part_of_the_batch_is_that_part_of_the_whole(part):
    augment = PARTS[part]()
    image = draw(8, 3, 12, 16)
    halves = [augment(image[4 * i : 4 * i + 4], noise(3, i, 2)) for i in (0, 1)]
    torch.testing.assert_close(torch.cat(halves), augment(image, noise(3)), rtol=0, atol=1e-5)


@every_part
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_dtype_stays(part, dtype):
    assert PARTS[part]()(draw(2, 1, 8, 8).to(dtype), noise()).dtype == dtype


@every_part
def test_mixed_precision_changes_nothing(part):
    augment, image = PARTS[part](), draw(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = augment(image, noise())
    assert torch.equal(mixed, augment(image, noise()))


# DiffAugment


def test_colour_against_its_closed_form():
    image = draw(2, 3, 4, 5)
    b, s, c = ((torch.tensor(v).view(2, 1, 1, 1)) for v in ([0.3, -0.4], [1.7, 0.2], [0.6, 1.4]))
    given = SampleNoise(0, [0, 1], CPU)
    given._rows = lambda *_: torch.stack([b + 0.5, s / 2, c - 0.5], 1)  # back to U[0, 1)
    y = image + b
    y = y.mean(1, keepdim=True).lerp(y, s)
    y = y.mean((1, 2, 3), keepdim=True).lerp(y, c)
    torch.testing.assert_close(PARTS["color"]()(image, given), y, rtol=0, atol=2e-6)


def test_colour_keeps_means_but_for_brightness():
    """Saturation and contrast keep an image's mean, so its change is the brightness: U[-0.5, 0.5)."""
    n = 4000
    image = draw(1, 3, 4, 4)
    change = PARTS["color"]()(image.expand(n, 3, 4, 4), noise()).mean((1, 2, 3)) - image.mean()
    assert change.abs().max() <= 0.5 + 1e-5 and change.abs().max() > 0.49
    assert abs(change.mean()) < 4 / math.sqrt(12 * n) and abs(change.var() - 1 / 12) < 0.005


def test_grey_images_have_no_saturation():
    image = draw(3, 1, 4, 4)
    results = []
    for saturation in (0.0, 0.9):
        given = SampleNoise(0, range(3), CPU)
        given._rows = lambda *_, s=saturation: torch.tensor([0.7, s, 0.2]).view(1, 3, 1, 1, 1).expand(3, 3, 1, 1, 1)
        results.append(PARTS["color"]()(image, given))
    assert torch.equal(*results)


def test_translation_against_rolled_padding():
    image = draw(1, 2, 16, 8)
    for dy in range(-2, 3):
        for dx in (-1, 0, 1):
            seen = PARTS["translation"]()(image, Given(dy + 2, dx + 1))
            padded = F.pad(image, (1, 1, 2, 2))
            assert torch.equal(seen, padded[:, :, 2 + dy : 18 + dy, 1 + dx : 9 + dx])


def test_mean_under_translation_and_cutout():
    """Ones: what is left is the mean over all draws, equally likely, of the share that is not 0."""
    n, h, w = 6000, 16, 8
    ones = torch.ones(n, 1, h, w)
    kept = [
        sum(1 - abs(d) / side for d in range(-(side // 8), side // 8 + 1)) / (2 * (side // 8) + 1) for side in (h, w)
    ]
    assert abs(PARTS["translation"]()(ones, noise()).mean() - kept[0] * kept[1]) < 0.005
    covered = [
        sum(min(c + side // 4, side) - max(c - side // 4, 0) for c in range(side + 1)) / (side + 1) / side
        for side in (h, w)
    ]
    seen = PARTS["cutout"]()(ones, noise())
    assert abs(seen.mean() - (1 - covered[0] * covered[1])) < 0.005
    assert float((seen == 0).flatten(1).sum(1).max()) == h * w / 4  # half of each side


# ADA


REFERENCE = np.load(Path(__file__).parent / "reference" / "ada.npz")
AFTER = 12  # the draw of the second rotation: two for each of xflip, rotate90, xint, scale, rotate and aniso before it


class Quantile(Noise):
    """Every number is one quantile of its distribution, but for some draws, counted from 0, that have their own."""

    def __init__(self, quantile: float, others: dict[int, float] | None = None, spread: float = 1.0) -> None:
        self.quantile, self.others, self.spread, self.draws = quantile, others or {}, spread, 0

    def _next(self) -> float:
        self.draws += 1
        return self.others.get(self.draws - 1, self.quantile)

    def uniform(self, n: int, *shape: int) -> Tensor:
        return torch.full((n, *shape), self._next())

    def normal(self, n: int, *shape: int) -> Tensor:
        return self.spread * torch.special.ndtri(self.uniform(n, *shape))

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        return (high * self.uniform(n, *shape)).long()


@pytest.mark.parametrize("case", [name for name in REFERENCE if name != "in"])
def test_ada_is_the_authors(case):
    """One image and every fourth row of what training/augment.py of NVlabs/stylegan2-ada-pytorch makes of it.

    Each transformation by itself and "bgc", at p = 1, with `debug_percentile`: there the second rotation does not
    happen, and normal numbers have the standard deviation sqrt(1/2).
    """
    name, quantile = case.split(", percentile ")
    given = Quantile(float(quantile), {AFTER: 0.5}, math.sqrt(0.5))
    seen = ada(*((*BLITTING, *GEOMETRY, *COLOR) if name == "bgc" else [name]))(torch.tensor(REFERENCE["in"]), given)
    expected = torch.tensor(REFERENCE[case])
    assert (seen[:, :, ::4] - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("taps, moments", [(wavelets.SYM2, 2), (wavelets.SYM6, 6)], ids=["sym2", "sym6"])
def test_the_wavelets_taps(taps, moments):
    """Orthonormal to their even shifts, and all moments of the high-pass filter that they have vanish."""
    h = np.array(taps)
    for shift in range(0, len(h), 2):
        assert h[shift:] @ h[: len(h) - shift] == pytest.approx(float(shift == 0), abs=1e-10)
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-10) and len(h) == 2 * moments
    place = np.arange(len(h)) - len(h) / 2
    for k in range(moments):
        assert (-1) ** np.arange(len(h)) @ (place**k * h) == pytest.approx(0, abs=1e-7)


def test_the_octaves_filters():
    """Daubechies' polynomial of two vanishing moments is the lower half-band; octave by octave it splits the rest."""
    bank, frequency = wavelets.bands().numpy(), np.linspace(0, math.pi, 20)[:, None]
    low, half, quarter = (np.cos(k * frequency / 2) ** 4 * (1 + 2 * np.sin(k * frequency / 2) ** 2) for k in (1, 2, 4))
    expected = [low * half * quarter, low * half * (1 - quarter), low * (1 - half), 1 - low]
    response = np.cos(frequency * (np.arange(43) - 21)) @ bank.T
    np.testing.assert_allclose(response, np.concatenate(expected, 1), rtol=0, atol=1e-10)
    np.testing.assert_allclose(bank, bank[:, ::-1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 11, 7)], ids=str)
def test_p_of_zero_is_the_identity(shape):
    image = draw(5, *shape).double()
    assert torch.equal(ada(*ALL, p=0.0)(image, noise()), image)


@pytest.mark.parametrize("name", ["xflip", "scale", "contrast", "imgfilter", "noise", "cutout"])
def test_what_no_draw_touches_is_itself(name):
    image = draw(200, 1, 8, 8)
    same = (ada(p=0.5, **{name: 0.6})(image, noise()) == image).flatten(1).all(1).float().mean()
    expected = {"xflip": 1 - 0.3 / 2, "imgfilter": 0.7**4}.get(name, 0.7)  # strength times p, each of four octaves
    assert abs(same - expected) < 4 * math.sqrt(0.25 / 200)


@pytest.mark.parametrize("shape", [(7, 10), (5, 1)], ids=str)
@pytest.mark.parametrize("dy, dx", [(0, 0), (2, -3), (-40, 25)])
def test_whole_pixels_are_read_from_mirror_images(shape, dy, dx):
    """Far beyond the borders too, where numpy pads by reflections of reflections."""
    h, w = shape
    image, source = draw(1, 2, h, w).double(), torch.eye(3).double()[None].clone()
    source[:, 0, 2], source[:, 1, 2] = dx, dy
    far = np.pad(image, ((0, 0), (0, 0), (60, 60), (60, 60)), mode="reflect")
    expected = torch.tensor(far[:, :, 60 + dy : 60 + dy + h, 60 + dx : 60 + dx + w])
    torch.testing.assert_close(wavelets.transformed(image, source), expected, rtol=0, atol=1e-8)


def smooth(place: Tensor, side: int = 32) -> Tensor:
    """(1, 1, ...) low frequencies at complex places from the centre, without symmetry, and smooth beyond the border."""
    a, b = (((part / (side - 1) + 0.5) * math.pi).cos() for part in (place.real, place.imag))
    return (b + 2 * a**2 - a**2 * b)[None, None]


def test_flips_and_quarter_turns_of_a_smooth_image():
    """The wavelet's centre of mass is not at a pixel, so that what is not merely shifted moves by up to 0.1 pixels."""
    centre = np.arange(12) @ np.array(wavelets.SYM6) / math.sqrt(2)
    off = (centre - 5) / 2 * (1 + 1j)
    line = torch.arange(32, dtype=torch.float64) - 15.5
    place = line + 1j * line[:, None]
    image = smooth(place)
    mirrored = smooth(-(place + off).real - off.real + 1j * place.imag)
    torch.testing.assert_close(ada("xflip")(image, Quantile(0.7)), mirrored, rtol=0, atol=1e-3)
    assert torch.equal(ada("xflip")(image, Quantile(0.2)), image)
    for k in range(4):
        turned = ada("rotate90")(image, Quantile(0.25 * k))
        torch.testing.assert_close(turned, smooth(1j**k * (place + off) - off), rtol=0, atol=1e-3)
        angle = ada("rotate")(image, Quantile(0.5, {8: 0.5 + 0.25 * k - (k > 1)}))  # pi (2q - 1), the first of two
        torch.testing.assert_close(angle, turned, rtol=0, atol=1e-5)


def test_share_of_samples_that_are_rotated():
    """Two rotations, each with probability 1 - sqrt(1 - p): at least one with probability p, or s p."""
    n, p = 4000, 0.4
    seen = ada(p=0.8, rotate=0.5)(image := draw(1, 1, 2, 2).expand(n, 1, 2, 2), noise())
    share = float((seen != image).flatten(1).any(1).float().mean())
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("name, strength", [("rotate", 1.0), ("contrast", 0.5)])
def test_a_p_beyond_one_always_happens(name, strength):
    strong = ada(**{name: strength})
    strong.p.fill_(2.5)
    image = draw(50, 1, 4, 4)
    assert bool((strong(image, noise()) != image).flatten(1).any(1).all())


def color(image: Tensor, flip: float = 0, hue: float = 0.0, octaves: float = 0.0) -> Tensor:
    """Draws: brightness, contrast, luma flip, hue, saturation, each with its coin; at p = 1 all happen."""
    return PARTS["ada color"]()(
        image, Given(0.0, 0.0, 0.0, 0.0, flip, 0.0, hue / (2 * math.pi) + 0.5, 0.0, octaves, 0.0)
    )


def test_hue_and_saturation_keep_luma_and_grey():
    image, grey = draw(4, 3, 5, 5), draw(4, 1, 5, 5).expand(4, 3, 5, 5)
    for change in ({"hue": 1.1}, {"octaves": 0.8}, {"hue": -2.0, "octaves": -1.0}):
        assert gap({"": color(image, **change)}, {"": image}) > 0.1
        torch.testing.assert_close(color(image, **change).mean(1), image.mean(1), rtol=0, atol=2e-6)
        torch.testing.assert_close(color(grey, **change), grey, rtol=0, atol=2e-6)
    third = color(image, hue=2 * math.pi / 3)  # a third of the circle permutes the channels
    assert min(gap({"": third}, {"": image.roll(k, 1)}) for k in (1, 2)) < 1e-5
    chroma = image - image.mean(1, keepdim=True)
    doubled = image.mean(1, keepdim=True) + 2 * chroma
    torch.testing.assert_close(color(image, octaves=1.0), doubled, rtol=0, atol=2e-6)
    torch.testing.assert_close(color(image, flip=1), image - 2 * image.mean(1, keepdim=True), rtol=0, atol=2e-6)


def test_grey_images_of_one_channel():
    """As a grey image of three: contrast times (image + brightness), flipped in sign."""
    image = draw(2, 1, 4, 4)
    seen = PARTS["ada color"]()(image, Given(1.5, 0.0, 2.0, 0.0, 1, 0.0))
    torch.testing.assert_close(seen, -2 * (image + 0.3))


def test_images_of_any_channels_are_moved():
    """As their channels would be one by one; colours alone need to know them."""
    image = draw(2, 5, 8, 8)
    augment = ada(*BLITTING, *GEOMETRY, "imgfilter", "cutout")
    each = torch.cat([augment(channel, noise()) for channel in image.split(1, 1)], 1)
    torch.testing.assert_close(augment(image, noise()), each, rtol=0, atol=1e-5)


def test_filters_keep_the_expected_power():
    """One octave of gain t, along both sides: all are divided by 1 + (t^2 - 1) times its share of the power."""
    flat, finest = torch.ones(1, 1, 9, 9), torch.ones(9).cumprod(0).mul((-1.0) ** torch.arange(9))
    checks = (finest[:, None] * finest)[None, None]
    for octave, share in ((0, 10 / 13), (3, 1 / 13)):
        strengths = [float(i == octave) for i in range(4)]
        power = 1 + 3 * share  # of a gain of 2, at a normal number of 1
        for image, own in ((flat, octave == 0), (checks, octave == 3)):
            seen = ada(imgfilter=strengths)(image, Given(*[1.0, 0.0] * 4))
            torch.testing.assert_close(seen, image * (4 if own else 1) / power, rtol=0, atol=1e-5)


def test_cutout_is_half_of_each_side():
    """Of 8 by 4 pixels: a centre at .25 covers the first half, at .9 what hangs over is lost."""
    ones = torch.ones(1, 1, 4, 8)
    first, last = (ada("cutout")(ones, Quantile(q))[0, 0] for q in (0.25, 0.9))
    assert first.tolist() == [[0.0] * 4 + [1.0] * 4] * 2 + [[1.0] * 8] * 2
    assert last.tolist() == [[1.0] * 8] * 3 + [[1.0] * 5 + [0.0] * 3]


def test_noise_of_a_sample():
    """Of a scale of its own: |N(0, 0.1^2)|."""
    n, side = 400, 32
    scale = ada("noise")(torch.zeros(n, 1, side, side), noise()).flatten(1).square().mean(1)
    assert abs(scale.mean() - 0.01) < 4 * 0.01 * math.sqrt(2 / n)
    assert abs(scale.sqrt().mean() - 0.1 * math.sqrt(2 / math.pi)) < 4 * 0.1 * math.sqrt((1 - 2 / math.pi) / n)


def test_p_follows_a_loop_by_hand():
    ada = ADA(p=0.2, target=0.3, speed=150, interval=3)
    p, signs, before, path = 0.2, [], 0, []
    for turn in range(1, 61):
        scores = draw(8, seed=turn) + 2 * math.cos(turn / 10)
        ada.see(scores[:4])
        ada.see(scores[4:])
        ada.adapt(16 * turn)
        signs += scores.sign().tolist()
        if turn % 3 == 0:
            r = sum(signs) / len(signs)
            p = max(p + ((r > 0.3) - (r < 0.3)) * (16 * turn - before) / 150, 0)
            signs, before = [], 16 * turn
        path.append(p)
        assert float(ada.p) == pytest.approx(p, abs=1e-5)
    assert max(path) > 1 and min(path) == 0  # as in the authors' code, it is bounded below alone


def test_fixed_p_stays_and_unseen_scores_move_nothing():
    fixed = ADA(p=0.3, target=None)
    assert not fixed.adaptive and ADA().adaptive
    fixed.adapt(10**6)
    waiting = ADA(p=0.3, interval=1)
    waiting.adapt(10**6)
    assert float(fixed.p) == float(waiting.p) == pytest.approx(0.3)


def test_p_follows_a_schedule():
    scheduled = ADA(p=lambda: Linear(0.1, 0.5, 100), target=None)
    path = [float(scheduled.p)]
    for images in (25, 75, 200):
        scheduled.begin(images)
        path.append(float(scheduled.p))
    assert path == pytest.approx([0.1, 0.2, 0.4, 0.5]) and not scheduled.adaptive
    fixed = ADA(p=0.3, target=None)
    fixed.begin(200)
    assert float(fixed.p) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "make, words",
    [
        (partial(ADA, p=1.5), "probability"),
        (partial(ADA, target=1.0), "target"),
        (partial(ADA, speed=0), "speed"),
        (partial(ADA, interval=0), "interval"),
        (ada, "does nothing"),
        (partial(ADA, hue=-0.5), r"hue \(-0.5\)"),
        (partial(ADA, imgfilter=[1.0, 0.0]), "each of 4 octaves"),
        (partial(ADA, p=lambda: Linear(0, 1, 100)), "set target to null"),
        (partial(DiffAugment, False, False, False), "does nothing"),
        (lambda: ADA(p=1.0)(draw(1, 2, 8, 8), noise()), "1 or 3 channels"),
        (partial(Digits, share=0.0), "share"),
        (partial(Digits, share=1.1), "share"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


# In training

ADAPTIVE = partial(ADA, p=0.5, interval=2, speed=1000)


def test_a_resumed_run_goes_on_exactly(tmp_path):
    unbroken = tiny("DCGAN", step=ImageStep(augment=ADAPTIVE))
    trained(unbroken, 4)
    trained(tiny("DCGAN", step=ImageStep(augment=ADAPTIVE)), 1).save_checkpoint(tmp_path / "1.ckpt")
    resumed = tiny("DCGAN", step=ImageStep(augment=ADAPTIVE), seed=1)
    trained(resumed, 4, ckpt_path=tmp_path / "1.ckpt")
    assert float(unbroken.augment.p) != 0.5 and int(resumed.augment.turns) == 4
    assert_same(tensors(resumed), tensors(unbroken))


def test_micro_batches_count_each_score_once():
    """The rehearsal of a loss sees scores too, and leaves no trace."""
    models_ = [tiny("DCGAN", plain_networks(), step=ImageStep(m, augment=partial(ADA, p=0.3))) for m in (1, 2)]
    for model in models_:
        trained(model, 3)
        assert int(model.augment.signs[1]) == 3 * 16
    assert_same(*(tensors(model.augment) for model in models_))


@pytest.mark.parametrize("name", ["WGAN", "WGANGP", "RelativisticGAN"])
def test_scores_that_say_nothing_are_refused(name):
    with pytest.raises(ValueError, match="fixed strength") as error:
        trained(tiny(name, step=ImageStep(augment=ADA)), 1)
    assert "\n" not in str(error.value)
    trained(tiny(name, step=ImageStep(augment=partial(ADA, p=0.5, target=None)), n_critic=1), 1)


class Blank(Augment):
    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        return 0 * image


@pytest.mark.parametrize(
    "name", ["DCGAN", "SNGAN", "LSGAN", "GeometricGAN", "RelativisticGAN", "WGANGP", "GAN", "WGAN"]
)
def test_nothing_slips_past_augmentation(name):
    """The generator's gradient after a turn: none where every image is blank, some where it is not."""
    for augment in (Blank, None):
        model = tiny(name, sgd(), n_critic=1, step=ImageStep(augment=augment))
        trained(model, 1)
        gradients = torch.cat([p.grad.flatten() for p in model.generator.parameters()])
        assert bool(gradients.any()) == (augment is None)


def run(devices: int) -> dict[str, Tensor]:
    model = tiny("DCGAN", plain_networks(), sgd(0.01), step=ImageStep(augment=ADAPTIVE))
    trainer = quiet(devices=devices, max_steps=5)
    trainer.fit(model, Noisy())
    assert trainer.world_size == devices
    return tensors(model)


def test_two_processes_adapt_as_one(tmp_path):
    first, second = in_two_processes(lambda _: run(2), tmp_path)
    assert_same(second, first)
    expected = run(1)
    of_augment = [name for name in expected if "augment." in name]
    assert_same({name: first[name] for name in of_augment}, {name: expected[name] for name in of_augment})
    assert expected["augment.p"] != 0.5 and int(expected["augment.signs"][1]) == 16  # of the fifth turn, all processes
    assert gap(first, expected) <= 1e-5


# A share of the digits


def test_a_share_trains_and_all_are_compared_with():
    part, whole = Digits(8, 30, share=0.1), Digits(8, 30)
    for data in (part, whole):
        data.setup("fit")
    images = part.train_dataloader()
    assert len(images) == 5 and len(whole.train_dataloader()) == 50
    assert part.reference("train").fingerprint == whole.reference("train").fingerprint
    seen = torch.cat([batch.image for batch in images]).flatten(1)
    first = whole.reference("train").image[:150].flatten(1)
    assert_same(seen.unique(dim=0, return_counts=True), first.unique(dim=0, return_counts=True))
    with pytest.raises(ValueError, match="150 training examples, fewer than one batch"):
        Digits(8, 151, share=0.1).setup("fit")
