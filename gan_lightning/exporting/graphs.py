"""Networks as functions of named tensors, which `torch.export` and ONNX can hold: nothing in them is random.

A generator takes a latent, and a label or the tokens of a text where it has a condition; a translator an image, and its
attributes or its hole. What a layer draws becomes constant: the noise of sample 0 of seed 0, and of dropout that is
meant to stay on what :meth:`Translator.translate` draws for an image of the size of training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lightning.core import AdversarialModule, ImageGenerator, Inpainter, TextToImage, Translator
from gan_lightning.core.exported import used_networks
from gan_lightning.core.image_generator import LAYERS
from gan_lightning.core.tiling import LEAST
from gan_lightning.models import Pix2Pix
from gan_lightning.networks.layers import SelfAttention
from gan_lightning.networks.singan import SinGANGenerator
from gan_lightning.networks.stackgan import StackedGenerator
from gan_lightning.networks.unet import NoisyDropout
from gan_lightning.noise import Noise, SampleNoise, drawn_by_layers, key, seed_torch

STAGES = {SinGANGenerator: "reached", StackedGenerator: "stage"}  # buffers that say which layers there are: numbers


class Traceable(NamedTuple):
    """A function to export.

    Attributes:
        name: of its files: "generator", or the direction of a translator.
        output: the name of its output.
        network: takes the inputs in their order, gives images (n, C, H, W) in [-1, 1].
        inputs: from a number of rows and a seed to the inputs by name; all tensors begin with the rows.
        sides: what the sides of an input image must be multiples of; None where they are fixed.
        constant: what is constant in it and was drawn before, in words; empty where nothing is.
    """

    name: str
    output: str
    network: nn.Module
    inputs: Callable[[int, int], dict[str, Tensor]]
    sides: int | None = None
    constant: str = ""


def traceable(module: AdversarialModule, weights: str) -> list[Traceable]:
    """What a model draws with, each of its functions.

    Args:
        module: stays as it is.
        weights: whose; see :func:`exported.weights_name`.

    Raises:
        ValueError: it makes no pictures, or takes more than a batch of one kind of tensors.
    """
    if isinstance(module, ImageGenerator):
        if math.prod(module.image_shape[1:]) == 1:
            raise ValueError(f"{type(module).__name__} was trained on points, not on images: export it as safetensors")
        return [_generator(module, weights)]
    if isinstance(module, Translator):
        return _translators(module)
    raise ValueError(f"{type(module).__name__} makes no images: there is nothing of it to export")


class Drawing(nn.Module):
    """A generator of images whose layers draw constant noise."""

    def __init__(self, module: ImageGenerator, network: nn.Module) -> None:
        super().__init__()
        self.network, self._module = network, (module,)  # in a tuple: its other networks are no part of this one
        self.noise = ConstantNoise()
        embeds = isinstance(module, TextToImage)
        self.text_encoder = module.text_encoder if embeds and hasattr(module, "text_encoder") else None

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """(n, latent_dim), and labels (n,) or tokens (n, T) int64 -> (n, *image_shape) in [-1, 1]."""
        (module,) = self._module
        self.noise.begin()
        with drawn_by_layers(self.noise):
            return module.bounded(module.images_of(self.network, latent, condition).float())


class Translating(nn.Module):
    """A translator's function of tensors."""

    def __init__(self, module: Translator, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.generator, self._function = module.generator, function

    def forward(self, image: Tensor, second: Tensor | None = None) -> Tensor:
        """(n, C, H, W), and what else the function takes -> (n, C, H, W), in [-1, 1]."""
        return self._function(image) if second is None else self._function(image, second)


class ConstantNoise(Noise):
    """The noise that layers draw for sample 0 of seed 0, for every sample and every time."""

    def __init__(self) -> None:
        self._source = SampleNoise(key(0, LAYERS), [0], torch.device("cpu"))
        self._drawn: list[Tensor] = []
        self._next = 0

    def begin(self) -> None:
        """Begin again with what was drawn first."""
        self._next = 0

    @property
    def used(self) -> bool:
        """Whether a layer has drawn any."""
        return bool(self._drawn)

    def _rows(self, draw: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        if self._next == len(self._drawn):
            self._drawn.append(self._source._rows(draw, 1, shape))
        self._next += 1
        return self._drawn[self._next - 1].expand(n, *shape)


class ConstantDropout(nn.Module):
    """Dropout whose choice was made with the first input, alike for all samples."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.factor: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.factor is None:
            self.factor = F.dropout(torch.ones_like(x[:1]), self.p, training=True)
        return x * self.factor


class WrittenOutAttention(SelfAttention):
    """Attention in plain products: ONNX has none of one head."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return (query @ key.mT).softmax(2) @ value


def _generator(module: ImageGenerator, weights: str) -> Traceable:
    module = copy.deepcopy(module).float().eval()
    network = _plain(used_networks(module, weights)["generator"])
    for kind, name in STAGES.items():
        if isinstance(network, kind):
            number = int(getattr(network, name))
            delattr(network, name)
            setattr(network, name, number)
    drawing = Drawing(module, network).eval()
    condition = "token" if isinstance(module, TextToImage) else "label"

    def inputs(n: int, seed: int) -> dict[str, Tensor]:
        found = {"latent": module.latents(range(n), seed).float()}
        if (rows := _conditions(module, n, seed)) is not None:
            found[condition] = rows
        return found

    with float32_alone():
        drawing(*inputs(1, 0).values())  # draws what is constant, and makes what is made once
    constant = "the noise that its layers add, that of sample 0" if drawing.noise.used else ""
    return Traceable("generator", "image", drawing, inputs, constant=constant)


def _conditions(module: ImageGenerator, n: int, seed: int) -> Tensor | None:
    if isinstance(module, TextToImage):
        drawn = SampleNoise(key(seed, LAYERS), range(n), torch.device("cpu")).integers(
            len(module.vocabulary), n, module.length
        )
        return torch.where(torch.arange(module.length) < 1 + drawn[:, :1] % module.length, drawn.clamp(min=1), 0)
    return module.condition_of(range(seed, seed + n))


def _translators(module: Translator) -> list[Traceable]:
    module = copy.deepcopy(module).float().eval()
    _plain(module.generator)
    kept = [layer for layer in module.modules() if isinstance(layer, ConstantDropout)]
    sides = module.multiple if module.any_size and not kept else None
    shape = (module.image_shape[0], *(side // module.scale for side in module.image_shape[1:]))

    def images(n: int, seed: int) -> dict[str, Tensor]:
        return {"image": 2 * SampleNoise(seed, range(n), torch.device("cpu")).uniform(n, *shape) - 1}

    def with_hole(n: int, seed: int) -> dict[str, Tensor]:
        hole = SampleNoise(key(seed, 1), range(n), torch.device("cpu")).uniform(n, 1, *shape[1:]) < 0.25
        return images(n, seed) | {"hole": hole}

    def with_attributes(n: int, seed: int) -> dict[str, Tensor]:
        drawn = SampleNoise(key(seed, 1), range(n), torch.device("cpu")).uniform(n, len(module.attributes))
        return images(n, seed) | {"attributes": (drawn < 0.5).float()}

    functions: dict[str, Callable[..., Tensor]] = {"generator": module.translate}
    inputs: Any = images
    if isinstance(module, Inpainter):
        functions, inputs = {"generator": module.fill}, with_hole
    elif module.attributes and hasattr(module, "edit"):
        functions, inputs = {"generator": module.edit}, with_attributes
    elif module.directions:
        functions = {one: lambda image, one=one: module.translate(image, one) for one in module.directions}
    elif isinstance(module, Pix2Pix):  # which translates one by one, since its dropout is drawn for each
        functions = {"generator": lambda image: module.made_by(module.generator, image)}
    found = []
    for name, function in functions.items():
        network = Translating(module, function).eval()
        with float32_alone():
            seed_torch(key(0), torch.device("cpu"))  # as `Pix2Pix.translate` does for its dropout
            network(*inputs(1, 0).values())
        constant = "what its dropout leaves out" if kept else ""
        found.append(Traceable(name, "translated", network, inputs, sides, constant))
    return found


def _plain(network: nn.Module) -> nn.Module:
    """A network whose weights are no functions of others, and whose dropout is chosen once; it is changed in place."""
    for parent in list(network.modules()):
        if parametrize.is_parametrized(parent):
            for name in list(parent.parametrizations):
                parametrize.remove_parametrizations(parent, name, leave_parametrized=True)
        for name, child in list(parent.named_children()):
            if isinstance(child, NoisyDropout):
                setattr(parent, name, ConstantDropout(child.p))
            elif isinstance(child, SelfAttention):
                child.__class__ = WrittenOutAttention  # the same layers
    return network


def least_sides(multiple: int) -> int:
    """The shortest side, in multiples of `multiple`, that pictures are given to a network of any size with."""
    return max(2, -(-LEAST // multiple))


@contextmanager
def float32_alone() -> Iterator[None]:
    """Within it networks that cast to half precision themselves do not: they read autocast's type, float32 here."""
    before = torch.get_autocast_dtype("cpu")
    torch.set_autocast_dtype("cpu", torch.float32)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_dtype("cpu", before)
