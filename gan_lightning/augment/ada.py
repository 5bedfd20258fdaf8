"""Augmentation whose strength follows how far the discriminator overfits."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from gan_lightning.augment.base import Augment
from gan_lightning.noise import Noise


class ADA(Augment):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676), the paper's pipeline "bgc".

    Every transformation is applied to each sample with probability p, in the paper's order and strengths (appendix B);
    p moves so that r_t, the mean sign of the discriminator's scores of real images, stays at a target (section 3).
    At p = 0 images pass bit for bit.

    Deviations: images are read by bilinear interpolation, where the paper filters with wavelets at twice the size; all
    that lies outside is mirrored at the border pixels, where the authors' code has zeros beyond one mirror image; p
    stays in [0, 1], where their code bounds it below alone.

    Attributes:
        p: (), what it is now; with the sums and counters a buffer, so that a resumed run goes on exactly.

    Args:
        p: probability to begin with, in [0, 1].
        target: of r_t, in (-1, 1); None for a p that stays.
        speed: images for p to go from 0 to 1.
        interval: discriminator turns between two changes of p.
        pixel: mirror left to right, rotate by multiples of 90 degrees, translate by whole pixels.
        geometry: scale, rotate, scale the sides against each other, rotate, translate.
        color: brightness, contrast, luma flip, hue and saturation; grey images have no hue and no saturation.

    Raises:
        ValueError: an argument outside its range, everything switched off, or, with `color`, images of other than one
            or three channels.
    """

    def __init__(
        self,
        p: float = 0.0,
        target: float | None = 0.6,
        speed: int = 500_000,
        interval: int = 4,
        pixel: bool = True,
        geometry: bool = True,
        color: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"ADA's p is a probability, in [0, 1], not {p}")
        if target is not None and not -1 < target < 1:
            raise ValueError(f"ADA's target is of a mean sign, in (-1, 1), or null for a p that stays, not {target}")
        if speed < 1 or interval < 1:
            raise ValueError(f"ADA's speed ({speed}) and interval ({interval}) must be at least 1")
        if not (pixel or geometry or color):
            raise ValueError("ADA with pixel, geometry and color all off does nothing: leave augment out")
        self.adaptive = target is not None
        self.target, self.speed, self.interval = target, speed, interval
        self.pixel, self.geometry, self.color = pixel, geometry, color
        self.p: Tensor
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("unshared", torch.zeros(2, dtype=torch.int64))  # this turn's on this process
        self.register_buffer("signs", torch.zeros(2, dtype=torch.int64))  # their sum and number since p last moved
        self.register_buffer("turns", torch.tensor(0))
        self.register_buffer("images", torch.tensor(0))  # seen when p last moved

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        x = image.to(torch.promote_types(image.dtype, torch.float32))  # half precision cannot tell pixels apart
        if self.pixel or self.geometry:
            source = torch.eye(3, device=x.device, dtype=x.dtype).expand(len(x), 3, 3)
            if self.pixel:
                source = self._pixel(source, x.shape, noise)
            if self.geometry:
                source = self._geometry(source, x.shape, noise)
            x = read(x, source)
        if self.color:
            x = self._color(x, noise)
        return x.to(image.dtype)

    @torch.no_grad()
    def see(self, real: Tensor) -> None:
        self.unshared += torch.stack([real.sign().sum(), real.new_tensor(len(real))]).to(torch.int64)

    @torch.no_grad()
    def adapt(self, images_seen: int) -> None:
        """Move p if `interval` turns have passed; in tensors throughout, so that no device is waited for."""
        if not self.adaptive:
            return
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self.unshared)  # each turn: what is saved is then the same on all processes
        self.signs += self.unshared
        self.unshared.zero_()
        self.turns += 1
        due = self.turns % self.interval == 0
        step = torch.sign(self.signs[0] - self.target * self.signs[1]) * (images_seen - self.images) / self.speed
        self.p.copy_(torch.where(due, (self.p + step).clamp(0, 1), self.p))
        self.images.copy_(torch.where(due, images_seen, self.images))
        self.signs *= ~due

    def _with_p(self, value: Tensor, otherwise: float, noise: Noise, p: Tensor | None = None) -> Tensor:
        """(n, ...) the value where a sample's coin says so."""
        coin = noise.uniform(len(value)) < (self.p if p is None else p)
        return torch.where(coin.view(-1, *[1] * (value.ndim - 1)), value, otherwise)

    def _pixel(self, source: Tensor, shape: torch.Size, noise: Noise) -> Tensor:
        n, _, h, w = shape
        mirror = self._with_p(noise.integers(2, n), 0, noise)
        quarter = self._with_p(noise.integers(4, n), 0, noise)
        x, y = self._with_p(noise.uniform(n, 2) * 2 - 1, 0.0, noise).mul(0.125).unbind(1)
        cos, sin = (quarter.new_tensor(values)[quarter] for values in ([1, 0, -1, 0], [0, 1, 0, -1]))  # exact
        source = _times(source, 1 - 2 * mirror, 0, 0, 1)
        source = _times(source, cos, -sin, sin, cos)
        return _times(source, 1, 0, 0, 1, -(x * w).round(), -(y * h).round())

    def _geometry(self, source: Tensor, shape: torch.Size, noise: Noise) -> Tensor:
        n, _, h, w = shape
        once = 1 - (1 - self.p).sqrt()  # each of two rotations, so that either happens with probability p
        scale = self._with_p(torch.exp2(0.2 * noise.normal(n)), 1.0, noise)
        before = self._with_p(math.pi * (2 * noise.uniform(n) - 1), 0.0, noise, once)
        aspect = self._with_p(torch.exp2(0.2 * noise.normal(n)), 1.0, noise)
        after = self._with_p(math.pi * (2 * noise.uniform(n) - 1), 0.0, noise, once)
        x, y = self._with_p(0.125 * noise.normal(n, 2), 0.0, noise).unbind(1)
        source = _times(source, 1 / scale, 0, 0, 1 / scale)
        source = _times(source, before.cos(), -before.sin(), before.sin(), before.cos())
        source = _times(source, 1 / aspect, 0, 0, aspect)
        source = _times(source, after.cos(), -after.sin(), after.sin(), after.cos())
        return _times(source, 1, 0, 0, 1, -x * w, -y * h)

    def _color(self, image: Tensor, noise: Noise) -> Tensor:
        """Luma is the part along (1, 1, 1), which hue and saturation leave, the rest chroma, which the flip leaves."""
        n, channels = image.shape[:2]
        if channels not in (1, 3):
            raise ValueError(f"ADA changes colours of images with 1 or 3 channels, not {channels}: switch color off")
        brightness = self._with_p(0.2 * noise.normal(n), 0.0, noise)
        contrast = self._with_p(torch.exp2(0.5 * noise.normal(n)), 1.0, noise)
        flip = self._with_p(noise.integers(2, n), 0, noise)
        one = torch.eye(channels, device=image.device, dtype=image.dtype)
        luma = torch.full_like(one, 1 / channels)
        matrix = one - 2 * luma * flip.view(n, 1, 1)
        if channels == 3:
            hue = self._with_p(math.pi * (2 * noise.uniform(n) - 1), 0.0, noise)
            saturation = self._with_p(torch.exp2(noise.normal(n)), 1.0, noise)
            turned = one.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # (1, 1, 1) x chroma
            along, across = ((saturation * f(hue)).to(image.dtype).view(n, 1, 1) for f in (torch.cos, torch.sin))
            matrix = matrix + (along - 1) * (one - luma) + across * turned
        brightness, contrast = (value.to(image.dtype).view(n, 1, 1, 1) for value in (brightness, contrast))
        image = contrast * (image + brightness)
        return (matrix[..., None, None] * image[:, None]).sum(2)  # no matmul: TF32 would round


def _times(
    source: Tensor, a: Tensor | int, b: Tensor | int, c: Tensor | int, d: Tensor | int, *shift: Tensor
) -> Tensor:
    """(n, 3, 3) source [[a, b, x], [c, d, y], [0, 0, 1]]; by hand, since a matmul may round to TF32 or half."""
    x, y = shift or (0, 0)
    rows = [torch.as_tensor(v, device=source.device).to(source.dtype).expand(len(source)) for v in (a, b, x, c, d, y)]
    last = source.new_tensor([0, 0, 1]).expand(len(source), 1, 3)
    factor = torch.cat([torch.stack(rows, 1).view(-1, 2, 3), last], 1)
    return (source[..., None] * factor[:, None]).sum(2)


def read(image: Tensor, source: Tensor) -> Tensor:
    """Images whose pixels are read elsewhere, bilinearly; exact at whole pixels, and differentiable twice.

    What `torch.nn.functional.grid_sample` gives with reflection and aligned corners, but for its rounding: that takes
    places relative to the image's size, and its second derivative does not exist.

    Args:
        image: (n, c, h, w).
        source: (n, 3, 3), from where a pixel is, (x, y, 1) from the centre of the image, to where it is read from.

    Returns:
        (n, c, h, w).
    """
    h, w = image.shape[2:]
    x = torch.arange(w, device=image.device, dtype=image.dtype) - (w - 1) / 2
    y = torch.arange(h, device=image.device, dtype=image.dtype)[:, None] - (h - 1) / 2
    xs, ys = (
        row[:, 0, None, None] * x + row[:, 1, None, None] * y + row[:, 2, None, None] for row in source.unbind(1)[:2]
    )
    left, right, to_right = _neighbours(xs, w)
    upper, lower, to_lower = _neighbours(ys, h)
    flat = image.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * w + column).flatten(1)[:, None].expand(-1, image.shape[1], -1)
        return flat.gather(2, index).view_as(image)

    above = (1 - to_right) * at(upper, left) + to_right * at(upper, right)
    below = (1 - to_right) * at(lower, left) + to_right * at(lower, right)
    return (1 - to_lower) * above + to_lower * below


def _neighbours(place: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels around each place (n, h, w) from the centre, and how far it is from the first to the second."""
    last = side - 1
    place = (place + last / 2).abs() % max(2 * last, 1)  # mirrored at both borders, again and again
    place = (last - (place - last).abs()).clamp(min=0)
    first = place.floor()
    pixel = first.to(torch.int64)
    return pixel, (pixel + 1).clamp(max=last), (place - first)[:, None]
