"""What single units of a convolutional network look for, by guided backpropagation (Springenberg et al. 2015,
arXiv:1412.6806), as Radford et al. 2016 (arXiv:1511.06434, section 6.2 and figure 5) show it of a discriminator."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gan_lightning.metrics.convolutions import rectified_maps

RECTIFIERS = {F.relu, F.relu_, F.leaky_relu, F.leaky_relu_, F.elu, F.elu_, F.silu}
RECTIFIERS |= {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


class Guided(TorchFunctionMode):
    """Within it rectifiers pass a gradient back only where it is positive and what they rectified was positive.

    It holds for ReLU by a layer or by a function, in place or not. Deviation: the paper has ReLU alone; LeakyReLU, ELU
    and SiLU, whose own gradients would pass where the input is negative, are treated alike.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in RECTIFIERS:
            return func(*args, **kwargs)
        positive = (args[0] if args else kwargs["input"]).detach() > 0  # now: the layer may write in place
        output = func(*args, **kwargs)
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient.clamp(min=0) * positive)
        return output


def guided_gradients(network: nn.Module, unit: int, *inputs: Tensor) -> Tensor:
    """(B, C, H, W) the guided gradient, by each image, of a unit of the last convolution at the place where it responds
    most to that image; see :func:`rectified_maps`.

    Args:
        network: in whatever mode; no gradient of its weights is taken.
        unit: number of the channel.
        inputs: of the network, the first one images (B, C, H, W).
    """
    images, *others = inputs
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad(), Guided():
        response = rectified_maps(network, lambda maps: maps, images, *others)[-1][:, unit]
    (gradient,) = torch.autograd.grad(response.flatten(1).max(1).values.sum(), images)
    return gradient


@torch.no_grad()
def responses(network: nn.Module, *inputs: Tensor) -> Tensor:
    """(B, K) the greatest response, over all places, of each unit of the last convolution; see `rectified_maps`."""
    return rectified_maps(network, lambda maps: maps.amax((2, 3)), *inputs)[-1]


class Strongest(NamedTuple):
    """The units that respond most to images, and the images that each of them responds to most, the first ones first.

    Attributes:
        units: (U,) int64 numbers of the units with the greatest mean response.
        images: (U, M) int64 numbers of the images.
    """

    units: Tensor
    images: Tensor

    @classmethod
    def of(cls, response: Tensor, units: int, images: int) -> Strongest:
        """Of responses (N, K): at most so many of both."""
        chosen = response.mean(0).topk(min(units, response.shape[1])).indices
        return cls(chosen, response[:, chosen].topk(min(images, len(response)), 0).indices.T)


def spread(gradient: Tensor) -> Tensor:
    """(B,) over which share of the pixels the energy of a gradient (B, C, H, W) is spread: its participation ratio.

    From 1 / (H W), all on one pixel, to 1, the same on all pixels; 0 where the gradient is 0. It does not change with
    the gradient's scale.
    """
    energy = gradient.square().sum(1).flatten(1)
    energy = energy / energy.sum(1, keepdim=True).clamp(min=torch.finfo(energy.dtype).tiny)
    square = energy.square().sum(1)
    return torch.where(square > 0, 1 / (energy.shape[1] * square), square)
