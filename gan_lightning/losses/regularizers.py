"""Penalties on a discriminator's gradient or scores; the weight that a paper gives them stands in its model.

Double backward is exact only in float32 and only in eager mode: scores whose gradient is penalised are computed within
:func:`exact_gradients`, whatever the trainer's precision, and past `torch.compile`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gan_lightning.batches import differentiable

Critic = Callable[[Tensor], Tensor]  # (n, *shape) -> (n,) scores


@contextmanager
def exact_gradients(device: torch.device) -> Iterator[None]:
    """Within it scores are computed so that their gradient can be penalised: float32, eager, gradients on.

    Networks that cast to half precision themselves read autocast's type, which is float32 here, and then do not cast.

    Raises:
        ValueError: the run's weights are in half precision.
    """
    if torch.get_default_dtype().itemsize < 4:  # as Lightning sets it while it trains in bf16-true and 16-true
        raise ValueError(
            "a penalty on a gradient needs weights in float32, and this precision has none: use bf16-mixed in place of "
            "bf16-true, 16-mixed in place of 16-true"
        )
    island = torch.autocast(device.type, dtype=torch.float32, enabled=False)
    with torch.enable_grad(), island, torch.compiler.set_stance("force_eager"):
        yield


def gradient_of(score: Tensor, x: Tensor) -> Tensor:
    """The gradient of each score (n,) by its own input (n, *shape), differentiable by the critic's weights.

    A critic that mixes samples (batch norm) has no such gradient: sample i's score would depend on sample j.

    Args:
        score: computed from x within :func:`exact_gradients`.
        x: float32, with `requires_grad` (`batch.differentiable()`).
    """
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):  # a rehearsal of micro-batches has no grad
        (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient


def squared_norm(gradient: Tensor) -> Tensor:
    """(n,) squared Euclidean norms, over all but the first dimension."""
    return gradient.flatten(1).square().sum(1)


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor, target: float = 1.0, by_pixel: bool = False
) -> Tensor:
    """E (|grad D(x^)| - target)^2 at x^ = epsilon x + (1 - epsilon) G(z); Gulrajani et al. 2017, arXiv:1704.00028.

    Equation 3 and algorithm 1, without its weight lambda.

    Args:
        real, fake: (n, *shape).
        epsilon: (n, 1, ...) from U[0, 1], one for each sample.
        target: the norm asked for.
        by_pixel: see :func:`norm_penalty`.
    """
    with exact_gradients(real.device):
        between = differentiable(epsilon * real + (1.0 - epsilon) * fake)
        return norm_penalty(critic(between), between, target, by_pixel)


def norm_penalty(score: Tensor, x: Tensor, target: float = 1.0, by_pixel: bool = False) -> Tensor:
    """E (|grad D(x)| - target)^2 of scores (n,) that are there already, by their images; see :func:`gradient_of`.

    With `by_pixel` the norm is that of each pixel's gradient, over its channels, and the mean is over pixels too: the
    penalty of SinGAN's authors (arXiv:1905.01164), whose critic gives a map of scores (n, 1, h, w).

    DRAGAN's (Kodali et al. 2017, arXiv:1705.07215, algorithm 1) is that of real images with a perturbation d added; the
    authors' code takes d = 0.5 std(x) U[0, 1].
    """
    # The square root has no derivative at 0, where a critic that is flat somewhere would send NaN.
    gradient = gradient_of(score, x)
    norm = ((gradient.square().sum(1) if by_pixel else squared_norm(gradient)) + 1e-16).sqrt()
    return (norm - target).square().mean()


def zero_centred_penalty(score: Tensor, x: Tensor) -> Tensor:
    """1/2 E |grad D(x)|^2: R1 on real images, R2 on fakes; Mescheder et al. 2018, arXiv:1801.04406, eq. 9, 10.

    Without its weight gamma, of scores (n,) that are there already, by their images; see :func:`gradient_of`.
    """
    return 0.5 * squared_norm(gradient_of(score, x)).mean()


def path_lengths(image: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """(n,) |J^T y|, how far images move with their styles; Karras et al. 2020, arXiv:1912.04958, equation 4.

    The norm is of each layer's part of J^T y, and its square averaged over layers; y is divided by the square root of
    the number of pixels, as in the authors' code, so that lengths do not grow with the resolution.

    Args:
        image: (n, c, h, w), computed from ws within :func:`exact_gradients`.
        ws: (n, layers, width), part of a graph.
        noise: (n, c, h, w) from N(0, 1).
    """
    projection = (image * noise).flatten(1).sum(1) / math.sqrt(image[0, 0].numel())
    return gradient_of(projection, ws).square().sum(2).mean(1).sqrt()


def lecam_penalty(real: Tensor, fake: Tensor, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """E (D(x) - a_F)^2 + E (D(G(z)) - a_R)^2; Tseng et al. 2021, arXiv:2104.03310, section 4.

    Args:
        real, fake: (n,) scores.
        real_anchor, fake_anchor: moving averages a_R and a_F of the real and the fake scores.
    """
    return (real - fake_anchor).square().mean() + (fake - real_anchor).square().mean()


def off_diagonal_penalty(weights: Iterable[Tensor]) -> Tensor:
    """Sum of |W W^T - diag(W W^T)|_F^2, filters as rows: they shall be orthogonal, of any length.

    Brock et al. 2019, arXiv:1809.11096, equation 3, without its weight beta. As for a gradient penalty, half precision
    is not enough: it is computed in float32.

    Args:
        weights: each (filters, ...).
    """
    return sum(map(_off_diagonal, weights), torch.zeros(()))


def _off_diagonal(weight: Tensor) -> Tensor:
    with torch.autocast(weight.device.type, enabled=False):
        filters = weight.to(torch.promote_types(weight.dtype, torch.float32)).flatten(1)
        products = filters @ filters.T
        return (products - products.diag().diag()).square().sum()
