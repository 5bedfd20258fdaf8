"""Values that change with the images seen: closed forms, rates in training, averages, a player's own batch."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from conftest import Noisy, assert_same, tensors, tiny, trained
from PIL import Image
from scipy import integrate
from torch import nn

from gan_lightning import optim, schedules
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep
from gan_lightning.core.step import Rates
from gan_lightning.data import ImageFolder
from gan_lightning.ema import EMA, power_of
from gan_lightning.schedules import Constant, Cosine, EDM2Rate, Linear


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (Constant(3.0), {0: 3.0, 10**9: 3.0}),
        (Linear(1.0, 3.0, images=100), {0: 1.0, 25: 1.5, 100: 3.0, 1000: 3.0}),
        (Linear(1.0, 3.0, images=100, after=50), {50: 1.0, 75: 2.0, 200: 3.0}),
        (Cosine(2.0, 0.2, images=100), {0: 2.0, 50: 1.1, 25: 1.1 + 0.9 * math.sqrt(0.5), 100: 0.2, 101: 0.2}),
        (Cosine(2.0, 0.2, images=100, warmup=20), {0: 0.0, 5: 0.5, 20: 2.0, 60: 1.1, 100: 0.2}),
        (EDM2Rate(0.01, constant=100, warmup=10), {0: 0.0, 5: 0.005, 10: 0.01, 100: 0.01, 400: 0.005}),
        (EDM2Rate(0.01, constant=0), {0: 0.01, 10**9: 0.01}),
    ],
)
def test_schedules_by_hand(schedule, expected):
    assert {images: schedule.at(images) for images in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(1, 0, images=0),
        lambda: Cosine(1, 0, images=10, warmup=10),
        lambda: Cosine(1, 0, images=10, after=-1),
        lambda: EDM2Rate(1, constant=-1),
        lambda: ImageStep(scheduler=partial(optim.CosineDecay, end=9), learning_rate=partial(Constant, value=1.0)),
    ],
)
def test_what_makes_no_schedule_is_refused(make):
    with pytest.raises(ValueError):
        make()


def test_an_argument_is_a_number_or_builds_a_schedule():
    assert schedules.of(2).at(5) == 2.0
    assert schedules.of(partial(Linear, start=0.0, end=1.0, images=10)).at(5) == 0.5


STEP = ImageStep(
    learning_rate=partial(Cosine, start=1.0, end=0.25, images=64.0, warmup=16.0),
    beta2=partial(Linear, start=0.9, end=0.99, images=64.0),
    ema_half_life=partial(Linear, start=0.0, end=50.0, images=64.0),
    ema_power=[0.05, 0.1],
)


def test_rates_follow_the_images_and_a_resumed_run_goes_on(tmp_path):
    """Batches of 8: before batch k (k - 1) * 8 images were seen. Eight batches at once, and as 3 and 5."""
    seen = []

    def watched(model):
        step = model.training_step

        def training_step(batch, batch_idx):
            groups = [optimizer.param_groups[0] for optimizer in model.optimizers(use_pl_optimizer=False)]
            seen.append((model.clock, [(group["lr"], group["betas"][1]) for group in groups]))
            return step(batch, batch_idx)

        model.training_step = training_step
        return model

    whole = watched(tiny("DCGAN", step=STEP))
    trained(whole, 8, Noisy(batch_size=8))
    rates = {name: optimizer.param_groups[0]["initial_lr"] for name, optimizer in whole._optimizers().items()}
    assert [clock for clock, _ in seen] == list(range(0, 64, 8))
    for clock, groups in seen:
        factor, beta2 = STEP.learning_rate().at(clock), 0.9 + 0.09 * clock / 64
        assert groups == [(pytest.approx(rate * factor), pytest.approx(beta2)) for rate in rates.values()]
    first = tiny("DCGAN", step=STEP)
    trained(first, 3, Noisy(batch_size=8)).save_checkpoint(tmp_path / "three.ckpt")
    again = tiny("DCGAN", step=STEP)
    trained(again, 8, Noisy(batch_size=8), ckpt_path=tmp_path / "three.ckpt")
    assert_same(tensors(whole), tensors(again))


def test_beta2_is_refused_of_an_optimizer_without_betas():
    model = tiny("DCGAN", step=STEP, generator_optimizer=partial(torch.optim.SGD, lr=0.1))
    with pytest.raises(ValueError, match="SGD has no betas"):
        trained(model, 1, Noisy(batch_size=8))


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1, 0.25])
def test_a_power_function_average_has_the_width_asked_for(sigma_rel):
    """The profile t^gamma on [0, 1], arXiv:2312.02696, equation 121: its standard deviation, by integration."""
    gamma = power_of(sigma_rel)
    mass, mean, square = (integrate.quad(lambda t, k=k: t ** (gamma + k), 0, 1)[0] for k in range(3))
    assert math.sqrt(square / mass - (mean / mass) ** 2) == pytest.approx(sigma_rel)


def test_a_power_function_average_weighs_each_state_by_its_profile():
    """Of weights that are the images seen, against the weighted sum of all of them by hand."""
    live, gamma = nn.Linear(1, 1, bias=False), power_of(0.1)
    average = EMA(live, sigma_rel=0.1)
    for images in range(10, 1010, 10):
        live.weight.data.fill_(images)
        average.update(images)
    ends = np.arange(10, 1010, 10)
    shares = (ends / 1000) ** (gamma + 1) - ((ends - 10) / 1000) ** (gamma + 1)  # of the integral of t^gamma
    assert shares.sum() == pytest.approx(1)
    assert average.network.weight.item() == pytest.approx((shares * ends).sum(), rel=1e-5)


def test_a_plain_mean_is_the_widest_power_function_average():
    """sigma_rel of a uniform profile is sqrt(1/12)."""
    assert power_of(12**-0.5 - 1e-6) == pytest.approx(0, abs=1e-4)
    for sigma_rel in (0.0, 0.289, -1.0):
        with pytest.raises(ValueError, match="sigma_rel"):
            power_of(sigma_rel)


def test_an_average_is_sampled_by_its_name():
    model = tiny("DCGAN", step=STEP)
    trained(model, 4, Noisy(batch_size=8))
    assert list(model.averages) == ["generator", "generator_power_050", "generator_power_100"]
    images = [model.sample(2, average=name) for name in (None, *model.averages)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[1], images[2]) and not torch.equal(images[2], images[3])
    with pytest.raises(ValueError, match="has no average 'generator_power_05'"):
        model.sample(2, average="generator_power_05")
    with pytest.raises(ValueError, match="not both"):
        model.sample(2, average="generator_power_050", live=True)


def test_the_classes_of_fakes_can_be_drawn_as_in_the_data():
    model = tiny("ACGAN")
    model.trained_on = {"class_counts": [0, 30, 10, 0, 0, 0, 0, 0, 0, 60]}
    from gan_lightning.noise import PartNoise

    model.noise = PartNoise(3, 0, 1, torch.device("cpu"))
    counts = model.classes_as_in_data(100_000).bincount(minlength=10) / 100_000
    expected = torch.tensor([0, 0.3, 0.1, 0, 0, 0, 0, 0, 0, 0.6])
    torch.testing.assert_close(counts, expected, atol=0.006, rtol=0)  # four standard deviations
    assert (counts[expected == 0] == 0).all()


def test_a_fit_knows_how_many_images_each_class_has():
    model, data = tiny("DCGAN"), Noisy(batch_size=8)
    trained(model, 1, data)
    label = data.reference("train").label
    assert model.trained_on["class_counts"] == [int((label == c).sum()) for c in range(int(label.max()) + 1)]


def test_frozen_modules_stay_and_the_rest_moves():
    model = tiny("DCGAN", step=ImageStep(freeze=["discriminator.layers.0", "generator.layers.1.weight"]))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained(model, 2, Noisy(batch_size=8))
    after = dict(model.named_parameters())
    still = {name for name, value in before.items() if torch.equal(value, after[name])}
    frozen = {name for name in before if name.startswith(("discriminator.layers.0.", "generator.layers.1.weight"))}
    assert frozen and still & {n for n in before if n.startswith(("generator", "discriminator"))} == frozen


@pytest.mark.parametrize(
    "names, message",
    [(["discriminator.layer"], "has no discriminator.layer, did you mean"), (["discriminator"], "nothing to move")],
)
def test_what_cannot_be_frozen_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        trained(tiny("DCGAN", step=ImageStep(freeze=names)), 1, Noisy(batch_size=8))


def test_lazy_optimizers_move_as_far_with_their_regularisation():
    """StyleGAN2's own numbers for the CIFAR-10 preset: rate .0025, path length each 4, R1 each 16 steps."""
    weights = [nn.Parameter(torch.zeros(1))]
    adam = partial(optim.PaperAdam, lr=0.0025, beta1=0.0, beta2=0.99)
    generator, discriminator = (optim.lazy(adam, k)(weights).param_groups[0] for k in (4, 16))
    assert generator["lr"] == pytest.approx(0.002) and generator["betas"] == (0, pytest.approx(0.99**0.8))
    assert discriminator["lr"] == pytest.approx(0.0025 * 16 / 17)


def test_a_player_that_has_a_batch_of_its_own_doubles_no_clock():
    """Two batches a step: the images are shown once to each player, and schedules count one player's."""
    kind = type(tiny("DCGAN"))

    class OwnBatches(kind):
        batches_per_step = 2

        def training_step(self, batch: Labeled, batch_idx: int) -> None:
            clocks.append((self.iteration, self.images_seen, self.clock))
            if self.iteration % 2:
                self.discriminator_turn(batch)
            else:
                self.generator_turn(batch)

    clocks: list[tuple[int, int, int]] = []
    plain = tiny("DCGAN")
    model = OwnBatches(**{name: value for name, value in plain.hparams_initial.items() if name != "_instantiator"})
    trained(model, 3, Noisy(batch_size=8))
    assert clocks == [(1, 8, 0), (2, 16, 0), (3, 24, 8), (4, 32, 8), (5, 40, 16), (6, 48, 16)]
    assert model.turns == {"discriminator": 3, "generator": 3}
    assert model.ema.images == 24 and model.trainer.global_step == 3


def test_beta2_of_a_lazy_optimizer_is_raised_to_its_power():
    weights = [nn.Parameter(torch.zeros(1))]
    optimizer = optim.lazy(partial(optim.PaperAdam, lr=0.1, beta1=0.0, beta2=0.9), 4)(weights)
    Rates(STEP).set([optimizer], 32)
    assert optimizer.param_groups[0]["betas"] == (0.0, pytest.approx(0.945**0.8))


def test_other_frozen_modules_are_refused_on_resume(tmp_path):
    """Adam's moments stand in the file in the order of what moves."""
    step = ImageStep(freeze=["discriminator.layers.0"])
    trained(tiny("DCGAN", step=step), 1, Noisy(batch_size=8)).save_checkpoint(tmp_path / "a.ckpt")
    other = tiny("DCGAN", step=ImageStep(freeze=["discriminator.layers.2"]))
    with pytest.raises(ValueError, match="step.freeze is"):
        trained(other, 2, Noisy(batch_size=8), ckpt_path=tmp_path / "a.ckpt")


def test_classes_as_in_data_that_does_not_say_are_refused():
    model = tiny("ACGAN")
    with pytest.raises(ValueError, match="does not say how many images each has"):
        model.classes_as_in_data(4)


def test_a_folder_knows_how_many_images_each_class_has(tmp_path):
    for name, count in (("a", 3), ("b", 5)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.fromarray(np.full((16, 16), number, np.uint8)).save(tmp_path / name / f"{number}.png")
    data = ImageFolder(str(tmp_path), size=16, channels=1, batch_size=2, num_workers=0, val_fraction=0.0)
    data.setup("fit")
    assert data.reference("train").class_counts == [3, 5]
