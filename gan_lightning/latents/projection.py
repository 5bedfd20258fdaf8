"""The latents of a picture, found by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.latents.space import LatentSpace
from gan_lightning.networks import RandomFeatures, VGG19Features

Distance = Callable[[Tensor], Tensor]  # images (1, C, H, W) -> a number

RATE = 0.1  # of Adam, at its greatest
RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps in which it rises from 0, and falls to 0
JITTER, JITTER_ENDS = 0.05, 0.75  # of the point at first, in deviations; the share of the steps after which it is 0
NOISE_WEIGHT = 10.0  # of the noise's regularisation; the paper's 1e5 holds maps of a few pixels still
FEATURES_MOST = 256  # sides above it are averaged down to it, since VGG was trained on 224
VGG_LEAST = 16  # sides that its four poolings take
CANDIDATES = 128  # samples whose nearest a search in Z begins at


class Projection(NamedTuple):
    """What was found.

    Attributes:
        points: (1, *shape) of the space.
        layers: noise of the layers where it was looked for too; see :class:`LatentSpace`.
        before, after: distances to the picture of the point that the search began at, and of the one found.
    """

    points: Tensor
    layers: dict[str, Tensor]
    before: float
    after: float


def distance_to(target: Tensor, vgg: str | None = None) -> Distance:
    """How far images are from a picture: the mean square errors of features, in shares of the picture's, and of pixels.

    Args:
        target: (1, C, H, W) in [-1, 1].
        vgg: a file of torchvision's VGG-19; None for :class:`RandomFeatures`, filters that were never trained.

    Raises:
        FileNotFoundError, ValueError: see :class:`VGG19Features`; or VGG-19 cannot see such images.
    """
    if vgg is not None and (target.shape[1] not in (1, 3) or min(target.shape[2:]) < VGG_LEAST):
        raise ValueError(f"VGG-19 sees images of 1 or 3 channels from {VGG_LEAST}x{VGG_LEAST} on: leave --vgg out")
    network = RandomFeatures(channels=target.shape[1]) if vgg is None else VGG19Features(weights=vgg)
    network = network.to(target)

    def features(image: Tensor) -> Tensor:
        if max(image.shape[2:]) > FEATURES_MOST:
            scale = FEATURES_MOST / max(image.shape[2:])
            image = F.interpolate(image, [max(1, round(side * scale)) for side in image.shape[2:]], mode="area")
        return network(image)

    wanted = features(target)
    unit = wanted.square().mean().clamp(min=1e-8)

    def distance(image: Tensor) -> Tensor:
        return (features(image) - wanted).square().mean() / unit + (image - target).square().mean()

    return distance


def project(
    space: LatentSpace,
    distance: Distance,
    steps: int = 1000,
    own_styles: bool = False,
    optimize_noise: bool = False,
    label: int | None = None,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, distance: None,
) -> Projection:
    """The point whose image is nearest to a picture (Karras et al. 2020, arXiv:1912.04958, appendix D).

    In W the search begins at the mean of w. The point is jittered, ever less, in units of the deviation of w; Adam's
    rate rises from 0 and falls to 0 along a cosine. In Z, of which the paper has nothing, it begins at the nearest of
    some samples, and stays in the cube of uniform latents.

    Deviations: features are those of :func:`distance_to`, not of VGG-16; the noise of the layers is looked for by
    choice, since it takes what W should explain, and what is found is kept for drawing; its regularisation has another
    weight.

    Args:
        space: of the generator, with `noise="const"`.
        distance: see :func:`distance_to`.
        steps: of Adam.
        own_styles: a w for each layer (W+, Abdal et al. 2019, arXiv:1904.03189) in place of one for all.
        optimize_noise: look for the layers' noise too, kept from having a pattern by its correlation with itself.
        label: the class of the picture, of a model with classes.
        seed: of the jitter, and of the noise of layers that draw it.
        report: is told the number of each step, and the distance before it.

    Raises:
        ValueError: a label is needed, or the distance is not finite.
    """
    if space.module.num_classes and not space.has_styles and label is None:
        raise ValueError(f"{type(space.module).__name__} makes images of classes: say which the picture is of")
    device, styles = space.module.device, space.has_styles
    generator = torch.Generator().manual_seed(seed)
    samples = space.distribution(label=label)
    mean = samples.mean(0)
    deviation = (samples - mean).square().sum(1).mean().sqrt()
    condition = None if label is None else torch.full((1,), label, device=device)

    def image(point: Tensor) -> Tensor:
        with space.module.drawing(space.network, [0], seed):
            made = space.images(point.expand(1, *space.shape), condition).float()
        if made.shape[1:] != space.module.image_shape:  # of a network that has not grown to the end
            made = F.interpolate(made, space.module.image_shape[1:])
        return made

    with torch.no_grad():
        if styles:
            start = mean.expand(1, space.shape[0] if own_styles else 1, -1)
        else:
            candidates = samples[:CANDIDATES].split(1)
            start = min(candidates, key=lambda z: float(distance(image(z))))
        before = float(distance(image(start)))
    point = start.clone().requires_grad_()
    space.layers = {}
    if optimize_noise:
        drawn = {name: torch.randn(value.shape, generator=generator) for name, value in space.noise_buffers().items()}
        space.layers = {name: value.to(point).requires_grad_() for name, value in drawn.items()}
    moved = [point, *space.layers.values()]
    adam = torch.optim.Adam(moved, lr=RATE, betas=(0.9, 0.999))
    for step in range(steps):
        share = step / steps
        adam.param_groups[0]["lr"] = rate_at(share)
        jitter = JITTER * deviation * max(0.0, 1 - share / JITTER_ENDS) ** 2
        apart = distance(image(point + jitter * torch.randn(point.shape, generator=generator).to(point)))
        if not apart.isfinite():
            raise ValueError("the distance to the picture is not finite: the generator's weights may be damaged")
        loss = apart + NOISE_WEIGHT * sum(map(correlation, space.layers.values()))
        for tensor, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            tensor.grad = gradient
        adam.step()
        with torch.no_grad():
            for value in space.layers.values():
                value.sub_(value.mean()).mul_(value.square().mean().rsqrt())
            if space.module.uniform_latents and not styles:
                point.clamp_(-1, 1)
        report(step, float(apart.detach()))
    space.layers = {name: value.detach() for name, value in space.layers.items()}
    with torch.no_grad():
        after = float(distance(image(point)))
    return Projection(point.detach().expand(1, *space.shape).clone(), space.layers, before, after)


def rate_at(share: float) -> float:
    """Adam's rate after a share of the steps."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / RAMP_DOWN))
    return RATE * down * min(1.0, share / RAMP_UP)


def correlation(noise: Tensor) -> Tensor:
    """Sum over scales of the squared correlations of noise (..., h, w) with itself, one pixel aside and one below.

    Scales are halved down to a side of at most 8.
    """
    noise, total = noise.reshape(1, 1, *noise.shape[-2:]), noise.new_zeros(())
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean().square()
        if min(noise.shape[2:]) <= 8:
            return total
        noise = F.avg_pool2d(noise, 2)
