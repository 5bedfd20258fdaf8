"""BEGAN (arXiv:1703.10717): k must live, and both errors must be measured alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHAPE, draw, gap, quiet, sgd, tensors, trained, within_turn
from lightning.pytorch import Callback
from torch import nn

from gan_lightning.batches import Labeled
from gan_lightning.callbacks import Checkpoint
from gan_lightning.core import ImageStep
from gan_lightning.losses.reconstruction import absolute_error
from gan_lightning.models.began import BEGAN
from gan_lightning.networks.began import BEGANDiscriminator, BEGANGenerator

LAMBDA = 0.05  # so large that k moves visibly in a few steps


def model(**options: Any) -> BEGAN:
    torch.manual_seed(0)
    arguments = {
        "generator": partial(BEGANGenerator, latent_dim=6, width=4),
        "discriminator": partial(BEGANDiscriminator, hidden=6, width=4),
        "lambda_k": LAMBDA,
        **sgd(0.02),
    }
    began = BEGAN(SHAPE, **(arguments | options))
    assert began.k == 0
    began.k.fill_(0.5)  # away from both ends, so that it moves from the first step on
    return began


class Log(Callback):
    """Every log line, and k after the batch."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, model: BEGAN, *_: Any) -> None:
        line = {name: float(value) for name, value in model.training_log.figures().items()}
        self.lines.append(line | {"after": float(model.k)})


def logged(began: BEGAN, steps: int, **options: Any) -> list[dict[str, float]]:
    log = Log()
    trained(began, steps, callbacks=[log], log_every_n_steps=1, **options)
    return log.lines


def test_error_is_a_mean_over_pixels():
    image, found = draw(3, 2, 4, 5), draw(3, 2, 4, 5, seed=1)
    pairs = zip(image.flatten(1).tolist(), found.flatten(1).tolist(), strict=True)
    expected = [sum(abs(a - b) for a, b in zip(x, y, strict=True)) / 40 for x, y in pairs]
    torch.testing.assert_close(absolute_error(image, found), torch.tensor(expected))


def test_k_follows_the_papers_update():
    """From the errors that each log line holds, by hand; M as well."""
    began = model()
    k = 0.5
    for line in logged(began, 12):
        real, fake = line["discriminator/real"], line["generator/fake"]
        k = min(1.0, max(0.0, k + LAMBDA * (0.5 * real - fake)))
        assert line["k"] == pytest.approx(k, abs=1e-6)
        assert line["convergence"] == pytest.approx(real + abs(0.5 * real - fake), rel=1e-5)
    assert 0 < k < 1 and abs(k - 0.5) > 0.01  # it does move


@pytest.mark.parametrize(("gamma", "lambda_k", "start", "end"), [(1.0, 1e3, 0.0, 1.0), (0.0, 1e3, 0.5, 0.0)])
def test_k_stays_between_0_and_1(gamma, lambda_k, start, end):
    began = model(gamma=gamma, lambda_k=lambda_k)
    began.k.fill_(start)
    began.balance(torch.tensor(0.5), torch.tensor(0.1))
    assert began.k == end


def test_discriminator_and_generator_losses():
    """L(x) - k L(G(z)) and L(G(z)), each a mean over images and pixels alike; k has no part in the generator's."""
    began = model()
    began.k.fill_(0.3)
    began.trainer = quiet()
    batch = Labeled(draw(8, *SHAPE), torch.zeros(8, dtype=torch.int64))
    with within_turn(began):
        fake = began.fake_like(batch).image
    with within_turn(began):
        found = began.discriminator_loss(batch)
    with within_turn(began):
        of_generator = began.generator_loss(batch)
    auto_encoder = began.discriminator
    real_error = (batch.image - auto_encoder(batch.image)).abs().mean()
    fake_error = (fake - auto_encoder(fake)).abs().mean()
    torch.testing.assert_close(sum(found.values()), real_error - 0.3 * fake_error)
    torch.testing.assert_close(sum(of_generator.values()), fake_error)


def test_k_gets_no_gradient_and_no_optimizer():
    began = model()
    logged(began, 3)
    assert not began.k.requires_grad and began.k.grad_fn is None
    assert "k" not in dict(began.named_parameters()) and "k" in dict(began.named_buffers())
    assert not began._real_error.requires_grad and not began._fake_error.requires_grad


def test_k_survives_a_checkpoint(tmp_path):
    """It goes on from where it was, and ends as in the unbroken run."""
    unbroken = [line["after"] for line in logged(model(), 6)]
    assert len(set(unbroken)) == 6  # not reset within a step
    trained(model(), 3).save_checkpoint(tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=False)["state_dict"]["k"] == unbroken[2]
    resumed = logged(model(), 6, ckpt_path=tmp_path / "a.ckpt")
    assert [line["after"] for line in resumed] == unbroken[3:]


def test_two_micro_batches_equal_the_whole_batch():
    """k's errors are those of the whole batch, not of the last part."""
    whole, parts = model(), model(step=ImageStep(micro_batches=2))
    lines = logged(whole, 4), logged(parts, 4)
    for one, two in zip(*lines, strict=True):
        assert two["after"] == pytest.approx(one["after"], rel=1e-5)
        assert two["convergence"] == pytest.approx(one["convergence"], rel=1e-5)
    assert gap(tensors(parts), tensors(whole)) <= 1e-6


def test_checkpoint_monitors_convergence(tmp_path):
    """The least M of all log lines is the best checkpoint's; a line is seen with the next batch, or at the end."""
    checkpoint, log = Checkpoint(str(tmp_path), monitor="convergence"), Log()
    trained(model(), 6, callbacks=[checkpoint, log], log_every_n_steps=1, enable_checkpointing=True)
    least = min(line["convergence"] for line in log.lines)
    assert checkpoint.best_score == pytest.approx(least, rel=1e-6)
    assert Path(checkpoint.best_path).exists()


def test_samples_are_clamped():
    began = model()
    last = [layer for layer in began.ema.network.modules() if isinstance(layer, nn.Conv2d)][-1]
    nn.init.constant_(last.bias, 3.0)
    assert began.sample(4).max() == 1 and began.ema.network(draw(4, 6)).max() > 1


def test_gamma_and_lambda_have_ranges():
    for wrong in ({"gamma": 1.5}, {"gamma": -0.1}, {"lambda_k": -1.0}):
        with pytest.raises(ValueError, match="gamma in"):
            model(**wrong)


def test_networks_are_the_papers():
    """64 px, n = 64: channels n, 2n, 3n, 4n down to 8x8, h of 64; the generator is the decoder's twin, n everywhere."""
    with torch.device("meta"):
        generator, auto_encoder = BEGANGenerator((3, 64, 64)), BEGANDiscriminator((3, 64, 64))
        assert auto_encoder(torch.empty(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    encoder = [layer for layer in auto_encoder.encoder if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in encoder if c.stride == (2, 2)] == [128, 192, 256]
    assert auto_encoder.encoder[-1].in_features == 8 * 8 * 256 and auto_encoder.encoder[-1].out_features == 64
    twins = [[p.shape for p in network.parameters()] for network in (generator, auto_encoder.decoder)]
    assert twins[0] == twins[1]
    assert {c.out_channels for c in generator.layers if isinstance(c, nn.Conv2d)} == {64, 3}
    assert all(u.mode == "nearest" for u in generator.layers if isinstance(u, nn.Upsample))
    assert all(c.kernel_size == (3, 3) for c in auto_encoder.modules() if isinstance(c, nn.Conv2d))
