"""Images, grids and latent walks from a checkpoint alone: `python -m gan_lightning.sample CKPT --n 64 --out DIR`.

Pictures are numbered, and picture i depends on the seed and on i alone: not on how many are made, nor on the batch size
or the device, because networks are evaluated in float64 here and rounded once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gan_lightning.errors import Parser, short_errors

if TYPE_CHECKING:  # loaded by main() when the flags are known to be right: they take seconds
    from lightning.pytorch import LightningModule
    from torch import Tensor

    from gan_lightning.core import TwoPlayerGAN

GRID_MOST = 256  # images in a grid
WALKERS = 16  # latents that walk side by side
STATIONS = 5  # latents that each of them visits


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser("python -m gan_lightning.sample", description="Images from a checkpoint alone.", allow_abbrev=False)
    parser.add_argument("checkpoint", help="a .ckpt file")
    parser.add_argument("--n", type=int, default=64, help="how many images (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("samples"), help="folder to write to (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the latents (default %(default)s)")
    parser.add_argument("--grid", action="store_true", help=f"also grid.png, of the first {GRID_MOST} at most")
    parser.add_argument("--label", type=int, help="the class to draw, for a model with classes")
    parser.add_argument(
        "--interpolate",
        choices=["slerp", "lerp"],
        help="also walk.gif, a closed walk from latent to latent: along great circles (slerp, for normal latents; "
        "White 2016, arXiv:1609.04468) or straight (lerp, for uniform ones)",
    )
    parser.add_argument("--frames", type=int, default=60, help="of the walk (default %(default)s)")
    parser.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time (default %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")
    given = parser.parse_args(argv)
    for name, least in (("n", 1), ("frames", 2), ("batch_size", 1)):
        if getattr(given, name) < least:
            parser.error(f"--{name} must be at least {least}, not {getattr(given, name)}")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {given.out} is a file, not a folder")
    if older := [file for file in given.out.glob("[0-9]*.png") if file.stem >= f"{given.n:06d}"]:
        parser.error(f"--out {given.out} holds more pictures than --n {given.n}, up to {max(older).name}: empty it")
    return given


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Latents (n, ...) on the way from a to b along great circles: the length of a normal latent is kept."""
    import torch

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


def require_images(module: LightningModule) -> None:
    """Refuse a model that cannot be looked at.

    Raises:
        ValueError: it makes no images of 1 or 3 channels from latents.
    """
    name = type(module).__name__
    channels, height, width = getattr(module, "image_shape", (0, 1, 1))
    if not hasattr(module, "latent"):
        raise ValueError(f"{name} makes no images from latents, so it cannot be sampled")
    if channels not in (1, 3) or height * width == 1:
        raise ValueError(f"{name} was trained on points of shape {(channels, height, width)}, not on images")


class Painter:
    """Makes pictures of a checkpoint's latents.

    Args:
        module: in float64.
        seed: of the latents.
        label: the class to draw; None for a model without classes.
        live: the trained weights, not their average.
        batch_size: images at a time.

    Raises:
        ValueError: the model makes no images, or has no such class.
    """

    def __init__(self, module: TwoPlayerGAN, seed: int, label: int | None, live: bool, batch_size: int) -> None:
        name = type(module).__name__
        require_images(module)
        classes = getattr(module, "num_classes", None)
        if label is not None and not classes:
            raise ValueError(f"{name} was trained without classes: leave --label out")
        if label is not None and not 0 <= label < classes:
            raise ValueError(f"--label {label}: {name} has the classes 0 to {classes - 1}")
        self.module, self.seed, self.label, self.live, self.batch_size = module, seed, label, live, batch_size

    def latents(self, indices: range) -> Tensor:
        """(n, ...) the latents of these numbers."""
        from gan_lightning.noise import SampleNoise

        return self.module.latent(SampleNoise(self.seed, indices, self.module.device), len(indices)).double()

    def paint(self, z: Tensor) -> Tensor:
        """(n, C, H, W) uint8 on the CPU, of latents (n, ...), a batch at a time."""
        import torch

        from gan_lightning.metrics import to_uint8

        pieces = []
        for part in z.split(self.batch_size):
            label = {} if self.label is None else {"label": torch.full((len(part),), self.label, device=z.device)}
            image = self.module.generate(part, self.live, **label)
            pieces.append(to_uint8(image).cpu())
        return torch.cat(pieces)

    def images(self, n: int) -> Iterator[Tensor]:
        """Images 0 .. n - 1 in batches."""
        for first in range(0, n, self.batch_size):
            yield self.paint(self.latents(range(first, min(first + self.batch_size, n))))

    def walk(self, walkers: int, frames: int, between: Callable[[Tensor, Tensor, float], Tensor]) -> Iterator[Tensor]:
        """Frames (walkers, C, H, W) of a walk from images 0 .. walkers - 1 through other latents and back."""
        count = min(STATIONS, frames)
        stations = [self.latents(range(i * walkers, (i + 1) * walkers)) for i in range(count)]
        for frame in range(frames):
            at, past = divmod(frame * count, frames)
            yield self.paint(between(stations[at], stations[(at + 1) % count], past / frames))


@short_errors()
def main(argv: list[str] | None = None) -> None:
    given = arguments(argv)
    import torch
    from PIL import Image
    from torchvision.utils import make_grid

    from gan_lightning.checkpoints import load_model

    if given.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU here; use --device cpu")
    device = "cuda" if given.device != "cpu" and torch.cuda.is_available() else "cpu"
    module = load_model(given.checkpoint, device).double()
    painter = Painter(module, given.seed, given.label, given.live, given.batch_size)

    def picture(image: Tensor) -> Image.Image:  # (C, H, W) uint8
        return Image.fromarray(image[0].numpy() if painter.module.image_shape[0] == 1 else image.movedim(0, 2).numpy())

    def tiles(images: Tensor) -> Image.Image:
        return picture(make_grid(images, nrow=math.ceil(math.sqrt(len(images)))))

    given.out.mkdir(parents=True, exist_ok=True)
    first, number = [], 0  # of the grid
    for images in painter.images(given.n):
        for image in images:
            picture(image).save(given.out / f"{number:06d}.png")
            number += 1
        first.append(images[: max(0, GRID_MOST - sum(map(len, first)))])
    weights = "live" if given.live else "averaged"
    print(f"{given.n} images of {type(module).__name__} ({weights} weights, seed {given.seed}): {given.out}")
    if given.grid:
        tiles(torch.cat(first)).save(given.out / "grid.png")
        print(f"grid: {given.out / 'grid.png'}")
    if given.interpolate:
        between = slerp if given.interpolate == "slerp" else lerp
        frames = [tiles(images) for images in painter.walk(min(WALKERS, given.n), given.frames, between)]
        frames[0].save(given.out / "walk.gif", save_all=True, append_images=frames[1:], duration=50, loop=0)
        print(f"walk: {given.out / 'walk.gif'}")


if __name__ == "__main__":
    main()
