"""Losses and penalties against closed forms."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import losses
from gan_lightning.batches import differentiable

LN2 = math.log(2)
REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.0, 1.5])


def value(x: Tensor) -> float:
    assert x.shape == ()
    return x.item()


def test_every_loss_is_a_scalar_and_nothing_here_is_random():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for name in losses.__all__:
        loss = getattr(losses, name)
        if loss.__module__ == "gan_lightning.losses.adversarial":  # the others are of features and images: tests/papers
            scores = [REAL, FAKE] if "real" in inspect.signature(loss).parameters or "relativistic" in name else [FAKE]
            assert math.isfinite(value(loss(*scores)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("loss", "scores", "expected"),
    [
        (losses.logistic_discriminator, (0.0, 0.0), 2 * LN2),
        (losses.logistic_discriminator, (math.log(3), -math.log(3)), -2 * math.log(0.75)),
        (losses.non_saturating_generator, (0.0,), LN2),
        (losses.non_saturating_generator, (math.log(3),), -math.log(0.75)),
        (losses.minimax_generator, (0.0,), -LN2),
        (losses.minimax_generator, (math.log(3),), math.log(0.25)),
        (losses.wasserstein_discriminator, (3.0, 1.0), -2.0),
        (losses.wasserstein_generator, (1.5,), -1.5),
        (losses.least_squares_discriminator, (1.0, 0.0), 0.0),
        (losses.least_squares_discriminator, (3.0, -1.0), 0.5 * 4 + 0.5 * 1),
        (losses.least_squares_generator, (1.0,), 0.0),
        (losses.least_squares_generator, (-1.0,), 2.0),
        (losses.hinge_discriminator, (1.0, -1.0), 0.0),
        (losses.hinge_discriminator, (0.0, 0.0), 2.0),
        (losses.hinge_discriminator, (-1.0, 1.0), 4.0),
        (losses.hinge_discriminator, (5.0, -5.0), 0.0),
        (losses.hinge_generator, (-2.0,), 2.0),
        (losses.relativistic, (0.0, 0.0), LN2),
        (losses.relativistic, (math.log(3), 0.0), -math.log(0.75)),
        (losses.relativistic_average, (1.0, 1.0), 2 * LN2),
        (losses.relativistic_average, (math.log(3), 0.0), -2 * math.log(0.75)),
        (losses.relativistic_average_least_squares, (1.0, 0.0), 0.0),
        (losses.relativistic_average_least_squares, (0.0, 0.0), 2.0),
        (losses.relativistic_average_hinge, (1.0, 0.0), 0.0),
        (losses.relativistic_average_hinge, (0.0, 0.0), 2.0),
        (losses.relativistic_average_hinge, (0.0, 1.0), 4.0),
    ],
)
def test_known_points(loss, scores, expected):
    assert value(loss(*(torch.full((4,), s) for s in scores))) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_logistic_is_cross_entropy_with_one_sided_smoothing():
    expected = F.binary_cross_entropy(REAL.sigmoid(), torch.full((3,), 0.9)) + F.binary_cross_entropy(
        FAKE.sigmoid(), torch.zeros(3)
    )
    torch.testing.assert_close(losses.logistic_discriminator(REAL, FAKE, real_target=0.9), expected)
    huge = torch.tensor([1e4])  # a sigmoid and a logarithm would give an infinity here
    assert value(losses.logistic_discriminator(-huge, huge)) == 2e4


def test_least_squares_targets():
    real, fake = torch.tensor([2.0]), torch.tensor([3.0])
    assert value(losses.least_squares_discriminator(real, fake, a=-1.0, b=1.0)) == 0.5 * 1 + 0.5 * 16
    assert value(losses.least_squares_generator(fake, c=0.0)) == 4.5


def test_hinge_gradient_at_its_corners():
    """Inside the margin the slope is 1, outside 0; the generator's side has no margin."""
    real = torch.tensor([0.999, 1.001], requires_grad=True)
    fake = torch.tensor([-0.999, -1.001], requires_grad=True)
    losses.hinge_discriminator(real, fake).backward()
    assert real.grad.tolist() == [-0.5, 0.0]
    assert fake.grad.tolist() == [0.5, 0.0]
    far = torch.tensor([9.0, -9.0], requires_grad=True)
    losses.hinge_generator(far).backward()
    assert far.grad.tolist() == [-0.5, -0.5]


def test_minimax_saturates_and_non_saturating_does_not():
    """Where the discriminator is sure that an image is fake the minimax generator hardly moves."""
    score = torch.tensor([-10.0], requires_grad=True)
    (minimax,) = torch.autograd.grad(losses.minimax_generator(score), score)
    (non_saturating,) = torch.autograd.grad(losses.non_saturating_generator(score), score)
    assert -5e-5 < minimax.item() < 0  # -sigmoid(-10)
    assert non_saturating.item() == pytest.approx(-1, abs=1e-4)
    fooled = torch.tensor([0.0], requires_grad=True)  # both push the score up
    assert torch.autograd.grad(losses.minimax_generator(fooled), fooled)[0].item() == -0.5


RELATIVISTIC = [
    losses.relativistic,
    losses.relativistic_average,
    losses.relativistic_average_least_squares,
    losses.relativistic_average_hinge,
]


def written_out(loss, real: Tensor, fake: Tensor, generator: bool) -> Tensor:
    """The equations of arXiv:1807.00734 for the discriminator and the generator, each on its own."""
    bce = F.binary_cross_entropy_with_logits
    one, zero = torch.ones_like(real), torch.zeros_like(real)
    real_over, fake_over = real - fake.mean(), fake - real.mean()
    if loss is losses.relativistic:
        return bce(fake - real, one) if generator else bce(real - fake, one)
    if loss is losses.relativistic_average:
        if generator:
            return bce(fake_over, one) + bce(real_over, zero)
        return bce(real_over, one) + bce(fake_over, zero)
    if loss is losses.relativistic_average_least_squares:
        sign = -1 if generator else 1
        return ((real_over - sign) ** 2).mean() + ((fake_over + sign) ** 2).mean()
    sign = -1 if generator else 1
    return (1 - sign * real_over).clamp(min=0).mean() + (1 + sign * fake_over).clamp(min=0).mean()


@pytest.mark.parametrize("loss", RELATIVISTIC)
def test_relativistic_losses_match_the_paper(loss):
    """The generator's loss is the discriminator's with real and fake exchanged, and never its negative."""
    torch.testing.assert_close(loss(REAL, FAKE), written_out(loss, REAL, FAKE, generator=False))
    torch.testing.assert_close(loss(FAKE, REAL), written_out(loss, REAL, FAKE, generator=True))
    assert value(loss(FAKE, REAL)) != pytest.approx(-value(loss(REAL, FAKE)))


@pytest.mark.parametrize("loss", RELATIVISTIC)
def test_relativistic_losses_see_differences_only_and_both_sides(loss):
    torch.testing.assert_close(loss(REAL + 7, FAKE + 7), loss(REAL, FAKE))
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss(real, fake).backward()
    assert (real.grad != 0).any() and (fake.grad != 0).any()
    torch.testing.assert_close(real.grad.sum(), -fake.grad.sum())


# Penalties. A linear critic w.x has the gradient w everywhere, a quadratic one |x|^2 / 2 the gradient x.

W = torch.tensor([[1.0, -2.0], [2.0, 4.0]])  # |w| = 5


def linear(x: Tensor) -> Tensor:
    return (x * W).flatten(1).sum(1)


def quadratic(x: Tensor) -> Tensor:
    return 0.5 * x.flatten(1).square().sum(1)


def penalised(penalty: Callable[[Tensor, Tensor], Tensor], critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A penalty of a critic's scores that are there already."""
    with losses.exact_gradients(x.device):
        x = differentiable(x)
        return penalty(critic(x), x)


def images(n: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_penalties_of_a_linear_critic():
    real, fake, epsilon = images(), images(seed=1), torch.rand(3, 1, 1, 1)
    assert value(penalised(losses.zero_centred_penalty, linear, real)) == pytest.approx(
        12.5
    )  # |w|^2 / 2: R1, and R2 on fakes
    assert value(losses.gradient_penalty(linear, real, fake, epsilon)) == pytest.approx(16.0)  # (|w| - 1)^2
    assert value(losses.gradient_penalty(linear, real, fake, epsilon, target=0.0)) == pytest.approx(25.0)
    assert value(penalised(losses.norm_penalty, linear, real)) == pytest.approx(16.0)


def test_penalties_of_a_quadratic_critic():
    """The gradient is the point itself, so the penalty shows at which point it was taken."""
    real, fake, epsilon = images(), images(seed=1), torch.tensor([0.0, 0.25, 1.0]).reshape(3, 1, 1, 1)
    norms = [fake[0].norm(), (0.25 * real[1] + 0.75 * fake[1]).norm(), real[2].norm()]
    expected = sum((norm - 1) ** 2 for norm in norms) / 3
    torch.testing.assert_close(losses.gradient_penalty(quadratic, real, fake, epsilon), expected)
    torch.testing.assert_close(penalised(losses.zero_centred_penalty, quadratic, real), real.square().sum() / 6)
    direction = images(seed=2)
    expected = ((real + direction).flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(penalised(losses.norm_penalty, quadratic, real + direction), expected)


def test_penalty_norm_is_of_each_sample_over_all_its_pixels():
    """Not over channels alone (one common slip), and not of the batch (another)."""
    x = torch.full((5, 3, 4, 4), 0.5)
    norm = math.sqrt(48) * 0.5
    assert value(losses.gradient_penalty(quadratic, x, x, torch.ones(5, 1, 1, 1))) == pytest.approx((norm - 1) ** 2)


def test_flat_critic_gives_a_finite_gradient():
    weight = torch.zeros(4, requires_grad=True)
    critic = lambda x: x.flatten(1) @ weight  # noqa: E731
    losses.gradient_penalty(critic, images(), images(), torch.rand(3, 1, 1, 1)).backward()
    assert weight.grad.isfinite().all()


def test_lecam():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 1.0])
    expected = ((1 - 0.25) ** 2 + (3 - 0.25) ** 2) / 2 + ((-1 - 0.5) ** 2 + (1 - 0.5) ** 2) / 2
    assert value(losses.lecam_penalty(real, fake, torch.tensor(0.5), torch.tensor(0.25))) == pytest.approx(expected)


class SmoothCritic(nn.Module):
    """Smooth, so that finite differences of its penalty make sense."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1)).tanh()).squeeze(1)


@pytest.mark.parametrize(
    "penalty",
    [
        lambda critic, x, y: losses.gradient_penalty(critic, x, y, torch.linspace(0.1, 0.9, 3).reshape(3, 1, 1, 1)),
        lambda critic, x, y: penalised(losses.zero_centred_penalty, critic, x),
        lambda critic, x, y: penalised(losses.norm_penalty, critic, x + 0.1 * y),
    ],
    ids=["gradient_penalty", "zero_centred_penalty", "norm_penalty"],
)
def test_penalty_gradient_equals_finite_differences(penalty):
    """In double precision, by the critic's weights: the second derivative is there and right."""
    critic = SmoothCritic().double()
    x, y = images().double(), images(seed=1).double()
    names, weights = zip(*((n, p.detach().clone().requires_grad_()) for n, p in critic.named_parameters()), strict=True)

    def of_weights(*weights: Tensor) -> Tensor:
        parameters = dict(zip(names, weights, strict=True))
        return penalty(lambda x: torch.func.functional_call(critic, parameters, (x,)), x, y)

    assert torch.autograd.gradcheck(of_weights, weights, eps=1e-6, atol=1e-6, rtol=1e-4)


def penalty_gradient(critic: nn.Module, real: Tensor, fake: Tensor, autocast: bool) -> Tensor:
    """By the critic's weights; the backward pass stands outside of autocast, as in :meth:`AdversarialModule.turn`."""
    critic.zero_grad()
    epsilon = torch.linspace(0.1, 0.9, len(real)).reshape(-1, 1, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert critic(real).dtype == (torch.bfloat16 if autocast else torch.float32)
        penalty = losses.gradient_penalty(critic, real, fake, epsilon) + penalised(
            losses.zero_centred_penalty, critic, real
        )
    assert penalty.requires_grad and penalty.dtype == torch.float32
    penalty.backward()
    return torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_penalty_is_exact_under_bfloat16_and_past_compilation(compiled):
    """Under autocast the relative error of a penalty's gradient would be near 1e-2 without the float32 island."""
    critic, real, fake = SmoothCritic(), images(), images(seed=1).bfloat16()  # fakes come in half precision
    expected = penalty_gradient(critic, real, fake.float(), autocast=False)
    if compiled:
        critic.compile(backend="aot_eager")
        critic(real).sum().backward()  # it is compiled by now
    found = penalty_gradient(critic, real, fake, autocast=True)
    assert expected.norm() > 0
    assert (found - expected).norm() / expected.norm() <= 1e-5


def test_penalty_without_an_outer_gradient():
    """Where gradients are off (a rehearsal of micro-batches) a penalty still has its value."""
    with torch.no_grad():
        assert value(penalised(losses.zero_centred_penalty, linear, images())) == pytest.approx(12.5)
    assert differentiable(images().double()).dtype == torch.float64
    assert differentiable(images().bfloat16()).dtype == torch.float32
