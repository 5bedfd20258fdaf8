"""The networks of predictability minimization: an encoder, its predictors, and a decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def perceptron(inputs: int, width: int, depth: int, outputs: int) -> list[nn.Module]:
    """The layers from `inputs` over `depth` hidden layers of `width` tanh units to `outputs` linear ones."""
    sizes = [inputs] + depth * [width]
    hidden = [[nn.Linear(a, b), nn.Tanh()] for a, b in zip(sizes, sizes[1:], strict=False)]
    return [layer for pair in hidden for layer in pair] + [nn.Linear(sizes[-1], outputs)]


class CodeEncoder(nn.Module):
    """Image -> `depth` hidden layers that all units share -> `units` sigmoid code units.

    Args:
        image_shape: (channels, height, width).
        units: of the code.
        width, depth: of the hidden layers; depth 0 for none.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, units: int = 6, width: int = 64, depth: int = 1) -> None:
        super().__init__()
        self.units = units
        self.layers = nn.Sequential(nn.Flatten(), *perceptron(math.prod(image_shape), width, depth, units))

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, units) in [0, 1]."""
        return self.layers(image).sigmoid()


class CodeDecoder(nn.Module):
    """Code -> `depth` hidden layers -> image, tanh."""

    def __init__(self, image_shape: tuple[int, int, int], units: int, *, width: int = 64, depth: int = 1) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = nn.Sequential(*perceptron(units, width, depth, math.prod(image_shape)), nn.Tanh())

    def forward(self, code: Tensor) -> Tensor:
        """(n, units) -> (n, *image_shape) in [-1, 1]."""
        return self.layers(code).unflatten(1, self.image_shape)


class Predictors(nn.Module):
    """One network for each code unit, of one hidden tanh layer and a sigmoid, that predicts it from all others.

    All are computed together. Predictor i is given the others' values alone, so that no weight of it could see unit i.

    Args:
        units: of the code.
        width: hidden units of each predictor.

    Raises:
        ValueError: fewer than two units.
    """

    def __init__(self, units: int, *, width: int = 32) -> None:
        super().__init__()
        if units < 2:
            raise ValueError(f"a code unit is predicted from the others: a code needs at least two units, not {units}")
        others = [[j for j in range(units) if j != i] for i in range(units)]
        self.register_buffer("others", torch.tensor(others), persistent=False)  # (units, units - 1)
        self.hidden_weight = _uniform(units - 1, units, units - 1, width)
        self.hidden_bias = _uniform(units - 1, units, width)
        self.weight = _uniform(width, units, width)
        self.bias = _uniform(width, units)

    def forward(self, code: Tensor) -> Tensor:
        """(n, units) -> (n, units) in [0, 1], the i-th predicted from all but the i-th."""
        hidden = torch.einsum("nio,iow->niw", code[:, self.others], self.hidden_weight) + self.hidden_bias
        return (torch.einsum("niw,iw->ni", hidden.tanh(), self.weight) + self.bias).sigmoid()


def _uniform(inputs: int, *shape: int) -> nn.Parameter:
    """Initial weights as nn.Linear draws them: from U(-1, 1) / sqrt(inputs)."""
    return nn.Parameter((2 * torch.rand(shape) - 1) / math.sqrt(inputs))
