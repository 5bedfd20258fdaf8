"""Directions in the latent space along which images change in one way or another, found without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_lightning.latents.space import LatentSpace

RANK = 1e-9  # an eigenvalue below this share of the greatest is 0, but for rounding


def directions(space: LatentSpace, method: str = "closed_form") -> Tensor:
    """(k, dim) directions in W or Z, a row each, the most important first, each a standard deviation long.

    - "closed_form": the eigenvectors of A^T A (Shen and Zhou 2021, arXiv:2007.06600, equation 8), A what the latent is
      multiplied by first: the layers that make scales of w, all together, or the first layer that sees z.
    - "pca": the principal components of w (Härkönen et al. 2020, arXiv:2004.02546, section 2.2), of 10,000 samples,
      theirs of a million. Their components of the features of a first layer that is linear in a normal z are the
      closed form's directions.

    There are as many as the weights or the covariance have ranks. Signs are arbitrary; the greatest component of each
    direction is positive here.

    Raises:
        ValueError: "pca" of a generator without styles, or no layer of it is linear in z.
    """
    name = type(space.network).__name__
    samples = space.distribution().double()
    centred = samples - samples.mean(0)
    if method == "pca":
        if not space.has_styles:
            raise ValueError(f"pca is of w, which {name} does not have: use closed_form")
        matrix = centred.T @ centred
    else:
        first = style_layers(space) if space.has_styles else first_layer(space)
        matrix = first.double().T @ first.double()
    values, vectors = torch.linalg.eigh(matrix)
    found = vectors.T[values > RANK * values[-1]].flip(0)
    greatest = found.gather(1, found.abs().argmax(1, keepdim=True))
    found = found * greatest.sign()
    return found * (centred @ found.T).std(0, unbiased=False)[:, None]


@torch.no_grad()
def style_layers(space: LatentSpace) -> Tensor:
    """(scales, width): what all linear layers of the synthesis network, which are of styles alone, multiply w by."""
    identity = torch.eye(space.shape[-1]).to(next(space.network.parameters()))
    layers = [layer for layer in space.network.synthesis.modules() if isinstance(layer, nn.Linear)]
    return torch.cat([(layer(identity) - layer(torch.zeros_like(identity))).T for layer in layers])


class _FoundError(Exception):
    """Ends a forward pass at the layer that was looked for."""


@torch.no_grad()
def first_layer(space: LatentSpace) -> Tensor:
    """(outputs, latent_dim): what the first layer with weights whose outputs are linear in z multiplies it by.

    Its outputs for the origin and for each unit vector are looked at, whatever joins or splits z before it.

    Raises:
        ValueError: none is linear in z.
    """
    dim, found = space.shape[0], []
    points = torch.cat([torch.zeros(1, dim), torch.eye(dim), 2 * torch.eye(dim)])

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if torch.is_tensor(output) and len(output) == len(points):
            once, twice = (output[1:] - output[0]).flatten(1).split(dim)
            # A latent that is normalised first, as ProGAN's is, has the same outputs for both lengths.
            apart = min((twice - length * once).abs().max() for length in (1, 2))
            if once.any() and apart <= 1e-3 * once.abs().max():
                found.append(once)
                raise _FoundError

    with_weights = [layer for layer in space.network.modules() if list(layer.parameters(recurse=False))]
    hooks = [layer.register_forward_hook(look) for layer in with_weights]
    try:
        with space.module.drawing(space.network, range(len(points))):
            condition = space.module.condition_of([0] * len(points))
            space.module.images_of(space.network, points.to(space.module.device), condition)
    except _FoundError:
        return found[0].T
    finally:
        for hook in hooks:
            hook.remove()
    raise ValueError(f"no layer of {type(space.network).__name__} is linear in z: closed_form needs one")
