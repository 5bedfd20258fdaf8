"""Augmentation whose strength follows how far the discriminator overfits."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from gan_lightning.augment import wavelets
from gan_lightning.augment.base import Augment
from gan_lightning.noise import Noise
from gan_lightning.schedules import Schedule

MOVES = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac")
COLORS = ("brightness", "contrast", "lumaflip", "hue", "saturation")
OCTAVES = tuple(f"imgfilter.{i}" for i in range(4))  # of frequencies, from the lowest to the highest
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of the octaves, expected of images


class ADA(Augment):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676): the pipeline of appendix B.

    Each transformation has a strength s, and is applied to each sample with probability s p. Their names, order and
    ranges are those of the authors' code; the default is the paper's choice "bgc". p moves so that r_t, the mean sign
    of the discriminator's scores of real images, stays at a target (section 3); or it is fixed, or a function of the
    images seen. A sample that no draw touches passes bit for bit. The authors' wavelet is not quite symmetric: what is
    mirrored or turned moves by up to 0.1 pixels, here as there.

    Deviations: what lies outside is mirrored at the border pixels, again and again, where the authors' code mirrors
    once, less far if the corners of the whole batch need less, and has zeros beyond. Samples that no geometric
    transformation and no filter touches are not resampled, where the authors' are, which changes their rounding.

    Attributes:
        p: (), what it is now; with the sums and counters a buffer, so that a resumed run goes on exactly.

    Args:
        p: to begin with, in [0, 1]; or what builds its schedule in training images, with `target` null. An adaptive p
            has no upper bound, as in the authors' code: transformations with s p > 1 always happen.
        target: of r_t, in (-1, 1); None for a p that does not adapt.
        speed: images for p to go from 0 to 1.
        interval: discriminator turns between two changes of p.
        xflip: strength of mirroring left to right, one time in two.
        rotate90: of a rotation by a multiple of 90 degrees.
        xint: of a shift by whole pixels, uniform up to an eighth of each side.
        scale: of scaling by exp2(N(0, 0.2^2)).
        rotate: of a rotation by any angle, half of them before and half of them after `aniso`.
        aniso: of scaling the width by exp2(N(0, 0.2^2)), and the height by its inverse.
        xfrac: of a shift by N(0, 0.125^2) of each side.
        brightness: of adding N(0, 0.2^2).
        contrast: of multiplication by exp2(N(0, 0.5^2)).
        lumaflip: of inverting luma, the mean over channels, one time in two.
        hue: of rotating colours around luma by any angle; grey images have none.
        saturation: of multiplying the distance to luma by exp2(N(0, 1)); grey images have none.
        imgfilter: of amplifying each of four octaves of frequencies by exp2(N(0, 1)), at constant expected power; a
            number for all, or one for each, from the lowest to the highest.
        noise: of adding N(0, sigma^2) to each value, with sigma = |N(0, 0.1^2)|.
        cutout: of a rectangle of zeros of half of each side, whose centre is uniform over the image.

    Raises:
        ValueError: an argument outside its range, a schedule beside a target, every strength 0, or, where colours
            change, images of other than one or three channels.
    """

    def __init__(
        self,
        p: float | Callable[[], Schedule] = 0.0,
        target: float | None = 0.6,
        speed: int = 500_000,
        interval: int = 4,
        xflip: float = 1.0,
        rotate90: float = 1.0,
        xint: float = 1.0,
        scale: float = 1.0,
        rotate: float = 1.0,
        aniso: float = 1.0,
        xfrac: float = 1.0,
        brightness: float = 1.0,
        contrast: float = 1.0,
        lumaflip: float = 1.0,
        hue: float = 1.0,
        saturation: float = 1.0,
        imgfilter: float | list[float] = 0.0,
        noise: float = 0.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__()
        if callable(p) and target is not None:
            raise ValueError(f"ADA's p either follows a schedule or adapts to target ({target}): set target to null")
        if not callable(p) and not 0 <= p <= 1:
            raise ValueError(f"ADA's p is a probability to begin with, in [0, 1], not {p}")
        if target is not None and not -1 < target < 1:
            raise ValueError(f"ADA's target is of a mean sign, in (-1, 1), or null for a p that stays, not {target}")
        if speed < 1 or interval < 1:
            raise ValueError(f"ADA's speed ({speed}) and interval ({interval}) must be at least 1")
        octaves = [imgfilter] * len(OCTAVES) if isinstance(imgfilter, (int, float)) else list(imgfilter)
        if len(octaves) != len(OCTAVES):
            raise ValueError(
                f"ADA's imgfilter is one strength, or one for each of {len(OCTAVES)} octaves, not {imgfilter}"
            )
        moves = xflip, rotate90, xint, scale, rotate, aniso, xfrac
        colors = brightness, contrast, lumaflip, hue, saturation
        names = *MOVES, *COLORS, *OCTAVES, "noise", "cutout"
        self.strengths: dict[str, float] = dict(zip(names, [*moves, *colors, *octaves, noise, cutout], strict=True))
        if wrong := [f"{name} ({value})" for name, value in self.strengths.items() if value < 0]:
            raise ValueError(f"ADA's strengths must not be negative: {', '.join(wrong)}")
        if not any(self.strengths.values()):
            raise ValueError("ADA with every strength 0 does nothing: leave augment out")
        self.adaptive = target is not None
        self.target, self.speed, self.interval = target, speed, interval
        self.schedule = p() if callable(p) else None
        self.p: Tensor
        self.register_buffer("p", torch.tensor(float(p if self.schedule is None else self.schedule.at(0))))
        self.register_buffer("unshared", torch.zeros(2, dtype=torch.int64))  # this turn's on this process
        self.register_buffer("signs", torch.zeros(2, dtype=torch.int64))  # their sum and number since p last moved
        self.register_buffer("turns", torch.tensor(0))
        self.register_buffer("images", torch.tensor(0))  # seen when p last moved

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        x = image.to(torch.promote_types(image.dtype, torch.float32))  # half precision cannot tell pixels apart
        with torch.autocast(x.device.type, enabled=False):
            if self._any(*MOVES):
                x = self._moved(x, noise)
            if self._any(*COLORS):
                x = self._colored(x, noise)
            if self._any(*OCTAVES):
                x = self._filtered(x, noise)
            if self._any("noise"):
                sigma = self._with_p("noise", 0.1 * noise.normal(len(x), 1, 1, 1).abs(), 0.0, noise)
                x = x + (sigma * noise.normal(*x.shape)).to(x.dtype)
            if self._any("cutout"):
                x = self._cut_out(x, noise)
        return x.to(image.dtype)

    def begin(self, images_seen: int) -> None:
        if self.schedule is not None:
            self.p.fill_(self.schedule.at(images_seen))

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
        self.p.copy_(torch.where(due, (self.p + step).clamp(min=0), self.p))
        self.images.copy_(torch.where(due, images_seen, self.images))
        self.signs *= ~due

    def _any(self, *names: str) -> bool:
        return any(self.strengths[name] for name in names)

    def _with_p(self, name: str, value: Tensor, otherwise: float, noise: Noise) -> Tensor:
        """(n, ...) the value where a sample's coin says so."""
        p = self.strengths[name] * self.p
        if name == "rotate":
            p = 1 - (1 - p).clamp(min=0).sqrt()  # each of two rotations, so that either happens with probability p
        coin = noise.uniform(len(value)) < p
        return torch.where(coin.view(-1, *[1] * (value.ndim - 1)), value, otherwise)

    def _moved(self, image: Tensor, noise: Noise) -> Tensor:
        """Pixel blitting and geometry: one transformation from where a pixel is to where it is read from."""
        n, _, h, w = image.shape
        mirror = self._with_p("xflip", noise.integers(2, n), 0, noise)
        quarter = self._with_p("rotate90", noise.integers(4, n), 0, noise)
        whole_x, whole_y = self._with_p("xint", 0.125 * (noise.uniform(n, 2) * 2 - 1), 0.0, noise).unbind(1)
        scale = self._with_p("scale", torch.exp2(0.2 * noise.normal(n)), 1.0, noise)
        before = self._with_p("rotate", math.pi * (2 * noise.uniform(n) - 1), 0.0, noise)
        aspect = self._with_p("aniso", torch.exp2(0.2 * noise.normal(n)), 1.0, noise)
        after = self._with_p("rotate", math.pi * (2 * noise.uniform(n) - 1), 0.0, noise)
        x, y = self._with_p("xfrac", 0.125 * noise.normal(n, 2), 0.0, noise).unbind(1)
        cos, sin = ((quarter == k).int() - (quarter == k + 2).int() for k in (0, 1))  # exact
        same = torch.eye(3, device=image.device, dtype=image.dtype).expand(n, 3, 3)
        source = _times(same, 1 - 2 * mirror, 0, 0, 1)
        source = _times(source, cos, -sin, sin, cos)
        source = _times(source, 1, 0, 0, 1, -(whole_x * w).round(), -(whole_y * h).round())
        source = _times(source, 1 / scale, 0, 0, 1 / scale)
        source = _times(source, before.cos(), -before.sin(), before.sin(), before.cos())
        source = _times(source, 1 / aspect, 0, 0, aspect)
        source = _times(source, after.cos(), -after.sin(), after.sin(), after.cos())
        source = _times(source, 1, 0, 0, 1, -x * w, -y * h)
        touched = (source != same).flatten(1).any(1).view(n, 1, 1, 1)
        return torch.where(touched, wavelets.transformed(image, source), image)

    def _colored(self, image: Tensor, noise: Noise) -> Tensor:
        """Luma is the part along (1, 1, 1), which hue and saturation leave, the rest chroma, which the flip leaves."""
        n, channels = image.shape[:2]
        if channels not in (1, 3):
            raise ValueError(
                f"ADA changes colours of images with 1 or 3 channels, not {channels}: set {', '.join(COLORS)} to 0"
            )
        brightness = self._with_p("brightness", 0.2 * noise.normal(n), 0.0, noise)
        contrast = self._with_p("contrast", torch.exp2(0.5 * noise.normal(n)), 1.0, noise)
        flip = self._with_p("lumaflip", noise.integers(2, n), 0, noise)
        one = torch.eye(channels, device=image.device, dtype=image.dtype)
        luma = torch.full_like(one, 1 / channels)
        matrix = one - 2 * luma * flip.view(n, 1, 1)
        if channels == 3:
            hue = self._with_p("hue", math.pi * (2 * noise.uniform(n) - 1), 0.0, noise)
            saturation = self._with_p("saturation", torch.exp2(noise.normal(n)), 1.0, noise)
            turned = (one.roll(2, 1) - one.roll(1, 1)) / math.sqrt(3)  # (1, 1, 1) x chroma
            along, across = ((saturation * f(hue)).to(image.dtype).view(n, 1, 1) for f in (torch.cos, torch.sin))
            matrix = matrix + (along - 1) * (one - luma) + across * turned
        brightness, contrast = (value.to(image.dtype).view(n, 1, 1, 1) for value in (brightness, contrast))
        image = contrast * (image + brightness)
        return (matrix[..., None, None] * image[:, None]).sum(2)  # no matmul: TF32 would round

    def _filtered(self, image: Tensor, noise: Noise) -> Tensor:
        n = len(image)
        log_gain = torch.zeros(n, len(OCTAVES), device=image.device)
        touched = torch.zeros(n, dtype=torch.bool, device=image.device)
        for i, name in enumerate(OCTAVES):
            octaves = self._with_p(name, noise.normal(n), 0.0, noise)
            power = 1 + POWER[i] * (torch.exp2(2 * octaves) - 1)  # of all octaves, since expected powers sum to 1
            log_gain = log_gain - 0.5 * power.log2()[:, None]
            log_gain[:, i] += octaves
            touched = touched | (octaves != 0)
        filtered = wavelets.amplified(image, torch.exp2(log_gain).to(image.dtype))
        return torch.where(touched.view(n, 1, 1, 1), filtered, image)

    def _cut_out(self, image: Tensor, noise: Noise) -> Tensor:
        n, _, h, w = image.shape
        x, y = noise.uniform(n, 2, 1, 1, 1).unbind(1)
        half = self._with_p("cutout", torch.full_like(x, 0.25), 0.0, noise)
        column, row = ((torch.arange(side, device=x.device) + 0.5) / side for side in (w, h))
        inside = ((column - x).abs() < half) & ((row[:, None] - y).abs() < half)
        return image.masked_fill(inside, 0)


def _times(
    source: Tensor, a: Tensor | int, b: Tensor | int, c: Tensor | int, d: Tensor | int, *shift: Tensor
) -> Tensor:
    """(n, 3, 3) source [[a, b, x], [c, d, y], [0, 0, 1]]; by hand, since a matmul may round to TF32 or half."""
    entries = [a, b, shift[0] if shift else 0, c, d, shift[1] if shift else 0, 0, 0, 1]
    of = (v.to(source.dtype) if isinstance(v, Tensor) else source.new_full((len(source),), v) for v in entries)
    factor = torch.stack(list(of), 1).view(-1, 3, 3)
    return (source[..., None] * factor[:, None]).sum(2)
