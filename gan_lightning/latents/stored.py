"""Latents as a file: tensors by name, which `torch.load(path, weights_only=True)` reads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gan_lightning.latents.space import LatentSpace
from gan_lightning.runtime import torchfile
from gan_lightning.runtime.errors import printable

LAYER = "noise."  # begins the names of the layers' noise


class Latents(NamedTuple):
    """Points of a :class:`LatentSpace`, and what is to be known beside them.

    Attributes:
        points: (n, *shape).
        label: (n,) int64 classes; None where they are not known, or not needed.
        layers: see :class:`LatentSpace`.
    """

    points: Tensor
    label: Tensor | None = None
    layers: dict[str, Tensor] = {}

    @property
    def has_several_classes(self) -> bool:
        """Whether the labels differ."""
        return self.label is not None and len(self.label.unique()) > 1

    def save(self, path: Path, space: LatentSpace) -> None:
        """Write "w" (n, num_styles, width) or "z" (n, latent_dim), "label", and "noise.<layer>", on the CPU."""
        content = {space.name: self.points} | ({} if self.label is None else {"label": self.label})
        content |= {LAYER + name: value for name, value in self.layers.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({name: value.detach().cpu() for name, value in content.items()}, path)

    @classmethod
    def load(cls, path: Path, space: LatentSpace) -> Latents:
        """What :meth:`save` wrote for a generator of the same latents; (n, width) w too.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no file of latents, or one of another generator's.
        """
        file = printable(path)
        if not path.is_file():
            raise FileNotFoundError(f"--latents {file}: there is no such file")
        try:
            content = torchfile.load(path)
        except torchfile.UnreadableError as error:
            raise ValueError(f"--latents {file} {error}") from None
        if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
            raise ValueError(f"--latents {file} is no file of latents: it does not hold tensors by name")
        name = type(space.module).__name__
        if space.name not in content:
            held = ", ".join(str(key) for key in content if not str(key).startswith(LAYER))[:80] or "nothing"
            raise ValueError(f"--latents {file} holds {held}, and {name} needs {space.name}: it is of another model")
        points, shape = content[space.name], space.shape
        if points.shape[1:] == shape[1:] and space.has_styles:
            points = points[:, None].expand(-1, *shape)
        if points.shape[1:] != shape or not len(points) or not points.is_floating_point():
            raise ValueError(
                f"--latents {file} holds {space.name} of shape {tuple(content[space.name].shape)}, and {name} needs "
                f"(n, {', '.join(map(str, shape))}): it is of another model"
            )
        if not points.isfinite().all():
            raise ValueError(f"--latents {file} holds numbers that are not finite")
        layers = {key.removeprefix(LAYER): value for key, value in content.items() if str(key).startswith(LAYER)}
        own = space.noise_buffers()
        if any(key not in own or own[key].shape != value.shape for key, value in layers.items()):
            raise ValueError(f"--latents {file} holds noise of other layers than {name}'s: it is of another model")
        label = content.get("label")
        classes = space.module.num_classes or 0
        if label is not None and not (label.shape == points.shape[:1] and label.min() >= 0 and label.max() < classes):
            raise ValueError(f"--latents {file} holds labels that {name} does not have: it is of another model")
        device = space.module.device
        layers = {key: value.to(device) for key, value in layers.items()}
        return cls(points.to(device), None if label is None else label.long().to(device), layers)
