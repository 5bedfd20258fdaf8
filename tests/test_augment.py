"""What the discriminator sees: each augmentation against closed forms, torch's own operations and a loop by hand."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Noisy, assert_same, draw, gap, plain_networks, quiet, sgd, tensors, tiny, trained
from torch import Tensor

from gan_lightning.augment import ADA, Augment, DiffAugment
from gan_lightning.augment.ada import read
from gan_lightning.core import ImageStep
from gan_lightning.data import Digits
from gan_lightning.noise import Noise, PartNoise, SampleNoise

CPU = torch.device("cpu")
PARTS = {
    "color": partial(DiffAugment, translation=False, cutout=False),
    "translation": partial(DiffAugment, color=False, cutout=False),
    "cutout": partial(DiffAugment, color=False, translation=False),
    "DiffAugment": DiffAugment,
    "pixel": partial(ADA, p=1.0, geometry=False, color=False),
    "geometry": partial(ADA, p=1.0, pixel=False, color=False),
    "ada color": partial(ADA, p=1.0, pixel=False, geometry=False),
    "ADA": partial(ADA, p=0.7),
}
every_part = pytest.mark.parametrize("part", PARTS)


def noise(seed: int = 0, part: int = 0, parts: int = 1) -> Noise:
    return PartNoise(seed, part, parts, CPU)


class Given(Noise):
    """Hands out what a test wants, in the order of the draws: for each, one value a row."""

    def __init__(self, *values: float | list[float]) -> None:
        self.values = list(values)

    def _rows(self, draw, n: int, shape: tuple[int, ...]) -> Tensor:
        value = torch.as_tensor(self.values.pop(0), dtype=torch.float32)
        return value.view(-1, *[1] * len(shape)).expand(n, *shape).clone()

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        return self._rows(None, n, shape).long()


# All of them


@every_part
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 4, 6)], ids=str)
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
    assert torch.equal(torch.cat(halves), augment(image, noise(3)))


@every_part
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_dtype_stays(part, dtype):
    assert PARTS[part]()(draw(2, 1, 8, 8).to(dtype), noise()).dtype == dtype


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


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 11, 7)], ids=str)
def test_p_of_zero_is_the_identity(shape):
    image = draw(5, *shape)
    assert torch.equal(ADA(p=0.0)(image, noise()), image)


@pytest.mark.parametrize("side", [8, 11])
def test_pixel_operations_permute_pixels(side):
    """Draws: mirror and its coin, quarter turns and theirs, translation and its coin (1 never falls below p)."""
    image = draw(1, 3, side, side)
    pixel = PARTS["pixel"]()
    assert torch.equal(pixel(image, Given(1, 0.0, 0, 1.0, 0.5, 1.0)), image.flip(3))
    turns = [pixel(image, Given(0, 1.0, k, 0.0, 0.5, 1.0)) for k in range(4)]
    sign = 1 if torch.equal(turns[1], image.rot90(1, (2, 3))) else -1
    for k in range(4):
        assert torch.equal(turns[k], image.rot90(sign * k, (2, 3)))
    back = image
    for _ in range(4):
        back = pixel(back, Given(0, 1.0, 1, 0.0, 0.5, 1.0))
    assert torch.equal(back, image)
    step = 1.5 / side / 0.125 / 2 + 0.5 if side == 8 else 0.5 + 1 / side / 0.25  # about one pixel to the right
    seen = pixel(image, Given(0, 1.0, 0, 1.0, step, 0.0))
    shift = round((2 * step - 1) * 0.125 * side)
    assert shift > 0
    assert torch.equal(seen[..., shift:, shift:], image[..., :-shift, :-shift])
    assert torch.equal(seen[..., :shift, shift:], image[..., 1 : 1 + shift, :-shift].flip(2))  # mirrored at the border


def test_read_is_grid_sample():
    """On a shape that is not square, far beyond the borders."""
    image, (h, w) = draw(6, 2, 7, 10).double(), (7, 10)
    source = torch.eye(3).double().repeat(6, 1, 1)
    source[:, :2] += draw(6, 2, 3, seed=1).double() * torch.tensor([1.0, 1.0, 8.0])
    y, x = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    place = torch.stack([x, y, torch.ones_like(x)], -1).double() @ source[:, :2].mT[:, None]
    grid = place / torch.tensor([(w - 1) / 2, (h - 1) / 2])
    expected = F.grid_sample(image, grid, "bilinear", "reflection", align_corners=True)
    torch.testing.assert_close(read(image, source), expected)


def test_rotations_of_a_quarter_turn_return():
    """Draws: scale, rotation, aspect, rotation, translation, each with its coin; the first rotation alone happens."""
    image = draw(1, 1, 9, 9).double()
    geometry = PARTS["geometry"]()
    quarter = [0.0, 1.0, 0.75, 0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 1.0]  # pi * (2 * 0.75 - 1)
    turned = [image]
    for _ in range(4):
        turned.append(geometry(turned[-1], Given(*quarter)))
    assert any(gap({"": turned[1]}, {"": image.rot90(k, (2, 3))}) < 1e-5 for k in (1, 3))
    torch.testing.assert_close(turned[4], image, rtol=0, atol=1e-5)


def test_share_of_samples_that_are_rotated():
    """Two rotations, each with probability 1 - sqrt(1 - p): at least one with probability p."""
    n, p = 4000, 0.4
    ada = ADA(p=p, pixel=False, color=False)
    once = 1 - (1 - ada.p).sqrt()
    a, b = (ada._with_p(torch.ones(n), 0.0, noise(seed), once) for seed in (1, 2))
    assert abs(float(((a + b) > 0).float().mean()) - p) < 4 * math.sqrt(p * (1 - p) / n)


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
            p = min(max(p + ((r > 0.3) - (r < 0.3)) * (16 * turn - before) / 150, 0), 1)
            signs, before = [], 16 * turn
        path.append(p)
        assert float(ada.p) == pytest.approx(p, abs=1e-5)
    assert max(path) == 1 and min(path) == 0  # it reached both ends and went no further


def test_fixed_p_stays_and_unseen_scores_move_nothing():
    fixed = ADA(p=0.3, target=None)
    assert not fixed.adaptive and ADA().adaptive
    fixed.adapt(10**6)
    waiting = ADA(p=0.3, interval=1)
    waiting.adapt(10**6)
    assert float(fixed.p) == float(waiting.p) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "make, words",
    [
        (partial(ADA, p=1.5), "probability"),
        (partial(ADA, target=1.0), "target"),
        (partial(ADA, speed=0), "speed"),
        (partial(ADA, interval=0), "interval"),
        (partial(ADA, pixel=False, geometry=False, color=False), "does nothing"),
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
    environment = {k: v for k, v in os.environ.items() if k != "PL_GLOBAL_SEED"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
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


if __name__ == "__main__":
    torch.manual_seed(0)
    results = run(2)
    torch.save(results, Path(sys.argv[1]) / f"{os.environ.get('LOCAL_RANK', 0)}.pt")
