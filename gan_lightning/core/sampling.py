"""How a trained network is used: in evaluation mode, in its own precision, and along ways between latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Between = Callable[[Tensor, Tensor, float], Tensor]  # two points and a share of the way -> a point on it


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, and back."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def in_own_precision(network: nn.Module, first: Tensor, *others: Tensor | float | None) -> Tensor:
    """A network's output in its own precision, autocast off, of the inputs up to the last one that is given."""
    dtype = next(network.parameters()).dtype
    cast = [x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in (first, *others)]
    while cast[-1] is None:
        cast.pop()
    with torch.autocast(first.device.type, enabled=False):
        return network(*cast)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Latents (n, ...) on the way from a to b along great circles: the length of a normal latent is kept."""
    x, y = a.flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(x, y).clamp(-1, 1)[:, None]
    angle = cosine.arccos()
    near = angle.sin() < 1e-6  # (anti)parallel: the formula would divide by zero
    sine = torch.where(near, 1.0, angle.sin())
    from_x = torch.where(near, 1 - share, ((1 - share) * angle).sin() / sine)
    from_y = torch.where(near, share, (share * angle).sin() / sine)
    return (from_x * x + from_y * y).view_as(a)


def lerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Latents (n, ...) on the straight way from a to b."""
    return (1 - share) * a + share * b


def closed_walk(stations: list[Tensor], frames: int, between: Between) -> Iterator[Tensor]:
    """So many points on the way from station to station and back to the first, slow at stations, where it turns."""
    for frame in range(frames):
        at, past = divmod(frame * len(stations), frames)
        share = past / frames
        yield between(stations[at], stations[(at + 1) % len(stations)], share * share * (3 - 2 * share))
